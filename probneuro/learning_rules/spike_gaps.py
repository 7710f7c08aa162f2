"""Sums over pairs and triplets of spikes, event by event."""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.fast_math import exp

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Gaps(NamedTuple):
    """The spikes of two trains as gaps in time; gaps are given as places in ``lengths``.

    ``own[i]`` is the gap before spike i of the first train. Spike j of the second has the
    ``last[j]``-th one of the first before it, by ``since[j]``. Spikes of the second with none
    before them are left out.
    """

    lengths: Floats
    own: Integers
    own_count: Floats
    last: Integers
    since: Integers
    second_count: Floats
    window: Integers


def gaps_between(
    first: Integers, first_count: Floats, second: Integers, second_count: Floats,
    bin_width: float, bins_per_window: int,
) -> Gaps:  # fmt: skip
    """Return the gaps of two trains, each given by its bins and the counts there."""
    last = np.searchsorted(first, second) - 1
    used = last >= 0
    last, second = last[used], second[used]
    own, since = np.diff(first, prepend=first[:1]), second - first[last]
    lengths, place = np.unique(np.concatenate([own, since]), return_inverse=True)
    return Gaps(
        lengths * bin_width, place[: own.size], first_count, last, place[own.size :],
        second_count[used], second // bins_per_window,
    )  # fmt: skip


@nb.njit(cache=True, nogil=True, error_model="numpy")
def add_pairs(gaps: Gaps, tau: float, sums: Floats, slopes: Floats) -> None:
    """Add sum over (first before second) of exp(-gap / tau) per window.

    ``slopes`` gets its derivative in tau, unless it is empty.
    """
    decay = np.empty(gaps.lengths.size)
    rate = -1.0 / tau
    for g in range(decay.size):
        decay[g] = exp(gaps.lengths[g] * rate)
    trace = np.empty(gaps.own.size)
    level = 0.0
    for i in range(trace.size):
        level = decay[gaps.own[i]] * level + gaps.own_count[i]
        trace[i] = level
    for j in range(gaps.last.size):
        share = gaps.second_count[j] * decay[gaps.since[j]]
        sums[gaps.window[j]] += share * trace[gaps.last[j]]
    if slopes.size:
        _pair_slopes(gaps, tau, decay, trace, slopes)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _pair_slopes(gaps: Gaps, tau: float, decay: Floats, trace: Floats, slopes: Floats) -> None:
    moment = np.zeros(trace.size)
    for i in range(1, trace.size):
        gap = gaps.lengths[gaps.own[i]]
        moment[i] = decay[gaps.own[i]] * (moment[i - 1] + gap * trace[i - 1])
    for j in range(gaps.last.size):
        i, gap = gaps.last[j], gaps.lengths[gaps.since[j]]
        share = gaps.second_count[j] * decay[gaps.since[j]] / (tau * tau)
        slopes[gaps.window[j]] += share * (moment[i] + gap * trace[i])


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _trace(gaps: Gaps, tau: float, level: Floats, slope: Floats) -> None:
    """Write the first train's trace just before each spike of the second, and its slope.

    ``slope`` may be empty.
    """
    decay = np.empty(gaps.lengths.size)
    rate = -1.0 / tau
    for g in range(decay.size):
        decay[g] = exp(gaps.lengths[g] * rate)
    trace = np.empty(gaps.own.size)
    value = 0.0
    for i in range(trace.size):
        value = decay[gaps.own[i]] * value + gaps.own_count[i]
        trace[i] = value
    for j in range(level.size):
        level[j] = decay[gaps.since[j]] * trace[gaps.last[j]]
    if slope.size:
        moment = np.zeros(trace.size)
        for i in range(1, trace.size):
            gap = gaps.lengths[gaps.own[i]]
            moment[i] = decay[gaps.own[i]] * (moment[i - 1] + gap * trace[i - 1])
        for j in range(slope.size):
            i, gap = gaps.last[j], gaps.lengths[gaps.since[j]]
            slope[j] = decay[gaps.since[j]] * (moment[i] + gap * trace[i]) / (tau * tau)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def add_triplets(
    gaps: Gaps, own: Gaps, tau: float, own_tau: float, sums: Floats, slopes: Floats,
    own_slopes: Floats,
) -> None:  # fmt: skip
    """Add, at each spike of the second train, both trains' traces just before it, multiplied.

    ``own`` holds the gaps of the second train with itself. Both leave out first spikes of the
    second train only, so that they are matched from its end.
    """
    level, own_level = np.empty(gaps.last.size), np.empty(own.last.size)
    wanted = 1 if slopes.size else 0
    slope, own_slope = np.empty(wanted * level.size), np.empty(wanted * own_level.size)
    _trace(gaps, tau, level, slope)
    _trace(own, own_tau, own_level, own_slope)
    for back in range(1, min(level.size, own_level.size) + 1):
        j, i = level.size - back, own_level.size - back
        window, count = gaps.window[j], gaps.second_count[j]
        sums[window] += count * level[j] * own_level[i]
        if wanted:
            slopes[window] += count * slope[j] * own_level[i]
            own_slopes[window] += count * level[j] * own_slope[i]


@nb.njit(cache=True, nogil=True)
def add_bumps(
    first: Integers, first_count: Floats, second: Integers, second_count: Floats,
    bumps: Floats, bins_per_window: int, sums: Floats,
) -> None:  # fmt: skip
    """Add sum over (first before second) of each bump at the gap, shape (bump, window).

    ``bumps[b, d]`` is bump b at a gap of d + 1 bins.
    """
    oldest = 0
    for j in range(second.size):
        while oldest < first.size and second[j] - first[oldest] > bumps.shape[1]:
            oldest += 1
        window, i = second[j] // bins_per_window, oldest
        while i < first.size and first[i] < second[j]:
            pairs = second_count[j] * first_count[i]
            for b in range(bumps.shape[0]):
                sums[b, window] += pairs * bumps[b, second[j] - first[i] - 1]
            i += 1
