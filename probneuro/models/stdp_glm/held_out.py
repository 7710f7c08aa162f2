"""Rolling prediction of windows after the training part, with the weights integrated out."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from probneuro.components.point_process import WindowSpikes, weighted_sum, window_terms
from probneuro.core.gibbs import ChainLaw
from probneuro.core.rng import generator
from probneuro.data import BinnedSpikes
from probneuro.models.stdp_glm.conditionals import STDPGLMTarget

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.program import STDPGLM

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _particle_log_likelihoods(
    base: Floats, drives: Floats, weights: Floats, silent: NDArray[Any], spike_bin: Integers,
    spike_count: Floats, first: int, code: int, sharpness: float, bin_width: float, out: Floats,
) -> None:  # fmt: skip
    """Write one window's log likelihood for each particle's weights, shape (particle, synapse)."""
    activation, slope = np.empty(base.size), np.empty(base.size)
    for i in range(out.size):
        for t in range(base.size):  # a loop: numba takes seconds to compile the copy of a slice
            activation[t] = base[t]
        for s in range(drives.shape[0]):
            weight = weights[i, s]
            for t in range(base.size):
                activation[t] += weight * drives[s, t]
        out[i] = window_terms(
            activation, silent, spike_bin, spike_count, first, code, sharpness, bin_width, slope
        )


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
        laws = [self._law(s) for s in present]
        last = np.array([values["weight"][s][-1] for s in present])
        moving = bool(present) and target.model.rule.plastic
        states = np.tile(last, (self._particles if moving else 1, 1))
        base = self._base(neuron)
        out = np.empty(target.data.num_windows - self._first)
        for j in range(out.size):
            if moving:
                window = self._first + j - 1
                columns = [law.step(states[:, i], window, rng) for i, law in enumerate(laws)]
                states = np.stack(columns, axis=1)
            levels = self._likelihoods(neuron, j, base, drives, states)
            peak = levels.max()
            weights = np.exp(levels - peak)
            out[j] = peak + np.log(weights.mean())
            if moving:
                states = states[_systematic(weights, rng)]
        return out

    def _law(self, synapse: int) -> ChainLaw:
        target = self._target
        group = target.group[synapse]
        own = {name: float(self._values[name][group]) for name in target.priors}
        return target.law(synapse, own)

    def _base(self, neuron: int) -> Floats:
        target, values = self._target, self._values
        own = np.ascontiguousarray(target.design.traces[neuron, :, self._start :])
        share = values["self_weight"][neuron] * values["self_impulse"][neuron]
        base = weighted_sum(own, share) + values["bias"][neuron]
        if target.design.stimulus.shape[0]:
            filters = values["stimulus_filter"][neuron].ravel()
            base += filters @ target.design.stimulus[:, self._start :]
        return base

    def _likelihoods(
        self, neuron: int, block: int, base: Floats, drives: Floats, states: Floats
    ) -> Floats:
        target, size = self._target, self._target.data.bins_per_window
        spikes: WindowSpikes = target.design.spikes[neuron]
        window = self._first + block
        span = slice(block * size, (block + 1) * size)
        own = slice(spikes.start[window], spikes.start[window + 1])
        out = np.empty(states.shape[0])
        _particle_log_likelihoods(
            base[span], np.ascontiguousarray(drives[:, span]), states,
            target.design.silent[window * size : (window + 1) * size], spikes.bin[own],
            spikes.count[own], window * size, target.model.link.code,
            target.model.link.sharpness, target.data.bin_width, out,
        )  # fmt: skip
        return out


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
