"""Take out of a result what a figure draws, and say plainly when it is not there."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core import names
from probneuro.core.errors import DataError, SettingError

Results = Mapping[str, xr.DataTree]
Quantiles = NDArray[np.float64]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Limits of the 90 % band, the 50 % band, and the median."""


def dataset(dt: xr.DataTree, group: str, *variables: str) -> xr.Dataset:
    """Return one group of a result as a dataset, checked to hold the variables asked for.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.
    group : str
        Name of the group.
    *variables : str
        Variables that must be in it.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    DataError
        If the group or one of the variables is missing.
    """
    if not isinstance(dt, xr.DataTree):
        raise DataError(
            f"`dt` must be an xarray.DataTree as returned by infer(); got {type(dt).__name__}. "
            "Load a saved result with probneuro.load(path)."
        )
    if group not in dt.children:
        found = ", ".join(sorted(dt.children)) or "none"
        raise DataError(
            f"`{group}` is not a group of this result (groups: {found}). This figure needs it; "
            "pass the result of the STDP-GLM as infer() or compare_rules() returned it."
        )
    found_group = dt.children[group].to_dataset()
    missing = [name for name in variables if name not in found_group]
    if missing:
        raise DataError(
            f"`{missing[0]}` is not in group `{group}` of this result "
            f"(there: {', '.join(map(str, found_group.data_vars)) or 'nothing'}). "
            "This figure needs it; draw it for a model that has this variable."
        )
    return found_group


def by_rule(results: xr.DataTree | Results) -> dict[str, xr.DataTree]:
    """Return results by rule name, whether one result or several were passed.

    Parameters
    ----------
    results : DataTree or mapping of str to DataTree
        One result, named by its attribute ``rule``, or several by name.

    Returns
    -------
    dict of str to DataTree

    Raises
    ------
    SettingError
        If the mapping is empty.
    """
    # A DataTree is itself a mapping, so this comes first.
    if isinstance(results, xr.DataTree):
        return {rule_name(results): results}
    if not isinstance(results, Mapping):
        raise DataError(
            f"`dt` must be an xarray.DataTree as returned by infer(), or a dict of them by rule "
            f"name; got {type(results).__name__}. Load a saved result with probneuro.load(path)."
        )
    if not results:
        raise SettingError("`results` is empty. Pass one DataTree, or a dict of them by rule name.")
    return dict(results)  # type: ignore[arg-type]


def rule_name(dt: xr.DataTree) -> str:
    """Return the learning rule that a result was fitted with, or the model's name."""
    return str(dt.attrs.get("rule", dt.attrs.get("model", "result")))


def flat(array: xr.DataArray) -> NDArray[np.float64]:
    """Return draws of all chains along one leading axis, shape ``(chain * draw, ...)``."""
    ordered = array.transpose(names.CHAIN, names.DRAW, ...)
    return np.asarray(ordered, dtype=float).reshape(-1, *ordered.shape[2:])


def bands(draws: NDArray[np.float64]) -> Quantiles:
    """Return the 5, 25, 50, 75 and 95 % quantiles over the leading axis, shape ``(5, ...)``.

    Parameters
    ----------
    draws : array, shape (draw, ...)
        Values to summarise.

    Returns
    -------
    array, shape (5, ...)

    Examples
    --------
    >>> bands(np.arange(101.0)).tolist()
    [5.0, 25.0, 50.0, 75.0, 95.0]
    """
    return np.quantile(draws, LEVELS, axis=0)


def edge_probability(posterior: xr.Dataset) -> NDArray[np.float64]:
    """Return the posterior probability of each synapse, 1 where the model has no edges.

    Parameters
    ----------
    posterior : xarray.Dataset
        Group `posterior`.

    Returns
    -------
    array, shape (synapse,)
    """
    if "edge" not in posterior:
        return np.ones(posterior.sizes[names.SYNAPSE])
    edge = posterior["edge"].astype(float).mean((names.CHAIN, names.DRAW))
    return np.asarray(edge, dtype=float)


def with_edge(posterior: xr.Dataset, variable: str, synapse: int) -> NDArray[np.float64]:
    """Return a synapse's draws of a variable, only those draws in which the edge exists.

    Parameters
    ----------
    posterior : xarray.Dataset
        Group `posterior`.
    variable : str
        A variable with dimension `synapse`.
    synapse : int
        Position of the synapse.

    Returns
    -------
    array, shape (draws with the edge, ...)
    """
    draws = flat(posterior[variable].isel({names.SYNAPSE: synapse}))
    if "edge" not in posterior:
        return draws
    return draws[flat(posterior["edge"].isel({names.SYNAPSE: synapse})) > 0]


def most_probable(results: Mapping[str, xr.Dataset], limit: int) -> list[str]:
    """Return the labels of the synapses with the highest edge probability, highest first.

    Parameters
    ----------
    results : mapping of str to xarray.Dataset
        Group `posterior` of each rule; with several, their mean probability counts.
    limit : int
        How many to return at most.

    Returns
    -------
    list of str
    """
    scores: dict[str, list[float]] = {}
    for posterior in results.values():
        labels = synapse_labels(posterior)
        for label, value in zip(labels, edge_probability(posterior), strict=True):
            scores.setdefault(label, []).append(float(value))
    means = {label: float(np.mean(values)) for label, values in scores.items()}
    return sorted(means, key=lambda label: -means[label])[:limit]


def synapse_labels(posterior: xr.Dataset) -> list[str]:
    """Return the labels on dimension `synapse`."""
    return [str(label) for label in posterior[names.SYNAPSE].values]


def ends(posterior: xr.Dataset, synapse: int) -> tuple[str, str]:
    """Return the neurons on both sides of a synapse, by coordinates or else by its label.

    Parameters
    ----------
    posterior : xarray.Dataset
        Group `posterior`.
    synapse : int
        Position of the synapse.

    Returns
    -------
    pre, post : str
    """
    if names.PRE in posterior.coords and names.POST in posterior.coords:
        return str(posterior[names.PRE].values[synapse]), str(posterior[names.POST].values[synapse])
    pre, _, post = synapse_labels(posterior)[synapse].partition("->")
    return pre, post


def pretty(label: str) -> str:
    """Return a synapse's label with a proper arrow, ``"a->b"`` becoming ``"a → b"``."""
    return label.replace("->", " → ")


def spacing(starts: NDArray[np.float64]) -> float:
    """Return the width in s of equally spaced windows from their starts, 1 s if only one."""
    return float(np.median(np.diff(starts))) if len(starts) > 1 else 1.0


def held_out_span(dt: xr.DataTree) -> tuple[float, float] | None:
    """Return start and end in s of the held-out blocks, None if nothing was held out."""
    if names.HELD_OUT not in dt.children or names.BLOCK not in dt[names.HELD_OUT].coords:
        return None
    starts = np.asarray(dt[names.HELD_OUT][names.BLOCK].values, dtype=float)
    return (float(starts[0]), float(starts[-1]) + spacing(starts)) if len(starts) else None
