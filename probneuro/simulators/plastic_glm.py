"""Spike trains from the STDP-GLM, window by window, with everything that made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from probneuro.components.basis import CosineBasis
from probneuro.components.delay import delay_bins, delayed
from probneuro.components.links import SOFTPLUS_CODE, Link, Softplus
from probneuro.components.short_term import ShortTermPlasticity, release
from probneuro.core.engine import Arrays
from probneuro.core.errors import SettingError
from probneuro.core.rng import generator
from probneuro.data import BinnedSpikes
from probneuro.learning_rules import LearningRule, PairKernel, SpikePairs
from probneuro.learning_rules.pair_curve import double_exponential_curve
from probneuro.learning_rules.rule import WEIGHT_MAX, WEIGHT_NOISE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@nb.njit(cache=True, nogil=True)
def _spike_window(
    first: int, last: int, uniform: Floats, bias: Floats, own: Floats, responses: Floats,
    pre: Integers, post: Integers, gain: Floats, code: int, sharpness: float, bin_width: float,
    short_term: Floats, resources: Floats, activation: Floats, counts: NDArray[Any],
    sent: Floats,
) -> None:  # fmt: skip
    """Draw the counts of one window bin by bin; each spike adds its responses to later bins.

    ``sent`` is what the spikes count for elsewhere; ``resources`` holds each neuron's state of
    short-term plasticity, whose constants are empty where there is none.
    """
    lags, own_lags = responses.shape[1], own.shape[1]
    for t in range(first, last):
        for n in range(bias.size):
            z = (bias[n] + activation[t, n]) / sharpness
            rate = np.exp(min(z, 700.0))
            if code == SOFTPLUS_CODE:
                rate = sharpness * (z if z > 35.0 else np.log1p(rate))
            counts[t, n] = _poisson(rate * bin_width, uniform[t - first, n])
            sent[t, n] = counts[t, n]
            if short_term.size and counts[t, n] > 0:
                sent[t, n] = release(counts[t, n], t * bin_width, short_term, resources[n])
        for n in range(bias.size):
            if counts[t, n] == 0:
                continue
            stop = min(own_lags, activation.shape[0] - t - 1)
            for d in range(stop):
                activation[t + 1 + d, n] += counts[t, n] * own[n, d]
        for s in range(pre.size):
            if counts[t, pre[s]] == 0 or gain[s] == 0.0:
                continue
            stop = min(lags, last - t - 1)
            for d in range(stop):
                activation[t + 1 + d, post[s]] += sent[t, pre[s]] * gain[s] * responses[s, d]


@nb.njit(cache=True, nogil=True)
def _poisson(mean: float, uniform: float) -> int:
    """Return the Poisson quantile of a uniform number, at most 1000."""
    term = np.exp(-mean)
    total, count = term, 0
    while uniform > total and count < 1000:
        count += 1
        term *= mean / count
        total += term
    return count


@nb.njit(cache=True, nogil=True)
def _carry_over(
    first: int, last: int, responses: Floats, pre: Integers, post: Integers, gain: Floats,
    activation: Floats, sent: Floats,
) -> None:  # fmt: skip
    """Add what spikes before a window do inside it, at the window's own weights."""
    lags = responses.shape[1]
    for s in range(pre.size):
        if gain[s] == 0.0:
            continue
        for t in range(max(0, first - lags), first):
            if sent[t, pre[s]] == 0.0:
                continue
            for d in range(first - t - 1, min(lags, last - t - 1)):
                activation[t + 1 + d, post[s]] += sent[t, pre[s]] * gain[s] * responses[s, d]


