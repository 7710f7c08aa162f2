"""Compiled forward and backward passes of the grid filter."""

import math
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.fast_math import exp
from probneuro.core.lattice import Lattice, covers, interpolate_nodes
from probneuro.inference.quadrature import add_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Reach of a Gaussian step in standard deviations: what lies beyond holds 4e-11 of it.
REACH = 6.6
# Filtered densities below this share of the largest are dropped: 1e-9 nats a window.
_TRIM = 1e-10
# A normal density beyond this many standard deviations is left out: 2e-16 of it.
TAIL = 8.3
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)

DEAD = -1
OUTSIDE = -2
SHARP = -3


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _mass(mean: float, noise: float, lower: float, upper: float) -> float:
    """Return the share of a Gaussian between the bounds."""
    if mean - lower > REACH * noise and upper - mean > REACH * noise:
        return 1.0
    scale = 1.0 / (noise * math.sqrt(2.0))
    return 0.5 * (math.erf((upper - mean) * scale) - math.erf((lower - mean) * scale))


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _push(out: Floats, centre: float, amount: float, q: float, reach: int) -> None:
    """Add ``amount exp(-q (j - centre)**2)`` to ``out[j]``."""
    base = math.floor(centre + 0.5) - reach
    fraction = centre - base
    first = max(0, -base)
    last = min(2 * reach + 1, out.size - base)
    if last <= first:
        return
    target = out[base + first : base + last]
    shift = fraction - first
    for j in range(target.size):
        d = j - shift
        target[j] += amount * exp(-q * d * d)


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _shift(out: Floats, first: int, source: Floats, by: float, q: float, reach: int) -> None:
    """Add ``source[i] exp(-q (j - first - i - by)**2)`` to ``out[j]``, a tap at a time."""
    nearest = math.floor(by + 0.5)
    for tap in range(-reach, reach + 1):
        # Nodes that the tap moves beyond the ends are lost.
        place = first + nearest + tap
        skip = max(-place, 0)
        size = min(source.size, out.size - place) - skip
        if size <= 0:
            continue
        target, own = out[place + skip : place + skip + size], source[skip : skip + size]
        share = exp(-q * (tap - by + nearest) ** 2)
        for i in range(size):
            target[i] += share * own[i]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _split_at_bounds(
    density: Floats, first: int, last: int, lower_at: float, upper_at: float, nodes: int,
    spacing: float, middle: Floats,
) -> tuple[float, float]:  # fmt: skip
    """Weigh the states whose mean is inside the bounds; return the mass clipped at either."""
    end = nodes - 1.0
    left, right = min(max(lower_at, 0.0), end), min(max(upper_at, 0.0), end)
    middle[:] = 0.0
    below = above = 0.0
    if left > 0.0:
        add_interval(middle, 0.0, left, 0, nodes - 1)
        for i in range(first, last):
            below += spacing * middle[i] * density[i]
        middle[:] = 0.0
    if right < end:
        add_interval(middle, right, end, 0, nodes - 1)
        for i in range(first, last):
            above += spacing * middle[i] * density[i]
        middle[:] = 0.0
    if right > left:
        add_interval(middle, left, right, 0, nodes - 1)
        middle *= spacing
    # Of a density that is sharp for the grid, the polynomials can make a mass below zero.
    return max(below, 0.0), max(above, 0.0)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _means(
    first: int, last: int, origin: float, spacing: float, intercept: float, slope: float,
    extra: Floats,
) -> Floats:  # fmt: skip
    """Return the means of the next state, before clipping, of nodes first to last."""
    means = np.empty(last - first)
    for i in range(first, last):
        state = origin + i * spacing
        means[i - first] = state * (1.0 + slope) + intercept
        if extra.size:
            means[i - first] += extra[i]
    return means


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _split(
    density: Floats, first: int, last: int, origin: float, spacing: float, intercept: float,
    slope: float, lower: float, upper: float, quadrature: Floats,
) -> tuple[Floats, float, float, bool]:  # fmt: skip
    """Return source weights and clipped masses; the weights are the quadrature's where an
    affine mean stays inside the bounds."""
    nodes, scale = quadrature.size, 1.0 + slope
    if scale <= 0.0:
        return quadrature, 0.0, 0.0, False
    lower_at = (lower - intercept - scale * origin) / (scale * spacing)
    upper_at = (upper - intercept - scale * origin) / (scale * spacing)
    if lower_at <= 1e-9 and upper_at >= nodes - 1 - 1e-9:
        return quadrature, 0.0, 0.0, False
    weights = np.empty(nodes)
    below, above = _split_at_bounds(
        density, first, last, lower_at, upper_at, nodes, spacing, weights
    )
    return weights, below, above, True


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _target_range(
    means: Floats, weights: Floats, first: int, origin: float, spacing: float, reach: int,
    nodes: int, below: float, above: float,
) -> tuple[int, int]:  # fmt: skip
    """Return the nodes that a prediction reaches, before cutting at the grid's ends."""
    low, high = nodes, 0
    for i in range(means.size):
        if weights[first + i] != 0.0:
            nearest = math.floor((means[i] - origin) / spacing + 0.5)
            low, high = min(low, nearest - reach), max(high, nearest + reach + 1)
    if below != 0.0:
        low, high = min(low, -reach), max(high, reach + 1)
    if above != 0.0:
        low, high = min(low, nodes - 1 - reach), nodes
    return low, high


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _clip(values: Floats, lower: float, upper: float) -> bool:
    """Move values between bounds, in place; say whether any moved."""
    moved = False
    for i in range(values.size):
        if values[i] < lower or values[i] > upper:
            values[i], moved = min(max(values[i], lower), upper), True
    return moved


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _predict(
    density: Floats, first: int, last: int, origin: float, spacing: float, quadrature: Floats,
    intercept: float, slope: float, extra: Floats, noise: float, bounded: bool,
    lower: float, upper: float, out: Floats,
) -> tuple[int, int]:  # fmt: skip
    """Push the density one step on; return the range it reaches, or (OUTSIDE, OUTSIDE)."""
    nodes = out.size
    reach = math.ceil(REACH * noise / spacing)
    q = 0.5 * (spacing / noise) ** 2
    means = _means(first, last, origin, spacing, intercept, slope, extra)
    weights, below, above, split = quadrature, 0.0, 0.0, False
    if bounded and extra.size == 0:
        weights, below, above, split = _split(
            density, first, last, origin, spacing, intercept, slope, lower, upper, quadrature
        )
    clipped = bounded and not split and _clip(means, lower, upper)
    low, high = _target_range(means, weights, first, origin, spacing, reach, nodes, below, above)
    if not bounded and (low < 0 or high > nodes):
        return OUTSIDE, OUTSIDE
    low, high = max(low, 0), min(high, nodes)
    out[low:high] = 0.0
    peak = 1.0 / (noise * _ROOT_TWO_PI)
    amounts = np.empty(last - first)
    for i in range(amounts.size):
        amounts[i] = peak * weights[first + i] * density[first + i]
        if bounded and amounts[i] != 0.0:
            amounts[i] /= _mass(means[i], noise, lower, upper)
    if slope == 0.0 and extra.size == 0 and not clipped:
        _shift(out, first, amounts, intercept / spacing, q, reach)
    else:
        for i in range(amounts.size):
            if amounts[i] != 0.0:
                _push(out, (means[i] - origin) / spacing, amounts[i], q, reach)
    if below != 0.0:
        _push(out, 0.0, peak * below / _mass(lower, noise, lower, upper), q, reach)
    if above != 0.0:
        _push(out, nodes - 1.0, peak * above / _mass(upper, noise, lower, upper), q, reach)
    return low, high


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _update(
    density: Floats, first: int, last: int, log_likelihood: Floats, quadrature: Floats
) -> tuple[int, int, float, float]:
    """Weigh a density by a likelihood.

    Returns its trimmed range, the log normaliser, and its variance in squared nodes.
    """
    best = -np.inf
    for i in range(first, last):
        best = max(best, log_likelihood[i])
    for i in range(first, last):
        density[i] = max(density[i], 0.0) * exp(log_likelihood[i] - best)
    total = peak = 0.0
    top = first
    for i in range(first, last):
        total += quadrature[i] * density[i]
        if density[i] > peak:
            peak, top = density[i], i
    if not (total > 0.0 and best > -np.inf):
        return first, last, -np.inf, np.inf
    floor = _TRIM * peak
    while density[first] < floor:
        density[first] = 0.0
        first += 1
    while density[last - 1] < floor:
        density[last - 1] = 0.0
        last -= 1
    mean = square = 0.0
    for i in range(first, last):
        density[i] /= total
        mass = quadrature[i] * density[i]
        mean += mass * (i - top)
        square += mass * (i - top) ** 2
    return first, last, math.log(total) + best, square - mean * mean


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _start(
    density: Floats, origin: float, spacing: float, scale: float, bounded: bool
) -> tuple[int, int]:
    """Write the density of the first state: uniform between bounds, Gaussian without."""
    if bounded:
        density[:] = 1.0 / ((density.size - 1) * spacing)
        return 0, density.size
    first = max(math.ceil((-TAIL * scale - origin) / spacing), 0)
    last = min(math.floor((TAIL * scale - origin) / spacing) + 1, density.size)
    for i in range(first, last):
        z = (origin + i * spacing) / scale
        density[i] = exp(-0.5 * z * z) / (scale * _ROOT_TWO_PI)
    return first, last


