"""The sparse time-varying GLM with plastic synapses as a Pyro program and its guide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from pyro.infer.autoguide import AutoNormal
from torch import Tensor
from torch.distributions.transforms import AffineTransform, SigmoidTransform

from probneuro.components.basis import CosineBasis
from probneuro.components.links import Link, Softplus
from probneuro.components.short_term import ShortTermPlasticity
from probneuro.core import names
from probneuro.core.engine import Engine
from probneuro.core.errors import DataError, SettingError
from probneuro.core.gibbs import GibbsTarget, HasGibbs
from probneuro.core.held_out import HasHeldOut
from probneuro.core.model import DescribesData, HasDefaultEngine, Model, Reference
from probneuro.core.priors import Normal
from probneuro.core.registry import load
from probneuro.data import BinnedSpikes
from probneuro.learning_rules import Additive, HasCurveBasis, LearningRule, SpikePairs
from probneuro.learning_rules.rule import WEIGHT_MAX
from probneuro.learning_rules.trajectory import WeightTrajectory
from probneuro.models.stdp_glm.design import Design, design_of
from probneuro.models.stdp_glm.networks import DalesLaw, ErdosRenyi, Network, Shared, Sharing
from probneuro.models.stdp_glm.self_edges import SELF_EDGE

LINDERMAN = Reference(
    "Linderman SW, Stock CH, Adams RP",
    2014,
    "A framework for studying synaptic plasticity with neural spike train data",
    "Advances in Neural Information Processing Systems 27",
    "arXiv:1411.4077",
)


@final
@dataclass(frozen=True, kw_only=True)
class STDPGLM(Model, HasGibbs, HasDefaultEngine, HasHeldOut, DescribesData):
    r"""Sparse time-varying generalised linear model whose synapses follow a learning rule.

    .. math::

        s_{t,n} \sim \mathrm{Poisson}(g(\psi_{t,n})\,\mathrm dt), \qquad
        \psi_{t,n} = b_n + w_{n}^{self} (h_n * s_n)_t + (k_n * x)_t
        + \sum_{n'} a_{n' n}\, w_{n' n, k(t)} (h_{n' n} * s_{n'})_t

    with h a convex combination of cosine bumps, edges a, and weights w that move from window
    to window by a learning rule.

    Parameters
    ----------
    rule : LearningRule
        How weights move.
    link : Link
        Activation to rate.
    basis : CosineBasis
        Bumps of impulse responses and stimulus filters.
    network : Network
        Candidate synapses and their prior probabilities.
    sharing : Sharing
        Which synapses share rule parameters.
    bias_prior : Normal or None
        Prior of the bias in the link's units; None takes the link's weak one. The simulations
        of the paper use ``Normal(20, 5)``.
    self_weight_prior : Normal
        Prior of the self weight, in units of the link's weight scale.
    self_edge_probability : float
        Prior probability that a neuron acts on itself, above 0 and at most 1: always, by default.
        The site ``self_edge`` is there only below 1.
    concentration : float
        Concentration of the Dirichlet over bumps.
    stimulus_scale : float
        Prior standard deviation of stimulus filter weights, in units of ``link.bias_scale``.
    delay : float
        Seconds from a presynaptic spike to its arrival, a whole number of bins, the same for all
        synapses: impulse responses start one bin after it, and their lags count from it. Self
        connections have none. Learning rules read the times of the spikes, not of arrivals.
    short_term : ShortTermPlasticity, optional
        Short-term depression and facilitation of what presynaptic spikes count for; none by
        default. Self connections and learning rules see whole spikes.
    dale : DalesLaw, optional
        One sign for all synapses from a neuron; needs a rule with bounds and ``weight_min`` 0.

    Raises
    ------
    SettingError
        If the delay is negative, a probability is none, or Dale's law is asked of a rule
        without bounds.

    Notes
    -----
    Source: Linderman, Stock and Adams (2014), Eq. 1 to 5. The Dirichlet is written in its
    expanded form, theta = gamma / sum(gamma). Weights of absent synapses follow the prior.

    Examples
    --------
    >>> from probneuro.data import BinnedSpikes
    >>> data = BinnedSpikes(np.eye(2, dtype=int).repeat(10, 0), bins_per_window=10)
    >>> trace = pyro.poutine.trace(STDPGLM().model).get_trace(data)
    >>> tuple(trace.nodes["weight"]["value"].shape)
    (2, 2)
    """

    rule: LearningRule = field(default_factory=Additive)
    link: Link = field(default_factory=Softplus)
    basis: CosineBasis = field(default_factory=CosineBasis)
    network: Network = field(default_factory=ErdosRenyi)
    sharing: Sharing = field(default_factory=Shared)
    bias_prior: Normal | None = None
    self_weight_prior: Normal = field(default_factory=lambda: Normal(-0.2, 0.5))
    self_edge_probability: float = 1.0
    concentration: float = 1.0
    stimulus_scale: float = 1.0
    delay: float = 0.0
    short_term: ShortTermPlasticity | None = None
    dale: DalesLaw | None = None

    name = "stdp_glm"
    references = (LINDERMAN,)

    def __post_init__(self) -> None:
        if not self.delay >= 0.0:
            raise SettingError(f"`delay` must be 0 s or more; got {self.delay}. Pass e.g. 0.001.")
        if not 0.0 < self.self_edge_probability <= 1.0:
            raise SettingError(
                "`self_edge_probability` must lie above 0 and be at most 1; got "
                f"{self.self_edge_probability}. Pass e.g. 0.5, or leave it out."
            )
        if self.dale is not None and self.rule.weight_min != 0.0:
            raise SettingError(
                f"`dale` needs a rule whose weights lie between 0 and a maximum; rule "
                f"'{self.rule.name}' has the lower bound {self.rule.weight_min}. Use "
                "AdditiveBounded() or Multiplicative(), or leave `dale` out."
            )

        if self.rule.coupled and self.rule.weight_min is not None:
            raise SettingError(
                f"`rule` '{self.rule.name}' is coupled and has bounds; got the lower bound "
                f"{self.rule.weight_min}. Derive a coupled rule from UnboundedRule."
            )

    @property
    def bias(self) -> Normal:
        """Prior of the bias in the link's units."""
        return self.bias_prior or Normal(self.link.bias_location, self.link.bias_scale)

    @property
    def optional_self_edges(self) -> bool:
        """Whether a neuron's connection to itself may be absent."""
        return self.self_edge_probability < 1.0

    @property
    def self_weight(self) -> Normal:
        """Prior of the self weight in the link's units."""
        scale = self.link.weight_scale
        return Normal(self.self_weight_prior.location * scale, self.self_weight_prior.scale * scale)

    def model(self, data: BinnedSpikes) -> Tensor:
        """Run the generative program, given the recording's own history of spikes."""
        design = self.design(data)
        neurons = len(data.units)
        synapses = pyro.plate("synapse", len(self.synapse_names(data)))
        gain = self._synapses(data, synapses)
        with pyro.plate("neuron", neurons):
            bias = pyro.sample("bias", self.bias.distribution())
            self_weight = pyro.sample("self_weight", self.self_weight.distribution())
            self_impulse = self._impulse("self_impulse")
            if self.optional_self_edges:
                chance = torch.tensor(self.self_edge_probability, dtype=torch.float64)
                self_weight = self_weight * pyro.sample(SELF_EDGE, dist.Bernoulli(chance))
        with synapses:
            impulse = self._impulse("impulse")
        traces = torch.as_tensor(design.traces)
        own = torch.einsum("nb,nbt->tn", self_weight[:, None] * self_impulse, traces[:neurons])
        activation = bias + own + self._stimulus(design, neurons)
        pre, post = self.network.candidates(data.units)
        drive = torch.einsum("sb,sbt->st", impulse, traces[torch.as_tensor(design.sent[pre])])
        inputs = gain.repeat_interleave(data.bins_per_window, dim=1) * drive
        activation = activation.T.index_add(0, torch.as_tensor(post), inputs).T
        expected = self.link.rate(activation) * data.bin_width
        observed = torch.as_tensor(np.array(data.observed))[:, None]
        counts = torch.as_tensor(data.counts.astype(np.float64))
        law = dist.Poisson(expected, validate_args=False).mask(observed).to_event(2)
        return pyro.sample("spikes", law, obs=counts)

    def guide(self, data: BinnedSpikes) -> Any:
        """Run a mean-field guide: normals for real sites, Bernoullis for edges."""
        bounded = self.rule.plastic and self.rule.weight_min is not None
        hide = ["edge", SELF_EDGE, *(["weight"] if bounded else [])]
        hidden = pyro.poutine.block(self.model, hide=hide)
        probability = torch.as_tensor(self.network.edge_probability(data.units))
        synapses = pyro.plate("synapse", len(probability))
        if bool((probability < 1).any()):
            free = pyro.param(
                "edge_probability", probability, constraint=dist.constraints.unit_interval
            )
            with synapses:
                pyro.sample("edge", dist.Bernoulli(free))
        neurons = pyro.plate("neuron", len(data.units))
        if self.optional_self_edges:
            chance = torch.full((len(data.units),), self.self_edge_probability).double()
            own = pyro.param("self_edge_probability", chance, dist.constraints.unit_interval)
            with neurons:
                pyro.sample(SELF_EDGE, dist.Bernoulli(own))
        values = AutoNormal(hidden, create_plates=lambda _: [synapses, neurons])(data)
        if bounded:
            with synapses:
                values["weight"] = self._bounded_weight(data, values[WEIGHT_MAX])
        return values

    def _bounded_weight(self, data: BinnedSpikes, upper: Tensor) -> Tensor:
        """Sample weights between the bounds; the upper one moves, so no fixed transform will do."""
        group = self.sharing.groups(self.synapse_names(data))[0]
        shape = (group.size, data.num_windows)
        location = pyro.param("weight_location", torch.zeros(shape, dtype=torch.float64))
        scale = pyro.param(
            "weight_scale",
            torch.full(shape, 0.1, dtype=torch.float64),
            constraint=dist.constraints.positive,
        )
        lower = self.rule.weight_min or 0.0
        span = upper[torch.as_tensor(group)][:, None] - lower
        sign = torch.as_tensor(self.synapse_signs(data))[:, None]
        share = [SigmoidTransform(), AffineTransform(sign * lower, sign * span)]
        law = dist.TransformedDistribution(dist.Normal(location, scale), share)
        weight: Tensor = pyro.sample("weight", law.to_event(1))
        return weight

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the named dimensions of every recorded variable."""
        fixed = {
            "bias": [names.NEURON],
            "self_weight": [names.NEURON],
            SELF_EDGE: [names.NEURON],
            "self_impulse": [names.NEURON, names.BASIS],
            "impulse": [names.SYNAPSE, names.BASIS],
            "edge": [names.SYNAPSE],
            "weight": [names.SYNAPSE, names.WINDOW],
            "stimulus_filter": [names.NEURON, names.CHANNEL, names.BASIS],
            "basis_function": [names.BASIS, names.LAG],
            "group_of_synapse": [names.SYNAPSE],
            "kernel_function": [names.KERNEL, names.PAIR_LAG],
            "spike_count": [names.WINDOW, names.NEURON],
            "held_out/log_likelihood": [names.BLOCK, names.NEURON],
            "held_out/spike_count": [names.BLOCK, names.NEURON],
            "held_out/baseline_log_likelihood": [names.BLOCK, names.NEURON],
        }
        rule = {name: [names.RULE_GROUP] for name in self.rule.priors(self.link.weight_scale)}
        return {**fixed, **rule}

    def coords(self, data: BinnedSpikes) -> Mapping[str, Any]:
        """Return the labels of every dimension for a recording."""
        pre, post = self.network.candidates(data.units)
        synapses = self.synapse_names(data)
        curve = self.rule.curve_basis() if isinstance(self.rule, HasCurveBasis) else None
        rule = {names.KERNEL: list(curve.names), names.PAIR_LAG: curve.lags} if curve else {}
        return {
            **rule,
            names.NEURON: list(data.units),
            names.SYNAPSE: synapses,
            names.PRE: (names.SYNAPSE, [data.units[i] for i in pre]),
            names.POST: (names.SYNAPSE, [data.units[i] for i in post]),
            names.BASIS: np.arange(self.basis.num_bumps),
            names.WINDOW: np.asarray(data.window_starts),
            names.CHANNEL: list(data.channels),
            names.LAG: self.basis.lags(data.bin_width),
            names.RULE_GROUP: list(self.sharing.groups(synapses)[1]),
        }

    def default_engine(self) -> Engine:
        """Return the collapsed Gibbs sampler; particle Gibbs where synapses are coupled."""
        name = "particle_gibbs" if self.rule.coupled else "collapsed_gibbs"
        engine: Engine = load("engine", name)()
        return engine

    def data_groups(self, data: BinnedSpikes) -> Mapping[str, Mapping[str, Any]]:
        """Return the bumps, the groups of synapses and the spike counts per window."""
        constant = {
            "basis_function": self.basis.evaluate(data.bin_width),
            "group_of_synapse": self.sharing.groups(self.synapse_names(data))[0],
        }
        if isinstance(self.rule, HasCurveBasis):
            constant["kernel_function"] = self.rule.curve_basis().functions
        return {
            names.CONSTANT_DATA: constant,
            names.OBSERVED_DATA: {"spike_count": data.window_counts()},
        }

    def attributes(self) -> Mapping[str, Any]:
        """Return the rule's and the link's name."""
        attributes: dict[str, Any] = {"rule": self.rule.name, "link": self.link.name}
        if self.delay:
            attributes["delay"] = self.delay
        if self.short_term:
            attributes["short_term"] = repr(self.short_term)
        if self.optional_self_edges:
            attributes["self_edge_probability"] = self.self_edge_probability
        if self.dale:
            attributes["inhibitory"] = list(self.dale.inhibitory)
        return attributes

    def held_out(
        self, posterior: Mapping[str, Any], data: BinnedSpikes, first: int, **settings: Any
    ) -> Mapping[str, Any]:
        """Return the held-out log likelihood; see `probneuro.models.stdp_glm.held_out`."""
        from probneuro.models.stdp_glm.held_out import held_out_log_likelihood

        return held_out_log_likelihood(self, posterior, data, first, **settings)

    def gibbs(self, data: BinnedSpikes) -> GibbsTarget:
        """Bind the model to a recording for a Gibbs engine."""
        from probneuro.models.stdp_glm.conditionals import STDPGLMTarget

        data.check_fittable()
        return STDPGLMTarget(self, data)

    def design(self, data: BinnedSpikes) -> Design:
        """Return what the model precomputes from a recording."""
        if len(data.units) < 2 and len(self.network.candidates(data.units)[0]) == 0:
            raise DataError(
                f"`data` must hold at least two units to have a synapse; got {len(data.units)}. "
                "Read more units."
            )
        return design_of(data, self.basis, self.delay, self.short_term)

    def synapse_signs(self, data: BinnedSpikes) -> NDArray[np.float64]:
        """Return the sign of each candidate synapse's rule, shape (synapse,); 1 without Dale."""
        pre, _ = self.network.candidates(data.units)
        return self.dale.signs(data.units)[pre] if self.dale else np.ones(pre.size)

    def synapse_names(self, data: BinnedSpikes) -> list[str]:
        """Return the candidate synapses' names."""
        pre, post = self.network.candidates(data.units)
        pairs = zip(pre, post, strict=True)
        return [names.synapse_name(data.units[i], data.units[j]) for i, j in pairs]

    def pairs(self, data: BinnedSpikes) -> SpikePairs:
        """Return the spike pairs of the candidate synapses."""
        pre, post = self.network.candidates(data.units)
        return SpikePairs(data.counts, pre, post, data.bin_width, data.bins_per_window)

    def _impulse(self, name: str) -> Tensor:
        """Sample simplex weights of the bumps by their expanded mean."""
        shape = torch.full((self.basis.num_bumps,), self.concentration, dtype=torch.float64)
        law = dist.Gamma(shape, torch.ones_like(shape)).to_event(1)
        gamma = pyro.sample(f"{name}_gamma", law)
        return pyro.deterministic(name, gamma / gamma.sum(-1, keepdim=True), event_dim=1)

    def _synapses(self, data: BinnedSpikes, synapses: Any) -> Tensor:
        """Sample edges, rule parameters and weights; return edge times weight."""
        pairs = self.pairs(data)
        group, labels = self.sharing.groups(self.synapse_names(data))
        parameters = {}
        with pyro.plate("rule_group", len(labels)):
            for name, prior in self.rule.priors(self.link.weight_scale).items():
                parameters[name] = pyro.sample(name, prior.distribution())
        own = {name: value[torch.as_tensor(group)][:, None] for name, value in parameters.items()}
        probability = torch.as_tensor(self.network.edge_probability(data.units))
        with synapses:
            certain = bool((probability == 1).all())
            edge = probability if certain else pyro.sample("edge", dist.Bernoulli(probability))
            joined = pairs.joined(edge[:, None])
            weight = self._weight(joined, own, torch.as_tensor(self.synapse_signs(data)))
        return edge[:, None] * weight

    def _weight(self, pairs: SpikePairs, parameters: Mapping[str, Tensor], sign: Tensor) -> Tensor:
        scale = self.link.weight_scale
        if self.rule.plastic:
            law = WeightTrajectory(self.rule, pairs, parameters, scale, sign[:, None])
            plastic: Tensor = pyro.sample("weight", law)
            return plastic
        level = pyro.sample("weight_level", Normal(0.0, scale).distribution())
        constant: Tensor = pyro.deterministic(
            "weight", level[..., None].expand(*level.shape, pairs.num_windows), event_dim=1
        )
        return constant

    def _stimulus(self, design: Design, neurons: int) -> Tensor:
        """Sample stimulus filters and return the stimulus' part of the activation."""
        rows = design.stimulus.shape[0]
        if rows == 0:
            return torch.zeros((), dtype=torch.float64)
        scale = self.stimulus_scale * self.link.bias_scale
        zero = torch.zeros(neurons, rows // self.basis.num_bumps, self.basis.num_bumps)
        law = dist.Normal(zero.double(), scale).to_event(3)
        filters = pyro.sample("stimulus_filter", law)
        return (filters.reshape(neurons, rows) @ torch.as_tensor(design.stimulus)).T
