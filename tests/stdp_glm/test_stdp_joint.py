"""Every Gibbs block leaves the joint law of parameters and spikes as it is, and faults show."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from probneuro.components.basis import CosineBasis
from probneuro.components.links import Exponential, Link, Softplus
from probneuro.core.engine import Kernel
from probneuro.core.gibbs import ChainLaw
from probneuro.core.priors import Normal
from probneuro.inference import gibbs, switched_scalars
from probneuro.inference.collapsed import CollapsedLikelihood
from probneuro.inference.column_gibbs import ColumnKernel, Following
from probneuro.inference.gibbs import CollapsedGibbs, CollapsedKernel
from probneuro.inference.gibbs_blocks import RuleBlocks
from probneuro.inference.grid_filter import GridFilter
from probneuro.inference.interweaving import InnovationLikelihood
from probneuro.inference.laplace import LaplaceEvidence
from probneuro.inference.particle_gibbs import ParticleGibbs, ParticleKernel
from probneuro.inference.pseudo_marginal import PseudoMarginalRules
from probneuro.learning_rules import (
    Additive,
    AdditiveBounded,
    LagBumps,
    LearningRule,
    Multiplicative,
    Oja,
    PairKernel,
    Triplet,
)
from probneuro.learning_rules.static import Static
from probneuro.models.stdp_glm import (
    STDPGLM,
    Candidates,
    DalesLaw,
    FullyConnected,
    PerSynapse,
    Shared,
    ShortTermPlasticity,
)
from probneuro.models.stdp_glm.carried import CarriedWeights
from probneuro.models.stdp_glm.conditionals import STDPGLMConditionals
from probneuro.models.stdp_glm.networks import Network, Sharing
from probneuro.models.stdp_glm.neuron import NeuronConditional
from probneuro.testing.stats import LARGEST_Z, check_scores, worst
from stdp_glm.geweke import Outcome, Problem, adapted, joint_test, without
from stdp_glm.problems import Lively

pytestmark = [
    pytest.mark.stat,
    # steps that leave the range of a double are refused, with numpy's word on it
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
]

FORWARD = Candidates((("0", "1"), ("0", "2"), ("1", "2")))
ONE = Candidates((("0", "1"),))
CERTAIN = Candidates((("0", "2"), ("1", "2")), probability=1.0)


def problem(
    rule: LearningRule,
    *,
    link: Link | None = None,
    network: Network = ONE,
    sharing: Sharing | None = None,
    noise: float = 0.25,
    amplitude: float = 2.0,
    **settings: Any,
) -> Problem:
    link = link or Softplus(10.0)
    units = sorted({name for pair in getattr(network, "pairs", [("0", "1")]) for name in pair})
    scale = 0.4 if isinstance(link, Exponential) else 9.0
    model = STDPGLM(
        rule=Lively(rule, amplitude, noise) if rule.plastic else rule,
        link=link,
        network=network,
        sharing=sharing or Shared(),
        bias_prior=Normal(link.activation(50.0), scale),
        self_weight_prior=Normal(-0.2, 0.3),
        basis=CosineBasis(num_bumps=3, duration=0.05),
        **settings,
    )
    return Problem(model, tuple(units))


def collapsed(*held: str) -> Callable[[Any], Kernel]:
    def build(target: Any) -> Kernel:
        kernel: Kernel = without(CollapsedKernel(target, CollapsedGibbs(warmup=40)), *held)
        return kernel

    return build


def particles(*held: str) -> Callable[[Any], Kernel]:
    def build(target: Any) -> Kernel:
        settings = ParticleGibbs(warmup=40, num_particles=15)
        kernel: Kernel = without(ParticleKernel(target, settings), *held)
        return kernel

    return build


def marginal(*held: str) -> Callable[[Any], Kernel]:
    def build(target: Any) -> Kernel:
        # the proposal forgets its width within a warm-up this short: let it learn slowly
        settings = ParticleGibbs(warmup=0, num_particles=15, pseudo_marginal=True)
        kernel: Kernel = without(ParticleKernel(target, settings), *held)
        return kernel

    return build


def columns(*held: str) -> Callable[[Any], Kernel]:
    def build(target: Any) -> Kernel:
        kernel: Kernel = without(ColumnKernel(target, 15, 40), *held)
        return kernel

    return build


@dataclass(frozen=True)
class Check:
    """A block on a problem; ``held`` names the blocks that stay."""

    problem: Problem
    held: tuple[str, ...]
    replicates: int = 200
    steps: int = 2
    engine: Callable[..., Callable[[Any], Kernel]] = collapsed

    def run(self, replicates: int | None = None, seed: int = 0) -> Outcome:
        state = adapted(self.problem, self.engine(*self.held), 40, seed)
        return joint_test(
            self.problem, self.engine(*self.held), state,
            replicates=replicates or self.replicates, steps=self.steps, seed=seed,
        )  # fmt: skip


SYNAPSES: dict[str, Any] = {
    "dale": DalesLaw(("0",)),
    "delay": 0.004,
    "short_term": ShortTermPlasticity(use=0.4, recovery=0.1, facilitation=0.05),
}
KERNEL = PairKernel(bumps=LagBumps(num_bumps=2), scale=1.0)
SCALARS = ("smooth", "rule", "chains")
# Self weights that are seen: strong ones, in more spikes.
SELF = Problem(
    replace(
        problem(Static(), self_edge_probability=0.4).model, self_weight_prior=Normal(-0.7, 0.5)
    ),
    ("0", "1"), windows=20,
)  # fmt: skip
SMOOTH, CHAINS, RULE = ("rule", "chains"), ("smooth", "rule"), ("smooth",)
CHECKS = {
    "smooth additive": Check(problem(Additive()), SMOOTH),
    "smooth bounded softplus(1)": Check(problem(AdditiveBounded(), link=Softplus(1.0)), SMOOTH),
    "smooth exp": Check(problem(Additive(), link=Exponential()), SMOOTH),
    "chains static": Check(problem(Static(), network=FORWARD), CHAINS),
    "chains additive": Check(problem(Additive(), network=FORWARD), CHAINS),
    "chains bounded": Check(problem(AdditiveBounded()), CHAINS),
    "chains multiplicative softplus(1)": Check(
        problem(Multiplicative(), link=Softplus(1.0)), CHAINS
    ),
    "rule additive": Check(problem(Additive(), network=FORWARD), RULE, 100),
    "rule bounded": Check(problem(AdditiveBounded()), RULE, 150),
    "rule bounded network": Check(problem(AdditiveBounded(), network=FORWARD), RULE, 100),
    "rule multiplicative": Check(problem(Multiplicative(), network=CERTAIN), RULE, 80),
    "rule per synapse": Check(
        problem(Additive(), network=FORWARD, sharing=PerSynapse(), link=Softplus(1.0)), RULE, 70
    ),
    "rule triplet": Check(problem(Triplet()), RULE, 100),
    "rule kernel": Check(problem(KERNEL), RULE, 100),
    "smooth synapses": Check(problem(AdditiveBounded(), **SYNAPSES), SMOOTH),
    "chains synapses": Check(problem(Multiplicative(), network=FORWARD, **SYNAPSES), CHAINS),
    "rule synapses": Check(problem(AdditiveBounded(), **SYNAPSES), RULE, 100),
    "particles additive": Check(problem(Additive(), network=FORWARD), RULE, 150, 2, particles),
    "particles bounded": Check(problem(AdditiveBounded()), RULE, 150, 2, particles),
    "marginal additive": Check(problem(Additive(), network=FORWARD), RULE, 150, 4, marginal),
    "marginal bounded": Check(problem(AdditiveBounded()), RULE, 150, 4, marginal),
    "self edges": Check(SELF, SCALARS, 300, 3),
    "self edges and all real vectors": Check(SELF, SMOOTH),
    "columns edges": Check(problem(Oja(), network=FORWARD), CHAINS, 150, 2, columns),
    "columns rule": Check(problem(Oja(), network=CERTAIN), RULE, 100, 2, columns),
    "columns rule per synapse": Check(
        problem(Oja(), network=FORWARD, sharing=PerSynapse()), RULE, 100, 2, columns
    ),
    "columns smooth": Check(problem(Oja(), network=CERTAIN), ("rule", "chains"), 150, 2, columns),
}
WHOLE = {
    "whole additive": Check(problem(Additive(), network=FORWARD), (), 1000, 10),
    "whole static": Check(problem(Static(), network=FORWARD), (), 1000, 10),
    "whole bounded": Check(problem(AdditiveBounded()), (), 1000, 10),
    "whole multiplicative": Check(problem(Multiplicative()), (), 1000, 10),
    "whole certain": Check(
        replace(problem(Additive(), network=FullyConnected()), max_count=300), (), 1000, 5
    ),
    "whole self edges": Check(
        problem(Additive(), network=FORWARD, self_edge_probability=0.4), (), 1000, 10
    ),
    "whole particles and self edges": Check(
        problem(Additive(), self_edge_probability=0.4), (), 1000, 10, particles
    ),
    "whole marginal": Check(problem(Additive()), (), 1000, 10, marginal),
    "whole columns": Check(problem(Oja(), network=FORWARD), (), 1000, 10, columns),
    "whole particles": Check(problem(Additive()), (), 1000, 10, particles),
}


QUICK = (
    *("smooth bounded softplus(1)", "smooth exp", "smooth synapses", "chains static"),
    *("chains additive", "chains bounded", "rule additive", "rule bounded network"),
    *("particles bounded", "marginal additive", "columns edges", "columns rule", "self edges"),
)
GROSS = (
    *("no null likelihood", "filter instead of smoother", "no Jacobian of gammas"),
    *("no Jacobian of rule parameters", "uncorrected proposals", "wrong odds of a column"),
    "wrong odds of self edges",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_block_keeps_the_joint_law(name: str) -> None:
    check = CHECKS[name]
    outcome = check.run(check.replicates // 2)
    assert outcome.replicates > 25
    assert max(outcome.moved.values()) > 0.5  # the block does move
    check_scores(outcome.scores)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_block_keeps_the_joint_law_at_length(name: str) -> None:
    check_scores(CHECKS[name].run(replicates=1000, seed=1).scores)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_sampler_keeps_the_joint_law(name: str) -> None:
    check_scores(WHOLE[name].run(seed=2).scores)


Patch = Callable[[pytest.MonkeyPatch], None]


def wrong_prior_odds(patch: pytest.MonkeyPatch) -> None:
    original = STDPGLMConditionals.chain

    def chain(self: Any, index: int) -> Any:
        own = original(self, index)
        return replace(own, log_prior_odds=own.log_prior_odds + 2.0)

    patch.setattr(STDPGLMConditionals, "chain", chain)


def no_null_likelihood(patch: pytest.MonkeyPatch) -> None:
    original = STDPGLMConditionals.chain

    def chain(self: Any, index: int) -> Any:
        return replace(original(self, index), null_log_likelihood=0.0)

    patch.setattr(STDPGLMConditionals, "chain", chain)


def no_jacobian_of_rules(patch: pytest.MonkeyPatch) -> None:
    original = RuleBlocks.log_prior

    def without_jacobian(self: Any, position: Any) -> float:
        return original(self, position) - float(position[self._positive].sum())

    patch.setattr(RuleBlocks, "log_prior", without_jacobian)


def wrong_approximation(patch: pytest.MonkeyPatch) -> None:
    """Let proposals of rules ignore the data and prefer little noise."""
    patch.setattr(LaplaceEvidence, "log_evidence", lambda self, law: -60.0 * law.noise)


def uncorrected_proposals(patch: pytest.MonkeyPatch) -> None:
    wrong_approximation(patch)
    patch.setattr(CollapsedLikelihood, "exact", CollapsedLikelihood.approximate)


def uncorrected_edges(patch: pytest.MonkeyPatch) -> None:
    """Take approximate odds, here poor ones, for exact."""

    def move(point: Any, index: int, filter_of: Any, law: ChainLaw, rng: Any) -> float:
        chain = point.chain(index)
        odds = LaplaceEvidence(chain.observation).log_evidence(law) - chain.null_log_likelihood
        on = bool(rng.random() < 1.0 / (1.0 + np.exp(-odds - 4.0)))
        path = filter_of(chain).sample(law, rng) if on else law.sample(law.num_windows, rng)
        point.set_chain(index, chain, on, path)
        return float(odds)

    patch.setattr(gibbs, "move_chain", move)


def overrated_data(patch: pytest.MonkeyPatch) -> None:
    """Guide trajectories as if the data told far more than they do."""
    original = CarriedWeights.slope_and_information

    def slope_and_information(self: Any, paths: Any) -> Any:
        slope, information = original(self, paths)
        return slope, 30.0 * information

    patch.setattr(CarriedWeights, "slope_and_information", slope_and_information)


def unweighted_guide(patch: pytest.MonkeyPatch) -> None:
    """Take the law that has seen the data for the law of the trajectories."""
    overrated_data(patch)
    original = InnovationLikelihood._carried
    patch.setattr(InnovationLikelihood, "_carried", lambda *a: (original(*a)[0], 0.0))


def no_jacobian_of_gammas(patch: pytest.MonkeyPatch) -> None:
    original = NeuronConditional.value_and_gradient

    def value_and_gradient(self: Any, position: Any) -> Any:
        value, gradient = original(self, position)
        bumps = self._target.model.basis.num_bumps
        gammas = np.zeros_like(position)
        gammas[2 : 2 + bumps] = 1.0
        gammas[position.size - bumps * self._edges.size :] = 1.0
        return value - (gammas * position).sum(), gradient - gammas

    patch.setattr(NeuronConditional, "value_and_gradient", value_and_gradient)


def wrong_bias_prior(patch: pytest.MonkeyPatch) -> None:
    original = NeuronConditional.value_and_gradient

    def value_and_gradient(self: Any, position: Any) -> Any:
        value, gradient = original(self, position)
        prior = self._target.model.bias
        gradient = gradient.copy()
        gradient[0] += 1.5 / prior.scale
        return value + 1.5 * position[0] / prior.scale, gradient

    patch.setattr(NeuronConditional, "value_and_gradient", value_and_gradient)


def filter_marginals(patch: pytest.MonkeyPatch) -> None:
    """Draw each window's weight from its filter, as if no later window had a say."""

    def sample(self: Any, law: ChainLaw, rng: np.random.Generator) -> Any:
        observation = self._observation
        nodes = np.linspace(-9.0, 9.0, 361)
        path = np.empty(observation.num_windows)
        density = np.exp(-0.5 * (nodes / law.initial_scale) ** 2)
        for k in range(path.size):
            value = observation.at(k, nodes)
            density = density * np.exp(value - value.max())
            density /= max(density.sum(), 1e-300)
            if not density.sum() > 0.5:
                return law.sample(path.size, rng)
            path[k] = rng.choice(nodes, p=density)
            if k + 1 < path.size:
                gap = (nodes[:, None] - law.mean(nodes, k)[None]) / law.noise
                density = np.exp(-0.5 * gap**2) @ density
        return path

    patch.setattr(GridFilter, "sample", sample)


