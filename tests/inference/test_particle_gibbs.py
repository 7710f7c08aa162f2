from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from probneuro import infer
from probneuro.core.engine import Arrays, Kernel
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.gibbs import (
    ChainLaw,
    Conditionals,
    GibbsTarget,
    SmoothConditional,
    SwitchedChain,
    TrajectoryLikelihood,
)
from probneuro.core.priors import LogNormal, Normal
from probneuro.inference.gibbs import CollapsedGibbs, CollapsedKernel
from probneuro.inference.particle_filter import filter_chain
from probneuro.inference.particle_gibbs import ParticleGibbs, ParticleKernel, move_switch
from probneuro.inference.pgas import pgas_step
from probneuro.inference.runner import run_chains
from probneuro.learning_rules import Additive, AdditiveBounded, LearningRule, Static
from probneuro.models.stdp_glm import STDPGLM
from probneuro.models.stdp_glm.networks import FullyConnected
from probneuro.simulators.plastic_glm import simulate_plastic_glm
from probneuro.testing.chains import GaussianWindows, kalman_smoother
from probneuro.testing.stats import LARGEST_Z, difference_z_scores, moment_z_scores

Floats = NDArray[np.float64]
LAW = ChainLaw(0.3, 1.0, None, np.array([0.2, -0.1, 0.3]), np.full(3, -0.1))
OBSERVATION = GaussianWindows(np.array([0.9, 1.2, 0.6, 1.3]), 0.25)


def switched(log_odds: float) -> SwitchedChain:
    """A chain whose switch is on with probability 0.6 given the data, or always."""
    evidence = kalman_smoother(LAW, OBSERVATION).log_evidence
    null = evidence + log_odds - np.log(0.6 / 0.4) if np.isfinite(log_odds) else 0.0
    return SwitchedChain(0, log_odds, float(null), OBSERVATION)


def run_switch(sweeps: int, seed: int, *, reading: bool) -> tuple[Floats, Floats]:
    """Return switches, shape (sweep,), and the paths of those that are on."""
    chain, rng = switched(-1.0), np.random.default_rng(seed)
    switches, paths = np.zeros(sweeps), []
    path: Floats | None = None
    for i in range(sweeps):
        if reading:
            history = filter_chain(LAW, OBSERVATION, 4, rng)
            odds = chain.log_prior_odds + history.log_evidence - chain.null_log_likelihood
            path = history.draw_path(rng) if rng.random() < 1 / (1 + np.exp(-odds)) else None
        else:
            path, _, _ = move_switch(LAW, chain, path, 4, rng)
        if path is not None:
            switches[i] = 1.0
            path = pgas_step(LAW, OBSERVATION, path, 4, rng)
            paths.append(path)
    return switches, np.array(paths)


@pytest.mark.stat
def test_four_particles_give_the_exact_probability_of_an_edge() -> None:
    runs = [run_switch(2500, seed, reading=False) for seed in range(4)]
    switches = np.stack([r[0] for r in runs])
    z = moment_z_scores(switches, 0.6, 0.24)[0]
    assert abs(z) < LARGEST_Z
    exact = kalman_smoother(LAW, OBSERVATION)
    length = min(r[1].shape[0] for r in runs)
    paths = np.stack([r[1][:length] for r in runs])
    assert np.abs(moment_z_scores(paths, exact.mean, exact.variance)).max() < LARGEST_Z


@pytest.mark.stat
def test_the_check_catches_a_gibbs_reading_of_particle_evidence() -> None:
    switches = np.stack([run_switch(1000, seed, reading=True)[0] for seed in range(4)])
    assert abs(moment_z_scores(switches, 0.6, 0.24)[0]) > LARGEST_Z


def test_a_switch_that_is_always_on_needs_no_filter() -> None:
    path = OBSERVATION.values
    kept, log_odds, history = move_switch(LAW, switched(np.inf), path, 4, np.random.default_rng(0))
    assert kept is path
    assert np.isposinf(log_odds)
    assert history is None


class StandardNormal(SmoothConditional):
    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        return -0.5 * float(position @ position), -position


class ToyLikelihood(TrajectoryLikelihood):
    """Gaussian windows; the slope and the information are as poor as a sampler has to bear."""

    def __init__(self, windows: list[Any]) -> None:
        self.windows = windows

    def __call__(self, paths: Floats) -> float:
        return sum(
            float(own.at(k, path[k : k + 1])[0])
            for own, path in zip(self.windows, paths, strict=True)
            for k in range(path.size)
        )

    def slope_and_information(self, paths: Floats) -> tuple[Floats, Floats]:
        return 1.0 - paths, np.full(paths.shape, 3.0)


