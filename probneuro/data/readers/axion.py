"""Axion exports: spike lists, with metadata in the rows or above them, and experiment logs."""

import csv
import gzip
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probneuro.core.errors import DataError
from probneuro.data.readers.electrode_names import well_and_electrode
from probneuro.data.readers.parsed import reading

_HEADER_ROWS: Final = 300
_CLOCK: Final = re.compile(r"(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:([\d.]+)s)?")
_REACHED: Final = 0.9
"""A stated section that the last spike does not reach to this share of was cut from the list."""
LONGEST: Final = 1e5
"""Seconds; a recording of more than a day is one in milliseconds or samples."""
_UNITS: Final = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6}


@final
@dataclass(frozen=True)
class SpikeList:
    """What an Axion spike list holds.

    Parameters
    ----------
    wells : dict of str to dict of str to array
        Times in seconds by well and electrode.
    start, duration : float
        Seconds; the start is 0 unless a later section was exported.
    metadata : dict of str to str
        What the first two columns, or the lines above the table, say.
    """

    wells: dict[str, dict[str, NDArray[np.float64]]]
    start: float
    duration: float
    metadata: dict[str, str] = field(default_factory=dict)


def text_of(path: Path) -> str:
    """Return a file's text, unpacked, with any byte-order mark gone and all line ends alike.

    Raises
    ------
    DataError
        If it is no text.
    """
    with reading(path, "text"):
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b" or path.suffix.lower() == ".gz":
            raw = gzip.decompress(raw)
        kind = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        try:
            text = raw.decode(kind)
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _header(path: Path, lines: list[str]) -> tuple[int, int, int, float]:
    """Return the header's row, the columns of time and electrode, and seconds per unit."""
    for row, line in enumerate(lines[:_HEADER_ROWS]):
        cells = [cell.strip().strip('"').strip().lower() for cell in line.split(",")]
        times = [k for k, cell in enumerate(cells) if re.fullmatch(r"time\s*(\(\w+\))?", cell)]
        electrodes = [k for k, cell in enumerate(cells) if cell == "electrode"]
        if times and electrodes:
            told = re.search(r"\((\w+)\)", cells[times[0]])
            unit = told.group(1) if told else "s"
            if unit not in _UNITS:
                raise DataError(
                    f"`path` gives times in '{unit}', which we do not know: '{path.name}'. Export "
                    "it in seconds."
                )
            return row, times[0], electrodes[0], _UNITS[unit]
    raise DataError(
        f"`path` is no Axion spike list: '{path.name}' has no row with the columns `Time (s)` and "
        "`Electrode`. Export the spike list, not the counts or the metrics."
    )


def _metadata(path: Path, lines: list[str], row: int, first: int) -> dict[str, str]:
    """Return the pairs above the header and in the columns before the times."""
    found: dict[str, str] = {}
    for cells in csv.reader(lines[:row]):
        if len(cells) > 1 and cells[0].strip():
            found[cells[0].strip()] = cells[1].strip()
    for cells in csv.reader(lines[row : row + _HEADER_ROWS] if first >= 2 else []):
        key = cells[0].strip() if cells else ""
        if not key:
            continue
        value = cells[1].strip() if len(cells) > 1 else ""
        if key == "Sampling Frequency" and found.get(key, value) != value:
            raise DataError(
                f"`path` mixes sampling frequencies, {found[key]} and {value}: '{path.name}'. Read "
                "each recording by itself."
            )
        found.setdefault(key, value)
    return found


def _section(text: str) -> tuple[float, float] | None:
    """Return begin and end of a section in seconds.

    Examples
    --------
    >>> _section("0s to 18m2s"), _section("all")
    ((0.0, 1082.0), None)
    """
    found = [_CLOCK.fullmatch(part.strip()) for part in text.split(" to ")]
    told = [[float(part or 0.0) for part in clock.groups()] for clock in found if clock]
    if len(told) != 2:
        return None
    begin, end = (3600.0 * hours + 60.0 * minutes + seconds for hours, minutes, seconds in told)
    return (begin, end) if end > begin else None


def _interval(
    path: Path, times: NDArray[np.float64], metadata: dict[str, str]
) -> tuple[float, float]:
    """Return start and length: as stated if spikes reach the end, else to the next second."""
    last = float(times.max())
    if last > LONGEST:
        raise DataError(
            f"`path` has a spike at {last:g} s, more than a day into the recording: '{path.name}'. "
            "The times look like milliseconds or samples; divide them before reading."
        )
    stated = _section(metadata.get("Actual File Section Run", ""))
    if stated is not None:
        begin, end = stated
        if begin <= times.min() and begin + _REACHED * (end - begin) <= last <= end:
            return begin, end - begin
    return 0.0, float(np.ceil(last)) or 1.0


