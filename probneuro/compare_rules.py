"""The main job: fit a recording under several learning rules and compare their predictions."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import pandas as pd
import xarray as xr

from probneuro.compare import compare
from probneuro.components.links import Link, link_from_name
from probneuro.core import names
from probneuro.core.errors import DataError, SettingError
from probneuro.core.held_out import HasHeldOut
from probneuro.core.registry import load
from probneuro.core.results import build_result
from probneuro.core.rng import resolve_seed
from probneuro.data import BinnedSpikes, SpikeTrains
from probneuro.infer import infer
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.learning_rules import LearningRule
from probneuro.models.stdp_glm import STDPGLM


@final
@dataclass(frozen=True)
class RuleComparison:
    """What a comparison of learning rules found.

    Parameters
    ----------
    results : dict of str to DataTree
        One posterior per rule, with its held-out predictions.
    table : DataFrame or None
        The ranking, best first; None where only one rule was fitted.
    """

    results: dict[str, xr.DataTree]
    table: pd.DataFrame | None


def compare_rules(
    spikes: SpikeTrains | BinnedSpikes,
    *,
    rules: Sequence[str | LearningRule] = ("static", "additive", "multiplicative"),
    held_out: float = 10.0,
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
) -> RuleComparison:
    """Fit spike trains under several learning rules and rank them by what they predict.

    Each rule is fitted to the recording without its last seconds; these are then predicted
    window by window, each from everything before it, with the weights integrated out.

    Parameters
    ----------
    spikes : SpikeTrains or BinnedSpikes
        The recording; two units or more.
    rules : sequence of str or LearningRule
        Names of rules, or rules of your own.
    held_out : float
        Seconds at the end to predict; rounded up to whole windows.
    bin_width, window : float
        Seconds; ignored where the spikes are binned already.
    link : str or Link
        Activation to rate; ignored where ``model`` is given.
    model : STDPGLM, optional
        Settings other than the rule: priors, basis, network, sharing.
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

    Returns
    -------
    RuleComparison
        Results by rule, and the table.

    Raises
    ------
    SettingError
        If a rule is unknown or named twice.
    DataError
        If the recording is too short for the held-out part, or that part has no spikes.

    Examples
    --------
    >>> from probneuro.simulators.plastic_glm import simulate_plastic_glm
    >>> from probneuro.learning_rules import Static
    >>> spikes, _ = simulate_plastic_glm(Static(), duration=8.0)
    >>> small = dict(draws=10, warmup=10, chains=1, seed=1, progress=False)
    >>> found = compare_rules(spikes, rules=["static", "additive"], held_out=2.0, **small)
    >>> sorted(found.results)
    ['additive', 'static']
    """
    binned = spikes.bin(bin_width, window) if isinstance(spikes, SpikeTrains) else spikes
    train, test = binned.split(held_out)
    _check_held_out(test, held_out)
    if train.num_windows < 2:
        raise DataError(
            f"`held_out` of {held_out:g} s leaves {train.num_windows} window(s) to train on. "
            "Hold out less, or use shorter windows."
        )
    chosen = _named([load("learning_rule", r)() if isinstance(r, str) else r for r in rules])
    base = model or STDPGLM(link=link_from_name(link) if isinstance(link, str) else link)
    seed = resolve_seed(seed)
    results = {}
    for name, rule in chosen.items():
        results[name] = fit_and_predict(
            replace(base, rule=rule), binned, train, draws=draws, warmup=warmup, chains=chains,
            seed=seed, workers=workers, progress=progress,
            checkpoint=None if checkpoint is None else Path(checkpoint) / name,
        )  # fmt: skip
    return RuleComparison(results, compare(results) if len(results) > 1 else None)


def _check_held_out(test: BinnedSpikes, held_out: float) -> None:
    """Refuse a silent end: bits a spike are not defined there."""
    if not test.counts.any():
        raise DataError(
            f"`held_out`: the last {held_out:g} s, from {test.window_starts[0]:.9g} s on, hold no "
            "spikes, so that nothing can be scored. Restrict the recording to an earlier end, or "
            "hold out more."
        )


def _named(rules: Sequence[LearningRule]) -> dict[str, LearningRule]:
    if not rules:
        raise SettingError("`rules` is empty. Name at least one, e.g. rules=['static'].")
    named = {rule.name: rule for rule in rules}
    if len(named) < len(rules):
        raise SettingError(
            f"`rules` must have different names; got {', '.join(rule.name for rule in rules)}. "
            "Set another `name` on one of them."
        )
    return named


def fit_and_predict(
    model: STDPGLM,
    binned: BinnedSpikes,
    train: BinnedSpikes,
    *,
    draws: int,
    warmup: int,
    chains: int,
    seed: int,
    workers: int | None,
    progress: bool,
    checkpoint: str | os.PathLike[str] | None,
) -> xr.DataTree:
    """Fit one model to the training part and add its held-out predictions to the result."""
    engine = ParticleGibbs if model.rule.coupled else CollapsedGibbs
    result = infer(
        model, train, engine=engine(warmup=warmup), draws=draws, chains=chains,
        seed=seed, workers=workers, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    crew = workers or os.cpu_count() or 1
    return add_held_out(result, model, binned, train.num_windows, seed=seed, workers=crew)


def add_held_out(
    result: xr.DataTree, model: Any, data: BinnedSpikes, first: int, **settings: Any
) -> xr.DataTree:
    """Return a result with the group ``held_out`` added.

    Parameters
    ----------
    result : DataTree
        A posterior of ``model`` fitted to the windows before ``first``.
    model : HasHeldOut
        The model.
    data : BinnedSpikes
        The whole recording.
    first : int
        First held-out window.
    **settings
        Passed to the model's ``held_out``.
    """
    if not isinstance(model, HasHeldOut):
        raise SettingError(f"{type(model).__name__} cannot predict held-out blocks.")
    posterior: Mapping[str, Any] = {
        str(name): variable.values for name, variable in result[names.POSTERIOR].data_vars.items()
    }
    group = model.held_out(posterior, data, first, **settings)
    extra = build_result(
        {}, dims=model.dims() if isinstance(model, STDPGLM) else {},
        coords={
            names.BLOCK: data.window_starts[first:], names.NEURON: list(data.units),
        },
        groups={names.HELD_OUT: group},
    )  # fmt: skip
    result[names.HELD_OUT] = extra[names.HELD_OUT]
    return result
