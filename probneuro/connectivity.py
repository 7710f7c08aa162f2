"""Who is connected to whom, by several methods in one call, and how well each one tells."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probneuro.components.correlogram import CrossCorrelation
from probneuro.components.edge_scorer import EdgeScorer
from probneuro.components.group_lasso import GroupLasso
from probneuro.components.links import Link, link_from_name
from probneuro.core import names, registry
from probneuro.core.detection import auc, auc_covariance, average_precision, brier
from probneuro.core.errors import DataError, SettingError, unknown_name
from probneuro.core.rng import resolve_seed
from probneuro.data import BinnedSpikes, SpikeTrains
from probneuro.data.truth import edge_truth
from probneuro.infer import infer
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.learning_rules import LearningRule
from probneuro.models.stdp_glm import STDPGLM

QUICK: Final = ("cross_correlation", "group_lasso")
"""Methods without a posterior; every other name is that of a learning rule."""


@final
@dataclass(frozen=True)
class Connectivity:
    """What several methods say about the synapses between neurons.

    Parameters
    ----------
    scores : Dataset
        ``score`` and ``probability`` (method, synapse), larger where a synapse is; the
        probability is NaN for methods that give none. With a truth also ``truth`` (synapse,)
        and, if it tells weights, ``decayed`` (synapse,). Write
        ``scores.sel({"method": "static"})``: as a keyword, xarray takes `method` for its own.
    table : DataFrame or None
        With a truth, one row a method, best first: see `score_table`.
    results : dict of str to DataTree
        Posteriors of the methods that have one.
    details : dict of str to Dataset
        What the other methods tell besides the score, each (synapse,).
    """

    scores: xr.Dataset
    table: pd.DataFrame | None
    results: dict[str, xr.DataTree]
    details: dict[str, xr.Dataset]

    def tree(self) -> xr.DataTree:
        """Return scores and details as one tree, to be saved by `probneuro.save`."""
        groups = {"edge_scores": self.scores, **self.details}
        return xr.DataTree.from_dict(groups)


def connectivity(
    spikes: SpikeTrains | BinnedSpikes,
    *,
    methods: Sequence[str | LearningRule | EdgeScorer] = (*QUICK, "static", "additive"),
    truth: Any = None,
    bin_width: float = 1e-3,
    window: float = 1.0,
    link: str | Link = "softplus",
    model: STDPGLM | None = None,
    draws: int = 500,
    warmup: int = 500,
    chains: int = 4,
    seed: int | None = None,
    workers: int | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    fitted: Mapping[str, xr.DataTree] | None = None,
) -> Connectivity:
    """Score every candidate synapse by several methods, and the methods by a truth.

    A learning rule stands for the STDP-GLM under it: its score is the posterior probability
    of the edge, the share of draws that have it, and where all draws agree the mean log odds
    besides, which orders what the share cannot. "static" is the static spike-and-slab.

    Parameters
    ----------
    spikes : SpikeTrains or BinnedSpikes
        The recording; two units or more.
    methods : sequence of str, LearningRule or EdgeScorer
        "cross_correlation", "group_lasso", names of learning rules, or objects of your own.
    truth : optional
        Which synapses there are: a Dataset with ``edge`` (synapse,), a tree with a group
        ``truth``, what a simulator returned, or an adjacency matrix (pre, post).
    bin_width, window : float
        Seconds; ignored where the spikes are binned already.
    link : str or Link
        Activation to rate; ignored where ``model`` is given.
    model : STDPGLM, optional
        Settings other than the rule; link and basis are those of the group lasso too, and the
        network's candidates are the synapses that are scored.
    draws, warmup, chains : int
        Size of each posterior sample.
    seed : int, optional
        Same seed, same numbers.
    workers : int, optional
        Chains at a time.
    progress : bool
        Whether to show progress.
    checkpoint : path, optional
        Folder to resume from; one folder a rule inside.
    fitted : mapping of str to DataTree, optional
        Posteriors in hand, by rule; these rules are not fitted again.

    Returns
    -------
    Connectivity
        Scores, the table, and the posteriors.

    Raises
    ------
    SettingError
        If a method is unknown or named twice, or has no uncertain edges.
    DataError
        If there is one unit only, one is silent, or the truth does not fit the units.

    Examples
    --------
    >>> from probneuro.data import example_truth, load_example
    >>> spikes = load_example("neuron_network").select(["0", "1", "2"]).restrict(0, 10)
    >>> truth = example_truth("neuron_network")
    >>> found = connectivity(spikes, methods=["cross_correlation", "group_lasso"], truth=truth)
    >>> dict(found.scores["score"].sizes)
    {'method': 2, 'synapse': 6}
    """
    binned = spikes.bin(bin_width, window) if isinstance(spikes, SpikeTrains) else spikes
    base = model or STDPGLM(link=link_from_name(link) if isinstance(link, str) else link)
    chosen = _named([_method(m, base) for m in methods])
    known = _checked(chosen, binned, base, truth)
    fit: dict[str, Any] = {"draws": draws, "chains": chains, "workers": workers}
    fit |= {"seed": resolve_seed(seed), "progress": progress}
    results, details = {}, {}
    rows: dict[str, tuple[Any, Any]] = {}
    for name, method in chosen.items():
        if isinstance(method, EdgeScorer):
            details[name] = _quick(method, binned, base)
            rows[name] = details[name]["score"].values, None
            continue
        if fitted is None or name not in fitted:
            place = None if checkpoint is None else Path(checkpoint) / name
            engine = ParticleGibbs if method.coupled else CollapsedGibbs
            results[name] = infer(
                replace(base, rule=method), binned, engine=engine(warmup=warmup),
                checkpoint=place, **fit,
            )  # fmt: skip
        else:
            results[name] = fitted[name]
        rows[name] = _edge_probability(name, results[name], base.synapse_names(binned))
    scores = _table_of_scores(rows, binned, base, known)
    return Connectivity(scores, None if truth is None else score_table(scores), results, details)


def score_table(scores: xr.Dataset) -> pd.DataFrame:
    """Return how well each method tells synapses from other pairs.

    Parameters
    ----------
    scores : Dataset
        The `scores` of a `Connectivity` with a truth.

    Returns
    -------
    DataFrame
        By method, best first: ``auc`` and its standard error ``auc_se``; ``auc_diff`` to the
        best and the paired standard error of this difference ``auc_dse`` (DeLong);
        ``average_precision``; ``brier`` of probabilities, NaN otherwise; ``auc_decayed``, of
        decayed synapses against pairs without one, if the truth tells weights.

    Raises
    ------
    DataError
        If there is no truth, or all pairs are of one kind.
    """
    if "truth" not in scores:
        raise DataError("`scores` has no `truth`. Pass connectivity(..., truth=...).")
    truth = scores["truth"].values
    values = scores["score"].values
    areas = np.array([auc(row, truth) for row in values])
    spread = auc_covariance(values, truth)
    best = int(np.argmax(areas))
    difference = np.diag(spread) + spread[best, best] - 2 * spread[best]
    columns = {
        "auc": areas,
        "auc_se": np.sqrt(np.diag(spread)),
        "auc_diff": areas - areas[best],
        "auc_dse": np.sqrt(np.maximum(difference, 0.0)),
        "average_precision": [average_precision(row, truth) for row in values],
        "brier": [
            brier(row, truth) if np.isfinite(row).all() else np.nan
            for row in scores["probability"].values
        ],
    }
    if "decayed" in scores and scores["decayed"].any():
        kept = (scores["decayed"].values == 1) | (truth == 0)
        columns["auc_decayed"] = [auc(row[kept], truth[kept]) for row in values]
    table = pd.DataFrame(columns, index=pd.Index(scores["method"].values, name="method"))
    return table.sort_values("auc", ascending=False, kind="stable")


def _method(method: Any, base: STDPGLM) -> LearningRule | EdgeScorer:
    if isinstance(method, LearningRule | EdgeScorer):
        return method
    if method == "cross_correlation":
        return CrossCorrelation()
    if method == "group_lasso":
        return GroupLasso(link=base.link, basis=base.basis)
    known = registry.names("learning_rule")
    if method not in known:
        raise unknown_name("method", str(method), [*QUICK, *known])
    rule: LearningRule = registry.load("learning_rule", method)()
    return rule


def _named(
    methods: Sequence[LearningRule | EdgeScorer],
) -> dict[str, LearningRule | EdgeScorer]:
    if not methods:
        raise SettingError("`methods` is empty. Name at least one, e.g. methods=['static'].")
    named = {method.name: method for method in methods}
    if len(named) < len(methods):
        raise SettingError(
            f"`methods` must have different names; got {', '.join(m.name for m in methods)}. "
            "Set another `name` on one of them."
        )
    return named


def _quick(method: EdgeScorer, data: BinnedSpikes, base: STDPGLM) -> xr.Dataset:
    """Return what a method without a posterior tells about each candidate synapse."""
    pre, post = base.network.candidates(data.units)
    found = method.score(data)
    shape = (data.num_neurons, data.num_neurons)
    for name, matrix in found.items():
        if np.shape(matrix) != shape or not np.isfinite(matrix[pre, post]).all():
            raise DataError(
                f"`{name}` of the method '{method.name}' must be finite and of shape {shape}, "
                f"(pre, post); got shape {np.shape(matrix)}. Correct its `score`."
            )
    columns = {name: (names.SYNAPSE, matrix[pre, post]) for name, matrix in found.items()}
    return xr.Dataset(columns, coords=_coords(data, base))


def _checked(
    methods: Mapping[str, LearningRule | EdgeScorer], data: BinnedSpikes, base: STDPGLM, truth: Any
) -> xr.Dataset:
    """Return the truth, empty if none is known, once nothing stands in the way of long fits."""
    if data.num_neurons < 2:
        raise DataError(
            f"`spikes` must hold two units or more to have a synapse; got {data.num_neurons}. "
            "Read more units."
        )
    data.check_fittable()
    rules = [name for name, method in methods.items() if isinstance(method, LearningRule)]
    if rules and bool((base.network.edge_probability(data.units) == 1).all()):
        raise SettingError(
            f"`model`: the edges of its network are certain, so that '{rules[0]}' has nothing to "
            "score. Use a network whose edges have a probability below 1, such as ErdosRenyi()."
        )
    if truth is None:
        return xr.Dataset()
    known = edge_truth(truth, data, base.synapse_names(data))
    # This raises where all pairs are of one kind.
    auc(known["truth"], known["truth"])
    return known


def _edge_probability(
    name: str, result: xr.DataTree, synapses: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each edge's score and its posterior probability.

    Draws that all agree cannot tell a probability of 0.999 from one of 0.999999: there the mean
    log odds of the edge orders the scores, below 0 and above 1.
    """
    posterior = result[names.POSTERIOR].to_dataset()
    if list(posterior[names.SYNAPSE].values) != list(synapses):
        raise DataError(
            f"`fitted` has a result of '{name}' with other synapses than the recording's. Pass "
            "results of the same units and network."
        )
    edge = posterior["edge"].astype(np.float64).mean((names.CHAIN, names.DRAW)).values
    stats = result.children.get(names.SAMPLE_STATS)
    if stats is None or "log_edge_odds" not in stats:
        return edge, edge
    odds = stats["log_edge_odds"].mean((names.CHAIN, names.DRAW)).fillna(0.0).values
    beyond = np.where(edge == 1.0, np.maximum(odds, 0.0), 0.0)
    return edge + beyond + np.where(edge == 0.0, np.minimum(odds, 0.0), 0.0), edge


def _coords(data: BinnedSpikes, base: STDPGLM) -> dict[str, Any]:
    every = base.coords(data)
    return {name: every[name] for name in (names.SYNAPSE, names.PRE, names.POST)}


def _table_of_scores(
    rows: Mapping[str, tuple[Any, Any]], data: BinnedSpikes, base: STDPGLM, known: xr.Dataset
) -> xr.Dataset:
    dims = ("method", names.SYNAPSE)
    score = np.array([row for row, _ in rows.values()])
    probability = np.array([
        np.full(score.shape[1], np.nan) if chance is None else chance
        for _, chance in rows.values()
    ])  # fmt: skip
    coords = {"method": list(rows), **_coords(data, base)}
    found = xr.Dataset({"score": (dims, score), "probability": (dims, probability)}, coords)
    return found.assign({name: known[name] for name in known.data_vars})
