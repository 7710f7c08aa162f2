"""Innovations and trajectories are one to one, and their weight is the ratio of two laws."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import kstest, norm
from stdp_glm.problems import recording

from probneuro.core.gibbs import ChainLaw
from probneuro.core.normal import normal_quantile, normal_share
from probneuro.inference.gibbs import CollapsedGibbs, CollapsedKernel
from probneuro.inference.innovation_kernels import carry
from probneuro.inference.interweaving import InnovationLikelihood
from probneuro.learning_rules import Additive, AdditiveBounded, LearningRule
from probneuro.models.stdp_glm import STDPGLM, Candidates, FullyConnected, carried
from probneuro.testing.chains import GaussianWindows, kalman_smoother
from probneuro.testing.gibbs import group_parameters, random_point

Floats = NDArray[np.float64]
BOUNDS = (None, (0.0, 1.0), (-2.0, -0.5))
WINDOWS = 40


def law_of(bounds: Any, noise: float, rng: np.random.Generator) -> ChainLaw:
    """A law whose drift drives states into their bounds and along them."""
    drift = rng.normal(0.0, 0.3, WINDOWS - 1)
    return ChainLaw(noise, 1.0, bounds, drift, np.full(WINDOWS - 1, -0.05))


def mapped(
    law: ChainLaw, guide: tuple[Floats, Floats], given: Floats, *, forward: bool
) -> tuple[Floats, float]:
    """Return the states of some scores, or the scores of some states, and the log weight."""
    lower, upper = law.bounds or (-np.inf, np.inf)
    states, scores = (np.empty_like(given), given) if forward else (given, np.empty_like(given))
    weight = carry(
        law.intercept, law.slope, law.noise, law.initial_scale, law.bounds is not None, lower,
        upper, guide[0].copy(), guide[1].copy(), states, scores, forward,
    )  # fmt: skip
    return (states if forward else scores), weight


def guides(rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    """No guide, a weak one, and one that knows better than the law."""
    centre = rng.normal(0.0, 1.0, WINDOWS)
    return [(centre, np.full(WINDOWS, p)) for p in (0.0, 3.0, 300.0)]


@pytest.mark.parametrize("noise", [1e-3, 0.05, 2.0])
@pytest.mark.parametrize("bounds", BOUNDS)
def test_trajectories_and_innovations_invert_each_other(bounds: Any, noise: float) -> None:
    rng = np.random.default_rng(0)
    law = law_of(bounds, noise, rng)
    other = replace(law, noise=0.7 * noise, intercept=0.9 * law.intercept)
    for guide in guides(rng):
        scores = rng.standard_normal(WINDOWS)
        path, weight = mapped(law, guide, scores, forward=True)
        again, same = mapped(law, guide, path, forward=False)
        assert np.abs(again - scores).max() < 1e-6
        assert same == pytest.approx(weight, abs=1e-6)
        moved, _ = mapped(other, guide, scores, forward=True)
        back, _ = mapped(law, guide, mapped(other, guide, moved, forward=False)[0], forward=True)
        assert np.abs(back - path).max() < 1e-8
        if bounds is not None:
            assert bounds[0] <= moved.min() <= moved.max() <= bounds[1]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_unguided_innovations_of_draws_are_standard_normal(bounds: Any) -> None:
    rng = np.random.default_rng(1)
    law = law_of(bounds, 0.4, rng)
    scores = [
        mapped(law, guides(rng)[0], law.sample(WINDOWS, rng), forward=False)[0] for _ in range(100)
    ]
    assert kstest(np.ravel(scores), norm.cdf).pvalue > 1e-4


@pytest.mark.parametrize("bounds", BOUNDS)
def test_the_weight_is_the_density_under_the_law_over_that_of_the_guided_one(bounds: Any) -> None:
    """Of the scores' normal density, the map's Jacobian makes that of the guided law."""
    rng = np.random.default_rng(2)
    law = law_of(bounds, 0.3, rng)
    for guide in guides(rng):
        scores = rng.standard_normal(WINDOWS)
        path, weight = mapped(law, guide, scores, forward=True)
        jacobian = np.empty((WINDOWS, WINDOWS))
        for i in range(WINDOWS):
            step = 1e-5 * np.eye(WINDOWS)[i]
            far, near = (mapped(law, guide, scores + s, forward=True)[0] for s in (step, -step))
            jacobian[:, i] = (far - near) / 2e-5
        guided = norm.logpdf(scores).sum() - np.log(np.diag(jacobian)).sum()
        assert weight == pytest.approx(law.log_density(path) - guided, abs=1e-3)


def test_a_perfect_guide_leaves_the_evidence_alone() -> None:
    """Seen through Gaussian noise, weight and likelihood make the evidence, whatever the scores."""
    rng = np.random.default_rng(3)
    law = law_of(None, 0.3, rng)
    seen = GaussianWindows(law.sample(WINDOWS, rng), 0.5)
    guide = seen.values, np.full(WINDOWS, 1.0 / 0.5**2)
    for changed in (law, replace(law, noise=0.6), replace(law, intercept=law.intercept + 0.2)):
        path, weight = mapped(changed, guide, rng.standard_normal(WINDOWS), forward=True)
        value = weight + norm.logpdf(seen.values, path, 0.5).sum()
        assert value == pytest.approx(kalman_smoother(changed, seen).log_evidence, abs=1e-6)


def test_states_on_their_bounds_stay_there() -> None:
    law = ChainLaw(0.1, 1.0, (0.0, 1.0), np.zeros(2), np.zeros(2))
    none = np.zeros(3), np.zeros(3)
    scores, _ = mapped(law, none, np.array([0.0, 1.0, 0.5]), forward=False)
    wider = replace(law, bounds=(0.0, 2.0), noise=0.2)
    assert mapped(wider, none, scores, forward=True)[0][:2].tolist() == [0.0, 2.0]


@pytest.mark.parametrize("rule", [Additive(), AdditiveBounded()], ids=lambda rule: rule.name)
def test_the_likelihood_is_that_of_the_trajectories_it_leads_to(rule: LearningRule) -> None:
    target = STDPGLM(rule=rule, network=FullyConnected()).gibbs(recording(2))
    point = random_point(target, np.random.default_rng(3))
    members, old = target.groups[0], group_parameters(target, point, 0)
    new = {name: 1.05 * value for name, value in old.items()}
    held = InnovationLikelihood(point, members, old, 0.9 * point.values["weight"])
    assert held.invertible
    change = held.exact(new) - held.exact(old)
    (_, last), (_, first) = held._carried(new), held._carried(old)
    before = point.log_likelihood()  # type: ignore[attr-defined]
    held.carry(new)
    after = target.at(point.values).log_likelihood()  # type: ignore[attr-defined]
    assert change == pytest.approx(after - before + last - first, abs=1e-7)


def test_a_likelihood_that_keeps_no_filtered_spikes_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Long recordings of many neurons would fill the memory."""
    target = STDPGLM(rule=Additive(), network=FullyConnected()).gibbs(recording(2))
    point = random_point(target, np.random.default_rng(3))
    paths = point.values["weight"][target.groups[0]]
    kept = point.trajectory_likelihood(target.groups[0])
    monkeypatch.setattr(carried, "_KEPT", 0)
    fresh = point.trajectory_likelihood(target.groups[0])
    assert fresh(paths) == kept(paths) == fresh(paths)
    for a, b in zip(*(x.slope_and_information(paths) for x in (fresh, kept)), strict=True):
        assert np.array_equal(a, b)


