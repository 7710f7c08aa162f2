import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from probneuro.core.errors import CapabilityError, InferenceError, SettingError
from probneuro.core.gibbs import ChainLaw
from probneuro.inference.particle_filter import (
    ParticleHistory,
    Resampling,
    filter_chain,
    multinomial,
    systematic,
)
from probneuro.inference.particle_kernels import normalise, place, truncation
from probneuro.testing.chains import GaussianWindows, kalman_smoother, quadrature_smoother
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

Floats = NDArray[np.float64]
VALUES = np.array([0.3, 0.8, 0.2, 1.1, 1.4, 0.9, 0.5, 0.1])
DRIFT = np.array([0.2, -0.1, 0.3, 0.1, -0.2, -0.3, -0.2])
UNBOUNDED = ChainLaw(0.3, 1.0, None, DRIFT, np.full(7, -0.1))
BOUNDED = ChainLaw(0.3, 1.0, (0.0, 1.5), DRIFT, np.full(7, -0.1))
OBSERVATION = GaussianWindows(VALUES, 0.4)


@pytest.mark.stat
@pytest.mark.parametrize("law", [UNBOUNDED, BOUNDED], ids=["unbounded", "bounded"])
@pytest.mark.parametrize("resample", [systematic, multinomial])
def test_evidence_estimate_is_unbiased(law: ChainLaw, resample: Resampling) -> None:
    smoother = kalman_smoother if law.bounds is None else quadrature_smoother
    exact = smoother(law, OBSERVATION).log_evidence
    rng = np.random.default_rng(0)
    logs = np.array([
        filter_chain(law, OBSERVATION, 50, rng, resample=resample).log_evidence
        for _ in range(1500)
    ])  # fmt: skip
    estimates = np.exp(logs - exact)
    z = (estimates.mean() - 1.0) / (estimates.std() / np.sqrt(logs.size))
    assert abs(z) < 3.0
    assert np.abs(np.log(estimates.mean())) < 0.1


@pytest.mark.stat
def test_the_evidence_check_catches_a_shift_of_a_twentieth_of_a_nat() -> None:
    exact = kalman_smoother(UNBOUNDED, OBSERVATION).log_evidence + 0.05
    rng = np.random.default_rng(0)
    logs = [filter_chain(UNBOUNDED, OBSERVATION, 50, rng).log_evidence for _ in range(1500)]
    estimates = np.exp(np.array(logs) - exact)
    assert abs(estimates.mean() - 1.0) > 3.0 * estimates.std() / np.sqrt(1500)


@pytest.mark.stat
def test_paths_of_many_particles_follow_the_smoother() -> None:
    exact = kalman_smoother(UNBOUNDED, OBSERVATION)
    rng = np.random.default_rng(0)
    paths = np.array([
        filter_chain(UNBOUNDED, OBSERVATION, 500, rng).draw_path(rng) for _ in range(600)
    ])[None]  # fmt: skip
    assert np.abs(moment_z_scores(paths, exact.mean, exact.variance)).max() < LARGEST_Z


def test_history_keeps_weights_ancestors_and_increments() -> None:
    history = filter_chain(BOUNDED, OBSERVATION, 30, np.random.default_rng(0))
    np.testing.assert_allclose(history.weights.sum(1), 1.0)
    assert history.log_evidence == pytest.approx(history.increments.sum())
    assert (history.effective_sizes > 1.0).all()
    assert (history.effective_sizes <= 30.0).all()
    for k in range(8):
        mean_weight = np.exp(OBSERVATION.at(k, history.states[k])).mean()
        assert history.increments[k] == pytest.approx(np.log(mean_weight))


