"""The convex dual against families whose largest entropy is known."""

import numpy as np
import pytest

from probneuro.core.errors import InferenceError
from probneuro.core.tilting import tilt


def grid(start: float, stop: float, count: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    points = start + (np.arange(count) + 0.5) * (stop - start) / count
    return points, np.full(count, np.log((stop - start) / count))


def test_a_gaussian() -> None:
    x, base = grid(-12.0, 12.0)
    found = tilt(base, np.stack([x, (x - 1.0) ** 2], axis=1), np.array([1.0, 0.49]))
    assert found.entropy == pytest.approx(0.5 * np.log(2 * np.pi * np.e * 0.49), abs=1e-6)
    np.testing.assert_allclose(found.multipliers, [0.0, 1.0 / 0.98], atol=1e-6)


def test_a_laplace_law() -> None:
    x, base = grid(-40.0, 40.0)
    found = tilt(base, np.abs(x)[:, None], np.array([1.5]))
    assert found.entropy == pytest.approx(1.0 + np.log(3.0), abs=1e-4)


def test_targets_outside_the_hull_are_not_met() -> None:
    x, base = grid(0.0, 1.0, 100)
    assert not tilt(base, x[:, None], np.array([1.5])).met
    assert tilt(base, x[:, None], np.array([0.9])).met


def test_rows_that_failed_carry_no_weight() -> None:
    x, base = grid(0.0, 20.0, 1000)
    statistics = x[:, None].copy()
    statistics[::2] = np.nan
    found = tilt(base, statistics, np.array([1.0]))
    assert (found.log_weights[::2] == -np.inf).all()
    # Half of the support is gone, evenly: half of the volume.
    assert found.entropy == pytest.approx(1.0 - np.log(2.0), abs=0.02)


def test_nothing_finite_is_told() -> None:
    with pytest.raises(InferenceError, match="no simulation gave finite statistics"):
        tilt(np.zeros(3), np.full((3, 1), np.nan), np.array([0.0]))
