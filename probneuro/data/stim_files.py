"""Files of stimulation trials and continuous signals: ours, NWB and BrainVision. No pickle."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.data.continuous import Continuous
from probneuro.data.files import whole_file
from probneuro.data.readers.parsed import reading
from probneuro.data.stim_trials import StimTrials

FORMAT: Final = "probneuro.StimTrials.1"
_DIMS: Final = {
    "values": ("trial", "channel", "time"),
    "pulses": ("trial", "pulse"),
    "amplitude": ("trial", "pulse"),
    "site": ("trial", "pulse"),
    "trial_times": ("trial",),
    "resting": ("resting_trial", "channel", "time"),
}


def write_stim_trials(trials: StimTrials, path: Path) -> Path:
    """Write trials to ``.npz`` or ``.nc``; see `StimTrials.save`."""
    if path.suffix not in (".npz", ".nc"):
        raise SettingError(
            f"`path` must end in .npz or .nc; got '{path.name}'. Choose one of the two."
        )
    arrays: dict[str, Any] = {
        name: array for name in _DIMS if (array := getattr(trials, name)) is not None
    }
    facts = {
        "format": FORMAT, "sampling_rate": trials.sampling_rate, "runway": trials.runway,
        "signal_unit": trials.signal_unit, "source": trials.source, "checksum": trials.hash(),
    }  # fmt: skip
    with whole_file(path) as part:
        if path.suffix == ".npz":
            plain: dict[str, Any] = {name: np.asarray(value) for name, value in facts.items()}
            names = np.array(trials.channels, dtype=np.str_)
            with part.open("wb") as stream:
                np.savez_compressed(stream, channels=names, **arrays, **plain)
        else:
            variables = {name: (_DIMS[name], array) for name, array in arrays.items()}
            labels = {"channel": np.array(trials.channels, dtype=object)}
            compress = {name: {"zlib": True, "complevel": 1} for name in arrays}
            dataset = xr.Dataset(variables, coords=labels, attrs=facts)
            dataset.to_netcdf(part, engine="netcdf4", encoding=compress)
    return path


def read_stim_trials(path: str | Path) -> StimTrials:
    """Read trials that `StimTrials.save` wrote, or a numpy archive of the same names.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with arrays `values`, `sampling_rate`, `runway` and `pulses`, and any other
        argument of `StimTrials`; or ``.nc`` of ours. Nothing pickled is loaded.

    Returns
    -------
    StimTrials

    Raises
    ------
    DataError
        If the file is missing, damaged, lacks an array, or its content is not what was written.

    Examples
    --------
    >>> import tempfile
    >>> trials = StimTrials(np.ones((3, 1, 8)), sampling_rate=1000, runway=2, pulses=[0.003])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_stim_trials(trials.save(f"{folder}/trials.nc")).hash() == trials.hash()
    True
    """
    file = _existing(path)
    if file.suffix == ".npz":
        found = read_archive(file)
    elif file.suffix == ".nc":
        with reading(file, "netCDF"), xr.open_dataset(file, engine="netcdf4") as dataset:
            dataset.load()
            found = {str(name): dataset[name].values for name in dataset.data_vars}
            found |= dict(dataset.attrs)
            if "channel" in dataset.coords:
                found["channels"] = dataset["channel"].values
    else:
        raise DataError(
            f"`path` is of a kind that holds no trials: '{file.name}'. Pass .npz or .nc, or cut "
            "trials out of a recording: read_continuous(path).cut(pulse_times)."
        )
    return _trials(file, found)


def _trials(path: Path, found: dict[str, Any]) -> StimTrials:
    """Return the container of what a file held."""
    lost = [n for n in ("values", "sampling_rate", "runway", "pulses") if n not in found]
    if lost:
        raise DataError(
            f"`path` lacks {', '.join(lost)}: '{path.name}' holds {', '.join(sorted(found))}. Save "
            "the arguments of StimTrials under their names."
        )
    channels = found.get("channels")
    trials = StimTrials(
        found["values"],
        sampling_rate=_scalar(found["sampling_rate"]),
        runway=_whole(found["runway"]),
        channels=None if channels is None else [str(name) for name in channels],
        signal_unit=str(found.get("signal_unit", "uV")),
        source=str(found.get("source", path.name)),
        **{n: found.get(n) for n in _DIMS if n not in ("values", "pulses")},
        pulses=found["pulses"],
    )
    if "checksum" in found and str(found["checksum"]) != trials.hash():
        raise DataError(
            f"`path` is damaged: the checksum of '{path.name}' differs from its content. Fetch or "
            "write it again."
        )
    return trials


def _scalar(value: Any) -> Any:
    """Return a number, or whatever stands there instead, for the container to judge."""
    array = np.asarray(value)
    return array.item() if array.size == 1 else value


def _whole(value: Any) -> Any:
    """Return a count, also where a program without integers wrote it."""
    found = _scalar(value)
    return int(found) if isinstance(found, float) and found.is_integer() else found


def read_continuous(path: str | Path, *, series: str | None = None) -> Continuous:
    """Read a continuous recording.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with `signal` (channel, time), `sampling_rate` and maybe `channels`, `events`,
        `signal_unit` and `start`;
        ``.nwb`` (extra ``probneuro[nwb]``); or ``.vhdr`` (BrainVision, extra ``probneuro[neo]``).
    series : str, optional
        Name of the electrical series of an NWB file, where it holds several.

    Returns
    -------
    Continuous
        Microvolts, where NWB or BrainVision tell a unit; on the file's clock.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another kind, holds no such signal, or one with gaps.
    """
    file = _existing(path)
    if file.suffix == ".npz":
        return _from_npz(file)
    if file.suffix == ".nwb":
        return _from_nwb(file, series)
    if file.suffix == ".vhdr":
        return _from_brainvision(file)
    raise DataError(
        f"`path` is of a kind we cannot read: '{file.name}'. Known: .npz, .nwb, .vhdr. Or build "
        "Continuous from the arrays."
    )


def read_archive(path: Path, *, names_only: bool = False) -> dict[str, Any]:
    """Return the arrays of a numpy archive by name, or None for each where names are enough.

    Raises
    ------
    DataError
        If it is damaged, or no such archive.
    """
    # Opened here, since numpy leaves a file open that turns out to be none of its own.
    with (
        reading(path, "a numpy archive"),
        path.open("rb") as stream,
        np.load(stream, allow_pickle=False) as archive,
    ):
        return {name: None if names_only else archive[name] for name in archive.files}


def _existing(path: str | Path) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"`path` is no file: '{file}'. Check the name.")
    return file


def _from_npz(path: Path) -> Continuous:
    found = read_archive(path)
    if not {"signal", "sampling_rate"} <= set(found):
        raise DataError(
            f"`path` lacks `signal` or `sampling_rate`: '{path.name}' holds "
            f"{', '.join(sorted(found))}. Save both under these names."
        )
    names = found.get("channels", range(len(np.atleast_1d(found["signal"]))))
    return Continuous(
        signal=found["signal"],
        sampling_rate=_scalar(found["sampling_rate"]),
        channels=tuple(str(name) for name in np.atleast_1d(names)),
        events=found.get("events", ()),
        signal_unit=str(found.get("signal_unit", "uV")),
        start=_scalar(found.get("start", 0.0)),
        source=path.name,
    )


def _from_nwb(path: Path, series: str | None) -> Continuous:
    try:
        from pynwb import NWBHDF5IO, ecephys
    except ImportError:
        raise DataError(
            f"`path` is an NWB file, '{path.name}', and pynwb is missing. Install the extra: pip "
            "install 'probneuro[nwb]'."
        ) from None
    with reading(path, "NWB"), NWBHDF5IO(str(path), mode="r", load_namespaces=True) as io:
        objects = io.read().objects.values()
        found = {one.name: one for one in objects if isinstance(one, ecephys.ElectricalSeries)}
        name = series or next(iter(found), "")
        if name not in found or (series is None and len(found) > 1):
            raise DataError(
                f"`series` must name an electrical series of '{path.name}'; got {series!r}. It "
                f"holds: {', '.join(sorted(found)) or 'none'}."
            )
        one = found[name]
        signal = np.atleast_2d(np.asarray(one.data[:], dtype=np.float64).T)
        factor = one.conversion
        if one.channel_conversion is not None:
            factor = factor * np.asarray(one.channel_conversion[:], dtype=np.float64)[:, None]
        signal = (signal * factor + one.offset) * 1e6
        rate, begin = _clock(path, one)
    return Continuous(
        signal=signal,
        sampling_rate=float(rate),
        channels=tuple(str(i) for i in range(len(signal))),
        source=f"{path.name}, {name}",
        start=begin,
    )


def _clock(path: Path, series: Any) -> tuple[float, float]:
    """Return the sampling rate of an NWB series, and the time of its first sample."""
    if series.rate:
        return float(series.rate), float(series.starting_time or 0.0)
    stamps = np.asarray(series.timestamps[:], dtype=np.float64)
    steps = np.diff(stamps)
    if not steps.size or not np.isfinite(stamps).all() or not np.median(steps) > 0:
        raise DataError(
            f"`{series.name}` of '{path.name}' has no increasing time stamps. Export it again."
        )
    step = float(np.median(steps))
    gaps = np.flatnonzero(np.abs(steps - step) > 0.5 * step)
    if gaps.size:
        before, after = stamps[gaps[0]], stamps[gaps[0] + 1]
        raise DataError(
            f"`{series.name}` of '{path.name}' is not sampled evenly: {gaps.size} gaps, the first "
            f"from {before:g} to {after:g} s. Export the parts between gaps as series of their "
            "own, or fill gaps with NaN."
        )
    return 1.0 / step, float(stamps[0])


def _from_brainvision(path: Path) -> Continuous:
    try:
        from neo.io import BrainVisionIO
    except ImportError:
        raise DataError(
            f"`path` is a BrainVision file, '{path.name}', and neo is missing. Install the extra: "
            "pip install 'probneuro[neo]'."
        ) from None
    with reading(path, "BrainVision"):
        segment = BrainVisionIO(str(path)).read_segment(lazy=False)
        blocks, names = [], []
        for analog in segment.analogsignals:
            blocks.append(np.asarray(analog.magnitude, dtype=np.float64).T)
            names += [str(n) for n in analog.array_annotations["channel_names"]]
        rate = float(segment.analogsignals[0].sampling_rate.rescale("Hz").magnitude)
        marks: list[NDArray[Any]] = [np.asarray(e.times.rescale("s")) for e in segment.events]
    return Continuous(
        signal=np.concatenate(blocks),
        sampling_rate=rate,
        channels=tuple(names),
        events=np.sort(np.concatenate([np.zeros(0), *marks])),
        source=path.name,
    )