@dataclass(frozen=True, kw_only=True)
class PlasticGLM:
    """A network of neurons with plastic synapses, ready to be simulated.

    Parameters
    ----------
    rule : LearningRule
        How weights move.
    bias, self_weight : ndarray
        Per neuron, in the link's units.
    self_impulse, impulse : ndarray
        Simplex weights of the bumps, shape (neuron, basis) and (synapse, basis).
    pre, post : ndarray
        Neurons on both sides of each synapse, shape (synapse,).
    edge : ndarray
        Whether each synapse is there, shape (synapse,).
    parameters : mapping of str to ndarray
        The rule's parameters of each synapse, shape (synapse,).
    initial_weight : ndarray or None
        Weights in the first window, shape (synapse,); None draws them from the rule's prior.
    link, basis, delay, short_term : Link, CosineBasis, float, ShortTermPlasticity or None
        As in the model.
    self_edge : ndarray or None
        Whether each neuron acts on itself, shape (neuron,); None for all.
    sign : ndarray or None
        1 or -1 for each synapse, shape (synapse,): its weight is the mirror image of one that
        follows the rule where it is -1, also the initial one given.
    """

    rule: LearningRule
    bias: Floats
    self_weight: Floats
    self_impulse: Floats
    impulse: Floats
    pre: Integers
    post: Integers
    edge: NDArray[Any]
    parameters: Mapping[str, Floats]
    initial_weight: Floats | None = None
    link: Link = field(default_factory=Softplus)
    basis: CosineBasis = field(default_factory=CosineBasis)
    delay: float = 0.0
    short_term: ShortTermPlasticity | None = None
    self_edge: NDArray[Any] | None = None
    sign: Floats | None = None

    def simulate(
        self,
        num_windows: int,
        rng: np.random.Generator,
        *,
        bin_width: float = 1e-3,
        bins_per_window: int = 1000,
        units: Sequence[str] | None = None,
        weight: Floats | None = None,
        drive: Floats | None = None,
    ) -> tuple[BinnedSpikes, Floats]:
        """Draw spikes and weight trajectories.

        Parameters
        ----------
        num_windows : int
            Length in windows.
        rng : numpy.random.Generator
            Source of randomness.
        bin_width : float
            Seconds.
        bins_per_window : int
            Bins in a window.
        units : sequence of str, optional
            Names of the neurons.
        weight : ndarray, optional
            Trajectories to keep to, shape (synapse, window), signed; the rule is not asked then.
        drive : ndarray, optional
            What is added to the activation, such as a filtered stimulus, shape (time, neuron).

        Returns
        -------
        tuple
            The spikes and the weights, shape (synapse, window).
        """
        neurons, size = self.bias.size, bins_per_window
        bumps = self.basis.evaluate(bin_width)
        own = self.self_weight[:, None] * (self.self_impulse @ bumps)
        if self.self_edge is not None:
            own = own * self.self_edge[:, None]
        responses = delayed(self.impulse @ bumps, delay_bins(self.delay, bin_width))
        counts = np.zeros((num_windows * size, neurons), dtype=np.int32)
        activation, sent = np.zeros((2, num_windows * size, neurons))
        if drive is not None:
            activation += drive
        resources = np.tile([0.0, 1.0, -1.0], (neurons, 1))
        short_term = self.short_term.constants if self.short_term else np.empty(0)
        sign = np.ones(self.pre.size) if self.sign is None else self.sign
        path = np.zeros((self.pre.size, num_windows)) if weight is None else sign[:, None] * weight
        if num_windows and weight is None:
            path[:, 0] = self._first(rng)
        for k in range(num_windows):
            gain = sign * path[:, k] * self.edge
            first, last = k * size, (k + 1) * size
            _carry_over(first, last, responses, self.pre, self.post, gain, activation, sent)
            _spike_window(
                first, last, rng.random((size, neurons)), self.bias, own, responses, self.pre,
                self.post, gain, self.link.code, self.link.sharpness, bin_width, short_term,
                resources, activation, counts, sent,
            )  # fmt: skip
            if k + 1 < num_windows and weight is None:
                path[:, k + 1] = self._next(path, counts[:last], k, size, bin_width, rng)
        binned = BinnedSpikes(counts, bin_width=bin_width, bins_per_window=size, units=units)
        return binned, sign[:, None] * path

    def _first(self, rng: np.random.Generator) -> Floats:
        if self.initial_weight is not None:
            return self.initial_weight
        if self.rule.weight_min is None:
            return self.link.weight_scale * rng.standard_normal(self.pre.size)
        return rng.uniform(self.rule.weight_min, self.parameters[WEIGHT_MAX])

    def _next(
        self, weight: Floats, counts: NDArray[Any], window: int, size: int, bin_width: float,
        rng: np.random.Generator,
    ) -> Floats:  # fmt: skip
        """Return the weights of the next window."""
        if not self.rule.plastic:
            return weight[:, window]
        pairs = SpikePairs(counts, self.pre, self.post, bin_width, size)
        pairs = pairs.joined(np.asarray(self.edge, dtype=np.float64)[:, None])
        own = {name: value[:, None] for name, value in self.parameters.items()}
        past = weight[:, : window + 1]
        mean = (past + self.rule.drift(past, pairs, own))[:, window]
        noise = self.parameters[WEIGHT_NOISE]
        if self.rule.weight_min is None:
            return mean + noise * rng.standard_normal(mean.size)
        lower, upper = self.rule.weight_min, self.parameters[WEIGHT_MAX]
        mean = np.clip(mean, lower, upper)
        low, high = ndtr((lower - mean) / noise), ndtr((upper - mean) / noise)
        draw = mean + noise * ndtri(low + rng.random(mean.size) * (high - low))
        return np.clip(draw, lower, upper)


