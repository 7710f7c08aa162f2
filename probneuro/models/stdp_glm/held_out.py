"""Rolling prediction of windows after the training part, with the weights integrated out."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from probneuro.components.point_process import weighted_sum
from probneuro.core.rng import generator
from probneuro.data import BinnedSpikes
from probneuro.models.stdp_glm.columns import WeightObservation, column_law
from probneuro.models.stdp_glm.conditionals import STDPGLMTarget
from probneuro.models.stdp_glm.self_edges import self_connected

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.program import STDPGLM

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Step = Callable[[Floats, int, np.random.Generator], Floats]


def held_out_log_likelihood(
    model: "STDPGLM",
    posterior: Mapping[str, NDArray[Any]],
    data: BinnedSpikes,
    first: int,
    *,
    seed: int = 0,
    num_particles: int = 64,
    workers: int = 1,
) -> Mapping[str, Any]:
    r"""Return how well each posterior draw predicts the windows from ``first`` on.

    .. math::

        \ell_{j} = \log \int p(y_j \mid w_j, \theta)\, p(w_j \mid y_{<j}, \theta)\, \mathrm dw_j

    where the weights start at the draw's own last trained ones, move by the rule, and are
    filtered by each window once it is seen. Static synapses need no integral; plastic ones
    take a bootstrap filter over all synapses onto a neuron, whose likelihood is unbiased.

    Parameters
    ----------
    model : STDPGLM
        The model.
    posterior : mapping of str to ndarray
        Draws, each (chain, draw, ...), fitted to the windows before ``first``.
    data : BinnedSpikes
        The whole recording.
    first : int
        First held-out window.
    seed : int
        Seed of the particles.
    num_particles : int
        Particles a draw and neuron.
    workers : int
        Threads; they change no number.

    Returns
    -------
    mapping
        ``log_likelihood`` (chain, draw, block, neuron), ``spike_count`` and
        ``baseline_log_likelihood`` (block, neuron), the latter that of a Poisson process at
        the training rate.
    """
    target = STDPGLMTarget(model, data)
    blocks = data.num_windows - first
    chains, draws = posterior["bias"].shape[:2]
    out = np.empty((chains, draws, blocks, len(data.units)))

    def one(index: tuple[int, int]) -> None:
        values = {name: np.asarray(draw[index]) for name, draw in posterior.items()}
        predictor = _Predictor(target, values, first, num_particles)
        for n in range(len(data.units)):
            out[index][:, n] = predictor.neuron(n, generator(seed, "held_out", *index, n))

    indices = [(c, d) for c in range(chains) for d in range(draws)]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for _ in pool.map(one, indices):
            pass
    return {
        "log_likelihood": out,
        "spike_count": data.window_counts()[first:],
        "baseline_log_likelihood": _baseline(data, first),
    }


class _Predictor:
    """One posterior draw, rolled over the held-out windows."""

    def __init__(
        self, target: STDPGLMTarget, values: Mapping[str, NDArray[Any]], first: int, particles: int
    ) -> None:
        self._target, self._values = target, values
        self._first, self._particles = first, particles
        size = target.data.bins_per_window
        self._start = first * size

    def neuron(self, neuron: int, rng: np.random.Generator) -> Floats:
        """Return the log likelihood of each held-out window, shape (block,)."""
        target, values = self._target, self._values
        present = [int(s) for s in target.incoming[neuron] if values["edge"][s]]
        drives = np.zeros((len(present), target.data.num_bins - self._start))
        for i, s in enumerate(present):
            traces = target.design.traces[target.source[s], :, self._start :]
            drives[i] = weighted_sum(np.ascontiguousarray(traces), values["impulse"][s])
        last = np.array([values["weight"][s][-1] for s in present])
        moving = bool(present) and target.model.rule.plastic
        states = np.tile(last, (self._particles if moving else 1, 1))
        step = self._step(present)
        observation = WeightObservation(target, neuron, self._base(neuron), drives, self._first)
        out = np.empty(target.data.num_windows - self._first)
        for j in range(out.size):
            if moving:
                states = step(states, self._first + j - 1, rng)
            levels = observation.at(j, states)
            peak = levels.max()
            weights = np.exp(levels - peak)
            out[j] = peak + np.log(weights.mean())
            if moving:
                states = states[_systematic(weights, rng)]
        return out

    def _step(self, synapses: list[int]) -> Step:
        """Return what draws the next weights of some synapses, shape (particle, synapse)."""
        target, values = self._target, self._values
        if target.coupled:
            every = np.array(synapses, dtype=np.int64)
            return column_law(target, every, np.ones(every.size), values).step
        own = [
            {name: float(values[name][target.group[s]]) for name in target.priors} for s in synapses
        ]
        laws = [target.law(s, parameters) for s, parameters in zip(synapses, own, strict=True)]

        def step(states: Floats, window: int, rng: np.random.Generator) -> Floats:
            columns = [law.step(states[:, i], window, rng) for i, law in enumerate(laws)]
            return np.stack(columns, axis=1)

        return step

    def _base(self, neuron: int) -> Floats:
        target, values = self._target, self._values
        own = np.ascontiguousarray(target.design.traces[neuron, :, self._start :])
        there = self_connected(values, neuron)
        share = there * values["self_weight"][neuron] * values["self_impulse"][neuron]
        base = weighted_sum(own, share) + values["bias"][neuron]
        if target.design.stimulus.shape[0]:
            filters = values["stimulus_filter"][neuron].ravel()
            base += filters @ target.design.stimulus[:, self._start :]
        return base


def _systematic(weights: Floats, rng: np.random.Generator) -> Integers:
    """Return ancestors by systematic resampling, shape (particle,)."""
    cumulative = np.cumsum(weights)
    positions = (np.arange(weights.size) + rng.random()) * (cumulative[-1] / weights.size)
    return np.minimum(np.searchsorted(cumulative, positions, side="right"), weights.size - 1)


def _baseline(data: BinnedSpikes, first: int) -> Floats:
    """Return the log likelihood of held-out windows under each neuron's training rate."""
    size = data.bins_per_window
    seen = data.observed[: first * size].sum() * data.bin_width
    rate = (data.counts[: first * size].sum(axis=0) + 0.5) / (seen + data.bin_width)
    counts = data.counts[first * size :].reshape(-1, size, len(data.units))
    exposed = data.observed[first * size :].reshape(-1, size).sum(axis=1) * data.bin_width
    baseline: Floats = (counts * np.log(rate * data.bin_width) - gammaln(counts + 1.0)).sum(
        axis=1
    ) - exposed[:, None] * rate
    return baseline
