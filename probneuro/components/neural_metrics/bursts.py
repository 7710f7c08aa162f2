"""Bursts by the interval threshold: runs of spikes none of which is far from the one before."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Burst:
    """One burst.

    Parameters
    ----------
    times : array
        Times of its spikes in seconds, sorted.
    num_electrodes : int
        Electrodes that take part.
    """

    times: Floats
    num_electrodes: int = 1

    @property
    def start(self) -> float:
        """Time of the first spike."""
        return float(self.times[0])

    @property
    def duration(self) -> float:
        """Seconds from the first spike to the last."""
        return float(self.times[-1] - self.times[0])

    @property
    def num_spikes(self) -> int:
        """Number of spikes."""
        return int(self.times.size)

    @property
    def intervals(self) -> Floats:
        """Intervals between its spikes in seconds."""
        return np.diff(self.times)


def _runs(times: Floats, max_interval: float, min_spikes: int) -> list[slice]:
    """Return the runs of at least so many spikes whose intervals are at most the threshold."""
    if times.size < min_spikes:
        return []
    # Times come rounded to a clock; an interval of exactly the threshold must not miss by that.
    breaks = np.flatnonzero(np.diff(times) > max_interval * (1.0 + 1e-9)) + 1
    edges = [0, *breaks.tolist(), times.size]
    return [slice(a, b) for a, b in pairwise(edges) if b - a >= min_spikes]


def bursts_of_train(times: Any, *, max_interval: float = 0.1, min_spikes: int = 5) -> list[Burst]:
    """Return the bursts of one electrode.

    Parameters
    ----------
    times : array_like
        Spike times in seconds, sorted.
    max_interval : float
        Longest interval inside a burst, in seconds, itself included.
    min_spikes : int
        Fewest spikes of a burst.

    Returns
    -------
    list of Burst

    Examples
    --------
    >>> [b.num_spikes for b in bursts_of_train([0, 0.1, 0.2, 0.3, 0.4, 1.0])]
    [5]
    """
    train = np.asarray(times, dtype=np.float64)
    return [Burst(train[run]) for run in _runs(train, max_interval, min_spikes)]


def network_bursts(
    trains: Mapping[str, Any],
    num_electrodes: int,
    *,
    max_interval: float = 0.1,
    min_spikes: int = 50,
    min_share: float = 0.35,
) -> list[Burst]:
    """Return the bursts of all spikes of a well together in which enough electrodes take part.

    Parameters
    ----------
    trains : mapping of str to array_like
        Spike times in seconds by electrode.
    num_electrodes : int
        Electrodes of the well, silent ones included.
    max_interval : float
        Longest interval, in seconds, between any two neighbouring spikes of a burst.
    min_spikes : int
        Fewest spikes of a burst.
    min_share : float
        Fewest electrodes that take part, as a share of all.

    Returns
    -------
    list of Burst
    """
    if not trains:
        return []
    stamps = np.concatenate([np.asarray(t, dtype=np.float64) for t in trains.values()])
    owner = np.repeat(np.arange(len(trains)), [len(t) for t in trains.values()])
    order = np.argsort(stamps, kind="stable")
    stamps, owner = stamps[order], owner[order]
    found = []
    for run in _runs(stamps, max_interval, min_spikes):
        members = int(np.unique(owner[run]).size)
        if members >= min_share * num_electrodes - 1e-9:
            found.append(Burst(stamps[run], members))
    return found