class ToyConditionals(Conditionals):
    """Two switched chains seen through Gaussian noise, which share a push and a noise."""

    def __init__(self, target: "ToyTarget", values: Arrays) -> None:
        self.target, self.values = target, {n: v.copy() for n, v in values.items()}

    def smooth(self, block: int) -> SmoothConditional:
        return StandardNormal()

    def smooth_position(self, block: int) -> Floats:
        return self.values["level"]

    def set_smooth(self, block: int, position: Floats, rng: np.random.Generator | None) -> None:
        self.values["level"] = position

    def chain(self, index: int) -> SwitchedChain:
        return self.target.chains[index]

    def set_chain(self, index: int, chain: SwitchedChain, on: bool, path: Floats) -> None:
        self.values["edge"][index], self.values["weight"][index] = on, path

    def trajectory_likelihood(self, indices: Sequence[int]) -> "ToyLikelihood":
        return ToyLikelihood([self.target.chains[s].observation for s in indices])

    def law(self, index: int, parameters: Mapping[str, float]) -> ChainLaw:
        push = np.full(3, parameters["push"])
        return ChainLaw(parameters["noise"], 1.0, None, push, np.full(3, -0.1))

    def set_parameters(self, group: int, parameters: Mapping[str, float]) -> None:
        for name, value in parameters.items():
            self.values[name][group] = value

    def log_density(self) -> float:
        return 0.0


class ToyTarget(GibbsTarget):
    smooth_sizes: Sequence[int] = (1,)
    parameter_sizes: Sequence[int] = (1,)
    block_of_chain: Sequence[int] = (0, 0)
    groups: Sequence[Sequence[int]] = ([0, 1],)
    priors: ClassVar[dict[str, Any]] = {"push": Normal(0.0, 0.5), "noise": LogNormal(0.3, 0.5)}

    def __init__(self) -> None:
        rows = np.array([[0.2, 0.9, 1.2, 1.9], [0.3, -0.1, 0.4, 0.2]])
        nulls = (-6.0, -2.5)
        self.chains = [
            SwitchedChain(s, 0.5, nulls[s], GaussianWindows(row, 0.4)) for s, row in enumerate(rows)
        ]

    def parameter_priors(self) -> Mapping[str, Any]:
        return self.priors

    def start(self, rng: np.random.Generator) -> Arrays:
        values = {name: prior.sample(rng, 1) for name, prior in self.priors.items()}
        values |= {"edge": np.ones(2, dtype=np.int8), "weight": np.zeros((2, 4))}
        return {**values, "level": np.zeros(1)}

    def at(self, values: Arrays) -> ToyConditionals:
        return ToyConditionals(self, values)

    def draw(self, values: Arrays) -> Arrays:
        return {
            "push": values["push"], "log_noise": np.log(values["noise"]), "edge": values["edge"],
        }  # fmt: skip

    def exact(self) -> dict[str, tuple[Any, Any]]:
        """Return posterior means and variances, by quadrature over both parameters."""
        point = self.at(self.start(np.random.default_rng(0)))
        push, log_noise = np.linspace(-2.0, 2.5, 70), np.log(0.3) + np.linspace(-2.2, 2.2, 60)
        log_density, edges = np.empty((70, 60)), np.empty((2, 70, 60))
        for i, j in np.ndindex(70, 60):
            own = {"push": push[i], "noise": np.exp(log_noise[j])}
            total = self.priors["push"].log_density(push[i]) + log_noise[j]
            total += self.priors["noise"].log_density(own["noise"])
            for s, chain in enumerate(self.chains):
                evidence = kalman_smoother(point.law(s, own), chain.observation).log_evidence
                odds = chain.log_prior_odds + evidence - chain.null_log_likelihood
                total += np.logaddexp(0.0, odds)
                edges[s, i, j] = 1.0 / (1.0 + np.exp(-odds))
            log_density[i, j] = total
        weight = np.exp(log_density - log_density.max())
        weight /= weight.sum()
        moments = {}
        for name, x, w in (("push", push, weight.sum(1)), ("log_noise", log_noise, weight.sum(0))):
            mean = x @ w
            moments[name] = (mean, (x - mean) ** 2 @ w)
        probability = (edges * weight).sum((1, 2))
        return {**moments, "edge": (probability, probability * (1.0 - probability))}


