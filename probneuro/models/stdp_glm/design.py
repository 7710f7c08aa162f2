"""What the STDP-GLM precomputes from a recording."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from probneuro.components.basis import CosineBasis
from probneuro.components.lagged import lagged_traces
from probneuro.components.point_process import WindowSpikes
from probneuro.data import BinnedSpikes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """A recording filtered by the basis.

    Parameters
    ----------
    traces : ndarray
        Filtered spikes, shape (neuron, basis, time), in 1/s.
    stimulus : ndarray
        Filtered stimulus, shape (channel * basis, time); no rows without a stimulus.
    spikes : tuple of WindowSpikes
        Each neuron's spikes by window.
    silent : ndarray of bool
        Bins that were not observed, shape (time,).
    """

    traces: Floats
    stimulus: Floats
    spikes: tuple[WindowSpikes, ...]
    silent: NDArray[np.bool_]


_designs: "WeakKeyDictionary[BinnedSpikes, dict[CosineBasis, Design]]" = WeakKeyDictionary()


def design_of(data: BinnedSpikes, basis: CosineBasis) -> Design:
    """Return the design of a recording; it is kept as long as the recording is."""
    known = _designs.setdefault(data, {})
    if basis not in known:
        known[basis] = _build(data, basis)
    return known[basis]


def _build(data: BinnedSpikes, basis: CosineBasis) -> Design:
    bumps = basis.evaluate(data.bin_width)
    return Design(
        traces=lagged_traces(data.counts, bumps),
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