def test_a_trajectory_that_runs_away_has_no_likelihood() -> None:
    target = STDPGLM(rule=Additive(), network=FullyConnected()).gibbs(recording(2))
    point = random_point(target, np.random.default_rng(3))
    old = group_parameters(target, point, 0)
    held = InnovationLikelihood(point, target.groups[0], old, point.values["weight"])
    assert held.exact({**old, "amplitude_plus": np.inf}) == -np.inf


@pytest.mark.parametrize(
    ("pairs", "moved"), [((("0", "1"), ("1", "0")), False), ((("0", "1"), ("2", "1")), True)]
)
def test_only_groups_whose_chains_are_held_are_interwoven(
    pairs: tuple[tuple[str, str], ...], moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(CollapsedKernel, "_interweave", lambda *_: calls.append(1))
    model = STDPGLM(rule=Additive(), network=Candidates(pairs))
    kernel = CollapsedKernel(model.gibbs(recording(2)), CollapsedGibbs(warmup=2))
    rng = np.random.default_rng(0)
    kernel.step(kernel.init(rng), rng, warmup=True)
    assert bool(calls) is moved


def test_trajectories_of_the_start_are_not_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    """They fit so badly that the noise of weights would grow ten thousandfold to move them."""
    carried_at: list[int] = []
    original = CollapsedKernel._interweave

    def interweave(self: Any, sweep: Any, *rest: Any) -> bool:
        moved = original(self, sweep, *rest)
        if moved:
            carried_at.append(sweep.iteration)
        return moved

    monkeypatch.setattr(CollapsedKernel, "_interweave", interweave)
    target = STDPGLM(rule=Additive(), network=FullyConnected()).gibbs(recording(2))
    kernel = CollapsedKernel(target, CollapsedGibbs(warmup=12))
    rng = np.random.default_rng(0)
    state = kernel.init(rng)
    for _ in range(12):
        state, _ = kernel.step(state, rng, warmup=True)
    assert carried_at == [10, 11]


def test_normal_shares_and_quantiles_are_those_of_scipy() -> None:
    share = np.concatenate([np.logspace(-300, -1, 300), np.linspace(0.1, 0.9, 81)])
    found = np.array([normal_quantile(p) for p in share])
    assert np.abs(found - ndtri(share)).max() < 1e-13
    z = np.linspace(-37.0, 8.0, 200)
    assert np.abs(np.array([normal_share(x) for x in z]) / ndtr(z) - 1.0).max() < 1e-12
    assert normal_quantile(0.0) == -np.inf and normal_quantile(1.0) == np.inf
    assert np.isnan(normal_quantile(1.5))