@pytest.mark.stat
@pytest.mark.parametrize("engine", [pytest.param("particle", marks=pytest.mark.slow), "collapsed"])
def test_parameters_and_edges_follow_the_exact_posterior(engine: str) -> None:
    target, draws = ToyTarget(), 700
    kernel: Kernel = CollapsedKernel(target, CollapsedGibbs(warmup=200))
    if engine == "particle":
        kernel = ParticleKernel(target, ParticleGibbs(warmup=200, num_particles=10))
        draws = 1500
    run = run_chains(kernel, draws=draws, warmup=200, chains=2, seed=1, progress=False)
    scores = {}
    for name, (mean, variance) in target.exact().items():
        values = run.posterior[name].reshape(2, draws, -1)
        scores[name] = moment_z_scores(values, mean, variance)
    assert max(np.abs(z).max() for z in scores.values()) < LARGEST_Z, scores


def fit(rule: LearningRule, engine: Any, draws: int, **model: Any) -> xr.DataTree:
    spikes, _ = simulate_plastic_glm(rule, duration=0.75, seed=3, window=0.25)
    return infer(
        STDPGLM(rule=rule, **model), spikes, engine=engine, draws=draws, chains=2, seed=5,
        progress=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rule", [Additive(), AdditiveBounded()], ids=lambda rule: rule.name)
def test_particle_and_collapsed_gibbs_agree_on_spikes(rule: LearningRule) -> None:
    particles = fit(rule, ParticleGibbs(warmup=300, num_particles=30), 900)
    collapsed = fit(rule, CollapsedGibbs(warmup=300), 500)
    scores = {}
    for name in [*rule.priors(1.0), "bias", "edge", "self_weight"]:
        pair = [np.asarray(tree["posterior"][name], float) for tree in (particles, collapsed)]
        if name in rule.priors(1.0):
            # Amplitudes and time constants vary over orders of magnitude.
            pair = [np.log(values) for values in pair]
        scores[name] = difference_z_scores(*pair)
    assert max(np.abs(z).max() for z in scores.values()) < LARGEST_Z, scores


def test_statistics_have_their_dimensions_and_ranges() -> None:
    tree = fit(Additive(), ParticleGibbs(warmup=5, num_particles=10), 8)
    stats = tree["sample_stats"]
    for name in ("log_edge_odds", "particle_ess"):
        assert stats[name].dims == ("chain", "draw", "synapse")
    for name in ("acceptance_rate", "step_size"):
        assert stats[name].dims == ("chain", "draw", "neuron")
    assert stats["lp"].dims == ("chain", "draw")
    assert float(stats["particle_ess"].min()) >= 1.0
    assert float(stats["particle_ess"].max()) <= 10.0


def test_a_fully_connected_network_keeps_all_edges() -> None:
    tree = fit(Additive(), ParticleGibbs(warmup=3, num_particles=5), 4, network=FullyConnected())
    assert (tree["posterior"]["edge"] == 1).all()
    assert np.isposinf(tree["sample_stats"]["log_edge_odds"]).all()


def test_static_synapses_are_drawn_on_the_grid() -> None:
    tree = fit(Static(), ParticleGibbs(warmup=3, num_particles=5), 4)
    weight = tree["posterior"]["weight"]
    assert (weight == weight.isel(window=0)).all()


def test_bad_settings_and_models_are_refused() -> None:
    with pytest.raises(SettingError, match="`num_particles` must be at least 2; got 1"):
        ParticleGibbs(num_particles=1)
    with pytest.raises(SettingError, match="`warmup` must not be negative; got -1"):
        ParticleGibbs(warmup=-1)
    with pytest.raises(CapabilityError, match=r"ParticleGibbs needs a model.*HasGibbs"):
        infer(lambda: None, engine=ParticleGibbs(), draws=2, chains=1, seed=0, progress=False)


def test_thinned_draws_are_every_third_of_all() -> None:
    data, _ = simulate_plastic_glm(Additive(), duration=6.0, seed=3)
    sizes = {"chains": 1, "seed": 3, "progress": False}
    every = infer(STDPGLM(), data, engine=CollapsedGibbs(warmup=5), draws=12, **sizes)
    third = infer(STDPGLM(), data, engine=CollapsedGibbs(warmup=5, thin=3), draws=4, **sizes)
    for name, values in third.posterior.data_vars.items():
        assert np.array_equal(values.values, every.posterior[name].values[:, 2::3]), name
    with pytest.raises(SettingError, match="`thin` must be 1 or more"):
        CollapsedGibbs(thin=0)