def _columns(path: Path, body: str, time: int, electrode: int) -> pd.DataFrame:
    """Return the two columns as text, rows of metadata alone left out."""
    with reading(path, "an Axion spike list"):
        # Rows of metadata may be longer or shorter than the header, and hold quoted commas.
        width = max(len(cells) for cells in csv.reader(io.StringIO(body)))
        frame = pd.read_csv(
            io.StringIO(body), header=None, usecols=[time, electrode], dtype=str,
            skipinitialspace=True, skip_blank_lines=False, names=range(width),
            on_bad_lines="error", engine="c",
        )  # fmt: skip
    frame = frame.iloc[1:].rename(columns={time: "time", electrode: "electrode"})
    return frame.loc[~(frame["time"].isna() & frame["electrode"].isna())]


def read_spike_list(path: Path) -> SpikeList:
    """Read an Axion ``_spike_list.csv`` or ``.csv.gz``.

    Metadata may stand above the table or, as AxIS 2 writes it, in its first two columns; a
    byte-order mark and old line ends are accepted. The length of the recording is the section
    stated in the metadata if the last spike comes near its end, else the second after that spike.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    SpikeList

    Raises
    ------
    DataError
        If there is no such table, it has no spikes, a row lacks its time or electrode, an
        electrode has a name that is no Axion name, sampling frequencies are mixed, the times are
        in another unit, or a second table follows.
    """
    lines = text_of(path).split("\n")
    row, time, electrode, factor = _header(path, lines)
    metadata = _metadata(path, lines, row, min(time, electrode))
    frame = _columns(path, "\n".join(lines[row:]), time, electrode)
    if frame.empty:
        raise DataError(
            f"`path` lists no spikes: '{path.name}' ends after its header. Export again."
        )
    stamps = pd.to_numeric(frame["time"], errors="coerce").to_numpy(dtype=np.float64) * factor
    wrong = np.flatnonzero(np.isnan(stamps) | frame["electrode"].isna().to_numpy())
    if wrong.size:
        bad = frame.iloc[int(wrong[0])]
        raise DataError(
            f"`path` must have a time and an electrode in every row; row {bad.name + row + 1} of "
            f"'{path.name}' is '{bad['time']}, {bad['electrode']}'. Correct it, and read joined "
            "exports one by one."
        )
    if stamps.min() < 0:
        raise DataError(
            f"`path` has a spike at {stamps.min():g} s: '{path.name}'. Times must be 0 or more."
        )
    start, duration = _interval(path, stamps, metadata)
    wells = _by_well(path, stamps, frame["electrode"].str.strip().to_numpy(dtype=str))
    return SpikeList(wells, start, duration, metadata)


def _by_well(
    path: Path, stamps: NDArray[np.float64], names: NDArray[np.str_]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    unique, inverse = np.unique(names, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse))
    wells: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, rows in zip(unique, np.split(order, ends[:-1]), strict=True):
        place = well_and_electrode(str(name))
        if place is None or not place[0]:
            raise DataError(
                f"`path` names electrode '{name}', which is not of the form A1_23 (well, column, "
                f"row): '{path.name}'. Export it with Axion's names."
            )
        wells.setdefault(place[0], {})[place[1]] = np.sort(stamps[rows])
    return wells


def read_experiment_log(path: Path) -> pd.DataFrame:
    """Read an experiment log: plate, days in vitro, well and treatment, one row a well.

    Parameters
    ----------
    path : Path
        ``_expLog.csv`` or ``.csv.gz`` with columns ``Well`` and any of ``Plate SN``, ``DIV``,
        ``Treatment``, ``Dose``, ``Size``.

    Returns
    -------
    pandas.DataFrame
        Columns ``well``, ``plate``, ``div``, ``treatment``, and others by their lower-case name.

    Raises
    ------
    DataError
        If it has no column of wells, two columns of one name, or days that are no numbers.
    """
    with reading(path, "an experiment log"):
        frame = pd.read_csv(io.StringIO(text_of(path)), dtype=str).fillna("")
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    frame = frame.rename(columns={"plate sn": "plate", "treatment/id": "treatment"})
    if "well" not in frame:
        raise DataError(
            f"`path` is no experiment log: '{path.name}' has the columns {', '.join(frame)}, and "
            "none is `Well`. Add it."
        )
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(
            f"`path` has two columns for '{twice}': '{path.name}'. Delete one, or rename it."
        )
    frame = frame.apply(lambda column: column.str.strip())
    days = frame["div"] if "div" in frame else pd.Series(dtype=str)
    wrong = days[(days != "") & pd.to_numeric(days, errors="coerce").isna()]
    if len(wrong):
        raise DataError(
            f"`path` must give days in vitro as numbers; '{path.name}' has '{wrong.iloc[0]}'. "
            "Write 7 for DIV 7."
        )
    return frame.loc[frame["well"] != ""].reset_index(drop=True)
