"""Statistical checks whose thresholds are Monte Carlo errors, not hand-picked tolerances."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kstest, norm

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


def mean_score(draws: ArrayLike, expected: float = 0.0) -> float:
    r"""Return the z-score of the mean of independent draws.

    .. math:: z = \frac{\bar x - \mu}{s / \sqrt n}

    Parameters
    ----------
    draws : array_like
        Independent draws, shape (draw,).
    expected : float
        The mean to compare with.

    Returns
    -------
    float
        Zero where all draws equal the expected mean, infinite where all equal another.

    Examples
    --------
    >>> round(mean_score([1.0, 2.0, 3.0], expected=1.0), 3)
    1.732
    """
    x = np.asarray(draws, dtype=np.float64) - expected
    if not np.all(np.isfinite(x)):
        return float("inf")
    error = x.std(ddof=1) / np.sqrt(x.size)
    if error == 0.0:
        return 0.0 if x[0] == 0.0 else float("inf")
    return float(x.mean() / error)


def uniform_score(values: ArrayLike) -> float:
    """Return the z-score that belongs to the Kolmogorov-Smirnov p-value of uniform numbers.

    Parameters
    ----------
    values : array_like
        Independent numbers that should be uniform on [0, 1], shape (draw,).

    Examples
    --------
    >>> uniform_score(np.linspace(0.0, 1.0, 101)) < 1.0, uniform_score(np.zeros(101)) > 4.9
    (True, True)
    """
    p = kstest(np.asarray(values, dtype=np.float64), "uniform").pvalue
    return float(norm.isf(0.5 * max(p, 1e-300)))


def paired_scores(before: Mapping[str, Floats], after: Mapping[str, Floats]) -> dict[str, float]:
    """Return z-scores of the mean change of named statistics over independent replicates.

    A transition that leaves a law invariant changes no mean, if it starts from that law.

    Parameters
    ----------
    before, after : mapping of str to ndarray
        Statistics in each replicate, each of shape (replicate,).

    Examples
    --------
    >>> paired_scores({"x": np.zeros(3)}, {"x": np.array([1.0, -1.0, 0.0])})
    {'x': 0.0}
    """
    return {name: mean_score(after[name] - before[name]) for name in before}


def worst(scores: Mapping[str, float]) -> tuple[str, float]:
    """Return the name and value of the score that is furthest from zero.

    Examples
    --------
    >>> worst({"a": 1.0, "b": -2.0})
    ('b', -2.0)
    """
    name = max(scores, key=lambda n: abs(scores[n]))
    return name, scores[name]


def check_scores(scores: Mapping[str, float], limit: float = LARGEST_Z) -> None:
    """Raise if a z-score is beyond the limit.

    Parameters
    ----------
    scores : mapping of str to float
        z-scores by name.
    limit : float
        Largest absolute value that passes.

    Raises
    ------
    AssertionError
        Naming every score beyond the limit.

    Examples
    --------
    >>> check_scores({"mean of x": 1.2})
    """
    beyond = {name: z for name, z in scores.items() if not abs(z) <= limit}
    if beyond:
        listed = ", ".join(f"{name}: {z:.1f}" for name, z in beyond.items())
        raise AssertionError(
            f"{len(beyond)} of {len(scores)} z-scores are beyond {limit}: {listed}."
        )
