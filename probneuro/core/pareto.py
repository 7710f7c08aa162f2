"""Importance weights whose largest are smoothed, and a number that tells when not to trust them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]

LARGEST_K: Final = 0.7
"""Vehtari et al. 2024: beyond it the error of an importance sampler cannot be told."""
_LEAST_TAIL: Final = 5
_PRIOR_DRAWS: Final = 10
_PRIOR_K: Final = 0.5
_TINY: Final = float(np.log(np.finfo(np.float64).tiny))


def smooth_weights(log_ratios: Floats) -> tuple[Floats, float]:
    r"""Return normalised log importance weights, the largest smoothed, and Pareto's k.

    The largest :math:`M = \min(S / 5,\, 3 \sqrt S)` of S ratios are replaced by the expected
    order statistics of a generalised Pareto law fitted to them, and cut at the largest raw
    ratio. Its shape k says how heavy the tail is: the ratios have a variance below one half,
    and the estimate can be trusted up to about :data:`LARGEST_K`.

    Parameters
    ----------
    log_ratios : numpy.ndarray
        Logarithms of target over proposal, up to a constant, shape (draw,).

    Returns
    -------
    log_weights : numpy.ndarray
        Shape (draw,); their exponentials sum to one.
    k : float
        Zero where all ratios are equal, infinite where too few draws make a tail, or none
        has a positive ratio.

    Notes
    -----
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling;
    the fit is that of Zhang and Stephens (2009). Draws are taken as independent.

    Examples
    --------
    >>> log_weights, k = smooth_weights(np.random.default_rng(0).normal(size=1000))
    >>> bool(np.isclose(np.exp(log_weights).sum(), 1.0)), k < 0.7
    (True, True)
    """
    draws = np.asarray(log_ratios, dtype=np.float64)
    top = draws.max()
    if not np.isfinite(top):
        return np.full(draws.size, -np.log(draws.size)), float("inf")
    raw = draws - top
    if raw.min() > -1e-12:
        return np.full(raw.size, -np.log(raw.size)), 0.0
    size = int(min(raw.size / 5, 3 * np.sqrt(raw.size)))
    order = np.argsort(raw)
    cutoff = max(raw[order[-size - 1]], _TINY)
    tail = order[raw[order] > cutoff]
    k = float("inf")
    if tail.size >= _LEAST_TAIL:
        excess = np.exp(raw[tail]) - np.exp(cutoff)
        k, scale = _fit(excess)
        if np.isfinite(k):
            raw[tail] = np.log(_quantiles(tail.size, k, scale) + np.exp(cutoff))
            raw = np.minimum(raw, 0.0)
    return raw - logsumexp(raw), k


def _fit(excess: Floats) -> tuple[float, float]:
    """Return shape and scale of a generalised Pareto law; ``excess`` is positive and sorted."""
    count = excess.size
    nodes = 30 + int(np.sqrt(count))
    grid = 1.0 - np.sqrt(nodes / (np.arange(1, nodes + 1) - 0.5))
    grid = grid / (3.0 * excess[int(count / 4 + 0.5) - 1]) + 1.0 / excess[-1]
    shapes = np.log1p(-grid[:, None] * excess).mean(1)
    with np.errstate(all="ignore"):
        profile = count * (np.log(-grid / shapes) - shapes - 1.0)
        weights = np.exp(profile - logsumexp(profile))
        slope = float(weights @ grid)
        shape = float(np.log1p(-slope * excess).mean())
    scale = -shape / slope
    shape = (count * shape + _PRIOR_DRAWS * _PRIOR_K) / (count + _PRIOR_DRAWS)
    return (shape, scale) if np.isfinite(shape) and scale > 0 else (float("inf"), scale)


def _quantiles(count: int, k: float, scale: float) -> Floats:
    places = (np.arange(count) + 0.5) / count
    if abs(k) < 1e-12:
        return np.asarray(-scale * np.log1p(-places))
    # A tail that heavy has quantiles beyond what numbers hold; infinity is what they are.
    with np.errstate(over="ignore"):
        return np.asarray(scale * np.expm1(-k * np.log1p(-places)) / k)
