import numpy as np
import pytest
from numpy.typing import NDArray

from probneuro.core.errors import InferenceError
from probneuro.inference import slice as slice_module
from probneuro.inference.adaptation import schedule
from probneuro.inference.slice import (
    LogDensity,
    curved_directions,
    learn_directions,
    slice_along,
    slice_sweep,
    start_slice,
)
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

Floats = NDArray[np.float64]
COVARIANCE = np.array([[1.0, 0.95], [0.95, 2.0]])
PRECISION = np.linalg.inv(COVARIANCE)
MEAN = np.array([1.0, -2.0])


def gaussian(position: Floats) -> float:
    return -0.5 * float((position - MEAN) @ PRECISION @ (position - MEAN))


def gamma(position: Floats) -> float:
    """A Gamma(2, 1): skewed, with an edge."""
    x = float(position[0])
    return np.log(x) - x if x > 0.0 else -np.inf


def chains(
    log_density: LogDensity, start: Floats, draws: int = 1500, warmup: int = 300
) -> tuple[Floats, list[Floats]]:
    plan, out, directions = schedule(warmup), np.empty((2, draws, start.size)), []
    for chain in range(2):
        rng, position, state = np.random.default_rng(chain), start, start_slice(start.size)
        for i in range(warmup + draws):
            position, _ = slice_sweep(log_density, position, log_density(position), state, rng)
            if i < warmup:
                state = learn_directions(state, position, i, plan)
            else:
                out[chain, i - warmup] = position
        directions.append(state["directions"])
    return out, directions


@pytest.mark.stat
def test_a_correlated_gaussian_is_recovered_along_its_axes() -> None:
    draws, directions = chains(gaussian, MEAN)
    assert np.abs(moment_z_scores(draws, MEAN, np.diag(COVARIANCE))).max() < LARGEST_Z
    product = (draws - MEAN).prod(-1)
    variance = np.prod(np.diag(COVARIANCE)) + COVARIANCE[0, 1] ** 2
    assert abs(moment_z_scores(product, COVARIANCE[0, 1], variance)[0]) < LARGEST_Z
    _, axes = np.linalg.eigh(COVARIANCE)
    for own in directions:
        unit = own / np.linalg.norm(own, axis=0)
        assert np.abs((unit * axes).sum(0)).min() > 0.98


@pytest.mark.stat
def test_a_skewed_density_with_an_edge_is_recovered() -> None:
    draws, _ = chains(gamma, np.array([1.0]))
    assert (draws > 0.0).all()
    assert np.abs(moment_z_scores(draws, 2.0, 2.0)).max() < LARGEST_Z


def invariance(step: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the z-score of the mean after one step from 40 000 exact draws."""

    class Pinned:
        """A stream whose bracket starts at the position rather than around it."""

        def __init__(self, rng: np.random.Generator) -> None:
            self._rng = rng

        def random(self) -> float:
            return 0.0 if step == "pinned bracket" else self._rng.random()

        def __getattr__(self, name: str) -> object:
            return getattr(self._rng, name)

    if step == "no stepping out on the left":
        monkeypatch.setattr(slice_module, "_MAX_DOUBLINGS", 1)
    rng = np.random.default_rng(0)
    after = np.empty(20_000)
    for i, x in enumerate(rng.gamma(2.0, size=after.size)):
        start = np.array([x])
        after[i] = slice_along(gamma, start, gamma(start), np.array([0.7]), Pinned(rng))[0][0]
    z = moment_z_scores(after[None], 2.0, 2.0)
    return float(np.abs(z).max())


@pytest.mark.stat
def test_one_step_leaves_the_density_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invariance("none", monkeypatch) < LARGEST_Z


@pytest.mark.stat
def test_a_bracket_too_short_to_hold_the_slice_is_still_valid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert invariance("no stepping out on the left", monkeypatch) < LARGEST_Z


@pytest.mark.stat
def test_the_check_catches_a_bracket_that_starts_at_the_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slice_module, "_MAX_DOUBLINGS", 1)
    assert invariance("pinned bracket", monkeypatch) > LARGEST_Z


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_a_start_outside_the_density_raises(value: float) -> None:
    with pytest.raises(InferenceError, match="Slice sampling started where the log density is"):
        slice_along(gaussian, MEAN, value, np.ones(2), np.random.default_rng(0))


def test_no_parameters_are_no_work() -> None:
    state = start_slice(0)
    rng = np.random.default_rng(0)
    position, value = slice_sweep(lambda x: 0.0, np.empty(0), 0.0, state, rng)
    assert position.size == 0
    assert value == 0.0


def test_curvature_gives_the_axes_of_a_gaussian_and_their_lengths() -> None:
    rng = np.random.default_rng(4)
    root = np.linalg.qr(rng.standard_normal((4, 4)))[0] * [0.05, 0.2, 1.0, 5.0]
    precision = np.linalg.inv(root @ root.T)

    def log_density(position: NDArray[np.float64]) -> float:
        return float(-0.5 * position @ precision @ position)

    state = start_slice(4)
    for _ in range(3):
        state = curved_directions(state, log_density, np.array([0.01, -0.02, 0.03, 0.0]))
    axes = state["directions"] / 3.0
    assert np.allclose(axes @ axes.T, root @ root.T, rtol=1e-4)


def test_a_density_that_ends_nearby_or_bends_upwards_keeps_its_axes() -> None:
    state = start_slice(1)
    ends = curved_directions(state, lambda x: -np.inf if x[0] > 0.0 else 0.0, np.zeros(1))
    upwards = curved_directions(state, lambda x: float(x @ x), np.zeros(1))
    for found in (ends, upwards):
        assert np.array_equal(found["directions"], state["directions"])
