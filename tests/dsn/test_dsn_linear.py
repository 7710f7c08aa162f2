"""The 2D linear system: eigenvalues, and the exact largest entropy against the spec's table."""

import numpy as np
import pytest
import torch

from probneuro.core.errors import DataError
from probneuro.simulators.linear_2d import eigenvalues, exact_entropy, oscillation

ONE = {"real_sd": 1.0, "imaginary_sd": 1.0}
TABLE = [
    ({"limit": 20.0, "frequency": 4 * np.pi, **ONE}, 10.289372, [0, 0.5, -0.12835, 0.48242]),
    ({"limit": 30.0, "frequency": 4 * np.pi, **ONE}, 11.388780, [0, 0.5, -0.0082, 0.4943]),
    (ONE, 8.845166, [0, 0.49913, -0.28295, 0.41570]),
    ({}, 7.734882, [0, 1.99999, -0.26100, 1.19395]),
    ({"real_sd": 0.25}, 7.041736, [0, 8.0, -0.26100, 1.19395]),
]


@pytest.mark.parametrize(("settings", "entropy", "multipliers"), TABLE)
def test_the_exact_entropy(
    settings: dict[str, float], entropy: float, multipliers: list[float]
) -> None:
    found = exact_entropy(oscillation(**settings))
    assert found.entropy == pytest.approx(entropy, abs=2e-6)
    np.testing.assert_allclose(found.multipliers, multipliers, atol=1e-4)


def test_the_divergence_of_another_member_of_the_family() -> None:
    """A uniform prior with Gaussian noise is the same family, its multipliers given."""
    exact = exact_entropy(oscillation())
    moments = np.array([0.0, 0.25, 6.18584, 0.38375])
    moments[3] += 0.0  # the spec's moments are about the target mean
    assert exact.divergence(7.73436, moments) == pytest.approx(0.0128, abs=2e-4)


def test_eigenvalues_are_those_of_numpy() -> None:
    matrices = np.random.default_rng(0).uniform(-10, 10, (500, 4))
    names = ("a1", "a2", "a3", "a4")
    found = eigenvalues({n: torch.from_numpy(c) for n, c in zip(names, matrices.T, strict=True)})
    values = np.linalg.eigvals(matrices.reshape(-1, 2, 2))
    np.testing.assert_allclose(found["real"].numpy(), values.real.max(axis=1), atol=1e-9)
    np.testing.assert_allclose(found["imaginary"].numpy(), values.imag.max(axis=1), atol=1e-9)


def test_gradients_stay_finite_where_a_root_is_unused() -> None:
    entries = torch.tensor([[1.0, 1.0, 0.0, 1.0], [0.0, 2.0, -2.0, 0.0]], requires_grad=True)
    found = eigenvalues(dict(zip(("a1", "a2", "a3", "a4"), entries.unbind(1), strict=True)))
    (found["real"].sum() + found["imaginary"].sum()).backward()
    assert torch.isfinite(entries.grad).all()


def test_a_frequency_that_no_matrix_has_is_refused() -> None:
    with pytest.raises(DataError, match=r"`frequency` 12.5664 needs imaginary parts beyond 10"):
        oscillation(frequency=4 * np.pi)
