"""Networks from the prior of the STDP-GLM, and their spikes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.data import BinnedSpikes
from probneuro.simulators.plastic_glm import PlasticGLM

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.program import STDPGLM


def simulate_from_prior(
    model: "STDPGLM",
    units: Sequence[str],
    num_windows: int,
    rng: np.random.Generator,
    *,
    bin_width: float = 1e-3,
    bins_per_window: int = 1000,
) -> tuple[BinnedSpikes, Arrays]:
    r"""Draw a network from a model's prior, and spikes from the network.

    .. math:: \theta \sim p(\theta), \qquad (s, w) \sim p(s, w \mid \theta)

    Spikes feed back, so that the Pyro program, which takes them as given, cannot draw them.

    Parameters
    ----------
    model : STDPGLM
        The model; its rule must not couple synapses.
    units : sequence of str
        Names of the neurons.
    num_windows : int
        Length in windows.
    rng : numpy.random.Generator
        Source of randomness.
    bin_width : float
        Seconds.
    bins_per_window : int
        Bins in a window.

    Returns
    -------
    tuple
        The spikes, and what made them by the names of the posterior, with `log_gamma` and
        `self_log_gamma` before their normalisation to impulse responses.

    Notes
    -----
    Weak priors make networks that run away or are silent. Refusing recordings by their spikes
    alone leaves the posterior given the spikes as it is.

    Examples
    --------
    >>> from probneuro.core.priors import Normal
    >>> from probneuro.models.stdp_glm import STDPGLM
    >>> model = STDPGLM(bias_prior=Normal(20.0, 5.0))
    >>> rng = np.random.default_rng(0)
    >>> spikes, values = simulate_from_prior(model, ["a", "b"], 2, rng)
    >>> spikes.counts.shape, values["weight"].shape
    ((2000, 2), (2, 2))
    """
    neurons = len(units)
    pre, post = model.network.candidates(units)
    group, labels = model.sharing.groups([str(s) for s in range(pre.size)])
    bumps, alpha = model.basis.num_bumps, model.concentration
    values: Arrays = {
        "bias": model.bias.sample(rng, neurons),
        "self_weight": model.self_weight.sample(rng, neurons),
        "self_log_gamma": np.log(rng.gamma(alpha, size=(neurons, bumps))),
        "log_gamma": np.log(rng.gamma(alpha, size=(pre.size, bumps))),
        "edge": (rng.random(pre.size) < model.network.edge_probability(units)).astype(np.int8),
    }
    if model.optional_self_edges:
        there = rng.random(neurons) < model.self_edge_probability
        values["self_edge"] = there.astype(np.int8)
    parameters = {
        name: prior.sample(rng, len(labels))
        for name, prior in model.rule.priors(model.link.weight_scale).items()
    }
    values["self_impulse"] = _share(values["self_log_gamma"])
    values["impulse"] = _share(values["log_gamma"])
    network = PlasticGLM(
        rule=model.rule, bias=values["bias"], self_weight=values["self_weight"],
        self_impulse=values["self_impulse"], impulse=values["impulse"],
        pre=pre, post=post, edge=values["edge"], link=model.link, basis=model.basis,
        parameters={name: value[group] for name, value in parameters.items()},
        self_edge=values.get("self_edge"), delay=model.delay, short_term=model.short_term,
        sign=model.dale.signs(list(units))[pre] if model.dale else None,
    )  # fmt: skip
    spikes, values["weight"] = network.simulate(
        num_windows, rng, bin_width=bin_width, bins_per_window=bins_per_window, units=units
    )
    return spikes, {**values, **parameters}


def _share(log_gamma: NDArray[np.float64]) -> NDArray[np.float64]:
    size = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True))
    share: NDArray[np.float64] = size / size.sum(axis=-1, keepdims=True)
    return share
