"""Weights that move together: Oja's rule, its vector particles, and what cannot be done with it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from probneuro import infer
from probneuro.compare_rules import compare_rules
from probneuro.core.columns import ColumnLaw, ColumnObservation
from probneuro.core.errors import CapabilityError, InferenceError, SettingError
from probneuro.inference.column_filter import filter_column
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.learning_rules import Additive, AdditiveBounded, Oja, SpikePairs
from probneuro.models.stdp_glm import STDPGLM, Candidates
from probneuro.simulators.plastic_glm import simulate_plastic_glm
from probneuro.testing.gibbs import random_point
from probneuro.testing.stats import LARGEST_Z
from stdp_glm.problems import recording

Floats = NDArray[np.float64]
TWO = Candidates((("0", "2"), ("1", "2")), probability=1.0)


@pytest.mark.parametrize("seed", range(3))
def test_ojas_window_solves_his_equation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.05, (300, 4))
    counts[100:200] = 0
    pairs = SpikePairs(counts, np.array([0, 1, 2, 0]), np.array([3, 3, 3, 1]), 1e-3, 100)
    edge = np.array([1.0, 1.0, 0.0, 1.0])[:, None]
    own = {"learning_rate": np.full((4, 1), 1e-3), "weight_norm": np.full((4, 1), 1.3)}
    weight, steps = 2.0 * rng.standard_normal((4, 3)), 300
    rate = pairs.pre_rate(weight)
    assert rate[0, 0] == counts[:100, 0].sum() / 0.1

    def slope(w: Floats) -> Floats:
        output = np.zeros((4, 3))
        output[:3], output[3] = (edge * w * rate)[:3].sum(axis=0), (w * rate)[3]
        change: Floats = 1e-3 * 0.1 / steps * output * (rate - output * w / 1.3**2)
        return change

    end = weight.copy()
    for _ in range(steps):  # by Runge and Kutta
        one = slope(end)
        two = slope(end + one / 2)
        three = slope(end + two / 2)
        end += (one + 2 * two + 2 * three + slope(end + three)) / 6
    change = Oja().drift(weight, pairs.joined(edge), own)
    np.testing.assert_allclose(change, end - weight, rtol=1e-7, atol=1e-12)
    assert np.abs(change).max() > 0.05
    np.testing.assert_allclose(change[:, 1], 0.0, atol=1e-14)  # no spikes


def test_oja_turns_to_the_principal_direction_of_its_length() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson([[0.02, 0.04, 0.02]], (200_000, 3))
    pairs = SpikePairs(counts, np.array([0, 1]), np.array([2, 2]), 1e-3, 1000)
    own = {"learning_rate": np.full((2, 1), 1e-4), "weight_norm": np.full((2, 1), 1.5)}
    weight = np.array([[0.9], [0.1]])
    for k in range(200):
        weight = weight + Oja().drift(weight, pairs.during(slice(k, k + 1)), own)
    assert abs(np.hypot(*weight[:, 0]) - 1.5) < 0.1
    assert 1.5 < weight[1, 0] / weight[0, 0] < 2.7  # rates are 1 to 2


class _Quadratic(ColumnObservation):
    """Gaussian likelihoods of the sum and of the difference of two states."""

    num_windows = 3

    def at(self, window: int, states: Floats) -> Floats:
        total, gap = states.sum(axis=1), states[:, 0] - states[:, 1]
        value: Floats = -2.0 * (total - 1.0 - 0.3 * window) ** 2 - (gap - 0.5) ** 2
        return value

    def along(self, paths: Floats) -> float:
        return float(sum(self.at(k, paths[None, :, k])[0] for k in range(self.num_windows)))


def _competing(states: Floats, windows: slice) -> Floats:
    """Each state shrinks by the other's square."""
    change: Floats = -0.3 * states * states[..., ::-1, :] ** 2 / (1.0 + states**2)
    return change


LAW = ColumnLaw(np.array([0.3, 0.5]), 1.0, 3, _competing)


def _exact() -> tuple[float, Floats]:
    """Return log evidence and mean trajectories by quadrature on a plane."""
    axis = np.linspace(-4.0, 4.0, 61)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    area = (axis[1] - axis[0]) ** 2
    seen = _Quadratic()
    steps = []
    for k in range(2):
        gap = (nodes[:, None] - LAW.mean(nodes, k)[None]) / LAW.noise
        density = np.exp(-0.5 * (gap**2).sum(-1)) / (2.0 * np.pi * LAW.noise.prod())
        steps.append(density * area)
    likelihoods = [np.exp(seen.at(k, nodes)) for k in range(3)]
    forward = [np.exp(-0.5 * (nodes**2).sum(1)) / (2.0 * np.pi) * area * likelihoods[0]]
    for k in range(2):
        forward.append(steps[k] @ forward[-1] * likelihoods[k + 1])
    backward = [np.ones(len(nodes))]
    for k in (1, 0):
        backward.insert(0, steps[k].T @ (likelihoods[k + 1] * backward[0]))
    evidence = forward[-1].sum()
    means = [(f * b) @ nodes / evidence for f, b in zip(forward, backward, strict=True)]
    return float(np.log(evidence)), np.array(means).T


