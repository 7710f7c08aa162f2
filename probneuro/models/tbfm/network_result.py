"""How a result holds networks and what stands around them: arrays and sizes, no code."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from probneuro.components.stim_descriptor import StimDescriptor
from probneuro.core import names
from probneuro.core.errors import DataError
from probneuro.models.tbfm.design import Scaling
from probneuro.models.tbfm.posterior import SCALING_DIMS


def network_tree(
    kind: str,
    networks: Mapping[str, nn.Module],
    settings: Mapping[str, Any],
    scaling: Scaling,
    descriptor: StimDescriptor,
    estimates: Mapping[str, tuple[tuple[str, ...], Any]],
) -> xr.DataTree:
    """Return networks, and what stands around them, as a result that can be saved.

    Parameters
    ----------
    kind : str
        What it is read back as.
    networks : mapping of str to Module
        By name.
    settings : mapping
        Numbers and words that the networks were built of.
    scaling : Scaling
        From the training trials.
    descriptor : StimDescriptor
        What the networks are told of pulses.
    estimates : mapping of str to (dims, values)
        Further arrays.

    Returns
    -------
    DataTree
        Groups ``parameters`` and ``constant_data``.
    """
    found = {name: xr.Variable(dims, values) for name, (dims, values) in estimates.items()}
    for name, network in networks.items():
        for part, values in network.state_dict().items():
            key = f"{name}.{part}"
            dims = [f"{key}.{axis}" for axis in range(values.ndim)]
            found[key] = xr.Variable(dims, values.detach().numpy())
    constants = {n: (SCALING_DIMS[n], values) for n, values in scaling.arrays().items()}
    tree = xr.DataTree.from_dict({
        names.PARAMETERS: xr.Dataset(found), names.CONSTANT_DATA: xr.Dataset(constants)
    })  # fmt: skip
    tree.attrs = {
        "model": "tbfm",
        "fitted_by": kind,
        "settings": json.dumps(dict(settings)),
        "descriptor": json.dumps(asdict(descriptor)),
    }
    return tree


def read_network_tree(
    tree: xr.DataTree, kinds: tuple[str, ...]
) -> tuple[str, dict[str, Any], Scaling, StimDescriptor]:
    """Return what a tree of `network_tree` says beside the networks' arrays.

    Parameters
    ----------
    tree : DataTree
        The tree, as it was or read back from a file.
    kinds : tuple of str
        What it may be.

    Returns
    -------
    tuple
        The kind, the settings, the scaling and the descriptor.

    Raises
    ------
    DataError
        If it is of another kind.
    """
    kind = tree.attrs.get("fitted_by")
    if kind not in kinds:
        raise DataError(
            f"`tree` was not written by {' or '.join(kinds)}; its `fitted_by` is {kind!r}. Pass "
            "what `to_tree` returned, or `probneuro.load` read."
        )
    kept = tree[names.CONSTANT_DATA].to_dataset()
    found = {name: kept[name].values for name in SCALING_DIMS if name in kept}
    scaling = Scaling.from_arrays(found)
    told = json.loads(tree.attrs["descriptor"])
    told["sites"] = None if told["sites"] is None else tuple(told["sites"])
    return kind, json.loads(tree.attrs["settings"]), scaling, StimDescriptor(**told)


def fill_network(network: nn.Module, tree: xr.DataTree, name: str) -> None:
    """Put a network's arrays back into it.

    Parameters
    ----------
    network : Module
        Built of the same sizes.
    tree : DataTree
        What `network_tree` returned.
    name : str
        Its name there.

    Raises
    ------
    DataError
        If an array is missing, or has another shape.
    """
    found = tree[names.PARAMETERS].to_dataset()
    state = {}
    for part, values in network.state_dict().items():
        key = f"{name}.{part}"
        if key not in found or found[key].shape != tuple(values.shape):
            held = found[key].shape if key in found else "nothing"
            raise DataError(
                f"`tree` must hold `{key}` of shape {tuple(values.shape)}; it holds {held}. It was "
                "changed since it was written, or is of a network of other sizes."
            )
        state[part] = torch.as_tensor(np.ascontiguousarray(found[key].values)).to(values.dtype)
    network.load_state_dict(state)
