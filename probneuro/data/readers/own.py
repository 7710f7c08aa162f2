"""Our own files, and numpy archives written by others."""

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.errors import DataError
from probneuro.data.files import FORMAT, checksum
from probneuro.data.readers.parsed import Parsed, by_label, no_units, reading, scalar

LABELS: Final = ("labels", "label", "units", "clusters")
"""Names under which a numpy archive or MATLAB file keeps one unit label a spike."""


def _own(path: Path, values: dict[str, Any]) -> Parsed:
    """Return the content of one of our files, once its parts agree."""
    found = str(values["format"])
    if found != FORMAT:
        raise DataError(
            f"`path` is of format '{found}'; this version reads '{FORMAT}'. Write '{path.name}' "
            "again with SpikeTrains.save."
        )
    with reading(path, "spike trains of probneuro"):
        times, sizes = np.asarray(values["times"], dtype=np.float64), np.asarray(values["sizes"])
        names = [str(u) for u in np.atleast_1d(values["units"])]
        parts = np.split(times, np.cumsum(sizes)[:-1])
        interval = np.asarray(values["interval"], dtype=np.float64)
        epochs = np.asarray(values["epochs"], dtype=np.float64)
        if str(values["checksum"]) != checksum(times, sizes, names, interval, epochs):
            raise ValueError("the checksum differs")
        source = str(values["source"])
    return Parsed(
        times=dict(zip(names, parts, strict=True)),
        start=float(interval[0]),
        stop=float(interval[1]),
        epochs=[tuple(pair) for pair in epochs],
        unit="s",
        checked=True,
        source=source,
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a numpy archive; nothing pickled is loaded."""
    with reading(path, "a numpy archive"):
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("no end of archive found")
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except ValueError as error:
            if "pickle" not in str(error):
                raise
            raise DataError(
                f"`path` holds pickled objects: '{path.name}'. Loading them could run code, so we "
                "do not. Save plain arrays, one a unit: np.savez(path, unit_1=times_1, ...)."
            ) from None


def read_own_npz(path: Path) -> Parsed:
    """Read a numpy archive written by ``SpikeTrains.save``."""
    return _own(path, _arrays(path))


def read_npz(path: Path, variable: str | None = None) -> Parsed:
    """Read a numpy archive: ours, ``times`` with ``labels``, or one array a unit.

    Parameters
    ----------
    path : Path
        The file.
    variable : str, optional
        The one array to read as a unit.

    Returns
    -------
    Parsed

    Raises
    ------
    DataError
        If it is damaged, pickled, or holds no times.
    """
    arrays = _arrays(path)
    if "format" in arrays and "sizes" in arrays:
        return _own(path, arrays)
    if variable is not None:
        if variable not in arrays:
            raise DataError(
                f"`variable` '{variable}' is not in '{path.name}'. It holds: "
                f"{', '.join(sorted(arrays))}."
            )
        return Parsed(times={variable: arrays[variable]}, source=path.name)
    epochs = arrays.get("epochs")
    intervals = None if epochs is None else [tuple(pair) for pair in np.atleast_2d(epochs)]
    label = next((name for name in LABELS if name in arrays), None)
    if "times" in arrays and label is not None:
        times = by_label(path, arrays["times"], arrays[label])
    else:
        reserved = {"start", "stop", "epochs"}
        times = {name: a for name, a in arrays.items() if a.ndim > 0 and name not in reserved}
    if not times:
        raise no_units(path, "Save one array a unit, or `times` with `labels`.")
    return Parsed(
        times=times,
        start=scalar(arrays, "start"),
        stop=scalar(arrays, "stop"),
        epochs=intervals,
        source=path.name,
    )


def read_netcdf(path: Path, variable: str | None = None) -> Parsed:
    """Read a netCDF file written by ``SpikeTrains.save``.

    Raises
    ------
    DataError
        If it is damaged, or another kind of netCDF.
    """
    with reading(path, "netCDF"), xr.open_dataset(path, engine="netcdf4") as dataset:
        dataset.load()
        values = {name: dataset[name].values for name in dataset.variables}
        values |= dataset.attrs
    if "format" not in values or "sizes" not in values:
        raise DataError(
            f"`path` is netCDF but holds no spike trains of ours: '{path.name}'. Pass a file "
            "written by SpikeTrains.save."
        )
    return _own(path, values | {"units": values["unit"]})
