"""The simulator follows the program: scores have mean zero at the truth; networks stay calm."""

import numpy as np
import pytest

from probneuro.components.links import Exponential, Link, Softplus
from probneuro.core.errors import SettingError
from probneuro.learning_rules import Additive, AdditiveBounded, LearningRule, Multiplicative
from probneuro.learning_rules.static import Static
from probneuro.models.stdp_glm import PerSynapse
from probneuro.models.stdp_glm.conditionals import STDPGLMConditionals
from probneuro.simulators.plastic_glm import simulate_plastic_glm
from probneuro.testing.gibbs import group_parameters
from probneuro.testing.stats import check_scores, mean_score, worst
from stdp_glm.problems import RULES
from stdp_glm.test_stdp_joint import FORWARD, problem


def gradients(point: STDPGLMConditionals, bumped: float) -> dict[str, float]:
    """Return derivatives of the joint log density, each of mean zero under the program."""
    target = point.target
    out: dict[str, float] = {}
    for n in range(len(target.smooth_sizes)):
        position = point.smooth_position(n).copy()
        position[0] += bumped
        _, gradient = point.smooth(n).value_and_gradient(position)
        out |= {f"smooth {n} {i}": float(g) for i, g in enumerate(gradient)}
    for group, members in enumerate(target.groups):
        own = group_parameters(target, point, group)
        for name in set(own) - {"weight_max"}:
            total = 0.0
            for sign in (1.0, -1.0):
                moved = {**own, name: own[name] * np.exp(sign * 1e-4)}
                prior = target.priors[name]
                value = float(prior.log_density(moved[name])) + sign * 1e-4
                for s in members:
                    value += point.law(s, moved).log_density(point.values["weight"][s])
                total += sign * value / 2e-4
            out[f"{name} {group}"] = total
    for s in range(target.pre.size):
        if point.values["edge"][s]:
            table, path = point.chain(s).observation, point.values["weight"][s]
            step = 1e-3 * target.model.link.weight_scale
            ends = [
                sum(float(table.at(k, np.array([w + e]))[0]) for k, w in enumerate(path))
                for e in (step, -step)
            ]
            out[f"weight {s}"] = (ends[0] - ends[1]) / (2e3 * step)
        else:
            out[f"weight {s}"] = 0.0
    return out


def scores(
    rule: LearningRule, link: Link, replicates: int, bumped: float = 0.0
) -> dict[str, float]:
    case = problem(rule, link=link, network=FORWARD, sharing=PerSynapse())
    rows = []
    for i in range(replicates):
        drawn = case.replicate(np.random.default_rng([9, i]))
        if drawn is not None:
            target, values = drawn
            rows.append(gradients(target.at(values), bumped))
    return {name: mean_score([row[name] for row in rows]) for name in rows[0]}


CASES = [
    (Static(), Softplus(1.0)), (Additive(), Softplus(10.0)), (AdditiveBounded(), Softplus(1.0)),
    (Multiplicative(), Exponential()),
]  # fmt: skip


@pytest.mark.stat
@pytest.mark.parametrize(("rule", "link"), CASES, ids=lambda x: x.name)
def test_scores_have_mean_zero(rule: LearningRule, link: Link) -> None:
    check_scores(scores(rule, link, 250))


@pytest.mark.slow
@pytest.mark.parametrize("link", [Softplus(1.0), Softplus(10.0), Exponential()], ids=repr)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_scores_have_mean_zero_at_length(rule: LearningRule, link: Link) -> None:
    check_scores(scores(rule, link, 3000))


@pytest.mark.stat
def test_another_bias_is_caught() -> None:
    assert abs(worst(scores(Additive(), Softplus(10.0), 250, bumped=4.0))[1]) > 4.9


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("neurons", [2, 3, 10])
def test_default_networks_stay_calm(rule: LearningRule, neurons: int) -> None:
    for seed in range(3):
        spikes, truth = simulate_plastic_glm(rule, num_neurons=neurons, duration=20.0, seed=seed)
        assert spikes.rates.min() > 2.0 and spikes.rates.max() < 150.0
        assert truth["weight"].shape == (neurons * (neurons - 1), 20)


def test_one_synapse_starts_at_the_weight_scale() -> None:
    _, truth = simulate_plastic_glm(Additive(), duration=2.0, synapses=[(0, 1)])
    assert truth["edge"].tolist() == [1, 0]
    assert truth["weight"][0, 0] == 1.0
    assert truth["amplitude_plus"][0] == 0.006


def test_a_network_that_runs_away_is_refused() -> None:
    with pytest.raises(SettingError, match=r"ran away: a unit fires at \d+ Hz \(seed 0\)\. Choose"):
        simulate_plastic_glm(
            Static(), num_neurons=5, duration=3.0, initial_weight=1.0, edge_probability=1.0
        )


def test_parameters_that_lack_are_named() -> None:
    with pytest.raises(SettingError, match="`parameters` of rule 'additive' lack tau_plus"):
        simulate_plastic_glm(
            Additive(), parameters={
                "amplitude_plus": 0.1, "amplitude_minus": 0.1, "tau_minus": 0.1,
                "weight_noise": 0.1,
            },
        )  # fmt: skip
