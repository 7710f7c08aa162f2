"""Compiled sums over the bins of a window at many weights at once."""

import math
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.components.links import SOFTPLUS_CODE
from probneuro.components.point_process import log_rate
from probneuro.core.fast_math import exp, log1p_unit
from probneuro.core.lattice import ABOVE, BELOW, interpolate_nodes, interpolation_error

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Terms below exp(-14) change a window of a thousand 1 ms bins by less than 1e-5 nats.
_NEGLIGIBLE = 14.0
_FLUSH = 500
# Softplus is its argument above the first, and z + exp(-z) above the second, to 1e-8.
_LINEAR = 16.0
_NEARLY_LINEAR = 9.0
# Points of a table for each at which the sum over all bins is evaluated.
_THINNING = 4
# Log likelihood of a window whose expected count overflows.
_LOWEST = -1e200


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _geometric_products(products: Floats, start: int, stop: int, e: float, ratio: float) -> None:
    """Multiply ``products[start + j]`` by ``1 + e ratio**j`` up to stop, four at a time."""
    r2 = ratio * ratio
    r4 = r2 * r2
    e0, e1, e2, e3 = e, e * ratio, e * r2, e * r2 * ratio
    j = start
    while j + 3 < stop:
        products[j] *= 1.0 + e0
        products[j + 1] *= 1.0 + e1
        products[j + 2] *= 1.0 + e2
        products[j + 3] *= 1.0 + e3
        e0 *= r4
        e1 *= r4
        e2 *= r4
        e3 *= r4
        j += 4
    while j < stop:
        products[j] *= 1.0 + e0
        e0 *= ratio
        j += 1


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _geometric_sums(sums: Floats, e: float, ratio: float) -> None:
    """Add ``e ratio**j`` to every ``sums[j]``, four at a time."""
    r2 = ratio * ratio
    r4 = r2 * r2
    e0, e1, e2, e3 = e, e * ratio, e * r2, e * r2 * ratio
    for j in range(0, sums.size - 3, 4):
        sums[j] += e0
        sums[j + 1] += e1
        sums[j + 2] += e2
        sums[j + 3] += e3
        e0 *= r4
        e1 *= r4
        e2 *= r4
        e3 *= r4
    for j in range(sums.size - sums.size % 4, sums.size):
        sums[j] += e0
        e0 *= ratio


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _kinks(
    base: Floats, drive: Floats, silent: NDArray[Any], first: float, step: float, size: int,
    kink: Integers, above: Integers, below: Integers, starts: Floats,
) -> None:  # fmt: skip
    """Write, per bin, the first node at or above the kink of its softplus, how many nodes on
    either side are near it, and where the progressions there start (above, below, ratio)."""
    for t in range(base.size):
        a, s = base[t] + first * drive[t], max(step * drive[t], 1e-300)
        place = min(max(np.ceil(-a / s), 0.0), size * 1.0)
        z = a + place * s
        kink[t] = size if silent[t] else int(place)
        rest = min(max((_NEGLIGIBLE - z) / s + 1.0, 0.0), size - place)
        above[t] = 0 if silent[t] else int(rest)
        rest = min(max((_NEGLIGIBLE + z) / s, 0.0), place)
        below[t] = 0 if silent[t] else int(rest)
        starts[0, t] = -min(abs(z), 690.0)
        starts[2, t] = -s
    for i in (0, 2):
        row = starts[i]
        for t in range(base.size):
            row[t] = exp(row[t])
    for t in range(base.size):
        # Below the kink at the last node, exp(z - s); there z is negative if no node is above.
        behind = base[t] + (first + kink[t] * step) * drive[t] < 0.0
        e = starts[0, t]
        starts[1, t] = starts[2, t] * (e if behind else 1.0 / e)


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _softplus_window(
    base: Floats, drive: Floats, silent: NDArray[Any], first: float, step: float, out: Floats
) -> None:
    """Write sum_t log(1 + exp(base + w drive)) at w = first, first + step, ...

    The sum is split into a rectifier, which is piecewise linear and exact, and
    log(1 + exp(-|.|)), which falls geometrically along the nodes on either side of the kink:
    one product a node instead of one exponential.
    """
    size = out.size
    rising, falling = np.ones(size), np.ones(size)
    kink, above, below = np.empty((3, base.size), dtype=np.int64)
    starts = np.empty((3, base.size))
    _kinks(base, drive, silent, first, step, size, kink, above, below, starts)
    offset, slope = np.zeros(size + 1), np.zeros(size + 1)
    out[:] = 0.0
    level = rise = 0.0
    factors = 0
    for t in range(base.size):
        a, s, m = base[t] + first * drive[t], step * drive[t], kink[t]
        if m == 0:
            level += a
            rise += s
        else:
            offset[m] += a
            slope[m] += s
        if above[t]:
            _geometric_products(rising, m, m + above[t], starts[0, t], starts[2, t])
        if below[t]:
            _geometric_products(falling, size - m, size - m + below[t], starts[1, t], starts[2, t])
        if above[t] or below[t]:
            factors += 1
            if factors == _FLUSH:
                _flush(rising, falling, out)
                factors = 0
    _flush(rising, falling, out)
    for m in range(size):
        level += offset[m]
        rise += slope[m]
        out[m] += level + m * rise


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _flush(above: Floats, below: Floats, out: Floats) -> None:
    """Move the logarithms of the products into out; ``below`` runs backwards from the end."""
    size = out.size
    for m in range(size):
        out[m] += math.log(above[m]) + math.log(below[size - 1 - m])
    above[:] = 1.0
    below[:] = 1.0


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _exponential_window(
    base: Floats, drive: Floats, silent: NDArray[Any], first: float, step: float, out: Floats
) -> None:
    """Write sum_t exp(base + w drive) at w = first, first + step, ..., by progressions."""
    out[:] = 0.0
    constant = 0.0
    for t in range(base.size):
        if silent[t]:
            continue
        s = step * drive[t]
        e = math.exp(min(base[t] + first * drive[t], 700.0))
        if s == 0.0:
            constant += e
            continue
        _geometric_sums(out, e, math.exp(s))
    for m in range(out.size):
        out[m] += constant


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _compensator(
    base: Floats, drive: Floats, silent: NDArray[Any], first: float, step: float, code: int,
    scale: float, out: Floats,
) -> None:  # fmt: skip
    """Write less the expected count of a window at weights first, first + step, ..."""
    if code == SOFTPLUS_CODE:
        _softplus_window(base, drive, silent, first, step, out)
    else:
        _exponential_window(base, drive, silent, first, step, out)
    for i in range(out.size):
        out[i] = max(-scale * out[i], _LOWEST)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def tabulate(
    base: Floats, drive: Floats, silent: NDArray[Any], spike_base: Floats, spike_drive: Floats,
    spike_count: Floats, spike_start: Integers, constants: Floats, step: float, origin: int,
    start: Integers, stop: Integers, code: int, scale: float, sharpness: float,
    bins_per_window: int, many: float, table: Floats,
) -> float:  # fmt: skip
    """Write every window's log likelihood at weights ``step * i``, start[k] <= i < stop[k].

    The sum over all bins is smoother than that over the spikes: it is evaluated at every
    fourth point. Returns the largest error of that.
    """
    error = 0.0
    for k in range(table.shape[0]):
        if stop[k] <= start[k]:
            continue
        span = slice(k * bins_per_window, (k + 1) * bins_per_window)
        row = table[k, start[k] - origin : stop[k] - origin]
        first = start[k] // _THINNING - BELOW
        known = np.empty((stop[k] - 1) // _THINNING + ABOVE - first)
        _compensator(
            base[span], drive[span], silent[span], step * _THINNING * first, step * _THINNING,
            code, scale, known,
        )  # fmt: skip
        error = max(error, interpolation_error(known, many))
        interpolate_nodes(known, first, step * _THINNING, start[k] * step, step, row)
        row += constants[k]
        s = slice(spike_start[k], spike_start[k + 1])
        weights = step * np.arange(start[k], stop[k])
        _spike_terms(spike_base[s], spike_drive[s], spike_count[s], weights, code, sharpness, row)
    return error


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _multiply_softplus(
    product: Floats, out: Floats, base: float, drive: float, weights: Floats, sharpness: float
) -> None:
    for i in range(weights.size):
        z = base + weights[i] * drive
        # Far below the kink the rate is exponential: its logarithm is linear.
        floor = z if z > -_NEGLIGIBLE else -_NEGLIGIBLE
        size = floor if floor > 0.0 else 0.0
        product[i] *= sharpness * (size + log1p_unit(exp(-abs(floor))))
        out[i] += z - floor


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _spike_terms(
    base: Floats, drive: Floats, count: Floats, weights: Floats, code: int, sharpness: float,
    out: Floats,
) -> None:  # fmt: skip
    """Add sum over spikes of count * log rate(base + w drive) at every weight."""
    if code != SOFTPLUS_CODE:
        level, slope = 0.0, 0.0
        for j in range(base.size):
            level += count[j] * base[j]
            slope += count[j] * drive[j]
        for i in range(weights.size):
            out[i] += level + slope * weights[i]
        return
    product = np.ones(weights.size)
    least, most = weights.min(), weights.max()
    factors = 0
    for j in range(base.size):
        if drive[j] == 0.0:
            level = count[j] * log_rate(base[j], code, sharpness)
            for i in range(weights.size):
                out[i] += level
            continue
        lowest = base[j] + min(least * drive[j], most * drive[j])
        for _ in range(int(count[j])):
            if lowest > _LINEAR:
                for i in range(weights.size):
                    product[i] *= sharpness * (base[j] + weights[i] * drive[j])
            elif lowest > _NEARLY_LINEAR:
                for i in range(weights.size):
                    z = base[j] + weights[i] * drive[j]
                    product[i] *= sharpness * (z + exp(-z))
            else:
                _multiply_softplus(product, out, base[j], drive[j], weights, sharpness)
            factors += 1
            if factors >= 24:
                for i in range(weights.size):
                    out[i] += math.log(product[i])
                    product[i] = 1.0
                factors = 0
    for i in range(weights.size):
        out[i] += math.log(product[i])