@pytest.mark.stat
def test_vector_particles_have_the_evidence_of_quadrature() -> None:
    exact, _ = _exact()
    rng = np.random.default_rng(1)
    ratio = np.exp(
        [filter_column(LAW, _Quadratic(), 30, rng).log_evidence - exact for _ in range(3000)]
    )
    assert abs(ratio.mean() - 1.0) < LARGEST_Z * ratio.std() / np.sqrt(ratio.size)
    assert ratio.std() / np.sqrt(ratio.size) < 0.02


@pytest.mark.stat
def test_held_vectors_move_by_the_law_of_quadrature() -> None:
    _, means = _exact()
    rng = np.random.default_rng(2)
    paths, chains = LAW.sample(rng), []
    for _ in range(8000):
        history = filter_column(LAW, _Quadratic(), 10, rng, paths=paths, ancestor_sampling=True)
        paths = history.draw_path(rng).T
        chains.append(paths)
    blocks = np.array(chains[200:]).reshape(60, 130, 2, 3).mean(axis=1)
    z = (blocks.mean(axis=0) - means) / (blocks.std(axis=0, ddof=1) / np.sqrt(60))
    assert np.abs(z).max() < LARGEST_Z, z


def test_innovations_and_paths_are_inverse_of_each_other() -> None:
    paths = LAW.sample(np.random.default_rng(0))
    np.testing.assert_allclose(LAW.paths(paths[:, 0], LAW.innovations(paths)), paths, rtol=1e-12)


def test_absent_synapses_follow_and_do_not_lead() -> None:
    model = STDPGLM(rule=Oja(), network=Candidates((("0", "2"), ("1", "2"))))
    target: Any = model.gibbs(recording(3))
    rng = np.random.default_rng(0)
    point: Any = random_point(target, rng)
    on = np.array([True, False])
    paths = point.column_law(2, on).sample(rng)
    values = []
    for _ in range(2):
        point.set_column(2, on, paths, rng)
        values.append(point.values["weight"].copy())
    np.testing.assert_array_equal(values[0][0], paths[0])
    np.testing.assert_array_equal(values[1][0], paths[0])
    assert not np.isclose(values[0][1], values[1][1]).any()
    assert point.values["edge"].tolist() == [1, 0]


def test_dead_particles_are_told() -> None:
    class Impossible(_Quadratic):
        def at(self, window: int, states: Floats) -> Floats:
            return np.full(len(states), -np.inf if window == 1 else 0.0)

    with pytest.raises(InferenceError, match="All 7 particles died in window 1"):
        filter_column(LAW, Impossible(), 7, np.random.default_rng(0))


def test_only_particles_move_coupled_weights() -> None:
    data, model = recording(0), STDPGLM(rule=Oja(), network=TWO)
    assert isinstance(model.default_engine(), ParticleGibbs)
    with pytest.raises(CapabilityError, match=r"one trajectory at a time.*Use ParticleGibbs"):
        infer(
            model, data, engine=CollapsedGibbs(warmup=1), draws=1, chains=1, seed=0, progress=False
        )
    target: Any = model.gibbs(data)
    with pytest.raises(CapabilityError, match="Under rule 'oja' no weight has a law of its own"):
        target.law(0, {})


def test_coupled_rules_have_no_bounds() -> None:
    rule = AdditiveBounded()
    rule.coupled = True  # type: ignore[misc]
    with pytest.raises(SettingError, match="is coupled and has bounds; got the lower bound 0"):
        STDPGLM(rule=rule)


@pytest.mark.stat
def test_rules_of_both_kinds_are_compared_on_one_recording() -> None:
    spikes, truth = simulate_plastic_glm(
        Oja(), num_neurons=3, synapses=[(0, 2), (1, 2)], duration=10.0, seed=2, initial_weight=0.5
    )
    assert truth["weight_norm"] == 1.5
    found = compare_rules(
        spikes, rules=[Oja(), Additive()], held_out=3.0, model=STDPGLM(network=TWO), draws=20,
        warmup=20, chains=1, seed=0, progress=False,
    )  # fmt: skip
    posterior = found.results["oja"]["posterior"]
    assert posterior["learning_rate"].shape == (1, 20, 1)
    assert np.unique(posterior["learning_rate"]).size > 15
    assert np.isfinite(found.results["oja"]["held_out"]["log_likelihood"]).all()
    again = compare_rules(
        spikes, rules=[Oja()], held_out=3.0, model=STDPGLM(network=TWO), draws=20, warmup=20,
        chains=1, seed=0, progress=False,
    ).results["oja"]  # fmt: skip
    np.testing.assert_array_equal(again["posterior"]["weight"], posterior["weight"])


def test_uncertain_synapses_of_a_column_come_and_go() -> None:
    model = STDPGLM(rule=Oja(), network=replace(TWO, probability=0.5))
    result = infer(
        model, recording(1), engine=ParticleGibbs(warmup=5, num_particles=20), draws=25, chains=1,
        seed=0, progress=False,
    )  # fmt: skip
    assert 0 < float(result["posterior"]["edge"].mean()) < 1
    assert result["sample_stats"]["particle_ess"].dims == ("chain", "draw", "synapse")
