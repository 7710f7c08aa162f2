"""The STDP-GLM's full conditionals, for Gibbs engines."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from probneuro.components.point_process import (
    add_gained,
    weighted_sum,
    window_log_likelihoods,
)
from probneuro.components.window_table import WindowTable
from probneuro.core.columns import ColumnLaw, HasColumns
from probneuro.core.engine import Arrays
from probneuro.core.errors import CapabilityError
from probneuro.core.gibbs import (
    ChainLaw,
    Conditionals,
    GibbsTarget,
    SmoothConditional,
    SwitchedChain,
)
from probneuro.core.switched_scalars import HasSwitchedScalars, SwitchedScalar
from probneuro.data import BinnedSpikes
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import WEIGHT_MAX, WEIGHT_NOISE
from probneuro.models.stdp_glm.calm_start import calm_parameters
from probneuro.models.stdp_glm.carried import CarriedWeights
from probneuro.models.stdp_glm.columns import (
    WeightObservation,
    absent_log_density,
    absent_weights,
    column_law,
)
from probneuro.models.stdp_glm.design import Design
from probneuro.models.stdp_glm.neuron import NeuronConditional, simplex
from probneuro.models.stdp_glm.self_edges import (
    SELF_EDGE,
    SelfWeightLikelihood,
    self_connected,
)
from probneuro.models.stdp_glm.weight_shift import HeldWeight, WeightShift

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.program import STDPGLM

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# First distance of tabulated weights, in weight scales; tables halve it where they must.
_FIRST_STEP = 1.0 / 16.0
# Bytes of filtered spikes that are kept; the others are computed again.
_DRIVE_BYTES = 2**30

_ZERO_AND_ONE = np.array([0.0, 1.0])
# Selections of spike pairs that are kept: those of one sweep over all synapses, and more.
_MOST_SELECTIONS = 2000


class STDPGLMTarget(GibbsTarget):
    """The STDP-GLM bound to a recording.

    The values of a point are the program's sites, with the gammas of impulse responses as
    their logarithms and weights of static synapses as constant trajectories, and
    ``table_step``, the resolution that each synapse's likelihood table ended with.

    Parameters
    ----------
    model : STDPGLM
        The model.
    data : BinnedSpikes
        The recording.
    """

    def __init__(self, model: "STDPGLM", data: BinnedSpikes) -> None:
        self.model, self.data = model, data
        self.coupled = model.rule.coupled
        self.design: Design = model.design(data)
        self.pairs = model.pairs(data)
        self._chosen: dict[tuple[int, ...], SpikePairs] = {}
        self.pre, self.post = model.network.candidates(data.units)
        self.source = self.design.sent[self.pre]
        self.sign = model.synapse_signs(data)
        self.group, labels = model.sharing.groups(model.synapse_names(data))
        self.groups = [np.flatnonzero(self.group == g).tolist() for g in range(len(labels))]
        probability = model.network.edge_probability(data.units)
        with np.errstate(divide="ignore"):
            self.log_odds = np.log(probability) - np.log1p(-probability)
        self.incoming = [np.flatnonzero(self.post == n) for n in range(len(data.units))]
        self.block_of_chain = self.post.tolist()
        bumps = model.basis.num_bumps
        rows = self.design.stimulus.shape[0]
        self.parameter_sizes = [2 + bumps + rows + bumps * inc.size for inc in self.incoming]
        sizes = zip(self.parameter_sizes, self.incoming, strict=True)
        self.smooth_sizes = [size + inc.size for size, inc in sizes]
        self.priors = dict(model.rule.priors(model.link.weight_scale))

    def parameter_priors(self) -> Mapping[str, Any]:
        """Return the rule's priors."""
        return self.priors

    def start(self, rng: np.random.Generator) -> Arrays:
        """Start at the recording's rates, with edges on, weak weights and rules at the prior."""
        model, neurons, synapses = self.model, len(self.data.units), self.pre.size
        bumps, windows = model.basis.num_bumps, self.data.num_windows
        bias = [model.link.activation(max(float(r), 0.1)) for r in self.data.rates]
        scale = model.link.weight_scale
        values: Arrays = {
            "bias": np.array(bias) + 0.05 * model.bias.scale * rng.standard_normal(neurons),
            "self_weight": 0.2 * model.self_weight.scale * rng.standard_normal(neurons),
            "self_log_gamma": 0.3 * rng.standard_normal((neurons, bumps)),
            "log_gamma": 0.3 * rng.standard_normal((synapses, bumps)),
            "edge": np.ones(synapses, dtype=np.int8),
            "stimulus_filter": np.zeros((neurons, self.design.stimulus.shape[0])),
            "table_step": np.full(synapses, _FIRST_STEP * scale),
        }
        if model.optional_self_edges:
            values[SELF_EDGE] = np.ones(neurons, dtype=np.int8)
        for name, prior in self.priors.items():
            values[name] = prior.sample(rng, len(self.groups))
        calm_parameters(self, values, rng)
        level = 0.1 * scale * np.abs(rng.standard_normal(synapses))
        if WEIGHT_MAX in self.priors:
            level = np.minimum(level, 0.5 * values[WEIGHT_MAX][self.group])
            level += float(model.rule.weight_min or 0.0)
        values["weight"] = np.repeat((self.sign * level)[:, None], windows, axis=1)
        return values

    def shifts(self, index: int, values: Arrays) -> WeightShift | HeldWeight:
        """Return the ways to shift one synapse's trajectory as a whole; none if coupled."""
        if self.coupled:
            return HeldWeight(values["weight"][index])
        own = {name: float(values[name][self.group[index]]) for name in self.priors}
        return WeightShift(self.law(index, own), values["weight"][index])

    def at(self, values: Arrays) -> "STDPGLMConditionals":
        """Return the conditionals at a point."""
        return STDPGLMConditionals(self, values)

    def law(self, index: int, parameters: Mapping[str, float]) -> ChainLaw:
        """Return the law of one synapse's weights under some rule parameters."""
        return self.laws([index], parameters)[index]

    def laws(self, indices: Sequence[int], parameters: Mapping[str, float]) -> dict[int, ChainLaw]:
        """Return the laws of some synapses' weights under the same rule parameters."""
        rule, scale = self.model.rule, self.model.link.weight_scale
        if rule.coupled:
            raise CapabilityError(
                f"Under rule '{rule.name}' no weight has a law of its own: it depends on the other "
                "synapses onto the neuron. Use an engine that moves them together, ParticleGibbs()."
            )
        none = np.zeros(self.data.num_windows - 1)
        if not rule.plastic:
            return dict.fromkeys(indices, ChainLaw(0.0, scale, None, none, none))
        noise = parameters[WEIGHT_NOISE]
        if not rule.affine:
            return {
                s: ChainLaw(
                    noise, scale, self._bounds(s, parameters), none, none,
                    self._drift_of(s, parameters),
                )
                for s in indices
            }  # fmt: skip
        drifts = self._drifts(np.asarray(indices, dtype=np.int64), _ZERO_AND_ONE, parameters)
        at_zero, slope = drifts[0], drifts[1] - drifts[0]
        return {
            s: ChainLaw(
                noise, scale, self._bounds(s, parameters), self.sign[s] * at_zero[i], slope[i]
            )
            for i, s in enumerate(indices)
        }

    def _bounds(self, index: int, parameters: Mapping[str, float]) -> tuple[float, float] | None:
        """Return one synapse's bounds, mirrored at zero where it is inhibitory."""
        lower = self.model.rule.weight_min
        if lower is None:
            return None
        upper = parameters[WEIGHT_MAX]
        return (lower, upper) if self.sign[index] > 0 else (-upper, -lower)

    def _drift_of(self, index: int, parameters: Mapping[str, float]) -> Any:
        """Return one synapse's drift, as a function of states to shape (state, window - 1)."""
        one, sign = np.array([index]), self.sign[index]
        return lambda states: sign * self._drifts(one, sign * states, parameters)[:, 0]

    def _drifts(
        self, synapses: NDArray[np.int64], states: Floats, parameters: Mapping[str, float]
    ) -> Floats:
        """Return the drift at some states, shape (state, synapse, window - 1)."""
        key = tuple(synapses.tolist())
        pairs = self._chosen.get(key)  # other threads may clear what is kept
        if pairs is None:
            if len(self._chosen) > _MOST_SELECTIONS:
                self._chosen.clear()
            pairs = self._chosen[key] = self.pairs.select(synapses)
        own = {name: np.full((synapses.size, 1), value) for name, value in parameters.items()}
        weight = np.empty((states.size, synapses.size, self.data.num_windows))
        weight[:] = states[:, None, None]
        change = np.empty_like(weight)
        change[:] = self.model.rule.drift(weight, pairs, own)
        return change[..., :-1]

    def draw(self, values: Arrays) -> Arrays:
        """Return the posterior variables of a point."""
        draw = {
            "bias": values["bias"],
            "self_weight": values["self_weight"],
            "self_impulse": simplex(values["self_log_gamma"]),
            "impulse": simplex(values["log_gamma"]),
            "edge": values["edge"].astype(np.int8),
            "weight": values["weight"],
            **{name: values[name] for name in self.priors},
        }
        if SELF_EDGE in values:
            draw[SELF_EDGE] = values[SELF_EDGE].astype(np.int8)
        if values["stimulus_filter"].shape[1]:
            shape = (len(self.data.units), -1, self.model.basis.num_bumps)
            draw["stimulus_filter"] = values["stimulus_filter"].reshape(shape)
        return draw


