"""Statistical checks whose thresholds are Monte Carlo errors, not hand-picked tolerances."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.convergence import measure

Floats = NDArray[np.float64]

LARGEST_Z: Final = 4.9
"""Two-sided chance of a larger z: one in a million."""


def moment_z_scores(draws: NDArray[Any], mean: Any, variance: Any) -> Floats:
    r"""Return z-scores of a sample's mean and variance against exact ones.

    .. math::

        z_1 = \frac{\bar x - \mu}{\sigma / \sqrt{n_1}}, \qquad
        z_2 = \frac{\overline{(x - \mu)^2} - \sigma^2}{s_2 / \sqrt{n_2}}

    with effective sample sizes n of x and of :math:`(x - \mu)^2`, whose standard deviation is
    :math:`s_2`.

    Parameters
    ----------
    draws : ndarray
        Chains of draws, shape (chain, draw, ...); chains may be autocorrelated.
    mean, variance : array_like
        Exact moments, shape (...).

    Returns
    -------
    ndarray
        Shape (2, ...). Beyond :data:`LARGEST_Z` the sample is wrong.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(4, 500, 3))
    >>> bool(np.abs(moment_z_scores(draws, 0.0, 1.0)).max() < LARGEST_Z)
    True
    >>> bool(np.abs(moment_z_scores(draws + 0.2, 0.0, 1.0)).max() < LARGEST_Z)
    False
    """
    first = np.asarray(draws, dtype=np.float64)
    second = (first - mean) ** 2
    errors = np.sqrt(variance / measure(first)[1]), _standard_error(second)
    differences = first.mean((0, 1)) - mean, second.mean((0, 1)) - variance
    return np.stack([d / e for d, e in zip(differences, errors, strict=True)])


def difference_z_scores(draws: NDArray[Any], others: NDArray[Any]) -> Floats:
    """Return z-scores of the difference between two samples' means and second moments.

    Parameters
    ----------
    draws, others : ndarray
        Chains of draws, shape (chain, draw, ...), of any lengths.

    Returns
    -------
    ndarray
        Shape (2, ...).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = difference_z_scores(rng.normal(size=(2, 500)), rng.normal(size=(2, 900)))
    >>> bool(np.abs(z).max() < LARGEST_Z)
    True
    """
    first, second = np.asarray(draws, np.float64), np.asarray(others, np.float64)
    centre = 0.5 * (first.mean((0, 1)) + second.mean((0, 1)))
    scores = []
    for power in (1, 2):
        a, b = (first - centre) ** power, (second - centre) ** power
        error = np.hypot(_standard_error(a), _standard_error(b))
        scores.append((a.mean((0, 1)) - b.mean((0, 1))) / error)
    return np.stack(scores)


def _standard_error(draws: Floats) -> Floats:
    error: Floats = np.sqrt(draws.var((0, 1)) / measure(draws)[1])
    return error
