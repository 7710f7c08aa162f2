"""How well a fit's bands hold the rule and the weights that made a network's spikes."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core import names
from probneuro.reproductions.rule_recovery import BAND

Floats = NDArray[np.float64]
Truth = Mapping[str, Any]

_PARAMETERS: Final = ("amplitude_plus", "amplitude_minus", "tau_plus", "tau_minus")
LAGS: Final = np.concatenate([-np.linspace(0.05, 0.001, 50), np.linspace(0.001, 0.05, 50)])
"""Times from presynaptic to postsynaptic spike at which the curve is held against the true one (s).
"""


def edge_probability(result: xr.DataTree) -> Floats:
    """Return the probability of each edge, shape (synapse,)."""
    edge = result["posterior"]["edge"].mean(("chain", "draw"))
    return np.asarray(edge.values, dtype=float)


def weight_per_unit(result: xr.DataTree, known: Truth) -> float:
    """Return the weight that stands for a true one of 1: their slope through zero.

    A weight is about the number of spikes that a presynaptic spike adds, the truth may be in mV.
    """
    mean, chosen = _mean_weights(result, known)
    true = np.asarray(known["weight"])[chosen, : mean.shape[1]]
    return float((mean * true).sum() / (true**2).sum())


def _mean_weights(result: xr.DataTree, known: Truth) -> tuple[Floats, NDArray[np.int64]]:
    """Return mean weights of true synapses that are more probable than not."""
    posterior = result["posterior"].to_dataset()
    likely = edge_probability(result) >= 0.5
    chosen = np.flatnonzero(likely & (np.asarray(known["edge"]) != 0))
    weight = posterior["weight"].where(posterior["edge"] != 0)
    mean = weight.isel({names.SYNAPSE: chosen}).mean(("chain", "draw"))
    return np.asarray(mean.values), chosen


def curve_coverage(result: xr.DataTree, known: Truth, rate: float = 1.0) -> float:
    """Return the share of lags at which a 90 % band holds the true curve."""
    posterior = result["posterior"].to_dataset().isel({names.RULE_GROUP: 0})
    draws = {name: posterior[name].values.reshape(-1, 1) for name in _PARAMETERS}
    low, high = np.quantile(_curve(draws, LAGS), BAND, axis=0)
    true = _curve(scaled_rule(known, rate), LAGS)
    return float(np.mean((low <= true) & (true <= high)))


def _curve(parameters: Mapping[str, Any], lags: Floats) -> Floats:
    after = parameters["amplitude_plus"] * np.exp(-np.abs(lags) / parameters["tau_plus"])
    before = -parameters["amplitude_minus"] * np.exp(-np.abs(lags) / parameters["tau_minus"])
    return np.where(lags > 0, after, before)


def scaled_rule(known: Truth, rate: float = 1.0) -> dict[str, float]:
    """Return the true rule with its amplitudes in the units of weights."""
    values = {name: float(np.ravel(known[name])[0]) for name in _PARAMETERS}
    return {n: v * rate if n.startswith("amplitude") else v for n, v in values.items()}


def shapes_held(result: xr.DataTree, known: Truth) -> tuple[bool, ...]:
    """Return whether 90 % bands hold both time constants and the ratio of the amplitudes.

    They are what a rule's curve tells whatever the units of its weights.
    """
    posterior = result["posterior"].to_dataset().isel({names.RULE_GROUP: 0})
    draws = {name: posterior[name].values.ravel() for name in _PARAMETERS}
    true = scaled_rule(known)
    held = []
    for shape in (
        lambda v: v["tau_plus"],
        lambda v: v["tau_minus"],
        lambda v: v["amplitude_minus"] / v["amplitude_plus"],
    ):
        low, high = np.quantile(shape(draws), BAND)
        held.append(bool(low <= shape(true) <= high))
    return tuple(held)


def path_errors(result: xr.DataTree, known: Truth, rate: float = 1.0) -> tuple[float, float]:
    """Return the share of true weights in their bands, and the root mean square error.

    Over true synapses that are more probable than not, given that they are there; the error is
    in the units of the truth.
    """
    mean, chosen = _mean_weights(result, known)
    posterior = result["posterior"].to_dataset().isel({names.SYNAPSE: chosen})
    weight = posterior["weight"].where(posterior["edge"] != 0)
    low, high = weight.quantile(BAND, dim=("chain", "draw")).values
    true = np.asarray(known["weight"])[chosen, : mean.shape[1]]
    inside = (low <= rate * true) & (rate * true <= high)
    return float(inside.mean()), float(np.sqrt(np.mean((mean / rate - true) ** 2)))
