"""Flows: inverse and log density agree, densities integrate to one, maps hold at the edges."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from probneuro.components.flows import AffineCoupling, AutoregressiveSpline, Box, Simplex
from probneuro.components.flows.spline import Spline
from probneuro.components.flows.support import squash, stretch
from probneuro.core.flow import fill, flatten

BOX = Box([0.0, -1.0, 2.0], [1.0, 1.0, 7.0])


def shaken(kind: Any, support: Any, size: int, scale: float = 0.2, **settings: Any) -> Any:
    """Return a flow whose weights are not those that it begins with."""
    rng = np.random.default_rng(1)
    flow = kind(support, size, rng, **settings)
    vector = flatten(flow)
    fill(flow, vector + scale * rng.standard_normal(vector.size))
    return flow


CASES = [
    (AutoregressiveSpline, BOX, 3, {"single": False, "stages": 2}),
    (AutoregressiveSpline, Simplex(), 2, {"single": False}),
    (AffineCoupling, BOX, 3, {}),
]


@pytest.mark.parametrize(("kind", "support", "size", "settings"), CASES)
def test_a_draw_has_the_density_it_is_said_to_have(
    kind: Any, support: Any, size: int, settings: dict[str, Any]
) -> None:
    scale = 0.2 if kind is AutoregressiveSpline else 0.05
    flow = shaken(kind, support, size, scale, **settings)
    base = flow.base(np.random.default_rng(0), 200)
    with torch.no_grad():
        value, density = flow.push(base)
        torch.testing.assert_close(flow.log_prob(value), density, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "support", "size", "settings"), CASES)
def test_the_log_density_is_that_of_the_jacobian(
    kind: Any, support: Any, size: int, settings: dict[str, Any]
) -> None:
    flow = shaken(kind, support, size, 0.05, **settings)
    point = flow.base(np.random.default_rng(2), 1)
    slopes = jacobian(lambda x: flow.push(x[None])[0][0], point[0])
    start = torch.zeros(()) if kind is AutoregressiveSpline else None
    if start is None:
        start = torch.distributions.Normal(0.0, 1.0).log_prob(point[0]).sum()
    expected = start - torch.linalg.slogdet(slopes)[1]
    assert flow.push(point)[1].item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)


def test_a_spline_density_integrates_to_one() -> None:
    flow = shaken(AutoregressiveSpline, Box([0.0, 0.0], [2.0, 3.0]), 2, 0.1, single=False)
    middle = (torch.arange(300, dtype=torch.float64) + 0.5) / 300
    points = torch.cartesian_prod(2 * middle, 3 * middle)
    with torch.no_grad():
        total = flow.log_prob(points).exp().mean() * 6.0
    assert total.item() == pytest.approx(1.0, abs=0.01)


def test_splines_invert_in_single_precision_too() -> None:
    torch_rng = torch.Generator().manual_seed(0)
    raw = torch.randn(1000, 37, generator=torch_rng)
    x = torch.rand(1000, generator=torch_rng)
    y, slope = Spline(raw).forward(x)
    back, again = Spline(raw).inverse(y)
    torch.testing.assert_close(back, x, rtol=0, atol=2e-4)
    torch.testing.assert_close(again, slope, rtol=0.02, atol=0.02)


def test_the_box_map_is_exact_far_out() -> None:
    """log(1 - tanh²) is minus infinity there, and biased where a small number is added."""
    place = torch.tensor([-500.0, -40.0, -2.0, 0.0, 3.0, 500.0], dtype=torch.float64)
    _, slope = squash(place)
    size = place.abs()
    expected = -size - 2.0 * torch.log1p(torch.exp(-size))
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=0)
    near = place[1:5]
    torch.testing.assert_close(stretch(squash(near)[0])[1:], near[1:], rtol=1e-9, atol=1e-12)


def test_a_fresh_spline_flow_is_the_uniform_density() -> None:
    flow = AutoregressiveSpline(BOX, 3, np.random.default_rng(0))
    with torch.no_grad():
        _, density = flow.push(flow.base(np.random.default_rng(1), 50))
    np.testing.assert_allclose(density.numpy(), -np.log(10.0), atol=1e-5)


def test_weights_go_into_a_vector_and_back() -> None:
    flow = shaken(AffineCoupling, BOX, 3)
    other = AffineCoupling(BOX, 3, np.random.default_rng(5))
    fill(other, flatten(flow))
    np.testing.assert_array_equal(flatten(other), flatten(flow))
