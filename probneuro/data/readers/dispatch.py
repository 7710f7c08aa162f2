"""One function that reads spike times from any file we know."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from probneuro.core.errors import DataError
from probneuro.data import checks
from probneuro.data.readers.matlab import read_matlab
from probneuro.data.readers.nwb import read_nwb
from probneuro.data.readers.own import read_netcdf, read_npz
from probneuro.data.readers.parsed import Parsed
from probneuro.data.readers.table import read_table
from probneuro.data.spike_trains import SpikeTrains

_READERS: Final[dict[str, Callable[[Path, str | None], Parsed]]] = {
    ".npz": read_npz,
    ".csv": read_table,
    ".csv.gz": read_table,
    ".mat": read_matlab,
    ".nwb": read_nwb,
    ".nc": read_netcdf,
}


def existing_file(path: Path) -> Path:
    """Return the path of a file that exists and is not empty, or say what else there is."""
    if path.is_dir():
        raise DataError(f"`path` is a folder: '{path}'. Pass the recording inside it.")
    if not path.exists():
        folder = path.parent
        names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        near = get_close_matches(path.name, names, n=3)
        hint = f"Did you mean {' or '.join(repr(n) for n in near)}?" if near else "Check the path."
        where = "" if folder.is_dir() else f" (nor does the folder '{folder}')"
        raise DataError(f"`path` does not exist: '{path}'{where}. {hint}")
    if path.stat().st_size == 0:
        raise DataError(f"`path` is empty: '{path}' has 0 bytes. Fetch or export it again.")
    return path


def _reader(path: Path) -> Callable[[Path, str | None], Parsed]:
    """Return the reader that a file's name asks for."""
    name = path.name.lower()
    for suffix, reader in _READERS.items():
        if name.endswith(suffix):
            return reader
    raise DataError(
        f"`path` is of a kind we cannot read: '{path.name}'. Known: {', '.join(_READERS)}. Convert "
        "it, or build SpikeTrains from the times."
    )


def _interval(
    spikes: SpikeTrains, start: float | None, stop: float | None, *, stated: bool
) -> SpikeTrains:
    """Return the part asked for, wider than the spikes unless the file states its interval."""
    if start is None and stop is None:
        return spikes
    begin = spikes.start if start is None else float(start)
    end = spikes.stop if stop is None else float(stop)
    # One end alone that lies outside is not a matter of their order.
    if start is not None and stop is not None:
        checks.check_interval(begin, end)
    if begin >= spikes.stop or end <= spikes.start:
        raise DataError(
            f"`start` and `stop` lie outside the recording, {checks.number(spikes.start)} to "
            f"{checks.number(spikes.stop)} s; got {checks.number(begin)} to "
            f"{checks.number(end)} s. Pass seconds on the recording's own clock."
        )
    checks.check_interval(begin, end)
    if stated:
        return spikes.restrict(begin, end)
    whole = spikes.epochs == ((spikes.start, spikes.stop),)
    wide = SpikeTrains(
        spikes.times,
        units=spikes.units,
        start=min(begin, spikes.start),
        stop=max(end, spikes.stop),
        epochs=None if whole else spikes.epochs,
        source=spikes.source,
        unit_check=False,
        allow_duplicates=True,
    )
    return wide.restrict(begin, end)


def read_spikes(
    path: str | Path,
    *,
    units: Sequence[object] | None = None,
    start: float | None = None,
    stop: float | None = None,
    unit: str | None = None,
    sampling_rate: float | None = None,
    variable: str | None = None,
    unit_check: bool = True,
    allow_duplicates: bool = False,
) -> SpikeTrains:
    """Read spike times from a file; its name says how. No code in a file is ever run.

    Parameters
    ----------
    path : str or Path
        ``.npz`` (ours, one array a unit, or `times` with `labels`), ``.csv`` or ``.csv.gz`` (one
        row a spike), ``.mat`` (any version), ``.nwb`` (with the extra ``probneuro[nwb]``) or
        ``.nc`` (ours).
    units : sequence of str, optional
        The units to keep, in this order; all by default.
    start, stop : float, optional
        The part to keep, in seconds on the recording's clock. It may be wider than the spikes
        reach, to say that the recording went on in silence, except in files of ours, which
        state how long it lasted.
    unit : {"s", "ms", "us", "samples"}, optional
        Unit of time of the file, where the file does not tell; seconds by default.
    sampling_rate : float, optional
        Samples per second, for ``unit="samples"``.
    variable : str, optional
        Which variable of a ``.mat`` or ``.npz`` file to read.
    unit_check, allow_duplicates : bool
        As in `SpikeTrains`.

    Returns
    -------
    SpikeTrains

    Raises
    ------
    DataError
        If the file is missing, empty, damaged, of an unknown kind or holds no usable times.
    SettingError
        If a unit is unknown, or the settings contradict each other.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = SpikeTrains({"a": [0.1, 0.5], "b": [0.7]}).save(f"{folder}/recording.npz")
    ...     read_spikes(file, units=["a"])
    SpikeTrains: 1 unit, 2 spikes, 0 to 1 s
      a: 2 spikes, 2.00 Hz
    """
    file = existing_file(Path(path).expanduser())
    parsed = _reader(file)(file, variable)
    spikes = parsed.trains(
        unit, sampling_rate, unit_check=unit_check, allow_duplicates=allow_duplicates
    )
    if units is not None:
        spikes = spikes.select(units)
    return _interval(spikes, start, stop, stated=parsed.checked)
