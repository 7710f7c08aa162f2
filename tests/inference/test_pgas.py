from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from stdp_chains import synapse_of

from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.gibbs import ChainLaw, WindowObservation
from probneuro.inference import particle_filter, particle_kernels
from probneuro.inference.grid_filter import GridFilter
from probneuro.inference.particle_filter import ParticleSystem
from probneuro.inference.pgas import conditional_filter, pgas_step
from probneuro.learning_rules import Multiplicative
from probneuro.testing.chains import (
    GaussianWindows,
    SmoothedChain,
    kalman_smoother,
    quadrature_smoother,
)
from probneuro.testing.stats import LARGEST_Z, difference_z_scores, moment_z_scores

Floats = NDArray[np.float64]
WINDOWS = 6


def law_called(kind: str) -> ChainLaw:
    rng = np.random.default_rng(5)
    none, push = np.zeros(WINDOWS - 1), rng.normal(size=WINDOWS - 1)
    pull = -0.6 * rng.random(WINDOWS - 1)
    return {
        "unbounded": ChainLaw(0.3, 1.0, None, 0.2 * push, 0.3 * pull),
        "clipped": ChainLaw(0.3, 1.0, (0.0, 1.5), 0.6 * push, none),
        "contracted": ChainLaw(0.3, 1.0, (0.0, 1.5), 0.5 * np.abs(push), pull),
    }[kind]


def problem(kind: str) -> tuple[ChainLaw, GaussianWindows, SmoothedChain]:
    law, rng = law_called(kind), np.random.default_rng(6)
    values = law.sample(WINDOWS, rng) + 0.5 * rng.normal(size=WINDOWS)
    observation = GaussianWindows(values, 0.5)
    smoother = kalman_smoother if law.bounds is None else quadrature_smoother
    return law, observation, smoother(law, observation)


def run(
    law: ChainLaw, observation: WindowObservation, particles: int, seeds: int, sweeps: int
) -> Floats:
    """Return paths of PGAS from the prior, shape (seed, sweep, window), ten sweeps left out."""
    paths = np.empty((seeds, sweeps + 10, observation.num_windows))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        path = law.sample(observation.num_windows, rng)
        for i in range(paths.shape[1]):
            paths[seed, i] = path = pgas_step(law, observation, path, particles, rng)
    return paths[:, 10:]


@pytest.mark.stat
@pytest.mark.parametrize(
    "kind",
    [
        "contracted",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("unbounded", "clipped")),
    ],
)
def test_pgas_is_exact_at_every_window_for_every_seed(kind: str) -> None:
    law, observation, exact = problem(kind)
    paths = run(law, observation, particles=100, seeds=5, sweeps=3000)
    sd = np.sqrt(exact.variance)
    error = np.abs(paths.mean(1) - exact.mean) / sd
    ratio = paths.std(1) / sd
    assert error.max() < 0.1
    assert ratio.min() > 0.95
    assert ratio.max() < 1.05
    assert np.abs(moment_z_scores(paths, exact.mean, exact.variance)).max() < LARGEST_Z


def worst_z(kind: str) -> float:
    law, observation, exact = problem(kind)
    paths = run(law, observation, particles=2, seeds=4, sweeps=2000)
    return float(np.abs(moment_z_scores(paths, exact.mean, exact.variance)).max())


@pytest.mark.stat
@pytest.mark.parametrize(
    "kind",
    [
        "contracted",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("unbounded", "clipped")),
    ],
)
def test_two_particles_leave_the_posterior_invariant_too(kind: str) -> None:
    assert worst_z(kind) < LARGEST_Z


def blind_ancestor(
    log_weights: Floats, mean: Floats, noise: float, mass: Floats, following: float,
    position: float,
) -> int:  # fmt: skip
    index, weights = np.empty(1, dtype=np.int64), np.empty_like(log_weights)
    particle_kernels.normalise(log_weights, weights)
    particle_kernels.place(weights, np.array([position]), index)
    return int(index[0])


def unnormalised_ancestor(
    log_weights: Floats, mean: Floats, noise: float, mass: Floats, following: float,
    position: float,
) -> int:  # fmt: skip
    return particle_kernels.ancestor(log_weights, mean, noise, np.empty(0), following, position)


