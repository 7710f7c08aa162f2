"""Compiled steps of the particle filters: weights, ancestors, and where particles move to."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ROOT_HALF = math.sqrt(0.5)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def normalise(log_weights: Floats, out: Floats) -> float:
    """Write weights that sum to one; return the logarithm of the mean weight.

    Returns minus infinity, or NaN, where no weight is finite and positive.
    """
    best = -np.inf
    for i in range(log_weights.size):
        best = max(best, log_weights[i])
    if not math.isfinite(best):
        return best
    total = 0.0
    for i in range(log_weights.size):
        out[i] = math.exp(log_weights[i] - best)
        total += out[i]
    out /= total
    return best + math.log(total / log_weights.size)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def place(weights: Floats, positions: Floats, out: Integers) -> None:
    """Write the index whose stretch of the cumulative weights holds each position in [0, 1)."""
    cumulative = np.cumsum(weights)
    last = weights.size - 1
    while weights[last] == 0.0 and last > 0:
        last -= 1
    for j in range(positions.size):
        target = positions[j] * cumulative[-1]
        low, high = 0, last
        while low < high:
            middle = (low + high) // 2
            if cumulative[middle] > target:
                high = middle
            else:
                low = middle + 1
        out[j] = low


@nb.njit(cache=True, nogil=True, error_model="numpy")
def truncation(
    mean: Floats, noise: float, lower: float, upper: float, below: Floats, mass: Floats
) -> None:
    """Write the shares of Gaussians about the means that lie below, and between, the bounds."""
    scale = _ROOT_HALF / noise
    for i in range(mean.size):
        below[i] = 0.5 * math.erfc((mean[i] - lower) * scale)
        mass[i] = 0.5 * (math.erf((upper - mean[i]) * scale) - math.erf((lower - mean[i]) * scale))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def ancestor(
    log_weights: Floats, mean: Floats, noise: float, mass: Floats, following: float,
    position: float,
) -> int:  # fmt: skip
    """Return an index drawn by weight times the density of the step to a following state."""
    size = mean.size
    log_ancestor, weights = np.empty(size), np.empty(size)
    for i in range(size):
        z = (following - mean[i]) / noise
        log_ancestor[i] = log_weights[i] - 0.5 * z * z
        if mass.size:
            log_ancestor[i] -= math.log(mass[i])
    normalise(log_ancestor, weights)
    index = np.empty(1, dtype=np.int64)
    place(weights, np.array([position]), index)
    return index[0]
