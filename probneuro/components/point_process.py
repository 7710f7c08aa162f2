"""Compiled log likelihood of one neuron's spikes under a generalised linear model."""

import math
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from probneuro.components.links import SOFTPLUS_CODE, Link
from probneuro.core.fast_math import exp

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# log(prod(1 + e)) takes one logarithm for this many factors, each at most 2.
_FACTORS = 500
# An activation this far below zero (in units of the link's sharpness) gives no rate.
_SILENT = -600.0
# Largest argument of the fast exponential: beyond it the bits of its result mean nothing.
_LARGEST = 700.0


@dataclass(frozen=True)
class WindowSpikes:
    """One neuron's spikes, window by window.

    Parameters
    ----------
    bin : ndarray
        Bins with a spike, in order.
    count : ndarray
        Spikes in each of them.
    start : ndarray
        Where each window begins in ``bin``, shape (window + 1,).
    bins_per_window : int
        Bins in a window.
    """

    bin: Integers
    count: Floats
    start: Integers
    bins_per_window: int

    @classmethod
    def from_counts(cls, counts: NDArray[Any], bins_per_window: int) -> "WindowSpikes":
        """Find the spikes in one neuron's counts, shape (time,).

        Examples
        --------
        >>> WindowSpikes.from_counts(np.array([0, 2, 0, 1]), 2).start
        array([0, 1, 2])
        """
        bins = np.flatnonzero(counts)
        borders = np.arange(0, counts.size + 1, bins_per_window)
        start = np.searchsorted(bins, borders).astype(np.int64)
        return cls(bins, counts[bins].astype(np.float64), start, bins_per_window)

    def constants(self, bin_width: float) -> Floats:
        """Return each window's sum of ``count * log(bin_width) - log(count!)``."""
        per_bin = self.count * math.log(bin_width) - gammaln(self.count + 1.0)
        sums = np.concatenate([[0.0], np.cumsum(per_bin)])
        return sums[self.start[1:]] - sums[self.start[:-1]]


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _add_scaled(out: Floats, x: Floats, scale: float) -> None:
    for t in range(out.size):
        out[t] += scale * x[t]


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _dot(x: Floats, y: Floats) -> float:
    total = 0.0
    for t in range(x.size):
        total += x[t] * y[t]
    return total


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def softplus_compensator(z: Floats, slope: Floats) -> float:
    """Return sum log(1 + exp(z)) and write its derivative, the logistic of z, into slope."""
    total = 0.0
    for start in range(0, z.size, _FACTORS):
        stop = min(start + _FACTORS, z.size)
        positive = 0.0
        p0 = p1 = p2 = p3 = 1.0
        for t in range(start, stop):
            e = exp(-abs(z[t]))
            slope[t] = e
        for t in range(start, stop - 3, 4):
            p0 *= 1.0 + slope[t]
            p1 *= 1.0 + slope[t + 1]
            p2 *= 1.0 + slope[t + 2]
            p3 *= 1.0 + slope[t + 3]
        for t in range(stop - (stop - start) % 4, stop):
            p0 *= 1.0 + slope[t]
        for t in range(start, stop):
            r = 1.0 / (1.0 + slope[t])
            slope[t] = r if z[t] > 0.0 else slope[t] * r
            positive += z[t] if z[t] > 0.0 else 0.0
        total += positive + math.log((p0 * p1) * (p2 * p3))
    return total


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def exponential_compensator(z: Floats, slope: Floats) -> float:
    """Return sum exp(z) and write its derivative, exp(z), into slope."""
    total = 0.0
    for t in range(z.size):
        slope[t] = exp(min(z[t], _LARGEST))
    for t in range(z.size):
        total += slope[t]
    return total


@nb.njit(cache=True, nogil=True, error_model="numpy")
def log_rate(z: float, code: int, sharpness: float) -> float:
    """Return the logarithm of the rate in Hz at activation ``z * sharpness``."""
    if code != SOFTPLUS_CODE:
        return z
    if z > 30.0:
        return math.log(sharpness * (z + math.exp(-z)))
    if z > -30.0:
        return math.log(sharpness * math.log1p(math.exp(z)))
    return math.log(sharpness) + z


