"""Spike times in MATLAB files of any version: vectors, cell arrays and structs of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from probneuro.core.errors import DataError
from probneuro.data.readers.own import LABELS
from probneuro.data.readers.parsed import Parsed, by_label, no_units, reading

_TIME_FIELDS: Final = (
    "time", "times", "spike_times", "spikeTimes", "spiketimes", "timestamps", "ts", "t", "spikes",
)  # fmt: skip
_RANGE_FIELDS: Final = ("timerange",)
_Key = tuple[str, ...]


def _from_scipy(value: Any) -> Any:
    """Return MATLAB 5 content as dicts (structs), lists (cells) and arrays."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.names:
        flat = value.reshape(-1, order="F")
        structs = [{n: _from_scipy(entry[n]) for n in value.dtype.names} for entry in flat]
        return structs[0] if len(structs) == 1 else structs
    if value.dtype == object:
        return [_from_scipy(entry) for entry in value.reshape(-1, order="F")]
    return value


def _from_hdf5(item: Any, file: h5py.File) -> Any:
    """Return MATLAB 7.3 content in the same form."""
    if isinstance(item, h5py.Group):
        return {name: _from_hdf5(child, file) for name, child in item.items()}
    if item.attrs.get("MATLAB_empty", 0):
        return np.empty(0)
    if item.dtype == h5py.ref_dtype:
        # MATLAB counts down columns; the file holds the transpose.
        return [_from_hdf5(file[ref], file) for ref in item[()].reshape(-1)]
    if item.attrs.get("MATLAB_class", b"") == b"char":
        return "".join(chr(code) for code in item[()].reshape(-1))
    return item[()]


def _content(path: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB file of any version."""
    with reading(path, "a MATLAB file"):
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return {
                    name: _from_hdf5(item, file)
                    for name, item in file.items()
                    if not name.startswith("#")
                }
        loaded = scipy.io.loadmat(path)
        return {n: _from_scipy(v) for n, v in loaded.items() if not n.startswith("__")}


def _is_vector(value: Any) -> bool:
    numeric = isinstance(value, np.ndarray) and value.dtype.kind in "iuf"
    return bool(numeric and value.size and max(value.shape, default=0) == value.size)


def _trains(value: Any, key: _Key) -> Iterator[tuple[_Key, NDArray[Any]]]:
    """Yield every vector of times below a value; empty places in cells are no units."""
    if isinstance(value, Mapping):
        field = next((name for name in _TIME_FIELDS if name in value), None)
        if field is not None:
            yield from _trains(value[field], key)
            return
        for name, child in value.items():
            yield from _trains(child, (*key, name))
    elif isinstance(value, list):
        for k, child in enumerate(value):
            yield from _trains(child, (*key, str(k + 1)))
    elif _is_vector(value):
        yield key, value.reshape(-1)


def _ranges(value: Any) -> Iterator[tuple[float, float]]:
    """Yield the recording intervals that structs tell."""
    if isinstance(value, Mapping):
        for name in _RANGE_FIELDS:
            if name in value and np.size(value[name]) == 2:
                start, stop = np.ravel(value[name])
                yield float(start), float(stop)
        for child in value.values():
            yield from _ranges(child)
    elif isinstance(value, list):
        for child in value:
            yield from _ranges(child)


def _names(keys: list[_Key]) -> list[str]:
    """Return the parts of the keys that tell them apart, joined by dots."""
    if len({len(key) for key in keys}) > 1 or len(keys) == 1:
        return [".".join(key) for key in keys]
    differs = [len(set(parts)) > 1 for parts in zip(*keys, strict=True)]
    return [".".join(p for p, d in zip(key, differs, strict=True) if d) for key in keys]


def _chosen(path: Path, content: dict[str, Any], variable: str | None) -> dict[str, Any]:
    """Return the variables to look into."""
    if variable is not None:
        if variable not in content:
            raise DataError(
                f"`variable` '{variable}' is not in '{path.name}'. It holds: "
                f"{', '.join(sorted(content)) or 'nothing'}."
            )
        return {variable: content[variable]}
    nested = [
        n for n, v in content.items() if isinstance(v, list | Mapping) and any(_trains(v, ()))
    ]
    if len(nested) > 1:
        raise DataError(
            f"`variable` must say which to read; '{path.name}' holds several with vectors: "
            f"{', '.join(sorted(nested))}. Pass for example variable='{sorted(nested)[0]}'."
        )
    if nested:
        return {nested[0]: content[nested[0]]}
    return {name: value for name, value in content.items() if np.size(value) > 1}


def read_matlab(path: Path, variable: str | None = None) -> Parsed:
    """Read a MATLAB file.

    Takes ``times`` with ``labels``, a cell array of vectors, a struct or nested cells of structs
    with a field of times, or several vectors, each a unit. Units are named by their place, as
    MATLAB counts, or by their variable. An empty place in a cell array is no unit.

    Parameters
    ----------
    path : Path
        The file, version 4 to 7.3.
    variable : str, optional
        The one variable to read.

    Returns
    -------
    Parsed

    Raises
    ------
    DataError
        If it is damaged, holds no vectors, or several variables that could be meant.
    """
    content = _content(path)
    label = next((name for name in LABELS if name in content), None)
    if variable is None and label is not None and _is_vector(content.get("times")):
        labels = content[label]
        if _is_vector(labels):
            return Parsed(times=by_label(path, content["times"], labels), source=path.name)
    chosen = _chosen(path, content, variable)
    found = [item for name, value in chosen.items() for item in _trains(value, (name,))]
    if not found:
        raise no_units(path, "Save a cell array of vectors of times, or name one by `variable`.")
    names = _names([key for key, _ in found])
    times = dict(zip(names, (train for _, train in found), strict=True))
    ranges = list(_ranges(chosen))
    if not ranges:
        return Parsed(times=times, source=path.name)
    start, stop = min(a for a, _ in ranges), max(b for _, b in ranges)
    return Parsed(times=times, start=start, stop=stop, source=path.name)
