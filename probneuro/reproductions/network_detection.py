"""Are synapses that decay still found, and the rule behind them? (Figures 3 and 4.)"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.components.basis import CosineBasis
from probneuro.connectivity import QUICK, Connectivity, connectivity
from probneuro.core import names
from probneuro.core.reproduction import Finding, Setting
from probneuro.data.truth import DECAYED
from probneuro.models.stdp_glm import STDPGLM
from probneuro.plots import (
    learning_rule_curve,
    roc_curves,
    save_figures,
    score_matrices,
    weight_trajectories,
)
from probneuro.reproductions.kept import kept, labelled_weights
from probneuro.reproductions.rule_bands import (
    curve_coverage,
    edge_probability,
    path_errors,
    scaled_rule,
    shapes_held,
    weight_per_unit,
)
from probneuro.reproductions.rule_recovery import mean_with_error
from probneuro.simulators.driven_network import LIFNetwork
from probneuro.simulators.lif_network import simulate_lif_network

Floats = NDArray[np.float64]
Truth = Mapping[str, Any]

STATIC: Final = "static"
PLASTIC: Final = "additive_bounded"
"""The paper's additive rule as its networks have it: weights of zero and above."""


def detect_synapses(preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Simulate networks with additive STDP, and find their synapses by several methods.

    Parameters
    ----------
    preset : mapping
        ``networks``, how many; ``duration`` (s); ``constants`` of
        :class:`~probneuro.simulators.driven_network.LIFNetwork`; ``basis`` of
        :class:`~probneuro.components.basis.CosineBasis`; ``warmup``, ``draws`` and ``chains``.
    setting : Setting
        Where and how.

    Yields
    ------
    Finding
        ``edge_auc``, ``decaying_synapses``, ``learning_rule_curve`` and ``network_trajectories``.
    """
    tables, decaying, curves, shapes, paths = [], [], [], [], []
    for number in range(preset["networks"]):
        found, known = _network(setting.seed + number, preset, setting)
        tables.append(found.table)
        decaying.append(_decaying(found, known))
        rate = weight_per_unit(found.results[PLASTIC], known)
        curves.append(curve_coverage(found.results[PLASTIC], known, rate))
        shapes.append(shapes_held(found.results[PLASTIC], known))
        paths.append(path_errors(found.results[PLASTIC], known, rate))
        if number == 0:
            _draw(found, known, rate, setting)
    yield Finding("edge_auc", _areas_in_words(tables), ("network_roc", "network_scores"))
    yield Finding("decaying_synapses", _decaying_in_words(decaying), ("network_decaying",))
    yield Finding(
        "learning_rule_curve",
        f"90 % bands hold {np.mean(curves):.1%} of the true curve over {len(curves)} networks "
        f"({', '.join(f'{c:.0%}' for c in curves)}), weights scaled to mV by one number a "
        "network; those of tau_plus, tau_minus and amplitude_minus / amplitude_plus hold the truth "
        f"in {_counts(shapes)} networks",
        ("network_rule",),
    )
    held, errors = np.array(paths).T
    yield Finding(
        "network_trajectories",
        f"90 % bands hold {held.mean():.1%} of the true weights, RMSE {mean_with_error(errors)} mV "
        f"over {len(paths)} networks",
        ("network_decaying",),
    )


def _counts(held: Sequence[Sequence[bool]]) -> str:
    return f"{', '.join(str(c) for c in np.sum(held, axis=0))} of {len(held)}"


def _network(
    seed: int, preset: Mapping[str, Any], setting: Setting
) -> tuple[Connectivity, Mapping[str, Any]]:
    constants = LIFNetwork(**preset.get("constants", {}))
    spikes, known = simulate_lif_network(constants, duration=preset["duration"], seed=seed)
    sizes = {"warmup": preset["warmup"], "draws": preset["draws"], "chains": preset["chains"]}
    model = STDPGLM(basis=CosineBasis(**preset["basis"]))
    options = {
        "model": model,
        "seed": seed,
        "workers": setting.workers,
        "progress": setting.progress,
        **sizes,
    }

    def fit(rule: str, place: Path) -> xr.DataTree:
        return connectivity(spikes, methods=[rule], checkpoint=place, **options).results[rule]

    fitted = {
        rule: kept(setting.folder / "networks" / f"{seed}-{rule}.nc", partial(fit, rule))
        for rule in (STATIC, PLASTIC)
    }
    methods = [*QUICK, STATIC, PLASTIC]
    return connectivity(spikes, methods=methods, truth=known, fitted=fitted, **options), known


def _decaying(found: Connectivity, known: Truth) -> Floats:
    """Return edge probabilities of decayed synapses, static and plastic, shape (2, synapse)."""
    weight = np.asarray(known["weight"])
    gone = (np.asarray(known["edge"]) != 0) & (weight[:, -1] < DECAYED * weight[:, 0])
    rows = [edge_probability(found.results[rule])[gone] for rule in (STATIC, PLASTIC)]
    return np.array(rows)


def _draw(found: Connectivity, known: Truth, rate: float, setting: Setting) -> None:
    """Draw the first network: detection, three synapses that decay, and the rule."""
    weight = np.asarray(known["weight"])
    gone = np.flatnonzero(
        (np.asarray(known["edge"]) != 0) & (weight[:, -1] < DECAYED * weight[:, 0])
    )
    gap = np.subtract(*(edge_probability(found.results[r])[gone] for r in (PLASTIC, STATIC)))
    shown = gone[np.argsort(-gap)[:3]]
    drawn = {
        "network_roc": roc_curves(found.scores),
        "network_scores": score_matrices(found.scores),
    }
    if shown.size:
        fits = {rule: _only(found.results[rule], shown) for rule in (STATIC, PLASTIC)}
        true = labelled_weights(fits[PLASTIC], rate * weight[shown])
        drawn["network_decaying"] = weight_trajectories(fits, true)
    rule = {PLASTIC: found.results[PLASTIC]}
    drawn["network_rule"] = learning_rule_curve(rule, scaled_rule(known, rate), max_lag=0.05)
    save_figures(drawn, setting.figures)


def _only(result: xr.DataTree, synapses: NDArray[np.int64]) -> xr.DataTree:
    """Return a result with some of its synapses."""
    posterior = result["posterior"].to_dataset().isel({names.SYNAPSE: synapses})
    tree = xr.DataTree.from_dict({"posterior": posterior})
    tree.attrs = dict(result.attrs)
    return tree


def _areas_in_words(tables: Sequence[Any]) -> str:
    """Return each method's area, and the plastic model's paired lead over the others."""
    methods = list(tables[0].index)
    words = []
    for column in ("auc", "auc_decayed"):
        if not all(column in table for table in tables):
            continue  # nothing decayed in a recording this short
        areas = {m: np.array([t.loc[m, column] for t in tables], dtype=float) for m in methods}
        own = areas.pop(PLASTIC)
        told = [f"{PLASTIC} {_three(own)}"]
        told += [f"{m} {_three(v)} (behind by {_three(own - v)})" for m, v in areas.items()]
        kind = "all synapses" if column == "auc" else "decayed ones"
        words.append(f"{kind}: {', '.join(told)}")
    return f"AUC over {len(tables)} networks, {'; '.join(words)}"


def _three(values: Floats) -> str:
    good = values[np.isfinite(values)]
    if good.size < 2:
        return f"{good.mean():.3f}" if good.size else "none"
    return f"{good.mean():.3f} +- {good.std(ddof=1) / np.sqrt(good.size):.3f}"


def _decaying_in_words(found: Sequence[Floats]) -> str:
    static, plastic = np.concatenate(found, axis=1)
    missed = static < 0.4
    sure = [int((rows > 0.9).sum()) for rows in (plastic, static, plastic[missed])]
    return (
        f"of {static.size} decayed synapses in {len(found)} networks, {sure[0]} have P(edge) > 0.9 "
        f"under {PLASTIC} and {sure[1]} under {STATIC}; of the {int(missed.sum())} below 0.4 under "
        f"{STATIC}, {sure[2]} do under {PLASTIC}"
    )