@nb.njit(cache=True, nogil=True, error_model="numpy")
def forward(
    window: int, table: Lattice, origin: float, spacing: float, quadrature: Floats,
    initial_scale: float, intercept: Floats, slope: Floats, extra: Floats, noise: float,
    bounded: bool, lower: float, upper: float, density: Floats, low: Integers, high: Integers,
    looked: Integers, log_normaliser: Floats, narrowest: float,
) -> int:  # fmt: skip
    """Filter on from a window; return the number of windows when done.

    Returns the window whose likelihood is not tabulated over the range needed, DEAD where
    every state has zero likelihood, OUTSIDE where the density leaves the grid, or SHARP where
    its standard deviation is below ``narrowest`` nodes. ``looked`` notes the nodes whose
    likelihood was needed.
    """
    windows = density.shape[0]
    none = np.empty(0)
    log_likelihood = np.empty(density.shape[1])
    while window < windows:
        if window == 0:
            low[0], high[0] = _start(density[0], origin, spacing, initial_scale, bounded)
        else:
            j = window - 1
            low[window], high[window] = _predict(
                density[j], low[j], high[j], origin, spacing, quadrature, intercept[j],
                slope[j], extra[j] if extra.size else none, noise, bounded, lower, upper,
                density[window],
            )  # fmt: skip
            if low[window] == OUTSIDE:
                return OUTSIDE
        first, last = low[window], high[window]
        looked[0, window], looked[1, window] = first, last
        lowest, highest = origin + first * spacing, origin + (last - 1) * spacing
        known = table.low[window], table.high[window]
        if not covers(known[0], known[1], table.step, lowest, highest):
            return window
        row = table.values[window, known[0] - table.origin : known[1] - table.origin]
        likelihood = log_likelihood[first:last]
        interpolate_nodes(row, known[0], table.step, lowest, spacing, likelihood)
        low[window], high[window], log_normaliser[window], variance = _update(
            density[window], first, last, log_likelihood, quadrature
        )
        if log_normaliser[window] == -np.inf:
            return DEAD
        if variance < narrowest * narrowest:
            return SHARP
        window += 1
    return windows


