"""What the STDP-GLM precomputes from a recording."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from probneuro.components.basis import CosineBasis
from probneuro.components.delay import delay_bins, delayed
from probneuro.components.lagged import lagged_traces
from probneuro.components.point_process import WindowSpikes
from probneuro.components.short_term import ShortTermPlasticity
from probneuro.data import BinnedSpikes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """A recording filtered by the basis.

    Parameters
    ----------
    traces : ndarray
        Filtered spikes, shape (source, basis, time), in 1/s: those that act on the neuron
        itself first, then those that arrive elsewhere, where these differ.
    sent : ndarray of int
        Place among the sources of what each neuron sends to others, shape (neuron,).
    stimulus : ndarray
        Filtered stimulus, shape (channel * basis, time); no rows without a stimulus.
    spikes : tuple of WindowSpikes
        Each neuron's spikes by window.
    silent : ndarray of bool
        Bins that were not observed, shape (time,).
    """

    traces: Floats
    sent: NDArray[np.int64]
    stimulus: Floats
    spikes: tuple[WindowSpikes, ...]
    silent: NDArray[np.bool_]


_Key = tuple[CosineBasis, float, ShortTermPlasticity | None]
_designs: "WeakKeyDictionary[BinnedSpikes, dict[_Key, Design]]" = WeakKeyDictionary()


def design_of(
    data: BinnedSpikes,
    basis: CosineBasis,
    delay: float = 0.0,
    short_term: ShortTermPlasticity | None = None,
) -> Design:
    """Return the design of a recording; it is kept as long as the recording is."""
    known, key = _designs.setdefault(data, {}), (basis, delay, short_term)
    if key not in known:
        known[key] = _build(data, *key)
    return known[key]


def _build(
    data: BinnedSpikes, basis: CosineBasis, delay: float, short_term: ShortTermPlasticity | None
) -> Design:
    bumps = basis.evaluate(data.bin_width)
    traces = lagged_traces(data.counts, bumps)
    bins, sent = delay_bins(delay, data.bin_width), np.arange(len(data.units), dtype=np.int64)
    if bins or short_term:
        released = short_term.release(data.counts, data.bin_width) if short_term else data.counts
        traces = np.concatenate([traces, lagged_traces(released, delayed(bumps, bins))])
        sent += len(data.units)
    return Design(
        traces=traces,
        sent=sent,
        stimulus=_filter_stimulus(data.stimulus, bumps * data.bin_width, data.num_bins),
        spikes=tuple(
            WindowSpikes.from_counts(column, data.bins_per_window) for column in data.counts.T
        ),
        silent=~data.observed,
    )


def _filter_stimulus(stimulus: Any, bumps: Floats, num_bins: int) -> Floats:
    """Return every channel under every bump, shape (channel * basis, time)."""
    if stimulus is None:
        return np.zeros((0, num_bins))
    rows = [
        np.concatenate([[0.0], np.convolve(channel, bump)[: num_bins - 1]])
        for channel in stimulus.T
        for bump in bumps
    ]
    return np.array(rows)
