"""One function that reads a multi-well recording from any file we know."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from probneuro.core.errors import DataError, SettingError
from probneuro.data.readers.axion import LONGEST, read_experiment_log, read_spike_list
from probneuro.data.readers.dispatch import existing_file
from probneuro.data.readers.electrode_names import by_well, whole_layout
from probneuro.data.readers.mea_hdf5 import read_mea_hdf5
from probneuro.data.readers.nwb import read_nwb, unit_names
from probneuro.data.readers.parsed import reading
from probneuro.data.wells import LABELS, Wells, WellSpikes

_DAYS: Final = re.compile(r"(?:DIV|_d|_D)0*(\d{1,3})(?!\d)")
_KNOWN: Final = ".csv, .csv.gz (Axion spike list), .h5, .hdf5, .nwb, .npz"


def _days(path: Path) -> float:
    found = _DAYS.search(path.name)
    return float(found.group(1)) if found else float("nan")


def _plate(path: Path) -> str:
    return re.split(r"_?(?:DIV|_d)\d|_spike_list|\.", path.name)[0] or path.name


def read_wells(
    path: str | Path,
    *,
    bin_width: float | None = None,
    log: str | Path | None = None,
    plate: str | None = None,
    div: float | None = None,
    start: float | None = None,
    duration: float | None = None,
    electrodes: Sequence[str] | None = None,
    keep_silent: bool = False,
) -> WellSpikes | Wells:
    """Read a multi-well recording; the file's name says how. No code in a file is ever run.

    Parameters
    ----------
    path : str or Path
        An Axion spike list (``.csv``, ``.csv.gz``), the HDF5 layout of published MEA spikes
        (``.h5``), NWB with a column ``unit_name`` (or ``electrode_name``, ``label``, ``name``) of
        names as ``A1_23``, or ``.npz`` of counts: ours, or arrays ``counts`` (recording,
        electrode, time), ``plate``, ``well``, ``div``, ``treatment``.
    bin_width : float, optional
        Seconds. For spike times, return their counts; for counts, what their file does not tell.
    log : str or Path, optional
        An experiment log that tells plate, days in vitro and treatment by well.
    plate : str, optional
        Name of the plate; from the log or the file's name by default.
    div : float, optional
        Days in vitro; from the log, the file or its name (``DIV05``, ``_d12``) by default.
    start, duration : float, optional
        The recorded interval in seconds. By default an Axion list starts at 0, others at the
        whole second before the first spike; both end as `read_spike_list` says, or with the whole
        second after the last spike. Of an Axion list of a later section, the section's.
    electrodes : sequence of str, optional
        Every electrode of a well; by default those of the smallest known layout that has all that
        fired. Electrodes without spikes are silent, not missing.
    keep_silent : bool
        Whether wells of the log, or of the file's own list, without a spike are kept.

    Returns
    -------
    WellSpikes or Wells
        Counts if the file holds counts, or ``bin_width`` is given.

    Raises
    ------
    DataError
        If the file is missing, malformed or holds nothing usable.
    SettingError
        If counts come without the width of their bins, or with options that are for spikes.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "mine_DIV7_spike_list.csv"
    ...     _ = file.write_text("Time (s),Electrode\\n0.1,A1_11\\n0.4,B2_44\\n")
    ...     read_wells(file, bin_width=0.5)
    Wells: 2 recordings, 16 electrodes, 2 bins of 0.5 s
      plates: mine
      wells: A1, B2
      divs: 7.0
    """
    file = existing_file(Path(path).expanduser())
    name = file.name.lower()
    if name.endswith(".npz"):
        given = {"log": log, "plate": plate, "div": div, "start": start, "duration": duration,
                 "electrodes": electrodes, "keep_silent": keep_silent or None}  # fmt: skip
        _check_counts_alone(file, [name for name, value in given.items() if value is not None])
        return _read_counts(file, bin_width)
    labels: dict[str, dict[str, str]] = {}
    if name.endswith((".csv", ".csv.gz")):
        parsed = read_spike_list(file)
        wells, begin, end = parsed.wells, parsed.start, parsed.start + parsed.duration
        known_days = float("nan")
    elif name.endswith((".h5", ".hdf5")):
        held = read_mea_hdf5(file)
        wells = _sorted_by_well(file, held.trains)
        labels, known_days = held.wells, held.age
        begin, end = _reach(file, wells)
    elif name.endswith(".nwb"):
        wells = _sorted_by_well(file, _named_trains(file))
        begin, end = _reach(file, wells)
        known_days = float("nan")
    else:
        raise DataError(f"`path` is of a kind we cannot read: '{file.name}'. Known: {_KNOWN}.")
    begin = begin if start is None else float(start)
    length = end - begin if duration is None else float(duration)
    days = div if div is not None else (_days(file) if np.isnan(known_days) else known_days)
    table = _table(file, wells, labels, log, plate, days, keep_silent=keep_silent)
    seen = {electrode for well in wells.values() for electrode in well}
    layout = whole_layout(seen, in_wells=any(wells)) if electrodes is None else electrodes
    cut = [_within(wells.get(well, {}), begin, length) for well in table["well"]]
    spikes = WellSpikes(cut, length, electrodes=layout, labels=table, start=begin, source=file.name)
    return spikes if bin_width is None else spikes.bin(bin_width)


def _named_trains(file: Path) -> dict[str, Any]:
    """Return the trains of an NWB file by the names of their units, those of one name together."""
    times = read_nwb(file).times
    names = unit_names(file)
    joined: dict[str, Any] = {}
    for unit, train in times.items():
        name = names.get(unit, unit)
        joined[name] = np.concatenate([joined.get(name, np.empty(0)), train])
    return joined


def _sorted_by_well(file: Path, trains: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    wells, odd = by_well(trains)
    if odd and len(odd) < len(trains):
        raise DataError(
            f"`path` names '{odd[0]}' beside electrodes such as A1_23 or ch_23: '{file.name}'. "
            "Delete what is no electrode, or name all alike."
        )
    return wells


def _reach(file: Path, wells: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """Return the whole seconds around all spikes."""
    times = [t for well in wells.values() for t in well.values() if len(t)]
    if not times:
        raise DataError(f"`path` holds no spikes: '{file.name}'. Check what was exported.")
    first, last = min(float(t.min()) for t in times), max(float(t.max()) for t in times)
    if last - first > LONGEST:
        raise DataError(
            f"`path` has spikes from {first:g} to {last:g} s, more than a day: '{file.name}'. The "
            "times look like milliseconds or samples; divide them before reading."
        )
    return float(np.floor(first)), float(np.floor(last)) + 1.0


def _within(well: Mapping[str, Any], begin: float, length: float) -> dict[str, Any]:
    return {e: t[(t >= begin) & (t <= begin + length)] for e, t in well.items()}


def _of_log(
    file: Path, wells: Mapping[str, Any], log: str | Path, plate: str | None, days: float
) -> tuple[dict[str, Any], str]:
    """Return what a log says of the wells of this file on its day, and its plate on any day."""
    table = read_experiment_log(existing_file(Path(log).expanduser())).astype(str)
    if not set(wells) & set(table["well"]):
        raise DataError(
            f"`log` names none of the wells of '{file.name}', such as {next(iter(wells))!r}. Pass "
            "the log of this plate, and write its wells as the file does."
        )
    if "plate" in table and table["plate"].nunique() > 1:
        # Of several plates, the one that the file is named after.
        ends = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
        own = [
            name == plate
            if plate is not None
            else re.search(ends.format(re.escape(name)), file.name)
            for name in table["plate"]
        ]
        if not any(own):
            raise DataError(
                f"`log` tells of plates {', '.join(table['plate'].unique()[:3])}; '{file.name}' is "
                "named after none of them. Pass `plate`, or rename the file."
            )
        table = table[np.array(own, dtype=bool)]
    name = "" if "plate" not in table else max(table["plate"])
    if "div" in table and not np.isnan(days):
        table = table[(table["div"] == "") | (pd.to_numeric(table["div"]) == days)]
    table = table.drop_duplicates()
    twice = table["well"][table["well"].duplicated()]
    if len(twice):
        raise DataError(
            f"`log` says two things of well {twice.iloc[0]} of '{file.name}'. Pass `div` and "
            "`plate`, or delete the rows that are not of this recording."
        )
    return {str(row["well"]): row for row in table.to_dict("records")}, name


def _table(
    file: Path,
    wells: Mapping[str, Any],
    labels: Mapping[str, Mapping[str, str]],
    log: str | Path | None,
    plate: str | None,
    days: float,
    *,
    keep_silent: bool,
) -> pd.DataFrame:
    """Return one row a well: what log, file and arguments say of it."""
    known = {well: dict(row) for well, row in labels.items()}
    on_plate = _plate(file) if plate is None else plate
    if log is not None:
        told_of, name = _of_log(file, wells, log, plate, days)
        on_plate = on_plate if plate is not None else name or on_plate
        for well, row in told_of.items():
            known[well] = known.get(well, {}) | {k: v for k, v in row.items() if v != ""}
    names = list(wells) + [w for w in known if keep_silent and w not in wells]
    rows = []
    for well in sorted(names, key=lambda w: (w[:1], len(w), w)):
        told: dict[str, Any] = {"treatment": "", "div": days}
        told |= {k: v for k, v in known.get(well, {}).items() if v != ""}
        told |= {"well": well, "plate": on_plate}
        rows.append(told)
    frame = pd.DataFrame(rows)
    frame = frame[[*LABELS, *(c for c in frame if c not in LABELS)]]
    return frame.fillna({name: "" for name in frame if name != "div"})


def _check_counts_alone(file: Path, given: Sequence[str]) -> None:
    if given:
        raise SettingError(
            f"`{given[0]}` does not apply to counts: '{file.name}' has labels and bins of its own. "
            "Leave it out."
        )


def _read_counts(file: Path, bin_width: float | None) -> Wells:
    with reading(file, "npz"), np.load(file, allow_pickle=False) as arrays:
        held = {name: arrays[name] for name in arrays.files}
        if "bin_width" in held:
            held["bin_width"] = held["bin_width"].astype(np.float64).reshape(())
    if "counts" not in held:
        raise DataError(
            f"`path` has no array `counts`: '{file.name}' has {', '.join(held) or 'none'}. Save "
            "counts as (recording, electrode, time)."
        )
    width = float(held["bin_width"]) if "bin_width" in held else bin_width
    if width is None:
        raise SettingError(
            f"`bin_width` is needed: '{file.name}' does not tell the width of its bins. Pass it in "
            "seconds."
        )
    if bin_width is not None and "bin_width" in held and not np.isclose(bin_width, width):
        raise SettingError(
            f"`bin_width` is {bin_width:g} s, but the file says {width:g} s. Leave it out, and use "
            "rebin()."
        )
    counts = held.pop("counts")
    num = counts.shape[0] if counts.ndim else 0
    labels = {
        name: values
        for name, values in held.items()
        if name not in ("bin_width", "electrodes", "format")
        and (name in LABELS or values.shape == (num,))
    }
    names = np.ravel(held.get("electrodes", np.empty(0, dtype=str)))
    return Wells(counts, width, electrodes=tuple(map(str, names)), labels=labels, source=file.name)


def _told(part: Wells, k: int) -> str:
    return (
        f"part {k} ('{part.source}') has {len(part.electrodes)} electrodes from "
        f"'{part.electrodes[0]}' on in bins of {part.bin_width:g} s"
    )


def join_wells(parts: Sequence[Wells]) -> Wells:
    """Put counts of several files together, cut to the shortest.

    Parameters
    ----------
    parts : sequence of Wells
        Of the same electrodes and bin width.

    Returns
    -------
    Wells

    Raises
    ------
    DataError
        If there is none, or electrodes or bins differ.

    Examples
    --------
    >>> one = Wells(np.ones((1, 2, 5)), 0.5)
    >>> join_wells([one, Wells(np.ones((2, 2, 4)), 0.5)]).counts.shape
    (3, 2, 4)
    """
    if not parts:
        raise DataError("`parts` is empty. Pass at least one recording.")
    first = parts[0]
    for k, part in enumerate(parts):
        if part.electrodes != first.electrodes or not np.isclose(part.bin_width, first.bin_width):
            raise DataError(
                f"`parts` must share electrodes and bins; {_told(part, k)}, {_told(first, 0)}. Bin "
                "all alike and name `electrodes` when reading; embed other layouts by themselves."
            )
    num_bins = min(part.num_bins for part in parts)
    counts = np.concatenate([part.counts[..., :num_bins] for part in parts])
    labels = pd.concat([part.labels for part in parts], ignore_index=True)
    texts = [c for c in labels if c != "div"]
    labels[texts] = labels[texts].fillna("")
    return Wells(counts, first.bin_width, electrodes=first.electrodes, labels=labels)
