"""Results: from draws to an xarray DataTree of the InferenceData schema, to netCDF and back."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np
import xarray as xr
from arviz_base import dict_to_dataset
from numpy.typing import NDArray
from xarray.backends import NetCDF4DataStore

from probneuro.core.checkpoint import write_atomically
from probneuro.core.errors import DataError
from probneuro.core.names import (
    CHAIN,
    CONSTANT_DATA,
    DRAW,
    HELD_OUT,
    MAX_ENTROPY,
    OBSERVED_DATA,
    POSTERIOR,
    PREDICTIONS_CONSTANT_DATA,
    SAMPLE_STATS,
    TRUTH,
)

SAMPLE_DIMS: Final = (CHAIN, DRAW)
FIT_HISTORY: Final = "fit_history"
_WITHOUT_DRAWS: Final = (
    *(CONSTANT_DATA, PREDICTIONS_CONSTANT_DATA, OBSERVED_DATA),
    *(HELD_OUT, TRUTH, FIT_HISTORY, MAX_ENTROPY),
)
_BOOL_KEPT: Final = SAMPLE_STATS
_COMPRESSION: Final = {"zlib": True, "complevel": 1, "shuffle": True}
_INT64: Final = 2**63
_FIRST_BYTES: Final = 2**12


def build_result(
    posterior: Mapping[str, Any],
    sample_stats: Mapping[str, Any] | None = None,
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
) -> xr.DataTree:
    """Put arrays and their names together as a result.

    Truth values become int8, since summaries and plots of true booleans fail, except in
    ``sample_stats``, where ``diverging`` has to stay a mask. Attributes that are neither
    text nor numbers are stored as JSON.

    Parameters
    ----------
    posterior : mapping of str to array
        Draws of shape (chain, draw, ...); may be empty.
    sample_stats : mapping of str to array, optional
        Statistics of shape (chain, draw, ...).
    dims : mapping of str to sequence of str, optional
        Names of every variable's dimensions, chain and draw left out. The key is the name
        of the variable, or ``"group/variable"`` where the same name has other dimensions in
        one group.
    coords : mapping of str to array, optional
        Labels of every dimension. A pair ``(dimension, labels)`` rides on another dimension,
        as ``{"pre": ("synapse", [...])}``; it is kept in ``constant_data`` and the other
        groups without draws, since on the posterior it would break ArviZ' ``summary``.
    attrs : mapping of str to value, optional
        Attributes of the root.
    groups : mapping of str to mapping, optional
        Further groups. In ``constant_data``, ``predictions_constant_data``, ``observed_data``,
        ``held_out``, ``truth`` and ``fit_history`` an array has chain and draw only if its
        ``dims`` leave two axes over;
        in all other groups it always has.

    Returns
    -------
    xarray.DataTree
        One group a mapping; empty groups are left out.

    Raises
    ------
    DataError
        If an array does not fit its dimensions or their labels.

    Examples
    --------
    >>> tree = build_result(
    ...     {"weight": np.zeros((4, 100, 2))},
    ...     dims={"weight": ["synapse"]},
    ...     coords={"synapse": ["a->b", "b->a"], "pre": ("synapse", ["a", "b"])},
    ... )
    >>> known = tree["constant_data"].dataset
    >>> tree["posterior/weight"].sel(synapse=known.synapse[known.pre == "b"]).synapse.values
    array(['b->a'], dtype='<U4')
    """
    everything = {POSTERIOR: posterior, SAMPLE_STATS: sample_stats or {}, **(groups or {})}
    datasets = {
        name: _dataset(name, variables, dims or {}, coords or {})
        for name, variables in everything.items()
        if variables
    }
    for name, (dim, labels) in _riders(coords or {}).items():
        _ride(datasets, name, dim, np.asarray(labels))
    tree = xr.DataTree.from_dict(datasets)
    tree.attrs.update(plain_attrs(attrs or {}))
    return tree


def plain_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as netCDF can hold them: text, int and float, the rest as JSON text.

    Parameters
    ----------
    attrs : mapping
        Any JSON values; numpy scalars and arrays are welcome.

    Returns
    -------
    dict
        Only str, int and float.

    Examples
    --------
    >>> plain_attrs({"seed": 3, "dense": True, "rules": ["static"], "none": None})
    {'seed': 3, 'dense': 'true', 'rules': '["static"]', 'none': 'null'}
    """
    return {str(name): _plain(value) for name, value in attrs.items()}