class STDPGLMConditionals(Conditionals, HasColumns, HasSwitchedScalars):
    """The conditionals at one point; see :class:`probneuro.core.gibbs.Conditionals`.

    Parameters
    ----------
    target : STDPGLMTarget
        Model and data.
    values : dict of arrays
        The point; it is copied.
    """

    def __init__(self, target: STDPGLMTarget, values: Arrays) -> None:
        self.target = target
        self.values = {name: value.copy() for name, value in values.items()}
        self._activation: dict[int, Floats] = {}
        self._drive: dict[int, Floats] = {}
        self._log_likelihood: dict[int, float] = {}

    def smooth_position(self, block: int) -> Floats:
        """Return bias, self weight, log gammas, stimulus filter and (zero) weight shifts."""
        v, incoming = self.values, self.target.incoming[block]
        return np.concatenate([
            v["bias"][block : block + 1], v["self_weight"][block : block + 1],
            v["self_log_gamma"][block], v["stimulus_filter"][block],
            v["log_gamma"][incoming].ravel(), np.zeros(incoming.size),
        ])  # fmt: skip

    def smooth(self, block: int) -> SmoothConditional:
        """Return the conditional of one neuron's real parameters."""
        return NeuronConditional(self.target, self.values, block)

    def set_smooth(self, block: int, position: Floats, rng: np.random.Generator | None) -> None:
        """Move one neuron's real parameters; with a stream, bumps of absent edges are drawn."""
        v, target = self.values, self.target
        bumps, incoming = target.model.basis.num_bumps, target.incoming[block]
        tail = position.size - (bumps + 1) * incoming.size
        end = position.size - incoming.size
        v["bias"][block], v["self_weight"][block] = position[:2]
        v["self_log_gamma"][block] = position[2 : 2 + bumps]
        v["stimulus_filter"][block] = position[2 + bumps : tail]
        v["log_gamma"][incoming] = position[tail:end].reshape(-1, bumps)
        for s, shift in zip(incoming, position[end:], strict=True):
            if v["edge"][s]:
                v["weight"][s] = target.shifts(int(s), v).weight(float(shift))
        if rng is not None:
            absent = incoming[v["edge"][incoming] == 0]
            gamma = rng.gamma(target.model.concentration, size=(absent.size, bumps))
            v["log_gamma"][absent] = np.log(gamma)
            if not self_connected(v, block):
                gamma = rng.gamma(target.model.concentration, size=bumps)
                v["self_log_gamma"][block] = np.log(gamma)
        self._activation.pop(block, None)
        self._log_likelihood.pop(block, None)
        for s in incoming:
            self._drive.pop(int(s), None)

    def chain(self, index: int) -> SwitchedChain:
        """Return one synapse's weights and edge, given all else."""
        target, neuron = self.target, int(self.target.post[index])
        base = self.activation(neuron).copy()
        model, data, design = target.model, target.data, target.design
        if self.values["edge"][index]:
            add_gained(base, self.drive(index), self.values["weight"][index], -1.0)
            null = self._neuron_log_likelihood(neuron, base)
        else:
            null = self.neuron_log_likelihood(neuron)
        table = WindowTable(
            base, self.drive(index), design.silent, design.spikes[neuron], model.link,
            data.bin_width, float(self.values["table_step"][index]),
        )  # fmt: skip
        return SwitchedChain(index, float(target.log_odds[index]), null, table)

    def set_chain(self, index: int, chain: SwitchedChain | None, on: bool, path: Floats) -> None:
        """Move one synapse's edge and weights, and keep the activation in step."""
        neuron = int(self.target.post[index])
        if self.values["edge"][index] or on:
            activation, drive = self.activation(neuron), self.drive(index)
            if self.values["edge"][index]:
                add_gained(activation, drive, self.values["weight"][index], -1.0)
            if on:
                add_gained(activation, drive, path, 1.0)
            self._log_likelihood.pop(neuron, None)
        self.values["edge"][index] = on
        self.values["weight"][index] = path
        if chain is not None and isinstance(chain.observation, WindowTable):
            self.values["table_step"][index] = chain.observation.next_step

    def switched_scalar(self, block: int) -> SwitchedScalar | None:
        """Return one neuron's self weight and edge, given all else; None if it is always there."""
        model = self.target.model
        if not model.optional_self_edges:
            return None
        drive = self._self_drive(block)
        base = self.activation(block)
        if self_connected(self.values, block):
            base = base - self.values["self_weight"][block] * drive
        probability = model.self_edge_probability
        odds = math.log(probability) - math.log1p(-probability)
        likelihood = SelfWeightLikelihood(self.target, block, base, drive)
        return SwitchedScalar(odds, model.self_weight, likelihood)

    def scalar(self, block: int) -> tuple[bool, float]:
        """Return one neuron's self edge and weight."""
        return self_connected(self.values, block), float(self.values["self_weight"][block])

    def set_scalar(self, block: int, on: bool, value: float) -> None:
        """Move one neuron's self edge and weight."""
        self.values[SELF_EDGE][block], self.values["self_weight"][block] = on, value
        self._activation.pop(block, None)
        self._log_likelihood.pop(block, None)

    def members(self, block: int) -> Integers:
        """Return the synapses onto a neuron."""
        return self.target.incoming[block]

    def switch_log_odds(self, block: int) -> Floats:
        """Return the prior log odds of the synapses onto a neuron."""
        odds: Floats = self.target.log_odds[self.members(block)]
        return odds

    def column_law(
        self, block: int, on: NDArray[np.bool_], group: int = 0,
        parameters: Mapping[str, float] | None = None,
    ) -> ColumnLaw:  # fmt: skip
        """Return the law of the present synapses' weights onto a neuron."""
        values = {name: self.values[name].copy() for name in self.target.priors}
        for name, value in (parameters or {}).items():
            values[name][group] = value
        present = self.members(block)[on]
        return column_law(self.target, present, np.ones(present.size), values)

    def absent_log_density(self, block: int) -> float:
        """Return the log density of absent synapses' weights given those of present ones."""
        members = self.members(block)
        on = self.values["edge"][members] != 0
        return absent_log_density(self.target, members, on, self.values)

    def column_observation(self, block: int, on: NDArray[np.bool_]) -> WeightObservation:
        """Return the likelihood of a neuron's spikes by the weights of present synapses."""
        base, members = self.activation(block).copy(), self.members(block)
        for s in members[self.values["edge"][members] != 0]:
            add_gained(base, self.drive(int(s)), self.values["weight"][s], -1.0)
        drives = [self.drive(int(s)) for s in members[on]]
        stacked = np.array(drives).reshape(len(drives), base.size)
        return WeightObservation(self.target, block, base, stacked)

    def set_column(
        self, block: int, on: NDArray[np.bool_], paths: Floats, rng: np.random.Generator
    ) -> None:
        """Move the edges and weights onto a neuron; draw the weights of absent synapses."""
        members = self.members(block)
        self.values["edge"][members] = on
        self.values["weight"][members[on]] = paths
        self.values["weight"][members] = absent_weights(self.target, members, on, self.values, rng)
        self._activation.pop(block, None)
        self._log_likelihood.pop(block, None)

    def trajectory_likelihood(self, indices: Sequence[int]) -> CarriedWeights:
        """Return the log likelihood of some present synapses' weights."""
        return CarriedWeights(self, indices)

    def law(self, index: int, parameters: Mapping[str, float]) -> ChainLaw:
        """Return the law of one synapse's weights under some rule parameters."""
        return self.target.law(index, parameters)

    def laws(self, indices: Sequence[int], parameters: Mapping[str, float]) -> dict[int, ChainLaw]:
        """Return the laws of some synapses' weights under some rule parameters."""
        return self.target.laws(indices, parameters)

    def set_parameters(self, group: int, parameters: Mapping[str, float]) -> None:
        """Move a group's rule parameters."""
        for name, value in parameters.items():
            self.values[name][group] = value

    def log_density(self) -> float:
        """Return the joint log density of the program's sites and the spikes."""
        v, model = self.values, self.target.model
        total = model.bias.log_density(v["bias"]).sum()
        total += model.self_weight.log_density(v["self_weight"]).sum()
        if SELF_EDGE in v:
            chance = model.self_edge_probability
            total += np.log(np.where(v[SELF_EDGE], chance, 1.0 - chance)).sum()
        for gammas in (v["self_log_gamma"], v["log_gamma"]):
            shape = model.concentration
            total += ((shape - 1.0) * gammas - np.exp(gammas) - gammaln(shape)).sum()
        scale = model.stimulus_scale * model.link.bias_scale
        filters = v["stimulus_filter"] / scale
        total -= (0.5 * filters**2 + math.log(scale * math.sqrt(2.0 * math.pi))).sum()
        for name, prior in self.target.priors.items():
            total += prior.log_density(v[name]).sum()
        for column in self.target.incoming if self.target.coupled else []:
            law = column_law(self.target, column, v["edge"][column], v)
            total += law.log_density(v["weight"][column])
        for s in range(self.target.pre.size):
            if not self.target.coupled:
                own = {name: float(v[name][self.target.group[s]]) for name in self.target.priors}
                total += self.law(s, own).log_density(v["weight"][s])
            odds = self.target.log_odds[s]
            if np.isfinite(odds):
                total -= np.logaddexp(0.0, -odds if v["edge"][s] else odds)
        return float(total + self.log_likelihood())

    def log_likelihood(self) -> float:
        """Return the log likelihood of all spikes at the point."""
        return sum(self.neuron_log_likelihood(n) for n in range(len(self.target.data.units)))

    def neuron_log_likelihood(self, neuron: int) -> float:
        """Return the log likelihood of one neuron's spikes at the point."""
        if neuron not in self._log_likelihood:
            own = self._neuron_log_likelihood(neuron, self.activation(neuron))
            self._log_likelihood[neuron] = own
        return self._log_likelihood[neuron]

    def _neuron_log_likelihood(self, neuron: int, activation: Floats) -> float:
        model, data, design = self.target.model, self.target.data, self.target.design
        terms = window_log_likelihoods(
            activation, design.silent, design.spikes[neuron], model.link, data.bin_width
        )
        return float(terms.sum())

    def drive(self, index: int) -> Floats:
        """Return one synapse's impulse response to its presynaptic spikes, shape (time,)."""
        kept = self._drive.get(index)
        if kept is None:
            traces = self.target.design.traces[self.target.source[index]]
            kept = weighted_sum(traces, simplex(self.values["log_gamma"][index]))
            self._drive[index] = kept
            # The first that came goes first; `list` is safe where other threads add theirs.
            for old in list(self._drive)[: -max(1, _DRIVE_BYTES // kept.nbytes)]:
                self._drive.pop(old, None)
        return kept

    def _self_drive(self, neuron: int) -> Floats:
        """Return what a self weight of one adds to a neuron's activation, shape (time,)."""
        share = simplex(self.values["self_log_gamma"][neuron])
        return weighted_sum(self.target.design.traces[neuron], share)

    def activation(self, neuron: int) -> Floats:
        """Return one neuron's activation, shape (time,)."""
        if neuron not in self._activation:
            v, design = self.values, self.target.design
            total = np.full(self.target.data.num_bins, v["bias"][neuron])
            if self_connected(v, neuron):
                own = v["self_weight"][neuron] * simplex(v["self_log_gamma"][neuron])
                total += weighted_sum(design.traces[neuron], own)
            if design.stimulus.shape[0]:
                total += v["stimulus_filter"][neuron] @ design.stimulus
            for s in self.target.incoming[neuron]:
                if v["edge"][s]:
                    add_gained(total, self.drive(int(s)), v["weight"][s], 1.0)
            self._activation[neuron] = total
        return self._activation[neuron]