def no_truncation(patch: pytest.MonkeyPatch) -> None:
    original = ChainLaw.log_density

    def log_density(self: ChainLaw, path: Any) -> float:
        value = original(self, path)
        if self.bounds is None or not np.isfinite(value):
            return value
        mean = self.path_mean(path)
        gap = (path[1:] - mean) / self.noise
        return float((-0.5 * gap**2 - np.log(self.noise)).sum() - np.log(np.ptp(self.bounds)))

    patch.setattr(ChainLaw, "log_density", log_density)


def wrong_column_odds(patch: pytest.MonkeyPatch) -> None:
    original = STDPGLMConditionals.switch_log_odds
    patch.setattr(
        STDPGLMConditionals, "switch_log_odds", lambda self, block: original(self, block) + 2.0
    )


def no_prior_of_marginal_rules(patch: pytest.MonkeyPatch) -> None:
    original = PseudoMarginalRules._estimate

    def estimate(self: Any, *args: Any, **how: Any) -> Any:
        value, paths = original(self, *args, **how)
        return value - self._rules.log_prior(args[3]), paths

    patch.setattr(PseudoMarginalRules, "_estimate", estimate)


def wrong_self_odds(patch: pytest.MonkeyPatch) -> None:
    original = STDPGLMConditionals.switched_scalar

    def switched_scalar(self: Any, block: int) -> Any:
        own = original(self, block)
        return replace(own, log_prior_odds=own.log_prior_odds + 3.0)

    patch.setattr(STDPGLMConditionals, "switched_scalar", switched_scalar)


