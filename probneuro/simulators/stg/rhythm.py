"""Bursts and phases of three cells' spikes, as the pyloric rhythm is measured."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETWEEN_BURSTS: Final = 0.15
SHORTEST_BURST: Final = 0.04
TRIPHASIC_SHARE: Final = 0.9
PYLORIC_SHARE: Final = 0.7
FEATURES: Final = (
    *("period", "duty_ab", "duty_lp", "duty_py", "phase_lp", "phase_py"),
    *("burst_ab", "burst_lp", "burst_py"),
    *("start_lp", "start_py", "end_lp", "end_py"),
    *("triphasic", "pyloric"),
)


@dataclass(frozen=True)
class Rhythm:
    """What was measured of one simulation; NaN where it has no such feature.

    Parameters
    ----------
    values : dict of str to float
        ``period`` of the AB/PD cell, burst durations ``burst_ab``, ``burst_lp``, ``burst_py``
        and onset lags in s: ``start_lp`` from the start of AB/PD's burst, ``start_py`` from
        that of LP, ``end_lp`` from AB/PD's end to LP's start, ``end_py`` from LP's end to PY's
        start. ``duty_*`` are bursts over the period and ``phase_*`` starts after AB/PD's, over
        the period. ``triphasic`` and ``pyloric`` are 0 or 1.
    """

    values: dict[str, float]


def bursts_of(spikes: Floats) -> tuple[Floats, Floats]:
    """Return starts and ends of one cell's bursts, in s.

    Spikes 150 ms or more apart belong to different bursts; a burst is longer than 40 ms.

    Examples
    --------
    >>> bursts_of(np.array([0.0, 0.05, 0.1, 1.0, 2.0, 2.06]))
    (array([0., 2.]), array([0.1 , 2.06]))
    """
    if spikes.size == 0:
        return spikes, spikes
    last = np.append(np.flatnonzero(np.diff(spikes) >= BETWEEN_BURSTS), spikes.size - 1)
    first = np.insert(last[:-1] + 1, 0, 0)
    starts, ends = spikes[first], spikes[last]
    long = ends - starts > SHORTEST_BURST
    return starts[long], ends[long]


def rhythm_of(spikes: list[Floats]) -> Rhythm:
    """Measure a rhythm from the spike times of AB/PD, LP and PY, in s.

    A period from one burst of AB/PD to the next is tri-phasic where each cell starts one burst
    in it; the rhythm is where at least 90 % of periods are. It is pyloric where, in at least
    70 % of these, LP starts and ends before PY does and after AB/PD has ended.

    Notes
    -----
    Prinz, Bucher and Marder (2004), as Goncalves et al. (2020) and the package pyloric measure.
    """
    values = dict.fromkeys(FEATURES, float("nan")) | {"triphasic": 0.0, "pyloric": 0.0}
    bursts = [bursts_of(train) for train in spikes]
    starts = bursts[0][0]
    if starts.size < 2:
        return Rhythm(values)
    period = float(np.diff(starts).mean())
    values["period"] = period
    for cell, (first, last) in zip(("ab", "lp", "py"), bursts, strict=True):
        if first.size:
            values[f"burst_{cell}"] = float((last - first).mean())
            values[f"duty_{cell}"] = values[f"burst_{cell}"] / period
    whole = _whole_periods(bursts)
    if len(whole) < TRIPHASIC_SHARE * (starts.size - 1):
        return Rhythm(values)
    begin, end = np.array([w[0] for w in whole]), np.array([w[1] for w in whole])
    values["triphasic"] = 1.0
    values["start_lp"] = float((begin[:, 1] - begin[:, 0]).mean())
    values["start_py"] = float((begin[:, 2] - begin[:, 1]).mean())
    values["end_lp"] = float((begin[:, 1] - end[:, 0]).mean())
    values["end_py"] = float((begin[:, 2] - end[:, 1]).mean())
    values["phase_lp"] = values["start_lp"] / period
    values["phase_py"] = float((begin[:, 2] - begin[:, 0]).mean()) / period
    ordered = (begin[:, 1] <= begin[:, 2]) & (end[:, 1] <= end[:, 2]) & (end[:, 0] <= begin[:, 1])
    values["pyloric"] = float(ordered.mean() >= PYLORIC_SHARE)
    return Rhythm(values)


def _whole_periods(bursts: list[tuple[Floats, Floats]]) -> list[tuple[list[float], list[float]]]:
    """Return starts and ends of the three bursts in every period that holds one of each."""
    edges = bursts[0][0]
    whole = []
    for start, stop in pairwise(edges):
        inside = [np.flatnonzero((start <= first) & (first < stop)) for first, _ in bursts]
        if all(places.size == 1 for places in inside):
            begin = [float(b[0][p[0]]) for b, p in zip(bursts, inside, strict=True)]
            end = [float(b[1][p[0]]) for b, p in zip(bursts, inside, strict=True)]
            whole.append((begin, end))
    return whole