# No cortical neuron fires faster for long.
_MAX_RATE = 500.0

# A synapse whose changes are seen within a minute of 20 Hz spiking.
_PAIRS: Mapping[str, float] = {
    "amplitude_plus": 0.006, "amplitude_minus": 0.009, "tau_plus": 0.02, "tau_minus": 0.02,
}  # fmt: skip
_LIVELY: Mapping[str, Mapping[str, float]] = {
    "static": {},
    "random_walk": {"weight_noise": 0.05},
    "additive": {**_PAIRS, "weight_noise": 0.03},
    "additive_bounded": {
        **_PAIRS, "amplitude_plus": 0.012, "amplitude_minus": 0.018, "weight_noise": 0.03,
        "weight_max": 2.0,
    },
    "multiplicative": {
        **_PAIRS, "amplitude_plus": 0.01, "amplitude_minus": 0.01, "weight_noise": 0.03,
        "weight_max": 2.0,
    },
    "oja": {"learning_rate": 1e-4, "weight_norm": 1.5, "weight_noise": 0.03},
    "triplet": {
        **_PAIRS, "amplitude_plus": 0.002, "amplitude_triplet_plus": 0.002,
        "amplitude_triplet_minus": 0.0005, "tau_triplet_plus": 0.1, "tau_triplet_minus": 0.1,
        "weight_noise": 0.03,
    },
}  # fmt: skip


def _lively(rule: LearningRule) -> Mapping[str, float]:
    """Return parameters that suit a rule of the package; none for others."""
    if not isinstance(rule, PairKernel):
        return _LIVELY.get(rule.name, {})
    at_peaks = double_exponential_curve(np.maximum(rule.bumps.peaks, 1e-9), _PAIRS)
    sides = [at_peaks, double_exponential_curve(-np.maximum(rule.bumps.peaks, 1e-9), _PAIRS)]
    values = zip(rule.coefficients, np.concatenate(sides).tolist(), strict=True)
    return {**dict(values), WEIGHT_NOISE: 0.03}


def simulate_plastic_glm(
    rule: LearningRule,
    *,
    num_neurons: int = 2,
    duration: float = 60.0,
    seed: int = 0,
    parameters: Mapping[str, float] | None = None,
    initial_weight: float | None = None,
    synapses: Sequence[tuple[int, int]] | None = None,
    edge_probability: float | None = None,
    link: Link | None = None,
    bin_width: float = 1e-3,
    window: float = 1.0,
    delay: float = 0.0,
    short_term: ShortTermPlasticity | None = None,
    inhibitory: Sequence[int] = (),
) -> tuple[BinnedSpikes, Arrays]:
    """Simulate neurons near 20 Hz, refractory, joined by synapses under one rule.

    Parameters
    ----------
    rule : LearningRule
        How weights move.
    num_neurons : int
        Number of neurons; every ordered pair may be joined.
    duration : float
        Seconds.
    seed : int
        Seed; the same one gives the same spikes.
    parameters : mapping of str to float, optional
        The rule's parameters, shared by all synapses; lively ones by default for the rules
        that come with the package.
    initial_weight : float, optional
        Weight of every synapse in the first window, in the link's weight scale; by default
        one, or less where synapses form loops: together with the rule's default parameters
        it is scaled until a spike starts half a spike at most, counted around all loops.
    synapses : sequence of (pre, post), optional
        Pairs of neurons that are joined, by index; by default any may be.
    edge_probability : float, optional
        Probability that a pair is joined where ``synapses`` is not given; by default two
        synapses a neuron on average.
    link : Link, optional
        Softplus of 1 Hz by default.
    bin_width, window : float
        Seconds.
    delay, short_term
        Of all synapses, as in the model; none by default.
    inhibitory : sequence of int
        Neurons whose weights are negative, as under the model's Dale's law; needs a rule with
        bounds.

    Returns
    -------
    tuple
        The spikes, and the truth: the same names as the model's posterior.

    Raises
    ------
    SettingError
        If the rule needs parameters that were not given, the network runs away, or a rule
        without bounds is to have inhibitory neurons.

    Examples
    --------
    >>> from probneuro.learning_rules import Additive
    >>> spikes, truth = simulate_plastic_glm(Additive(), duration=2.0)
    >>> truth["weight"].shape
    (2, 2)
    """
    link = link or Softplus()
    _check_signs(rule, inhibitory)
    rng = generator(seed, "plastic_glm")
    pre, post = np.nonzero(~np.eye(num_neurons, dtype=bool))
    basis = CosineBasis()
    alpha = np.ones(basis.num_bumps)
    truth: Arrays = {
        "bias": np.full(num_neurons, link.activation(20.0))
        + 5.0 / 15.0 * link.bias_scale * rng.standard_normal(num_neurons),
        "self_weight": link.weight_scale * rng.normal(-0.2, 0.05, num_neurons),
        "self_impulse": rng.dirichlet(alpha, num_neurons),
        "impulse": rng.dirichlet(alpha, pre.size),
        "edge": _edges(pre, post, synapses, edge_probability, rng),
    }
    share = _loop_share(pre, post, truth["edge"], num_neurons)
    given = _parameters(rule, parameters, share, link.weight_scale)
    truth |= {name: np.array([value]) for name, value in given.items()}
    first = link.weight_scale * (share if initial_weight is None else initial_weight)
    network = PlasticGLM(
        rule=rule, bias=truth["bias"], self_weight=truth["self_weight"],
        self_impulse=truth["self_impulse"], impulse=truth["impulse"], pre=pre, post=post,
        edge=truth["edge"], link=link, basis=basis,
        parameters={name: np.full(pre.size, value) for name, value in given.items()},
        initial_weight=np.full(pre.size, first), delay=delay, short_term=short_term,
        sign=np.where(np.isin(pre, list(inhibitory)), -1.0, 1.0),
    )  # fmt: skip
    spikes, truth["weight"] = network.simulate(
        round(duration / window), rng, bin_width=bin_width,
        bins_per_window=round(window / bin_width),
    )  # fmt: skip
    _check_rates(spikes, seed)
    return spikes, truth