@pytest.mark.stat
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("unbounded", blind_ancestor),
        pytest.param("clipped", blind_ancestor, marks=pytest.mark.slow),
        pytest.param("contracted", unnormalised_ancestor, marks=pytest.mark.slow),
    ],
)
def test_the_check_catches_wrong_ancestor_weights(
    kind: str, fault: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(particle_filter, "ancestor", fault)
    assert worst_z(kind) > LARGEST_Z


@pytest.mark.stat
def test_the_check_catches_a_path_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(self: ParticleSystem, window: int, state: float, position: float | None) -> None:
        self._states[window, -1] = self._states[window, 0]
        self._ancestors[window, -1] = self._ancestors[window, 0]

    monkeypatch.setattr(ParticleSystem, "hold", forget)
    assert worst_z("unbounded") > LARGEST_Z


@pytest.mark.stat
def test_pgas_agrees_with_the_grid_on_spikes() -> None:
    synapse = synapse_of(Multiplicative(), duration=8.0)
    law, observation = synapse.law(), synapse.chain.observation
    paths = run(law, observation, particles=100, seeds=2, sweeps=700)
    grid, rng = GridFilter(observation), np.random.default_rng(0)
    draws = np.array([grid.sample(law, rng) for _ in range(1400)])[None]
    assert np.abs(difference_z_scores(paths, draws)).max() < LARGEST_Z


@pytest.mark.stat
@pytest.mark.parametrize("kind", ["unbounded", "clipped"])
def test_conditional_evidence_given_posterior_paths_is_unbiased_inversely(kind: str) -> None:
    """E[Z / Z hat] = 1 over paths from the posterior and the particles around them."""
    law, observation, exact = problem(kind)
    grid, rng = GridFilter(observation), np.random.default_rng(0)

    def ratio() -> float:
        path = grid.sample(law, rng)
        history = conditional_filter(law, observation, path, 20, rng, ancestor_sampling=False)
        return float(np.exp(exact.log_evidence - history.log_evidence))

    ratios = np.array([ratio() for _ in range(1500)])
    z = (ratios.mean() - 1.0) / (ratios.std() / np.sqrt(ratios.size))
    assert abs(z) < LARGEST_Z


def test_the_held_particle_stays_on_the_path() -> None:
    law, observation, exact = problem("clipped")
    rng = np.random.default_rng(0)
    plain = conditional_filter(law, observation, exact.mean, 5, rng, ancestor_sampling=False)
    np.testing.assert_array_equal(plain.states[:, -1], exact.mean)
    assert (plain.ancestors[1:, -1] == 4).all()
    drawn = conditional_filter(law, observation, exact.mean, 5, rng, ancestor_sampling=True)
    np.testing.assert_array_equal(drawn.states[:, -1], exact.mean)
    assert (drawn.ancestors[1:, -1] != 4).any()
    assert (drawn.states >= 0.0).all()
    assert (drawn.states <= 1.5).all()


def test_ancestors_are_drawn_by_weight_and_step_density() -> None:
    rng = np.random.default_rng(0)
    log_weights, mean = rng.normal(size=4), rng.uniform(0.0, 1.0, 4)
    low, mass = np.empty(4), np.empty(4)
    particle_kernels.truncation(mean, 0.6, 0.0, 1.0, low, mass)
    law = ChainLaw(0.6, 1.0, (0.0, 1.0), np.zeros(1), np.zeros(1))
    weights = np.exp([
        log_weights[i] + law.log_density(np.array([mean[i], 0.2])) for i in range(4)
    ])  # fmt: skip
    positions = (np.arange(4000) + 0.5) / 4000
    drawn = [particle_kernels.ancestor(log_weights, mean, 0.6, mass, 0.2, p) for p in positions]
    np.testing.assert_allclose(
        np.bincount(drawn, minlength=4) / 4000, weights / weights.sum(), atol=1e-3
    )


def test_too_few_particles_and_constant_trajectories_are_refused() -> None:
    law, observation, exact = problem("unbounded")
    rng = np.random.default_rng(0)
    with pytest.raises(SettingError, match="`num_particles` must be at least 2; got 1"):
        pgas_step(law, observation, exact.mean, 1, rng)
    constant = ChainLaw(0.0, 1.0, None, law.intercept, law.slope)
    with pytest.raises(CapabilityError, match=r"`law\.noise` is 0.*Use GridFilter"):
        pgas_step(constant, observation, exact.mean, 10, rng)
