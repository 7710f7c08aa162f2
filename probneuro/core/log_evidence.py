"""The integral of a density of few variables, by importance sampling around its mode."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_t

Floats = NDArray[np.float64]

_DEGREES = 5.0
_STEP = 0.05
_WIDER = 1.3


class Evidence(NamedTuple):
    """A log integral, its Monte Carlo standard error, and the mode."""

    log_value: float
    error: float
    mode: Floats


def log_evidence(
    log_density: Callable[[Floats], float],
    start: Floats,
    rng: np.random.Generator,
    *,
    draws: int = 200,
    evaluations: int = 400,
) -> Evidence:
    r"""Integrate a density: its mode by simplex search, then draws of a Student t around it.

    .. math::

        \log \int \pi(z)\,\mathrm dz \approx
        \log \frac1S \sum_s \frac{\pi(z_s)}{q(z_s)}, \qquad z_s \sim q

    Parameters
    ----------
    log_density : callable
        Takes a point, shape (dim,), and returns a number; minus infinity where there is none.
    start : ndarray
        Where to start, shape (dim,); with no variables the density is its own integral.
    rng : numpy.random.Generator
        Source of randomness.
    draws : int
        Draws of the proposal, a Student t of five degrees of freedom with the curvature of the
        density at its mode, a little wider.
    evaluations : int
        Most evaluations of the search.

    Returns
    -------
    Evidence

    Examples
    --------
    >>> found = log_evidence(lambda z: -0.5 * float(z @ z), np.ones(2), np.random.default_rng(0))
    >>> bool(abs(found.log_value - np.log(2 * np.pi)) < 4 * found.error + 0.01)
    True
    """
    if start.size == 0:
        return Evidence(log_density(start), 0.0, start)
    options = {"maxfev": evaluations, "xatol": 1e-3, "fatol": 1e-3}
    found = minimize(lambda z: -log_density(z), start, method="Nelder-Mead", options=options)
    mode = np.asarray(found.x)
    proposal = multivariate_t(mode, _WIDER**2 * _spread(log_density, mode), df=_DEGREES, seed=rng)
    points = np.reshape(proposal.rvs(draws), (draws, mode.size))
    weights = np.array([log_density(point) for point in points]) - proposal.logpdf(points)
    total = float(logsumexp(weights) - np.log(draws))
    relative = np.exp(weights - total)
    return Evidence(total, float(relative.std(ddof=1) / np.sqrt(draws)), mode)


def _spread(log_density: Callable[[Floats], float], mode: Floats) -> Floats:
    """Return the inverse of the negative curvature, its eigenvalues kept between 1e-4 and 4."""
    size, here = mode.size, log_density(mode)
    steps = _STEP * np.eye(size)
    curvature = np.zeros((size, size))
    for i in range(size):
        for j in range(i, size):
            if i == j:
                ends = log_density(mode + steps[i]) + log_density(mode - steps[i])
                curvature[i, i] = (ends - 2 * here) / _STEP**2
                continue
            same = log_density(mode + steps[i] + steps[j]) + log_density(mode - steps[i] - steps[j])
            other = log_density(mode + steps[i] - steps[j]) + log_density(
                mode - steps[i] + steps[j]
            )
            curvature[i, j] = curvature[j, i] = (same - other) / (4 * _STEP**2)
    values, vectors = np.linalg.eigh(-np.nan_to_num(curvature, neginf=-1e4, posinf=1e4))
    kept = np.clip(1.0 / np.maximum(values, 1e-12), 1e-4, 4.0)
    spread: Floats = (vectors * kept) @ vectors.T
    return spread