def test_a_drawn_path_follows_its_ancestors() -> None:
    history = ParticleHistory(
        states=np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
        weights=np.array([[0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]),
        ancestors=np.array([[0, 0], [1, 0], [1, 0]]),
        increments=np.zeros(3),
    )
    path = history.draw_path(np.random.default_rng(0))
    np.testing.assert_array_equal(path, [1.0, 2.0, 5.0])


def test_the_same_seed_gives_the_same_particles() -> None:
    first, second = (
        filter_chain(BOUNDED, OBSERVATION, 20, np.random.default_rng(4)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.states, second.states)


@pytest.mark.parametrize("resample", [systematic, multinomial])
def test_offspring_are_proportional_to_weights(resample: Resampling) -> None:
    weights, rng = np.array([0.1, 0.0, 0.6, 0.3, 0.0]), np.random.default_rng(0)
    ancestors = np.empty(100_000, dtype=np.int64)
    place(weights, resample(ancestors.size, rng), ancestors)
    share = np.bincount(ancestors, minlength=5) / ancestors.size
    np.testing.assert_allclose(share, weights, atol=4.9 * 0.5 / np.sqrt(ancestors.size))
    assert share[1] == share[4] == 0.0


def test_systematic_offspring_are_their_expectation_rounded() -> None:
    weights, rng = np.random.default_rng(1).dirichlet(np.ones(7)), np.random.default_rng(0)
    ancestors = np.empty(20, dtype=np.int64)
    place(weights, systematic(20, rng), ancestors)
    assert np.abs(np.bincount(ancestors, minlength=7) - 20 * weights).max() < 1.0


def test_a_position_next_to_one_never_draws_a_particle_without_weight() -> None:
    ancestors = np.empty(1, dtype=np.int64)
    place(np.array([0.3, 0.7, 0.0]), np.array([np.nextafter(1.0, 0.0)]), ancestors)
    assert ancestors[0] == 1


def test_weights_survive_very_low_likelihoods() -> None:
    weights = np.empty(2)
    increment = normalise(np.array([-1e5, -1e5 - 1.0]), weights)
    np.testing.assert_allclose(weights, [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])
    assert increment == pytest.approx(-1e5 + np.log((1 + np.exp(-1)) / 2))


def test_truncation_is_the_normal_distribution_function() -> None:
    mean = np.linspace(0.0, 2.0, 9)
    below, mass = np.empty(9), np.empty(9)
    truncation(mean, 0.3, 0.0, 2.0, below, mass)
    np.testing.assert_allclose(below, ndtr((0.0 - mean) / 0.3), rtol=1e-12)
    np.testing.assert_allclose(mass, ndtr((2.0 - mean) / 0.3) - below, rtol=1e-12)


@pytest.mark.stat
def test_particles_move_by_the_law() -> None:
    flat = GaussianWindows(np.zeros(8), 1e6)
    rng = np.random.default_rng(0)
    last = filter_chain(BOUNDED, flat, 20_000, rng, resample=multinomial).states[-1]
    law = quadrature_smoother(BOUNDED, flat)
    # One in four, as resampling makes particles share ancestors.
    z = moment_z_scores(last[None, ::4], law.mean[-1], law.variance[-1])
    assert np.abs(z).max() < LARGEST_Z


def test_a_constant_trajectory_is_left_to_the_grid() -> None:
    law = ChainLaw(0.0, 1.0, None, DRIFT, DRIFT)
    with pytest.raises(CapabilityError, match=r"`law\.noise` is 0.*Use GridFilter"):
        filter_chain(law, OBSERVATION, 10, np.random.default_rng(0))


def test_no_particles_are_refused() -> None:
    with pytest.raises(SettingError, match="`num_particles` must be at least 1; got 0"):
        filter_chain(UNBOUNDED, OBSERVATION, 0, np.random.default_rng(0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_dead_particles_raise(value: float) -> None:
    broken = GaussianWindows(np.where(np.arange(8) == 3, value, VALUES), 0.4)
    with pytest.raises(InferenceError, match="All 10 particles died in window 3"):
        filter_chain(UNBOUNDED, broken, 10, np.random.default_rng(0))
