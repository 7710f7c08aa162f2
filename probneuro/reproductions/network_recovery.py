"""Do the bands of a network's fit hold the rule and the weights, if the model is true? (Figure 4.)

The paper draws its figure 4 for integrate-and-fire cells, whose weights no constant turns into
those of a model; here a network of the same shape is simulated from the model itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import arviz_stats
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.components.basis import CosineBasis
from probneuro.connectivity import Connectivity, connectivity
from probneuro.core import names
from probneuro.core.detection import reliability
from probneuro.core.reproduction import Finding, Setting
from probneuro.core.rng import generator
from probneuro.data import BinnedSpikes
from probneuro.learning_rules import AdditiveBounded
from probneuro.models.stdp_glm import STDPGLM
from probneuro.plots import (
    learning_rule_curve,
    reliability_curves,
    save_figures,
    weight_trajectories,
)
from probneuro.reproductions.kept import kept, labelled_weights
from probneuro.reproductions.rule_bands import curve_coverage, path_errors, scaled_rule
from probneuro.reproductions.rule_recovery import mean_with_error
from probneuro.simulators.plastic_glm import PlasticGLM

Floats = NDArray[np.float64]

NEURONS: Final = 10
SYNAPSES: Final = 28
EXTRA: Final = 0.05
"""Spikes that a presynaptic spike adds at a weight of 1 mV, about what integrate-and-fire cells do.
"""
TRUTH: Final[Mapping[str, float]] = {
    "amplitude_plus": 0.2 * EXTRA, "amplitude_minus": 0.28 * EXTRA, "tau_plus": 0.02,
    "tau_minus": 0.02, "weight_noise": 0.3 * EXTRA, "weight_max": 10.5 * EXTRA,
}  # fmt: skip
"""The bound, the start and the time constants of the paper's network.

Amplitudes and noise are such that as many synapses decay and grow within a minute as in the network
of integrate-and-fire cells: over six networks 37 % end below a fifth of their start and 46 % above
1.2 of it, there 35 and 51 %. There the rule's own amplitudes are smaller, and each pair that a
synapse causes is within a millisecond of its delay.
"""


def recover_networks(preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Simulate networks from the model with additive STDP, and fit it to them.

    Parameters
    ----------
    preset : mapping
        ``networks``, how many; ``duration`` (s); ``basis`` of
        :class:`~probneuro.components.basis.CosineBasis`; ``warmup``, ``draws`` and ``chains``.
    setting : Setting
        Where and how.

    Yields
    ------
    Finding
        ``recovered_rule_curve``, ``recovered_trajectories`` and ``edge_reliability``.
    """
    curves, paths, effective = [], [], []
    scores, fits = [], {}
    for number in range(preset["networks"]):
        found, known = _network(setting.seed + number, preset, setting)
        result = found.results[AdditiveBounded.name]
        curves.append(curve_coverage(result, known))
        paths.append(path_errors(result, known))
        effective.append(_least_effective(result))
        name = f"network {setting.seed + number}"
        fits[name] = result
        synapse = [f"{name}: {s}" for s in found.scores[names.SYNAPSE].values]
        scores.append(found.scores.assign_coords({names.SYNAPSE: synapse}))
        if number == 0:
            _draw_weights(result, known, setting)
    rule = learning_rule_curve(fits, scaled_rule(known), max_lag=0.05)
    pooled = xr.concat(scores, names.SYNAPSE)
    drawn = {"recovered_rule": rule, "edge_reliability": reliability_curves(pooled)}
    save_figures(drawn, setting.figures)
    yield Finding("recovered_rule_curve", _curves_in_words(curves, effective), ("recovered_rule",))
    yield Finding("recovered_trajectories", _paths_in_words(paths), ("recovered_weights",))
    yield Finding("edge_reliability", _reliability_in_words(pooled), ("edge_reliability",))


def _network(
    seed: int, preset: Mapping[str, Any], setting: Setting
) -> tuple[Connectivity, Mapping[str, Any]]:
    model = STDPGLM(rule=AdditiveBounded(), basis=CosineBasis(**preset["basis"]))
    spikes, known = simulate_network(model, preset["duration"], seed)
    options = {name: preset[name] for name in ("warmup", "draws", "chains")} | {
        "model": model, "seed": seed, "workers": setting.workers, "progress": setting.progress,
        "methods": [AdditiveBounded.name],
    }  # fmt: skip

    def fit(place: Path) -> xr.DataTree:
        return connectivity(spikes, checkpoint=place, **options).results[AdditiveBounded.name]

    result = kept(setting.folder / "recovered" / f"{seed}.nc", partial(fit))
    fitted = {AdditiveBounded.name: result}
    return connectivity(spikes, truth=known, fitted=fitted, **options), known