@nb.njit(cache=True, nogil=True, error_model="numpy")
def backward(
    uniform: Floats, origin: float, spacing: float, quadrature: Floats, intercept: Floats,
    slope: Floats, extra: Floats, noise: float, bounded: bool, lower: float, upper: float,
    density: Floats, low: Integers, high: Integers, path: Integers,
) -> None:  # fmt: skip
    """Draw node indices of one trajectory from its posterior, last window first."""
    weights = np.empty(density.shape[1])
    for k in range(density.shape[0] - 1, -1, -1):
        total = 0.0
        for i in range(low[k], high[k]):
            weight = quadrature[i] * density[k, i]
            if k < density.shape[0] - 1:
                mean = (origin + i * spacing) * (1.0 + slope[k]) + intercept[k]
                if extra.size:
                    mean += extra[k, i]
                if bounded:
                    mean = min(max(mean, lower), upper)
                d = (origin + path[k + 1] * spacing - mean) / noise
                weight *= exp(-0.5 * d * d)
                if bounded:
                    weight /= _mass(mean, noise, lower, upper)
            total += weight
            weights[i] = total
        target = uniform[k] * total
        i = low[k]
        while i < high[k] - 1 and weights[i] <= target:
            i += 1
        path[k] = i


def no_extra() -> NDArray[Any]:
    """Return the empty table that stands for an affine drift."""
    return np.empty((0, 0))
