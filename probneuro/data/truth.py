"""Which synapses a simulated recording has, in whatever form it is told."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from probneuro.core import names
from probneuro.core.errors import DataError
from probneuro.data.binned import BinnedSpikes

DECAYED: Final = 0.2
"""A synapse that ends below this share of its first weight counts as decayed."""


def edge_truth(truth: Any, data: BinnedSpikes, synapses: Sequence[str]) -> xr.Dataset:
    """Return which of some synapses there are, and which of them decayed.

    Parameters
    ----------
    truth : DataTree, Dataset, mapping or array_like
        A tree with a group ``truth``, a Dataset with ``edge`` (synapse,) and perhaps
        ``weight`` (synapse, window), the arrays that a simulator returns, over all ordered
        pairs of units, or an adjacency matrix (pre, post).
    data : BinnedSpikes
        The recording; its units are those of a truth without labels, and weights count within
        its time.
    synapses : sequence of str
        The synapses asked for.

    Returns
    -------
    xarray.Dataset
        ``truth`` (synapse,), int8; with weights also ``decayed`` (synapse,): those that end
        below :data:`DECAYED` of their first weight.

    Raises
    ------
    DataError
        If it holds no edges, or not those asked for.

    Examples
    --------
    >>> data = BinnedSpikes([[1, 0], [0, 1]], bins_per_window=1)
    >>> edge_truth([[0, 1], [0, 0]], data, ["0->1", "1->0"])["truth"].values
    array([1, 0], dtype=int8)
    """
    known = _dataset(truth, data.units)
    there = {str(label) for label in known[names.SYNAPSE].values}
    unknown = [label for label in synapses if label not in there]
    if unknown:
        raise DataError(
            f"`truth` says nothing about the synapse '{unknown[0]}'. Name the units as in the "
            "truth, or pass an adjacency matrix (pre, post) in the order of the units."
        )
    known = known.sel({names.SYNAPSE: list(synapses)})
    edge = known["edge"].values.astype(bool)
    found = {"truth": (names.SYNAPSE, edge.astype(np.int8))}
    if "weight" in known and names.WINDOW in known["weight"].dims:
        weight = known["weight"].transpose(names.SYNAPSE, names.WINDOW)
        if names.WINDOW in weight.coords:
            start = weight[names.WINDOW].values
            inside = (start > data.start - 1e-9) & (start < data.stop - 1e-9)
            weight = weight[:, inside] if inside.any() else weight
        fallen = edge & (weight[:, -1].values < DECAYED * weight[:, 0].values)
        found["decayed"] = (names.SYNAPSE, fallen.astype(np.int8))
    return xr.Dataset(found)


def _dataset(truth: Any, units: Sequence[str]) -> xr.Dataset:
    if isinstance(truth, xr.DataTree):
        if names.TRUTH not in truth.children:
            raise DataError(
                f"`truth` has no group `truth` (groups: {', '.join(truth.children) or 'none'}). "
                "Pass what a simulator wrote, or a Dataset with `edge`."
            )
        truth = truth[names.TRUTH].to_dataset()
    if not isinstance(truth, xr.Dataset):
        truth = _from_arrays(truth, units)
    labelled: xr.Dataset = truth
    if "edge" not in labelled or names.SYNAPSE not in labelled["edge"].coords:
        raise DataError(
            "`truth` must hold `edge` with labels on `synapse`; got "
            f"{', '.join(map(str, labelled.data_vars)) or 'nothing'}. Pass an adjacency matrix "
            "(pre, post) otherwise."
        )
    return labelled


def _from_arrays(truth: Any, units: Sequence[str]) -> xr.Dataset:
    """Return a truth given as an adjacency matrix, or as the arrays that a simulator returns."""
    labels = [names.synapse_name(a, b) for a in units for b in units if a != b]
    if isinstance(truth, Mapping):
        arrays = {key: np.asarray(truth[key]) for key in ("edge", "weight") if key in truth}
    else:
        arrays = {"edge": _off_diagonal(truth, len(units))}
    if "edge" not in arrays or arrays["edge"].shape != (len(labels),):
        got = arrays["edge"].shape if "edge" in arrays else "no `edge`"
        raise DataError(
            f"`truth` must hold `edge` of all {len(labels)} ordered pairs of the units; got {got}. "
            "Pass a Dataset with labels on `synapse`, or an adjacency matrix (pre, post)."
        )
    dims = {"edge": (names.SYNAPSE,), "weight": (names.SYNAPSE, names.WINDOW)}
    variables = {key: (dims[key], value) for key, value in arrays.items()}
    return xr.Dataset(variables, coords={names.SYNAPSE: labels})


def _off_diagonal(matrix: ArrayLike, num_neurons: int) -> NDArray[Any]:
    table = np.asarray(matrix)
    if table.shape != (num_neurons, num_neurons) or not np.isin(table, (0, 1)).all():
        raise DataError(
            f"`truth` must be zeros and ones of shape {(num_neurons, num_neurons)}, (pre, post); "
            f"got shape {table.shape}. Pass 1 where a synapse is."
        )
    kept: NDArray[Any] = table[~np.eye(num_neurons, dtype=bool)]
    return kept