def simulate_network(
    model: STDPGLM, duration: float, seed: int
) -> tuple[BinnedSpikes, dict[str, Any]]:
    """Simulate ten neurons near 10 Hz and 28 synapses, whose weights start near 6 mV.

    Parameters
    ----------
    model : STDPGLM
        Gives the rule and the basis.
    duration : float
        Seconds.
    seed : int
        Same seed, same spikes.

    Returns
    -------
    tuple
        The spikes, and the truth by the names of the posterior.
    """
    rng = generator(seed, "network_recovery")
    pre, post = np.nonzero(~np.eye(NEURONS, dtype=bool))
    edge = np.zeros(pre.size, dtype=np.int8)
    edge[rng.choice(pre.size, SYNAPSES, replace=False)] = 1
    alpha = np.ones(model.basis.num_bumps)
    network = PlasticGLM(
        rule=model.rule, basis=model.basis, pre=pre, post=post, edge=edge,
        bias=rng.normal(8.0, 1.0, NEURONS), self_weight=rng.normal(-0.3, 0.05, NEURONS),
        self_impulse=rng.dirichlet(alpha, NEURONS), impulse=rng.dirichlet(alpha, pre.size),
        parameters={name: np.full(pre.size, value) for name, value in TRUTH.items()},
        initial_weight=EXTRA * rng.normal(6.0, 0.25, pre.size),
    )  # fmt: skip
    spikes, weight = network.simulate(round(duration), rng)
    given = {name: np.array([value]) for name, value in TRUTH.items()}
    return spikes, {"edge": edge, "weight": weight, **given}


def _least_effective(result: xr.DataTree) -> float:
    """Return the smallest effective sample size of the rule's parameters."""
    posterior = result["posterior"].to_dataset()
    return min(
        float(np.min(arviz_stats.ess(posterior[name].values[..., 0], chain_axis=0, draw_axis=1)))
        for name in TRUTH
    )


def _draw_weights(result: xr.DataTree, known: Mapping[str, Any], setting: Setting) -> None:
    """Draw three true synapses: the one that lost most, one that kept its weight, one that grew."""
    weight, edge = np.asarray(known["weight"]), np.flatnonzero(known["edge"])
    order = edge[np.argsort(weight[edge, -1] - weight[edge, 0])]
    shown = order[[0, order.size // 2, -1]]
    posterior = result["posterior"].to_dataset().isel({names.SYNAPSE: shown})
    tree = xr.DataTree.from_dict({"posterior": posterior})
    tree.attrs = dict(result.attrs)
    drawn = weight_trajectories({AdditiveBounded.name: tree}, labelled_weights(tree, weight[shown]))
    save_figures({"recovered_weights": drawn}, setting.figures)


def _curves_in_words(curves: Sequence[float], effective: Sequence[float]) -> str:
    return (
        f"90 % bands hold {np.mean(curves):.1%} of the true curve over {len(curves)} networks "
        f"({', '.join(f'{c:.0%}' for c in curves)}); smallest effective sample size of a "
        f"parameter {min(effective):.0f} to {max(effective):.0f}"
    )


def _paths_in_words(paths: Sequence[tuple[float, float]]) -> str:
    held, errors = np.array(paths).T / np.array([[1.0], [EXTRA]])
    return (
        f"90 % bands hold {held.mean():.1%} of the true weights over {len(paths)} networks "
        f"({', '.join(f'{h:.0%}' for h in held)}), RMSE {mean_with_error(errors)} mV"
    )


def _reliability_in_words(scores: xr.Dataset) -> str:
    """Return how often edges of a given probability are there."""
    chance = scores["probability"].sel({"method": AdditiveBounded.name}).values
    found = reliability(chance, scores["truth"].values)
    told = found.isel(bin=np.flatnonzero(found["count"].values))
    inside = (told["lower"] <= told["probability"]) & (told["probability"] <= told["upper"])
    rows = zip(*(told[n].values for n in ("probability", "frequency", "count")), strict=True)
    words = ", ".join(f"{p:.2f}: {f:.2f} ({int(n)})" for p, f, n in rows)
    return (
        f"mean probability: share of true synapses (pairs), by tenths, {words}; "
        f"{int(inside.sum())} of {inside.size} inside their 90 % binomial interval"
    )