@nb.njit(cache=True, nogil=True, error_model="numpy")
def window_terms(
    activation: Floats,
    silent: NDArray[Any],
    spike_bin: Integers,
    spike_count: Floats,
    first_bin: int,
    code: int,
    sharpness: float,
    bin_width: float,
    slope: Floats,
) -> float:
    """Return one window's log likelihood and write its derivative in the activation.

    The activation is overwritten. Unobserved bins are silenced: no rate, no derivative.
    """
    for t in range(activation.size):
        activation[t] = _SILENT if silent[t] else activation[t] / sharpness
    if code == SOFTPLUS_CODE:
        total = -bin_width * sharpness * softplus_compensator(activation, slope)
    else:
        total = -bin_width * exponential_compensator(activation, slope)
    for t in range(activation.size):
        slope[t] *= -bin_width
    for j in range(spike_bin.size):
        t = spike_bin[j] - first_bin
        level = log_rate(activation[t], code, sharpness)
        total += spike_count[j] * (level + math.log(bin_width))
        total -= math.lgamma(spike_count[j] + 1.0)
        if code == SOFTPLUS_CODE:
            logistic = -slope[t] / bin_width
            slope[t] += spike_count[j] * logistic / math.exp(level)
        else:
            slope[t] += spike_count[j]
    return total


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _compensator(z: Floats, work: Floats, code: int) -> float:
    """Return the sum of the link's values at z, in units of its sharpness."""
    total = 0.0
    if code != SOFTPLUS_CODE:
        for t in range(z.size):
            work[t] = exp(min(z[t], _LARGEST))
        for t in range(z.size):
            total += work[t]
        return total
    for start in range(0, z.size, _FACTORS):
        stop = min(start + _FACTORS, z.size)
        p0 = p1 = p2 = p3 = 1.0
        positive = 0.0
        for t in range(start, stop):
            work[t] = 1.0 + exp(-abs(z[t]))
        for t in range(start, stop - 3, 4):
            p0 *= work[t]
            p1 *= work[t + 1]
            p2 *= work[t + 2]
            p3 *= work[t + 3]
        for t in range(stop - (stop - start) % 4, stop):
            p0 *= work[t]
        for t in range(start, stop):
            positive += z[t] if z[t] > 0.0 else 0.0
        total += positive + math.log((p0 * p1) * (p2 * p3))
    return total


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def gained_log_likelihood(
    base: Floats, drives: Floats, gains: Floats, silent: NDArray[Any],
    spike_bin: Integers, spike_count: Floats, spike_start: Integers, code: int,
    sharpness: float, bin_width: float,
) -> float:  # fmt: skip
    """Return the log likelihood at ``base + sum_s gains[s, window] drives[s]``.

    Up to the terms that no activation changes: the factorials, and the logarithm of the width
    of a bin.
    """
    size = base.size // gains.shape[1]
    z, work = np.empty(size), np.empty(size)
    total = 0.0
    for k in range(gains.shape[1]):
        first = k * size
        for t in range(size):
            z[t] = base[first + t]
        for s in range(gains.shape[0]):
            gain, drive = gains[s, k], drives[s]
            for t in range(size):
                z[t] += gain * drive[first + t]
        for t in range(size):
            z[t] = _SILENT if silent[first + t] else z[t] / sharpness
        for j in range(spike_start[k], spike_start[k + 1]):
            total += spike_count[j] * log_rate(z[spike_bin[j] - first], code, sharpness)
        scale = bin_width * (sharpness if code == SOFTPLUS_CODE else 1.0)
        total -= scale * _compensator(z, work, code)
    return total