def _plain(value: Any) -> str | int | float:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, str | float):
        return value
    return json.dumps(value, default=_as_json)


def _as_json(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else repr(value)


def _dataset(
    group: str,
    variables: Mapping[str, Any],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Any],
) -> xr.Dataset:
    index: dict[Any, Any] = {k: np.asarray(v) for k, v in coords.items() if not _rides(v)}
    parts = []
    for name, raw in variables.items():
        values = _storable(group, name, raw)
        named = dims.get(f"{group}/{name}", dims.get(name))
        sampled = _has_draws(group, name, values, named)
        full = ([*SAMPLE_DIMS] if sampled else []) + list(named or ())
        _check_lengths(group, name, values, full, index)
        parts.append(
            dict_to_dataset(
                {name: values},
                coords=index,
                dims={name: list(named or ())},
                sample_dims=[*SAMPLE_DIMS] if sampled else [],
                check_conventions=False,
            )
        )
    return xr.merge(parts, compat="no_conflicts", join="exact", combine_attrs="drop")


def _riders(coords: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    return {name: value for name, value in coords.items() if _rides(value)}


def _ride(datasets: dict[str, xr.Dataset], name: str, dim: str, labels: NDArray[Any]) -> None:
    """Put labels that ride on a dimension into the groups without draws that have it."""
    carriers = [dataset for dataset in datasets.values() if dim in dataset.dims]
    if not carriers:
        return
    if labels.shape != (carriers[0].sizes[dim],):
        raise DataError(
            f"Coordinate `{name}` has shape {labels.shape}, dimension `{dim}` has "
            f"length {carriers[0].sizes[dim]}. Give one label each."
        )
    constant = datasets.get(CONSTANT_DATA, xr.Dataset())
    datasets[CONSTANT_DATA] = constant.assign_coords({dim: carriers[0][dim]})
    for group in _WITHOUT_DRAWS:
        if group in datasets and dim in datasets[group].dims:
            datasets[group] = datasets[group].assign_coords({name: (dim, labels)})


def _rides(coord: Any) -> bool:
    return isinstance(coord, tuple) and len(coord) == 2 and isinstance(coord[0], str)


def _storable(group: str, name: str, raw: Any) -> NDArray[Any]:
    values = np.asarray(raw)
    if values.dtype == object:
        raise DataError(
            f"`{name}` in group `{group}` holds Python objects. "
            "Pass numbers or strings; pad ragged rows with NaN."
        )
    return values.astype(np.int8) if values.dtype == bool and group != _BOOL_KEPT else values


def _has_draws(group: str, name: str, values: NDArray[Any], named: Sequence[str] | None) -> bool:
    if group not in _WITHOUT_DRAWS:
        expected = None if named is None else len(named) + 2
        sampled = True
    else:
        expected = None if named is None else len(named)
        sampled = expected is not None and values.ndim == expected + 2
        expected = values.ndim if sampled else expected
    if (expected is not None and values.ndim != expected) or (sampled and values.ndim < 2):
        wanted = [*(SAMPLE_DIMS if sampled else ()), *(named or ())]
        raise DataError(
            f"`{name}` in group `{group}` has shape {values.shape}; its dimensions are "
            f"({', '.join(wanted)}). Pass one axis for each."
        )
    return sampled


def _check_lengths(
    group: str, name: str, values: NDArray[Any], full: Sequence[str], index: Mapping[str, Any]
) -> None:
    for dim, length in zip(full, values.shape, strict=False):
        if dim in index and len(index[dim]) != length:
            raise DataError(
                f"`{name}` in group `{group}` has length {length} along `{dim}`, but `{dim}` has "
                f"{len(index[dim])} labels. Pass one label for each."
            )


def save(result: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a result to a netCDF file, whole or not at all.

    Values, dtypes, labels and attributes come back as they were.

    Parameters
    ----------
    result : xarray.DataTree
        Any result or simulation.
    path : path
        Name of the file; its folder must exist. A file of this name is replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DataError
        If it cannot be written; nothing new stands under the name then.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise DataError(
            f"`path` is {str(target)!r}, but there is no folder `{target.parent}`. Make it first."
        )
    plain = result.copy()
    for node in plain.subtree:
        node.attrs = plain_attrs(node.attrs)
    try:
        write_atomically(target, _netcdf(plain))
    except (OSError, RuntimeError) as error:
        raise _cannot_save(target, error, result.nbytes) from error
    return target


def _netcdf(tree: xr.DataTree) -> bytes:
    """Return the file's content; a full disk then never meets netCDF, which holds on to it."""
    file = netCDF4.Dataset("result.nc", mode="w", memory=_FIRST_BYTES, format="NETCDF4")
    encoding = _encoding(tree)
    for node in tree.subtree:
        group = file if node.path == "/" else file.createGroup(node.path)
        dataset = node.to_dataset(inherit=False)
        dataset.dump_to_store(NetCDF4DataStore(group), encoding=encoding[node.path])
    content = bytes(file.close())
    # HDF5 pads a file in memory; its superblock (versions 2 and 3) tells the true length.
    end = int.from_bytes(content[28:36], "little") if content[8] in (2, 3) else len(content)
    return content[:end]


def _cannot_save(target: Path, error: Exception, size: int) -> DataError:
    free = shutil.disk_usage(target.parent).free
    reason, cure = f"{error}", "Check the folder's permissions, or choose another"
    if free < size:
        reason = f"the disk is full ({free / 1e6:.1f} MB free, up to {size / 1e6:.1f} MB needed)"
        cure = "Free some space, or choose another folder"
    return DataError(
        f"Cannot write `{target}`: {reason}. {cure}; the result is still in memory and no "
        "half-written file was left."
    )


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, dict[str, Any]]]:
    encoding: dict[str, dict[str, dict[str, Any]]] = {}
    for node in tree.subtree:
        own = {}
        for name, variable in node.to_dataset(inherit=False).variables.items():
            if variable.dtype.kind in "biuf":
                own[str(name)] = {"_FillValue": None, **(_COMPRESSION if variable.ndim else {})}
        encoding[node.path] = own
    return encoding


