"""Laws of trajectories: samples against densities, the compiled law against the program's."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from probneuro.core.gibbs import ChainLaw
from probneuro.core.rng import torch_seed
from probneuro.learning_rules import (
    Additive,
    AdditiveBounded,
    LearningRule,
    Multiplicative,
    SpikePairs,
)
from probneuro.learning_rules.trajectory import WeightTrajectory
from probneuro.models.stdp_glm import STDPGLM
from probneuro.testing.stats import check_scores, mean_score, worst
from stdp_glm.problems import recording

PARAMETERS = {
    "amplitude_plus": 0.05, "amplitude_minus": 0.08, "tau_plus": 0.02, "tau_minus": 0.03,
    "weight_noise": 0.4, "weight_max": 1.5,
}  # fmt: skip
RULES = (Additive(), AdditiveBounded(-0.5), Multiplicative())


def laws(rule: LearningRule, noise: float = 0.4) -> tuple[WeightTrajectory, ChainLaw]:
    data = recording(4, neurons=2, windows=4)
    model = STDPGLM(rule=rule)
    target = model.gibbs(data)
    own = {name: {**PARAMETERS, "weight_noise": noise}[name] for name in rule.priors(1.0)}
    tensors = {name: torch.full((2, 1), value, dtype=torch.float64) for name, value in own.items()}
    pairs: SpikePairs = model.pairs(data)
    point = target.at(target.start(np.random.default_rng(0)))
    return WeightTrajectory(rule, pairs, tensors, 1.0), point.law(0, own)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_compiled_law_is_the_programs(rule: LearningRule) -> None:
    law, chain = laws(rule)
    with torch_seed(1):
        paths = law.sample(torch.Size([20]))
    expected = law.log_prob(paths)[:, 0].numpy()
    got = [chain.log_density(path) for path in paths[:, 0].numpy()]
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)
    if rule.weight_min is not None:
        outside = paths[0, 0].clone()
        outside[2] = 1.5001
        assert chain.log_density(outside.numpy()) == -np.inf
        assert law.log_prob(outside.expand(2, -1))[0] == -torch.inf


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_steps_of_the_law_integrate_to_one(rule: LearningRule) -> None:
    _, chain = laws(rule)
    path = np.array([0.3, 0.1, 0.9, 0.2])

    def step(x: float) -> float:
        moved = path.copy()
        moved[-1] = x
        return float(np.exp(chain.log_density(moved)))

    low, high = chain.bounds or (-5.0, 6.0)
    total = quad(step, low, high, epsabs=1e-12)[0]
    shorter = ChainLaw(
        chain.noise, chain.initial_scale, chain.bounds, chain.intercept[:2], chain.slope[:2]
    )
    assert total == pytest.approx(np.exp(shorter.log_density(path[:3])), rel=1e-8)


def path_scores(rule: LearningRule, paths: np.ndarray, chain: ChainLaw) -> dict[str, float]:
    """Return z-scores of importance weights, and of moments one step on.

    Under the law itself, a step's place in its conditional distribution is uniform.
    """
    from scipy.special import ndtr

    scores: dict[str, float] = {}
    for k in range(paths.shape[1] - 1):
        mean = np.array([chain.mean(path[k : k + 1], k)[0] for path in paths])
        place = ndtr((paths[:, k + 1] - mean) / chain.noise)
        if chain.bounds is not None:
            low, high = (ndtr((bound - mean) / chain.noise) for bound in chain.bounds)
            place = (place - low) / (high - low)
        scores[f"{k} place"] = mean_score(place, 0.5)
        scores[f"{k} square"] = mean_score(place**2, 1.0 / 3.0)
        scores[f"{k} with the state"] = mean_score((place - 0.5) * paths[:, k])
    first = paths[:, 0]
    centre, variance = 0.0, 1.0
    if chain.bounds is not None:
        centre = sum(chain.bounds) / 2.0
        variance = (chain.bounds[1] - chain.bounds[0]) ** 2 / 12.0
    scores["first"] = mean_score(first, centre)
    scores["first square"] = mean_score((first - centre) ** 2, variance)
    return scores


@pytest.mark.stat
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_both_samplers_follow_the_density(rule: LearningRule) -> None:
    law, chain = laws(rule)
    with torch_seed(2):
        by_program = law.sample(torch.Size([4000]))[:, 0].numpy()
    rng = np.random.default_rng(2)
    by_chain = np.array([chain.sample(4, rng) for _ in range(4000)])
    for paths in (by_program, by_chain):
        check_scores(path_scores(rule, paths, chain))


@pytest.mark.stat
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_another_noise_is_caught(rule: LearningRule) -> None:
    _, chain = laws(rule)
    _, other = laws(rule, noise=0.5)
    rng = np.random.default_rng(2)
    paths = np.array([other.sample(4, rng) for _ in range(4000)])
    assert abs(worst(path_scores(rule, paths, chain))[1]) > 4.9


def test_density_has_gradients() -> None:
    law, _ = laws(Multiplicative())
    with torch_seed(3):
        path = law.sample().requires_grad_()
    leaves: dict[str, Any] = {n: v.clone().requires_grad_() for n, v in law.parameters.items()}

    def density(value: torch.Tensor, *own: torch.Tensor) -> torch.Tensor:
        named = dict(zip(leaves, own, strict=True))
        total: torch.Tensor = WeightTrajectory(law.rule, law.pairs, named, 1.0).log_prob(value)
        return total

    assert torch.autograd.gradcheck(density, (path, *leaves.values()), eps=1e-7, atol=1e-4)