@nb.njit(cache=True, nogil=True, error_model="numpy")
def gain_information(
    base: Floats, drives: Floats, gains: Floats, silent: NDArray[Any], spike_bin: Integers,
    spike_count: Floats, spike_start: Integers, code: int, sharpness: float, bin_width: float,
    slope: Floats, information: Floats,
) -> None:  # fmt: skip
    """Write the slope of :func:`gained_log_likelihood` in each gain, and the Fisher information.

    The information of a bin is that of a Poisson count, the squared derivative of its mean over
    the mean.
    """
    size = base.size // gains.shape[1]
    z, weight, slopes = np.empty(size), np.empty(size), np.empty(size)
    for k in range(gains.shape[1]):
        first = k * size
        z[:] = base[first : first + size]
        for s in range(gains.shape[0]):
            _add_scaled(z, drives[s, first : first + size], gains[s, k])
        for t in range(size):
            level = _SILENT if silent[first + t] else z[t] / sharpness
            log_value = log_rate(level, code, sharpness)
            steepness = log_value
            if code == SOFTPLUS_CODE:
                steepness = -math.log1p(math.exp(-level)) if level > _SILENT else _SILENT
            weight[t] = bin_width * math.exp(2.0 * steepness - log_value)
        spikes = slice(spike_start[k], spike_start[k + 1])
        window_terms(
            z, silent[first : first + size], spike_bin[spikes], spike_count[spikes], first, code,
            sharpness, bin_width, slopes,
        )  # fmt: skip
        for s in range(gains.shape[0]):
            drive = drives[s, first : first + size]
            slope[s, k] = _dot(slopes, drive)
            information[s, k] = 0.0
            for t in range(size):
                information[s, k] += weight[t] * drive[t] * drive[t]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def log_likelihood_and_gradient(
    bias: float, sources: Integers, coefficients: Floats, gains: Floats, traces: Floats,
    stimulus_coefficients: Floats, stimulus_traces: Floats, silent: NDArray[Any],
    spike_bin: Integers, spike_count: Floats, spike_start: Integers, code: int,
    sharpness: float, bin_width: float, bins_per_window: int, window_values: Floats,
    gradient: Floats, gain_gradient: Floats, stimulus_gradient: Floats,
) -> float:  # fmt: skip
    """Return the gradient in the bias; write the window log likelihoods and the other gradients.

    The activation of bin t in window k is
    ``bias + sum_s gains[s, k] sum_b coefficients[s, b] traces[sources[s], b, t] + stimulus``.
    """
    num_windows = gains.shape[1]
    activation = np.empty(bins_per_window)
    slope = np.empty(bins_per_window)
    gradient[:] = 0.0
    stimulus_gradient[:] = 0.0
    bias_gradient = 0.0
    for k in range(num_windows):
        first = k * bins_per_window
        last = first + bins_per_window
        activation[:] = bias
        for s in range(sources.size):
            if gains[s, k] != 0.0:
                for b in range(coefficients.shape[1]):
                    scale = gains[s, k] * coefficients[s, b]
                    _add_scaled(activation, traces[sources[s], b, first:last], scale)
        for r in range(stimulus_coefficients.size):
            _add_scaled(activation, stimulus_traces[r, first:last], stimulus_coefficients[r])
        spikes = slice(spike_start[k], spike_start[k + 1])
        window_values[k] = window_terms(
            activation, silent[first:last], spike_bin[spikes], spike_count[spikes],
            first, code, sharpness, bin_width, slope,
        )  # fmt: skip
        bias_gradient += slope.sum()
        for s in range(sources.size):
            gain_gradient[s, k] = 0.0
            for b in range(coefficients.shape[1]):
                inner = _dot(slope, traces[sources[s], b, first:last])
                gradient[s, b] += gains[s, k] * inner
                gain_gradient[s, k] += coefficients[s, b] * inner
        for r in range(stimulus_coefficients.size):
            stimulus_gradient[r] += _dot(slope, stimulus_traces[r, first:last])
    return bias_gradient


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _log_likelihoods(
    activation: Floats, silent: NDArray[Any], spike_bin: Integers, spike_count: Floats,
    spike_start: Integers, code: int, sharpness: float, bin_width: float, out: Floats,
) -> None:  # fmt: skip
    size = activation.size // out.size
    work, slope = np.empty(size), np.empty(size)
    for k in range(out.size):
        span = slice(k * size, (k + 1) * size)
        spikes = slice(spike_start[k], spike_start[k + 1])
        for t in range(size):  # a loop: numba takes seconds to compile the copy of a slice
            work[t] = activation[span.start + t]
        out[k] = window_terms(
            work, silent[span], spike_bin[spikes], spike_count[spikes], k * size,
            code, sharpness, bin_width, slope,
        )  # fmt: skip


def window_log_likelihoods(
    activation: Floats, silent: NDArray[Any], spikes: WindowSpikes, link: Link, bin_width: float
) -> Floats:
    r"""Return the Poisson log likelihood of every window, shape (window,).

    .. math:: \sum_{t \in k} s_t \log(\lambda_t\,\mathrm dt) - \log s_t! - \lambda_t\,\mathrm dt

    Parameters
    ----------
    activation : ndarray
        Activation of one neuron, shape (time,), in the link's units.
    silent : ndarray of bool
        Bins that were not observed, shape (time,).
    spikes : WindowSpikes
        The neuron's spikes.
    link : Link
        Activation to rate.
    bin_width : float
        Seconds.

    Examples
    --------
    >>> from probneuro.components.links import Exponential
    >>> spikes = WindowSpikes.from_counts(np.array([0, 1]), 2)
    >>> window_log_likelihoods(np.zeros(2), np.zeros(2, bool), spikes, Exponential(), 0.5).round(3)
    array([-1.693])
    """
    out = np.empty(spikes.start.size - 1)
    _log_likelihoods(
        activation, silent, spikes.bin, spikes.count, spikes.start, link.code, link.sharpness,
        bin_width, out,
    )  # fmt: skip
    return out


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def weighted_sum(traces: Floats, coefficients: Floats) -> Floats:
    """Return ``sum_b coefficients[b] traces[b]``, shape (time,)."""
    out = np.zeros(traces.shape[1])
    for b in range(traces.shape[0]):
        scale = coefficients[b]
        for t in range(out.size):
            out[t] += scale * traces[b, t]
    return out


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def add_gained(activation: Floats, drive: Floats, gains: Floats, sign: float) -> None:
    """Add ``sign * gains[window] * drive`` to an activation, in place."""
    size = activation.size // gains.size
    for k in range(gains.size):
        scale = sign * gains[k]
        for t in range(k * size, (k + 1) * size):
            activation[t] += scale * drive[t]
