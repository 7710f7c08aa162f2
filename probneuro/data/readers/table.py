"""Spike lists in text: one row a spike, with a column of units and a column of times."""

import re
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from probneuro.core.errors import DataError
from probneuro.data.readers.parsed import Parsed, by_label, no_units, reading

_UNIT_COLUMNS: Final = (
    "unit", "units", "neuron", "cell", "cluster", "id", "unit_id", "cluster_id", "neuron_id",
    "cell_id", "label", "electrode", "channel",
)  # fmt: skip
_TIME_COLUMNS: Final = (
    "time", "times", "spike_time", "spike_times", "timestamp", "timestamps", "t", "ts",
)  # fmt: skip
_TIME_UNITS: Final = {"s": "s", "sec": "s", "seconds": "s", "ms": "ms", "us": "us", "µs": "us"}


def _plain(name: str) -> tuple[str, str | None]:
    """Return a column's plain name and the unit of time it tells, as in ``time (ms)``."""
    words = [w for w in re.split(r"[\s()\[\]_/]+", name.strip().lower().lstrip("\ufeff")) if w]
    if len(words) > 1 and words[-1] in _TIME_UNITS:
        return "_".join(words[:-1]), _TIME_UNITS[words[-1]]
    return "_".join(words), None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns(path: Path, header: list[str]) -> tuple[int, int, str | None]:
    """Return the positions of the unit and the time column, and the unit of time if told."""
    plain = [_plain(name) for name in header]
    units = [k for name in _UNIT_COLUMNS for k, (p, _) in enumerate(plain) if p == name]
    times = [k for name in _TIME_COLUMNS for k, (p, _) in enumerate(plain) if p == name]
    if not units or not times:
        raise DataError(
            f"`path` must have a column of units and a column of times; '{path.name}' has "
            f"{', '.join(header)}. Name them `unit` and `time`."
        )
    return units[0], times[0], plain[times[0]][1]


def read_table(path: Path, variable: str | None = None) -> Parsed:
    """Read a long table, comma separated, with or without a header, gzipped or not.

    Without a header the first column is the unit and the second the time. A header may tell the
    unit of time, as in ``time_ms`` or ``time (ms)``.

    Parameters
    ----------
    path : Path
        The file.
    variable : str, optional
        Not used: a table has columns, not variables.

    Returns
    -------
    Parsed

    Raises
    ------
    DataError
        If it is damaged, has no rows, lacks the columns, or holds a time that is no number.
    """
    with reading(path, "a table"):
        frame = pd.read_csv(
            path, header=None, dtype=str, skipinitialspace=True, comment="#", encoding="utf-8-sig"
        )
    first = [str(cell) for cell in frame.iloc[0]]
    told: str | None = None
    unit_column, time_column = 0, 1
    has_header = not any(_is_number(cell) for cell in first if cell != "nan")
    if has_header or len(first) != 2:
        unit_column, time_column, told = _columns(path, first)
        frame = frame.iloc[1:]
    if frame.empty:
        raise no_units(path, "It has a header but no rows; export it again.")
    times = pd.to_numeric(frame[time_column], errors="coerce").to_numpy(dtype=np.float64)
    missing = np.flatnonzero(frame[unit_column].isna() | np.isnan(times))
    if missing.size:
        row = frame.iloc[int(missing[0])]
        raise DataError(
            f"`path` must have a unit and a numeric time in every row; row {row.name + 1} of "
            f"'{path.name}' is '{row[unit_column]}, {row[time_column]}'. Correct or delete it."
        )
    labels = frame[unit_column].str.strip().to_numpy(dtype=object).astype(str)
    return Parsed(times=by_label(path, times, labels), unit=told, source=path.name)