def _check_signs(rule: LearningRule, inhibitory: Sequence[int]) -> None:
    """Raise if neurons are to be inhibitory under a rule whose weights have no sign."""
    if len(inhibitory) and rule.weight_min != 0.0:
        raise SettingError(
            f"`inhibitory` needs a rule whose weights lie between 0 and a maximum; got "
            f"'{rule.name}'. Use AdditiveBounded() or Multiplicative()."
        )


def _check_rates(spikes: BinnedSpikes, seed: int) -> None:
    """Raise if the network ran away."""
    fastest = float(spikes.rates.max())
    if fastest > _MAX_RATE:
        raise SettingError(
            f"The simulated network ran away: a unit fires at {fastest:.0f} Hz (seed {seed}). "
            "Choose a smaller `initial_weight` or `edge_probability`, weaker `parameters`, a "
            "shorter `duration` or another seed."
        )


def _parameters(
    rule: LearningRule, parameters: Mapping[str, float] | None, share: float, weight_scale: float
) -> dict[str, float]:
    """Return the rule's parameters; defaults in units of the weight shrink with the weights."""
    needed = rule.priors(weight_scale)
    given = {n: float(v) for n, v in (parameters or _lively(rule)).items()}
    missing = sorted(set(needed) - set(given))
    if missing:
        raise SettingError(
            f"`parameters` of rule '{rule.name}' lack {', '.join(missing)}. Pass a number for each."
        )
    if not parameters:
        others = ("tau", "learning_rate", *(["amplitude"] * (rule.name == "multiplicative")))
        for name in given:
            if not name.startswith(others):
                given[name] *= share * weight_scale
    return {name: given[name] for name in needed}


def _loop_share(pre: Integers, post: Integers, edge: NDArray[Any], num_neurons: int) -> float:
    """Return the weight at which loops carry half a spike a spike, at most one."""
    joined = np.zeros((num_neurons, num_neurons))
    joined[post, pre] = edge
    gain = float(np.abs(np.linalg.eigvals(joined)).max(initial=0.0))
    return 0.5 / gain if gain > 0.5 else 1.0


def _edges(
    pre: Integers, post: Integers, synapses: Sequence[tuple[int, int]] | None,
    probability: float | None,
    rng: np.random.Generator,
) -> NDArray[np.int8]:  # fmt: skip
    """Return which pairs are joined."""
    if probability is None:
        probability = min(1.0, 2.0 / max(int(pre.max(initial=0)), 1))
    drawn = rng.random(pre.size) < probability
    if synapses is not None:
        wanted = {(int(a), int(b)) for a, b in synapses}
        drawn = np.array([(a, b) in wanted for a, b in zip(pre, post, strict=True)])
    return drawn.astype(np.int8)
