import numpy as np
import pytest

from probneuro import az
from probneuro.core.convergence import measure


def autoregressive(shape: tuple[int, ...], share: float) -> np.ndarray:
    rng = np.random.default_rng(4)
    x = rng.normal(size=shape)
    for i in range(1, shape[1]):
        x[:, i] += share * x[:, i - 1]
    return x


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.5, 0.95])
@pytest.mark.parametrize("shape", [(4, 100, 2, 3), (2, 51, 2), (1, 400, 2), (4, 1000)])
def test_same_as_arviz(shape: tuple[int, ...], share: float) -> None:
    draws = autoregressive(shape, share)
    rhat, ess = measure(draws)
    tree = az.convert_to_dataset({"x": draws})
    np.testing.assert_allclose(ess, az.ess(tree)["x"].values, rtol=1e-6)
    if shape[0] > 1:
        np.testing.assert_allclose(rhat, az.rhat(tree)["x"].values, rtol=1e-6)


def test_discrete_draws_and_chains_that_disagree() -> None:
    rng = np.random.default_rng(0)
    edges = (rng.random((4, 200, 3)) < np.array([0.5, 0.1, 0.9])).astype(np.int8)
    edges[1, :, 2] = 0
    tree = az.convert_to_dataset({"x": edges})
    rhat, ess = measure(edges)
    np.testing.assert_allclose(rhat, az.rhat(tree)["x"].values, rtol=1e-6)
    np.testing.assert_allclose(ess, az.ess(tree)["x"].values, rtol=1e-6)
    assert rhat[2] > 1.5


def test_more_series_than_a_batch_and_ones_that_never_move() -> None:
    draws = autoregressive((2, 20, 600), 0.3)
    draws[:, :, 300] = 1.0
    rhat, ess = measure(draws)
    assert np.flatnonzero(np.isnan(rhat)).tolist() == [300]
    assert np.flatnonzero(np.isnan(ess)).tolist() == [300]
    np.testing.assert_array_equal(measure(draws[:, :, 500:])[1], ess[500:])
