"""Compiled sums over the bins of a window at many weights at once."""

import math
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.components.links import SOFTPLUS_CODE
from probneuro.components.point_process import log_rate, window_terms
from probneuro.core.fast_math import exp, log1p_unit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Terms below exp(-20) change a window of thousands of bins by less than 1e-8 nats.
_NEGLIGIBLE = 20.0
_FLUSH = 500
# Softplus is its argument above the first, and z + exp(-z) above the second, to 1e-8.
_LINEAR = 16.0
_NEARLY_LINEAR = 9.0
# Largest error of cubic interpolation, as a share of the table's fourth difference: 3/128 for
# a smooth function, doubled for the kinks of a sharp softplus.
_CUBIC_ERROR = 6.0 / 128.0
# Expected spikes in a window above which errors are relative.
_MANY = 200.0


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _geometric_products(products: Floats, offset: int, e: float, ratio: float, count: int) -> None:
    """Multiply ``products[offset + j]`` by ``1 + e ratio**j`` for j below count, four at a time."""
    r2 = ratio * ratio
    r4 = r2 * r2
    e0, e1, e2, e3 = e, e * ratio, e * r2, e * r2 * ratio
    for j in range(offset, offset + count - 3, 4):
        products[j] *= 1.0 + e0
        products[j + 1] *= 1.0 + e1
        products[j + 2] *= 1.0 + e2
        products[j + 3] *= 1.0 + e3
        e0 *= r4
        e1 *= r4
        e2 *= r4
        e3 *= r4
    for j in range(offset + count - count % 4, offset + count):
        products[j] *= 1.0 + e0
        e0 *= ratio


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
def _softplus_window(
    base: Floats, drive: Floats, silent: NDArray[Any], first: float, step: float, out: Floats
) -> None:
    """Write sum_t log(1 + exp(base + w drive)) at w = first, first + step, ...

    The sum is split into a rectifier, which is piecewise linear and exact, and
    log(1 + exp(-|.|)), which falls geometrically along the nodes on either side of the kink:
    one product a node instead of one exponential.
    """
    size = out.size
    above, below = np.ones(size), np.ones(size)
    ratios = np.empty(base.size)
    for t in range(base.size):
        ratios[t] = exp(-step * drive[t])
    offset, rise = np.zeros(size + 1), np.zeros(size + 1)
    out[:] = 0.0
    constant, factors = 0.0, 0
    for t in range(base.size):
        if silent[t]:
            continue
        a = base[t] + first * drive[t]
        s = step * drive[t]
        if a > _NEGLIGIBLE:
            # On the rectifier's line at every node.
            offset[0] += a
            rise[0] += s
            continue
        if s <= 0.0:
            constant += max(a, 0.0) + math.log1p(math.exp(-abs(a)))
            continue
        kink = min(max(math.ceil(-a / s), 0.0), size * 1.0)
        m = int(kink)
        offset[m] += a
        rise[m] += s
        ratio = ratios[t]
        z = a + m * s
        if m < size and z < _NEGLIGIBLE:
            reach = min(size - m, int((_NEGLIGIBLE - z) / s) + 1)
            _geometric_products(above, m, math.exp(-z), ratio, reach)
        z = -(z - s)
        if m > 0 and z < _NEGLIGIBLE:
            reach = min(m, int((_NEGLIGIBLE - z) / s) + 1)
            _geometric_products(below, size - m, math.exp(-z), ratio, reach)
        factors += 1
        if factors == _FLUSH:
            _flush(above, below, out)
            factors = 0
    _flush(above, below, out)
    running, slope = 0.0, 0.0
    for m in range(size):
        running += offset[m]
        slope += rise[m]
        out[m] += constant + running + m * slope


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
    """Write log sum_t exp(base + w drive) at w = first, first + step, ..., by progressions."""
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
        out[m] = math.log(out[m] + constant + 1e-300)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def tabulate(
    base: Floats, drive: Floats, silent: NDArray[Any], step: float, offset: Integers,
    start: Integers, stop: Integers, code: int, scale: float, bins_per_window: int,
    table: Floats,
) -> None:  # fmt: skip
    """Fill columns start to stop of every row: expected counts, or their log for ``exp``."""
    for k in range(table.shape[0]):
        if stop[k] <= start[k]:
            continue
        span = slice(k * bins_per_window, (k + 1) * bins_per_window)
        row = table[k, start[k] : stop[k]]
        first = (offset[k] + start[k]) * step
        if code == SOFTPLUS_CODE:
            _softplus_window(base[span], drive[span], silent[span], first, step, row)
            row *= scale
        else:
            _exponential_window(base[span], drive[span], silent[span], first, step, row)
            row += math.log(scale)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def interpolation_error(table: Floats, size: Integers, stale: NDArray[Any], code: int) -> float:
    """Return the largest error of cubic interpolation, from the fourth differences.

    Where hundreds of spikes are expected the error counts as a share of them: such weights are
    hundreds of nats from any that matter.
    """
    worst = 0.0
    for k in range(table.shape[0]):
        if not stale[k]:
            continue
        for i in range(2, size[k] - 2):
            row = table[k]
            fourth = row[i - 2] - 4.0 * row[i - 1] + 6.0 * row[i] - 4.0 * row[i + 1] + row[i + 2]
            expected = row[i]
            if code != SOFTPLUS_CODE:
                # The table holds logarithms; beyond exp(20) the share is all that counts.
                expected = math.exp(min(row[i], 20.0))
                fourth *= expected
            worst = max(worst, abs(fourth) / max(1.0, expected / _MANY))
    return _CUBIC_ERROR * worst


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _multiply_softplus(
    product: Floats, out: Floats, base: float, drive: float, weights: Floats, sharpness: float
) -> None:
    for i in range(weights.size):
        z = base + weights[i] * drive
        # Below -60 the rate is exponential: its logarithm is linear, and cannot underflow.
        floor = z if z > -60.0 else -60.0
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
                factors += 7
            factors += 1
            if factors >= 24:
                for i in range(weights.size):
                    out[i] += math.log(product[i])
                    product[i] = 1.0
                factors = 0
    for i in range(weights.size):
        out[i] += math.log(product[i])


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _subtract_interpolated(
    table: Floats, first: float, step: float, weights: Floats, code: int, out: Floats
) -> None:
    """Subtract the expected count at every weight, by cubic interpolation of four nodes."""
    for i in range(weights.size):
        position = (weights[i] - first) / step
        j = int(min(max(position - 1.0, 0.0), table.size - 4.0))
        u = position - j
        value = (
            -table[j] * (u - 1.0) * (u - 2.0) * (u - 3.0) / 6.0
            + table[j + 1] * u * (u - 2.0) * (u - 3.0) * 0.5
            - table[j + 2] * u * (u - 1.0) * (u - 3.0) * 0.5
            + table[j + 3] * u * (u - 1.0) * (u - 2.0) / 6.0
        )
        out[i] -= value if code == SOFTPLUS_CODE else math.exp(min(value, 700.0))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def window_values(
    table: Floats, first: float, step: float, base: Floats, drive: Floats, count: Floats,
    constant: float, weights: Floats, code: int, sharpness: float, out: Floats,
) -> None:  # fmt: skip
    """Write one window's log likelihood at some weights."""
    out[:] = constant
    _spike_terms(base, drive, count, weights, code, sharpness, out)
    _subtract_interpolated(table, first, step, weights, code, out)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def fill(
    table: Floats, offset: Integers, size: Integers, step: float, base: Floats, drive: Floats,
    count: Floats, constants: Floats, spike_start: Integers, code: int, sharpness: float,
    start: float, spacing: float, low: Integers, high: Integers, out: Floats,
) -> None:  # fmt: skip
    """Write every window's log likelihood at its range of equispaced weights."""
    for k in range(table.shape[0]):
        if high[k] <= low[k]:
            continue
        weights = start + spacing * np.arange(low[k], high[k])
        s = slice(spike_start[k], spike_start[k + 1])
        window_values(
            table[k, : size[k]], offset[k] * step, step, base[s], drive[s], count[s], constants[k],
            weights, code, sharpness, out[k, low[k] : high[k]],
        )  # fmt: skip


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _slope_at(
    weight: float, base: Floats, drive: Floats, silent: NDArray[Any], spike_bin: Integers,
    spike_count: Floats, first: int, code: int, sharpness: float, bin_width: float,
    work: Floats, slope: Floats,
) -> tuple[float, float]:  # fmt: skip
    """Return a window's log likelihood at a weight, and its derivative in the weight."""
    for t in range(base.size):
        work[t] = sharpness * (base[t] + weight * drive[t])
    value = window_terms(
        work, silent, spike_bin, spike_count, first, code, sharpness, bin_width, slope
    )
    derivative = 0.0
    for t in range(base.size):
        derivative += slope[t] * drive[t]
    return value, derivative * sharpness