def uncorrected_self_edges(patch: pytest.MonkeyPatch) -> None:
    """Take a proposal for a draw, where quadrature is about a place that is not the mode."""

    def move(own: Any, on: bool, value: float, rng: np.random.Generator) -> tuple[bool, float]:
        peak = switched_scalars._Peak(own.prior.location, own.prior.scale, own.likelihood(-0.2))
        odds = own.log_prior_odds + peak.log_evidence - own.likelihood(0.0)
        on = bool(np.log(rng.random()) < -np.logaddexp(0.0, -odds))
        value = peak.mode + peak.scale * float(rng.standard_normal())
        return on, value

    patch.setattr(switched_scalars, "move_scalar", move)


def trajectories_that_do_not_follow(patch: pytest.MonkeyPatch) -> None:
    """Move the rule as if innovations were held, and leave the trajectories where they are."""
    patch.setattr(Following, "follow", lambda self, parameters: self.paths)


FAULTS: dict[str, tuple[Check, Patch]] = {
    "wrong odds of a column": (CHECKS["columns edges"], wrong_column_odds),
    "trajectories that do not follow": (
        replace(CHECKS["columns rule"], replicates=300), trajectories_that_do_not_follow
    ),
    "no prior of marginal rules": (
        replace(CHECKS["marginal additive"], replicates=500), no_prior_of_marginal_rules
    ),
    "wrong odds of self edges": (CHECKS["self edges"], wrong_self_odds),
    "uncorrected self edges": (
        replace(CHECKS["self edges"], replicates=1200), uncorrected_self_edges
    ),
    "wrong prior odds": (CHECKS["chains additive"], wrong_prior_odds),
    "no null likelihood": (CHECKS["chains additive"], no_null_likelihood),
    "filter instead of smoother": (
        Check(problem(Additive(), network=CERTAIN), CHAINS), filter_marginals
    ),
    "uncorrected edges": (CHECKS["chains additive"], uncorrected_edges),
    "no Jacobian of gammas": (CHECKS["smooth additive"], no_jacobian_of_gammas),
    "wrong bias prior": (
        Check(problem(Additive(), link=Exponential()), SMOOTH, 500), wrong_bias_prior
    ),
    "no Jacobian of rule parameters": (CHECKS["rule additive"], no_jacobian_of_rules),
    "uncorrected proposals": (
        Check(problem(Additive(), network=CERTAIN), RULE, 150), uncorrected_proposals
    ),
    "unweighted guide": (Check(problem(Additive(), network=CERTAIN), RULE, 400), unweighted_guide),
    "no truncation": (
        Check(problem(AdditiveBounded(), noise=2.0), RULE, 300, 2, particles), no_truncation
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("network", [CERTAIN, FORWARD], ids=["certain", "edges"])
def test_a_poor_approximation_costs_moves_but_no_exactness(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_approximation(monkeypatch)
    check_scores(Check(problem(Additive(), network=network), RULE, 100).run().scores)


@pytest.mark.slow
def test_a_poor_guide_costs_moves_but_no_exactness(monkeypatch: pytest.MonkeyPatch) -> None:
    overrated_data(monkeypatch)
    check_scores(Check(problem(AdditiveBounded(), network=FORWARD), RULE, 100).run().scores)


def test_edges_that_are_seldom_visited_keep_the_joint_law() -> None:
    check = CHECKS["chains additive"]
    state = adapted(check.problem, check.engine(*check.held), 40, 0)
    state["often.on"] = np.array([1.0, 0.0, 1.0])  # the last two meet in one neuron
    outcome = joint_test(
        check.problem, check.engine(*check.held), state, replicates=100, steps=check.steps
    )
    assert outcome.moved["edge 1"] > 0.02
    check_scores(outcome.scores)


@pytest.mark.parametrize(
    "name", [n if n in GROSS else pytest.param(n, marks=pytest.mark.slow) for n in FAULTS]
)
def test_faults_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, patch = FAULTS[name]
    state = adapted(check.problem, check.engine(*check.held), 40, 0)
    patch(monkeypatch)
    found = ("", 0.0)
    for replicates in (check.replicates // 4, check.replicates):
        if abs(found[1]) <= LARGEST_Z:  # a gross fault shows in few
            outcome = joint_test(
                check.problem, check.engine(*check.held), state, replicates=replicates,
                steps=check.steps,
            )  # fmt: skip
            found = worst(outcome.scores)
    assert abs(found[1]) > LARGEST_Z, f"The worst score is {found[0]}: {found[1]:.1f}."
