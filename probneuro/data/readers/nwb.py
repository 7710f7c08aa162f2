"""Spike times in Neurodata Without Borders files."""

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np

from probneuro.core.errors import DataError
from probneuro.data.readers.parsed import Parsed, no_units, reading

_Intervals = list[tuple[float, float]]
_NAME_COLUMNS: Final = ("unit_name", "electrode_name", "label", "name")
"""Columns of the units table that hold names, the most telling first."""


def intersection(first: _Intervals, second: _Intervals) -> _Intervals:
    """Return the time that lies in both of two lists of intervals.

    Examples
    --------
    >>> intersection([(0.0, 5.0), (8.0, 9.0)], [(1.0, 2.0), (4.0, 10.0)])
    [(1.0, 2.0), (4.0, 5.0), (8.0, 9.0)]
    """
    common = [(max(a, c), min(b, d)) for a, b in first for c, d in second]
    return sorted((a, b) for a, b in common if b > a)


def _common_epochs(intervals: list[Any]) -> _Intervals | None:
    """Return the time in which every unit was observed, or None if the file does not say."""
    common: _Intervals | None = None
    for raw in intervals:
        pairs = np.asarray(raw, dtype=np.float64).reshape(-1, 2)
        if not pairs.size:
            return None
        one = sorted((float(a), float(b)) for a, b in pairs)
        common = one if common is None else intersection(common, one)
    return common


def _load(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """Return times by unit id, and each unit's observed intervals if the file has them."""
    try:
        import pynwb
    except ImportError:
        raise DataError(
            f"`path` is NWB, and pynwb, which reads it, is not installed: '{path.name}'. Run "
            "pip install 'probneuro[nwb]'."
        ) from None
    with reading(path, "NWB"), warnings.catch_warnings():
        # pynwb tells of every deprecated field of an older file; none touches spike times.
        warnings.simplefilter("ignore")
        with pynwb.NWBHDF5IO(path, "r") as io:
            units = io.read().units
            if units is None or "spike_times" not in units.colnames:
                return {}, []
            ids = [str(k) for k in units.id[:]]
            if len(set(ids)) != len(ids):
                raise ValueError("unit ids are not unique")
            times = {k: np.asarray(units["spike_times"][i]) for i, k in enumerate(ids)}
            observed: list[Any] = []
            if "obs_intervals" in units.colnames:
                observed = [np.asarray(units["obs_intervals"][i]) for i in range(len(ids))]
            return times, observed


def unit_names(path: Path) -> dict[str, str]:
    """Return what a file calls its units, by unit id; nothing if no column of names is there.

    NWB numbers units. Writers put their own names into a text column, most often ``unit_name``.
    """
    import pynwb

    with reading(path, "NWB"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pynwb.NWBHDF5IO(path, "r") as io:
            units = io.read().units
            for column in _NAME_COLUMNS:
                if units is not None and column in units.colnames:
                    pairs = zip(units.id[:], units[column][:], strict=True)
                    return {str(k): str(name) for k, name in pairs}
    return {}


def read_nwb(path: Path, variable: str | None = None) -> Parsed:
    """Read the units table of an NWB file.

    Epochs are the time in which every unit was observed (``obs_intervals``); spikes outside it
    are left out. Without that column the whole recording counts as observed.

    Parameters
    ----------
    path : Path
        The file.
    variable : str, optional
        Not used: spike times stand in the units table.

    Returns
    -------
    Parsed

    Raises
    ------
    DataError
        If pynwb is missing, or the file is damaged or has no spike times.
    """
    times, observed = _load(path)
    if not times:
        raise no_units(path, "Its units table is missing or has no column `spike_times`.")
    epochs = _common_epochs(observed)
    if epochs is None:
        return Parsed(times=times, unit="s", source=path.name)
    if not epochs:
        raise DataError(
            f"`obs_intervals` of '{path.name}' have no time in common: its units were recorded in "
            "different sessions. Export the sessions separately."
        )
    kept = {}
    for name, train in times.items():
        inside = np.zeros(train.size, dtype=bool)
        for begin, end in epochs:
            inside |= (train >= begin) & (train <= end)
        kept[name] = train[inside]
    start = min(0.0, epochs[0][0]) if epochs[0][0] < 60.0 else epochs[0][0]
    return Parsed(
        times=kept, start=start, stop=epochs[-1][1], epochs=epochs, unit="s", source=path.name
    )
