"""The fast conditionals agree with the Pyro program, and the public checks catch faults."""

from collections.abc import Mapping
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from probneuro.components.links import Exponential, Link, Softplus
from probneuro.components.point_process import WindowSpikes, window_log_likelihoods
from probneuro.core.errors import SettingError
from probneuro.core.gibbs import ChainLaw
from probneuro.core.model import Model
from probneuro.core.priors import Gamma, LogNormal, Normal, Prior
from probneuro.learning_rules import AdditiveBounded, LearningRule, SpikePairs, UnboundedRule
from probneuro.models.stdp_glm import (
    STDPGLM,
    Candidates,
    ErdosRenyi,
    FullyConnected,
    PerSynapse,
    Shared,
)
from probneuro.models.stdp_glm.conditionals import STDPGLMConditionals
from probneuro.models.stdp_glm.neuron import NeuronConditional
from probneuro.testing import check_gibbs_target, check_learning_rule
from stdp_glm.problems import LINKS, RULES, recording

NETWORKS = (ErdosRenyi(0.3), FullyConnected(), Candidates((("0", "1"), ("2", "1"), ("2", "0"))))
SHARING = (Shared(), PerSynapse())
EXTRAS = tuple(product((False, True), (False, True)))


@pytest.mark.parametrize("sharing", SHARING, ids=repr)
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_fast_density_is_the_programs(rule: LearningRule, link: Link, sharing: Any) -> None:
    for number, (stimulus, gap) in enumerate(EXTRAS):
        data = recording(number, stimulus=stimulus, gap=gap)
        network = NETWORKS[(number + RULES.index(rule)) % len(NETWORKS)]
        model = STDPGLM(
            rule=rule, link=link, sharing=sharing, network=network, concentration=1.0 + number
        )
        check_gibbs_target(model, data, seed=number)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_fast_density_is_the_programs_everywhere(seed: int) -> None:
    for rule, link, sharing, network, (stimulus, gap) in product(
        RULES, LINKS, SHARING, NETWORKS, EXTRAS
    ):
        data = recording(seed, stimulus=stimulus, gap=gap, mean=0.02 * (1 + seed))
        model = STDPGLM(rule=rule, link=link, sharing=sharing, network=network)
        check_gibbs_target(model, data, seed=seed)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_rules_conform(rule: LearningRule, link: Link) -> None:
    check_learning_rule(rule, link=link)


def _shifted_gradient(self: NeuronConditional, position: Any) -> Any:
    value, gradient = _value_and_gradient(self, position)
    return value, gradient + 1e-3 * np.abs(gradient).max()


def _no_null(self: STDPGLMConditionals, index: int) -> Any:
    chain = _chain(self, index)
    return type(chain)(chain.index, chain.log_prior_odds, 0.0, chain.observation)


def _unnormalised(self: ChainLaw, path: Any) -> float:
    return _log_density(self, path) + 0.01 * self.noise


_value_and_gradient = NeuronConditional.value_and_gradient
_chain = STDPGLMConditionals.chain
_log_density = ChainLaw.log_density


@pytest.mark.parametrize(
    ("owner", "name", "fault", "message"),
    [
        (NeuronConditional, "value_and_gradient", _shifted_gradient, "finite differences give"),
        (STDPGLMConditionals, "chain", _no_null, "change with switch"),
        (ChainLaw, "log_density", _unnormalised, "log density and the program's differ"),
    ],
)
def test_faults_of_conditionals_are_caught(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, fault: Any, message: str
) -> None:
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(AssertionError, match=message):
        check_gibbs_target(STDPGLM(), recording(0))


def test_other_models_must_say_their_sites() -> None:
    class Bare(Model):
        name = "bare"

        def model(self, data: Any) -> None: ...

        def guide(self, data: Any) -> None: ...

        def dims(self) -> dict[str, Any]:
            return {}

        def coords(self, data: Any) -> dict[str, Any]:
            return {}

    with pytest.raises(AssertionError, match="Bare is no HasGibbs; implement `gibbs`"):
        check_gibbs_target(Bare(), recording(0))


class _Broken(UnboundedRule):
    """Potentiation by pairs, with room for a fault."""

    name: ClassVar[str] = "broken"
    affine: ClassVar[bool] = True

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        return {"amplitude": Gamma(2.0, 100.0), "tau": Gamma(2.0, 100.0)}

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        return parameters["amplitude"] * pairs.post_after_pre(parameters["tau"]) + 0.0 * weight


class _Looks(_Broken):
    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        change = super().drift(weight, pairs, parameters)
        return change + 0.1 * change.sum(-1)[..., None]


class _Mixes(_Broken):
    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        return super().drift(weight, pairs, parameters) - 0.1 * weight.sum(-1)[..., None]


class _Curved(_Broken):
    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        return super().drift(weight, pairs, parameters) - 0.1 * weight**2


class _TwoFaced(_Broken):
    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        change = super().drift(weight, pairs, parameters)
        return 2.0 * change if isinstance(change, torch.Tensor) else change


class _Forgets(_Broken):
    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        return super().drift(weight, pairs, parameters)[..., :2]


class _NoNoise(_Broken):
    def priors(self, weight_scale: float) -> Mapping[str, Prior]:
        return self.parameters(weight_scale)


class _Negative(_Broken):
    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        class Positive(Normal):
            positive = True

        return {"amplitude": Positive(0.0, 1.0), "tau": LogNormal(0.02, 0.5)}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (_Looks(), "depends on spikes after its start"),
        (_Mixes(), "depends on weights in other windows"),
        (_Curved(), "says `affine`, but its drift is no straight line"),
        (_TwoFaced(), "arrays and tensors give different drifts"),
        (_Forgets(), "drift of shape .* does not fit"),
        (_NoNoise(), "priors lack \\['weight_noise'\\]"),
        (_Negative(), "the prior of `amplitude` says positive and draws -"),
    ],
)
def test_faults_of_rules_are_caught(rule: LearningRule, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_learning_rule(rule)


def test_a_sound_rule_of_ones_own_passes() -> None:
    check_learning_rule(_Broken())


@pytest.mark.parametrize("activation", [650.0, 705.0, 712.0, 720.0, 1500.0, 1e6])
def test_huge_activations_have_tiny_likelihood(activation: float) -> None:
    spikes = WindowSpikes.from_counts(np.array([0, 1]), 2)
    none = np.zeros(2, dtype=bool)
    value = window_log_likelihoods(np.full(2, activation), none, spikes, Exponential(), 1e-3)
    assert value[0] < -1e250


def test_designs_are_freed_with_their_recording() -> None:
    import gc

    from probneuro.models.stdp_glm import design

    data = recording(5)
    STDPGLM().design(data)
    assert data in design._designs
    before = len(design._designs)
    del data
    gc.collect()
    assert len(design._designs) < before


def test_softplus_saturates_to_its_argument() -> None:
    spikes = WindowSpikes.from_counts(np.array([0, 1]), 2)
    none = np.zeros(2, dtype=bool)
    value = window_log_likelihoods(np.full(2, 1e6), none, spikes, Softplus(1.0), 1e-3)
    np.testing.assert_allclose(value, np.log(1e3) - 2e3)


def test_a_lower_bound_above_zero_is_refused() -> None:
    with pytest.raises(SettingError, match=r"`weight_min` must not be positive; got 0\.5"):
        AdditiveBounded(weight_min=0.5)
