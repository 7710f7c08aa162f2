"""Newton's method for the private variances of a factor analysis: few steps, exact curvature."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

Floats = NDArray[np.float64]

_STEPS: Final = 30
_HALVINGS: Final = 12
_ROUNDING: Final = 1e-12
"""What rounding does to a likelihood of order one: a step that loses less lost nothing."""


def profile_curvature(
    log_noise: Floats, covariance: Floats, num: int
) -> tuple[float, Floats, Floats, Floats]:
    r"""Return twice the negative profile log-likelihood less its constant, slope and curvatures.

    With eigenvalues :math:`\lambda` and vectors U of :math:`\Psi^{-1/2} S \Psi^{-1/2}`, the m
    largest beyond one belonging to factors and the others, k, to noise:

    .. math::

        f = \sum_j \theta_j + \sum_{l} (\log\lambda_l + 1) + \sum_k \lambda_k, \qquad
        \frac{\partial f}{\partial\theta_i} = \sum_k (1 - \lambda_k) U_{ik}^2,

    .. math::

        \frac{\partial^2 f}{\partial\theta_i \partial\theta_j} =
        \sum_{k, k'} \lambda_k U_{ik} U_{jk} U_{ik'} U_{jk'} + \sum_{l, k}
        \frac{(1 - \lambda_k)(\lambda_k + \lambda_l)}{\lambda_l - \lambda_k}
        U_{ik} U_{jk} U_{il} U_{jl}

    and Joreskog's approximation of the last, :math:`(\sum_k U_{ik} U_{jk})^2`, which is never
    negative.

    Parameters
    ----------
    log_noise : ndarray
        :math:`\theta = \log\psi`, shape (electrode,).
    covariance : ndarray
        S, shape (electrode, electrode).
    num : int
        m.

    Notes
    -----
    Source: Clarke (1970), British Journal of Mathematical and Statistical Psychology 23; derived
    here for logarithms, and held against differences of the slope in the tests.
    """
    root = np.exp(-0.5 * log_noise)
    values, vectors = eigh(
        covariance * root[:, None] * root, driver="evd", overwrite_a=True, check_finite=False
    )
    factors = min(num, int((values > 1).sum()))
    split = len(values) - factors
    rest, strong = values[:split], values[split:]
    noise, factor = vectors[:, :split], vectors[:, split:]
    value = log_noise.sum() + rest.sum() + (np.log(strong) + 1).sum()
    slope = (noise**2) @ (1 - rest)
    within = noise @ noise.T
    curvature = ((noise * rest) @ noise.T) * within
    # Where a factor's eigenvalue meets one of the noise's, the curvature is not finite.
    with np.errstate(divide="ignore", invalid="ignore"):
        for strength, vector in zip(strong, factor.T, strict=True):
            pull = (1 - rest) * (rest + strength) / (strength - rest)
            curvature += np.outer(vector, vector) * ((noise * pull) @ noise.T)
    return float(value), slope, curvature, within**2


def newton(
    first: Floats, covariance: Floats, num: int, bounds: tuple[Floats, Floats], tolerance: float
) -> tuple[Floats, int] | None:
    """Return log private variances at the maximum and the steps taken, or None where it failed.

    Parameters
    ----------
    first : ndarray
        To start from, shape (electrode,).
    covariance, num
        As of `profile_curvature`.
    bounds : tuple of ndarray
        Least and largest; what lies there with the slope pointing outwards stays there.
    tolerance : float
        Largest slope at the end.
    """
    lower, upper = bounds
    here = np.clip(first, lower, upper)
    value, slope, *curvatures = profile_curvature(here, covariance, num)
    for step in range(1, _STEPS + 1):
        free = ~((here <= lower) & (slope > 0) | (here >= upper) & (slope < 0))
        if not free.any() or np.abs(slope[free]).max() < tolerance:
            return here, step
        factor = _first_factor([c[np.ix_(free, free)] for c in curvatures])
        if factor is None:
            return None
        move = np.zeros_like(here)
        move[free] = -cho_solve(factor, slope[free], check_finite=False)
        for _ in range(_HALVINGS):
            there = np.clip(here + move, lower, upper)
            found = profile_curvature(there, covariance, num)
            if found[0] <= value + _ROUNDING * abs(value):
                break
            move *= 0.5
        else:
            return None
        here, (value, slope, *curvatures) = there, found
    return None


def _first_factor(matrices: Sequence[Floats]) -> tuple[Floats, bool] | None:
    """Return the Cholesky factor of the first matrix that is finite and has one."""
    for matrix in matrices:
        if np.isfinite(matrix).all():
            try:
                return cho_factor(matrix, check_finite=False)
            except LinAlgError:
                continue
    return None
