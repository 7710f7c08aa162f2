"""Posterior predictive checks of the STDP-GLM: would the fitted model fire like the recording?"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.components.spike_statistics import spike_statistics
from probneuro.core import names
from probneuro.core.errors import DataError, InferenceError, SettingError
from probneuro.core.rng import generator, resolve_seed
from probneuro.data import BinnedSpikes, SpikeTrains
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.plastic_glm import PlasticGLM

Floats = NDArray[np.float64]

_RUNAWAY = 500.0  # Hz, on average over a recording: no neuron does that
_NEEDED = ("bias", "self_weight", "self_impulse", "impulse", "edge", "weight")


def predictive_check(
    result: xr.DataTree,
    spikes: SpikeTrains | BinnedSpikes,
    model: STDPGLM | None = None,
    *,
    replicates: int = 50,
    pairs: int = 6,
    max_lag: float = 0.05,
    bin_width: float = 1e-3,
    window: float = 1.0,
    seed: int | None = None,
) -> xr.DataTree:
    r"""Simulate the recording anew from posterior draws, and compare what is seen in both.

    .. math::

        y^{(s)} \sim p(y \mid \theta^{(s)}, w^{(s)}), \qquad
        \theta^{(s)}, w^{(s)} \sim p(\cdot \mid y)

    with each draw's weight trajectories. The spikes are the model's own: every one of them acts
    on those that follow, which a likelihood given the recorded spikes never tries.

    Parameters
    ----------
    result : DataTree
        A fit of the STDP-GLM.
    spikes : SpikeTrains or BinnedSpikes
        The recording that was fitted, or the part of it.
    model : STDPGLM, optional
        The model as it was fitted; with its defaults if left out.
    replicates : int
        Recordings to simulate, each from another draw.
    pairs : int
        How many cross-correlograms, those of the most probable synapses.
    max_lag : float
        Longest lag, in s.
    bin_width, window : float
        Seconds; ignored where the spikes are binned already.
    seed : int, optional
        Same seed, same numbers.

    Returns
    -------
    xarray.DataTree
        ``posterior_predictive`` (chain, draw, ...) and ``observed_data`` with the statistics of
        :func:`~probneuro.components.spike_statistics.spike_statistics`; ``p_value``, the share of
        replicates above the recording for each of them (ties count half). Shares near 0 or 1 are
        what the model misses. Replicates that run away, as spikes that excite more spikes may
        make them, are left out; attribute ``runaways`` counts them.

    Raises
    ------
    DataError
        If the result is no fit of this recording.
    SettingError
        If there are fewer than two replicates.
    InferenceError
        If all of them run away.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.learning_rules import Static
    >>> from probneuro.simulators.plastic_glm import simulate_plastic_glm
    >>> spikes, _ = simulate_plastic_glm(Static(), duration=6.0)
    >>> model = STDPGLM(rule=Static())
    >>> fit = infer(model, spikes, draws=20, chains=1, seed=1, progress=False)
    >>> found = predictive_check(fit, spikes, model, replicates=10, seed=1)
    >>> dict(found["posterior_predictive"]["rate"].sizes)
    {'chain': 1, 'draw': 10, 'neuron': 2}
    """
    if replicates < 2:
        raise SettingError(f"`replicates` must be at least 2; got {replicates!r}. Pass e.g. 50.")
    data = spikes.bin(bin_width, window) if isinstance(spikes, SpikeTrains) else spikes
    model, posterior = model or STDPGLM(), _posterior(result, data)
    flat = posterior.stack(sample=(names.CHAIN, names.DRAW)).transpose("sample", ...)
    rng = generator(resolve_seed(seed), "predictive_check")
    chosen = rng.choice(flat.sizes["sample"], replicates, replace=flat.sizes["sample"] < replicates)
    shown = _most_probable(posterior, model, data, pairs)
    drawn = [_simulate(flat.isel(sample=int(n)), model, data, rng) for n in np.sort(chosen)]
    calm = [one for one in drawn if one.rates.max() < _RUNAWAY]
    if not calm:
        raise InferenceError(
            f"All {replicates} replicates run away: every neuron excites itself or the others "
            f"beyond {_RUNAWAY:g} Hz. The fit predicts a bin from recorded spikes and not whole "
            "recordings; try the prior of self weights, or a shorter basis."
        )
    found = [spike_statistics(one, shown, max_lag=max_lag) for one in calm]
    ours = xr.concat(found, names.DRAW).expand_dims(names.CHAIN).assign_coords(
        {names.CHAIN: [0], names.DRAW: np.arange(len(calm))}
    )  # fmt: skip
    seen = spike_statistics(data, shown, max_lag=max_lag)
    above = (ours > seen).mean((names.CHAIN, names.DRAW))
    level = (ours == seen).mean((names.CHAIN, names.DRAW))
    groups = {
        names.POSTERIOR_PREDICTIVE: ours,
        names.OBSERVED_DATA: seen,
        "p_value": above + 0.5 * level,
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"replicates": replicates, "runaways": replicates - len(calm)}
    return tree


def _posterior(result: xr.DataTree, data: BinnedSpikes) -> xr.Dataset:
    """Return what is needed of a posterior, after a look whether it fits the recording."""
    posterior = result[names.POSTERIOR].to_dataset()
    missing = [name for name in _NEEDED if name not in posterior]
    if missing:
        raise DataError(
            f"`result` has no `{missing[0]}` in its posterior, so that it is no fit of the "
            "STDP-GLM. Pass what infer(STDPGLM(...), spikes) or compare_rules returned."
        )
    if posterior[names.NEURON].values.tolist() != list(data.units):
        raise DataError(
            f"`result` is a fit of the units {', '.join(posterior[names.NEURON].values)}; the "
            f"recording has {', '.join(data.units)}. Pass the recording that was fitted."
        )
    if posterior.sizes[names.WINDOW] != data.num_windows:
        raise DataError(
            f"`result` has weights in {posterior.sizes[names.WINDOW]} windows; the recording has "
            f"{data.num_windows}. Pass the part that was fitted: spikes.split(held_out)[0]."
        )
    return posterior


def _most_probable(
    posterior: xr.Dataset, model: STDPGLM, data: BinnedSpikes, most: int
) -> list[tuple[int, int]]:
    chance = posterior["edge"].mean((names.CHAIN, names.DRAW)).values
    pre, post = model.network.candidates(data.units)
    best = np.argsort(-chance, kind="stable")[:most]
    return [(int(pre[s]), int(post[s])) for s in best]


def _simulate(
    draw: xr.Dataset, model: STDPGLM, data: BinnedSpikes, rng: np.random.Generator
) -> BinnedSpikes:
    """Simulate the recording from one draw; bins that were not observed are silent."""
    pre, post = model.network.candidates(data.units)
    network = PlasticGLM(
        rule=model.rule, pre=pre, post=post, parameters={}, link=model.link, basis=model.basis,
        delay=model.delay, short_term=model.short_term, edge=draw["edge"].values,
        self_edge=draw["self_edge"].values if "self_edge" in draw else None,
        **{name: draw[name].values for name in _NEEDED[:4]},
    )  # fmt: skip
    drive = None
    if "stimulus_filter" in draw:
        filters = draw["stimulus_filter"].values.reshape(len(data.units), -1)
        drive = (filters @ model.design(data).stimulus).T
    drawn, _ = network.simulate(
        data.num_windows, rng, bin_width=data.bin_width, bins_per_window=data.bins_per_window,
        units=data.units, weight=draw["weight"].values, drive=drive,
    )  # fmt: skip
    counts = np.where(data.observed[:, None], drawn.counts[: data.num_bins], 0)
    return BinnedSpikes(
        counts, bin_width=data.bin_width, bins_per_window=data.bins_per_window, units=data.units,
        observed=data.observed,
    )  # fmt: skip
