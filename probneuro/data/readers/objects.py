"""Spike times held by objects of pynapple and neo, taken without importing either.

These two functions are the one place that asks an object what attributes it has.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from probneuro.core.errors import DataError
from probneuro.data.spike_trains import SpikeTrains


def from_pynapple(group: Any) -> SpikeTrains:
    """Return the spike trains of a pynapple ``TsGroup`` or ``Ts``.

    Parameters
    ----------
    group : pynapple.TsGroup or pynapple.Ts
        Its time support becomes the epochs.

    Returns
    -------
    SpikeTrains

    Raises
    ------
    DataError
        If it is neither.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> ts = SimpleNamespace(t=[0.5, 1.5], time_support=SimpleNamespace(start=[0.0], end=[2.0]))
    >>> from_pynapple(ts)["0"]
    array([0.5, 1.5])
    """
    support = getattr(group, "time_support", None)
    begins, ends = getattr(support, "start", None), getattr(support, "end", None)
    if begins is None or ends is None:
        raise DataError(
            f"`group` must be a pynapple TsGroup or Ts; got {type(group).__name__}. Pass one, or "
            "build SpikeTrains from the times."
        )
    stamps = getattr(group, "t", None)
    times = {"0": stamps} if stamps is not None else {str(k): group[k].t for k in group.keys()}  # noqa: SIM118
    epochs = [(float(a), float(b)) for a, b in zip(begins, ends, strict=True)]
    return SpikeTrains(
        times, start=epochs[0][0], stop=epochs[-1][1], epochs=epochs, source="pynapple"
    )


def _seconds(quantity: Any) -> Any:
    """Return a neo quantity as plain numbers of seconds."""
    rescale = getattr(quantity, "rescale", None)
    return np.asarray(quantity if rescale is None else rescale("s").magnitude, dtype=np.float64)


def _neo_trains(trains: Any) -> list[Any]:
    """Return the spike trains of a block, a segment, or a list of them."""
    segments = getattr(trains, "segments", None)
    if segments is not None:
        if len(segments) != 1:
            raise DataError(
                f"`trains` must come from one session; got a block of {len(segments)} segments. "
                "Pass the segments separately: from_neo(block.segments[0])."
            )
        trains = segments[0]
    inside = getattr(trains, "spiketrains", None)
    found = trains if inside is None else inside
    if not isinstance(found, Iterable) or getattr(found, "t_stop", None) is not None:
        found = [found]
    return list(found)


def from_neo(trains: Any) -> SpikeTrains:
    """Return the spike trains of neo: a segment, a block of one segment, or a list of trains.

    Parameters
    ----------
    trains : neo.Segment, neo.Block or list of neo.SpikeTrain
        Names become unit names where all have different ones.

    Returns
    -------
    SpikeTrains

    Raises
    ------
    DataError
        If there are no trains, or they come from different sessions.
    """
    found = _neo_trains(trains)
    edges = [(getattr(t, "t_start", None), getattr(t, "t_stop", None)) for t in found]
    if not found or any(a is None or b is None for a, b in edges):
        raise DataError(
            f"`trains` must hold neo spike trains; got {type(trains).__name__} without any. Pass "
            "a Segment, or a list of SpikeTrain."
        )
    intervals = [(float(_seconds(a)), float(_seconds(b))) for a, b in edges]
    if np.ptp([a for a, _ in intervals]) > 1e-3 or np.ptp([b for _, b in intervals]) > 1e-3:
        raise DataError(
            "`trains` must come from one session; their `t_start` or `t_stop` differ. Pass the "
            "sessions separately, or cut the trains to a common interval with time_slice."
        )
    names = [str(getattr(t, "name", None) or "") for t in found]
    units = names if all(names) and len(set(names)) == len(names) else None
    return SpikeTrains(
        [_seconds(getattr(t, "times", t)) for t in found],
        units=units,
        start=min(a for a, _ in intervals),
        stop=max(b for _, b in intervals),
        source="neo",
    )
