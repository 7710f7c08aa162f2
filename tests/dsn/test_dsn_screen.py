"""A screen learns where simulations fail, and the flow behind it stays a density."""

import numpy as np
import pytest
import torch

from probneuro.components.flows import AutoregressiveSpline, Box
from probneuro.data.behaviour import Behaviour
from probneuro.inference.screen import Screen, ScreenedFlow, fit_screen, screened
from probneuro.testing.stats import LARGEST_Z, mean_score

BOX = Behaviour({"x": (0.0, 2.0), "y": (-1.0, 3.0)}, means={"f": 0.0})
UNIFORM = AutoregressiveSpline(Box([0.0, -1.0], [2.0, 3.0]), 2, np.random.default_rng(0))


def fails(values: np.ndarray) -> np.ndarray:
    return (values[:, 0] - 1.0) ** 2 + (values[:, 1] - 1.0) ** 2 / 4 > 0.5


@pytest.fixture(scope="module")
def screen() -> Screen:
    rng = np.random.default_rng(1)
    values = BOX.lower + (BOX.upper - BOX.lower) * rng.random((2000, 2))
    built = fit_screen(BOX, values, fails(values), rng)
    assert built
    return built


def test_draws_behind_the_screen_seldom_fail(screen: Screen) -> None:
    rng = np.random.default_rng(2)
    flow = screened(UNIFORM, screen, rng)
    with torch.no_grad():
        before, _ = UNIFORM.push(UNIFORM.base(rng, 2000))
        values, density = flow.push(flow.base(rng, 2000))
        assert fails(before.numpy()).mean() > 0.55
        assert fails(values.numpy()).mean() < 0.05
        # Screen and flow compute in single precision.
        torch.testing.assert_close(flow.log_prob(values).float(), density.float())


def test_the_density_integrates_to_one(screen: Screen) -> None:
    rng = np.random.default_rng(3)
    flow = screened(UNIFORM, screen, rng)
    points = torch.from_numpy(BOX.lower + (BOX.upper - BOX.lower) * rng.random((8192, 2)))
    with torch.no_grad():
        volumes = (flow.log_prob(points) + BOX.log_volume).exp().numpy()
    # The share let through is itself the mean over 8192 draws: two errors of one size.
    assert abs(mean_score(volumes, 1.0)) < LARGEST_Z * np.sqrt(2.0)


def test_too_few_failures_make_no_screen() -> None:
    rng = np.random.default_rng(4)
    failed = np.arange(500) < 10
    assert fit_screen(BOX, rng.random((500, 2)), failed, rng) is None


def test_a_screen_that_lets_nothing_through_is_left_out(screen: Screen) -> None:
    shut = Screen(BOX, np.random.default_rng(5))
    with torch.no_grad():
        shut.biases[-1].fill_(-100.0)
    assert screened(UNIFORM, shut, np.random.default_rng(6)) is UNIFORM
    assert isinstance(screened(UNIFORM, screen, np.random.default_rng(6)), ScreenedFlow)
    assert screened(UNIFORM, None, np.random.default_rng(6)) is UNIFORM


def test_a_stricter_screen_lets_fewer_fail() -> None:
    """A coin decides in half of the box: no screen can tell more than its chance there."""
    rng = np.random.default_rng(7)
    values = BOX.lower + (BOX.upper - BOX.lower) * rng.random((4000, 2))
    chance = np.where(values[:, 0] < 1.0, 0.35, 0.02)
    built = fit_screen(BOX, values, rng.random(4000) < chance, rng)
    shares = []
    for tolerated in (1.0, 0.1):
        flow = screened(UNIFORM, built, rng, tolerated)
        drawn = flow.base(rng, 2000).numpy()  # the flow is uniform: its base is the cube
        shares.append(np.where(drawn[:, 0] < 0.5, 0.35, 0.02).mean())
    assert shares[0] > 0.15
    assert shares[1] == pytest.approx(0.1, abs=0.02)  # 0.35 is known to 0.011 from 2000 rows
