"""New groups beside the ones a result has, with its names and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from probneuro.core.model import Model
from probneuro.core.names import OBSERVED_DATA
from probneuro.core.results import build_result


def own_names(model: Any, result: xr.DataTree | None) -> dict[str, list[str]]:
    """Return names of dimensions that the model or the result gives to a variable.

    Parameters
    ----------
    model : Model or callable
        A `Model` names its sites.
    result : xarray.DataTree or None
        Its ``observed_data`` has the names that the user gave.

    Returns
    -------
    dict of str to list of str
        By variable, without chain and draw.
    """
    names: dict[str, list[str]] = {}
    if isinstance(model, Model):
        names = {name: list(dims) for name, dims in model.dims().items()}
    if result is not None and OBSERVED_DATA in result.children:
        known = result[OBSERVED_DATA].to_dataset().data_vars
        names |= {str(name): [str(d) for d in v.dims] for name, v in known.items()}
    return names


def prefer(given: Sequence[str] | None, found: list[Any]) -> list[Any]:
    """Return the names given, if they are as many as the dimensions; else those found."""
    return list(given) if given is not None and len(given) == len(found) else found


def labels_of(result: xr.DataTree) -> dict[str, Any]:
    """Return the labels of every dimension that is the same wherever it stands."""
    labels: dict[str, Any] = {}
    clashing = set()
    for node in result.children.values():
        for dim in node.dims:
            if dim not in node.coords:
                continue
            values = node.coords[dim].values
            if dim in labels and not np.array_equal(labels[str(dim)], values):
                clashing.add(dim)
            labels.setdefault(str(dim), values)
    return {dim: values for dim, values in labels.items() if dim not in clashing}


def fitting(labels: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return those labels that are as many as their dimension is long, or its is unknown."""
    return {d: v for d, v in labels.items() if d not in sizes or len(v) == sizes[d]}


def with_groups(
    result: xr.DataTree,
    groups: Mapping[str, Mapping[str, Any]],
    *,
    dims: Mapping[str, Sequence[Any]],
    coords: Mapping[str, Any],
) -> xr.DataTree:
    """Return the result with groups added or replaced; the one passed in stays as it was.

    Parameters
    ----------
    result : xarray.DataTree
        Any result.
    groups : mapping of str to mapping
        Arrays by group and name, as in `build_result`.
    dims, coords : mapping
        As in `build_result`; labels of chain and draw among them.

    Returns
    -------
    xarray.DataTree
        A shallow copy.
    """
    added = build_result({}, groups=groups, dims=dims, coords=coords)
    copy = result.copy()
    for name, node in added.children.items():
        copy[name] = xr.DataTree(node.to_dataset())
    return copy