@nb.njit(cache=True, nogil=True, error_model="numpy")
def peaks(
    base: Floats, drive: Floats, silent: NDArray[Any], spike_bin: Integers, spike_count: Floats,
    spike_start: Integers, size: int, stride: float, code: int, sharpness: float,
    bin_width: float, out: Floats,
) -> None:  # fmt: skip
    """Write an upper bound of every window's log likelihood over all weights."""
    work, slope = np.empty(size), np.empty(size)
    for k in range(out.size):
        span = slice(k * size, (k + 1) * size)
        spikes = slice(spike_start[k], spike_start[k + 1])
        args = (base[span], drive[span], silent[span], spike_bin[spikes], spike_count[spikes],
                k * size, code, sharpness, bin_width, work, slope)  # fmt: skip
        # No rate gives a bin with s spikes more than s log s - s - log s!.
        out[k] = 0.0
        for j in range(spike_start[k], spike_start[k + 1]):
            s = spike_count[j]
            out[k] += s * math.log(s) - s - math.lgamma(s + 1.0)
        a, b, length = 0.0, 0.0, stride
        fa, ga = _slope_at(0.0, *args)
        fb, gb = fa, ga
        if ga == 0.0:
            out[k] = fa
            continue
        for _ in range(8):
            if ga > 0.0:
                b = a + length
                fb, gb = _slope_at(b, *args)
            else:
                b = a - length
                fb, gb = _slope_at(b, *args)
            if ga * gb <= 0.0:
                break
            a, fa, ga = b, fb, gb
            length *= 2.0
        if ga * gb > 0.0:
            continue
        for _ in range(2):
            middle = a + (b - a) * ga / (ga - gb)
            fm, gm = _slope_at(middle, *args)
            if gm * ga > 0.0:
                a, fa, ga = middle, fm, gm
            else:
                b, fb, gb = middle, fm, gm
        if ga != gb:
            meeting = (fb - fa + ga * a - gb * b) / (ga - gb)
            out[k] = min(out[k], fa + ga * (meeting - a))