def load(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a result that `save` wrote, fully into memory.

    Parameters
    ----------
    path : path
        A netCDF file.

    Returns
    -------
    xarray.DataTree
        As it was saved.

    Raises
    ------
    DataError
        If there is no such file, it is no netCDF file, or it is damaged.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f"There is no file `{source}`. Check the name; we are in `{Path.cwd()}`.")
    _check_kind(source)
    try:
        with xr.open_datatree(source, engine="netcdf4") as tree:
            loaded = tree.load().copy(deep=True)
    except (OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"`{source}` is damaged or cut short ({error}). Write it again, or take a backup."
        ) from error
    if not loaded.children and not loaded.variables:
        raise DataError(
            f"`{source}` is a netCDF file without any variables. Pass one that `save` wrote."
        )
    return xr.DataTree.from_dict(
        {node.path: _restored(node.to_dataset(inherit=False)) for node in loaded.subtree}
    )


def _check_kind(source: Path) -> None:
    with open(source, "rb") as file:
        head = file.read(8)
    if head != b"\x89HDF\r\n\x1a\n":
        raise DataError(
            f"`{source}` is not a netCDF-4 file; it starts with {head!r}. "
            "Pass a file that `save` wrote, ending in .nc."
        )


def _restored(dataset: xr.Dataset) -> xr.Dataset:
    """Undo what netCDF does to text labels and to numbers in attributes."""
    for name, variable in dataset.variables.items():
        if variable.dtype == object:
            text = variable.values.astype(str)
            if name in dataset.coords:
                dataset = dataset.assign_coords({name: (variable.dims, text, variable.attrs)})
            else:
                dataset[name] = (variable.dims, text, variable.attrs)
    for variable in dataset.variables.values():
        variable.encoding = {}
    dataset.encoding = {}
    dataset.attrs = plain_attrs(dataset.attrs)
    for name in dataset.variables:
        dataset[name].attrs = plain_attrs(dataset[name].attrs)
    return dataset
