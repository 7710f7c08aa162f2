import numpy as np
import pytest
from numpy.typing import NDArray
from stdp_chains import Synapse, synapse_of

from probneuro.core.errors import InferenceError
from probneuro.core.gibbs import ChainLaw
from probneuro.inference.grid_filter import GridFilter
from probneuro.learning_rules import Additive, AdditiveBounded, LearningRule, Multiplicative, Static
from probneuro.testing.chains import GaussianWindows, kalman_smoother, quadrature_smoother
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

Floats = NDArray[np.float64]
VALUES = np.array([0.3, 0.8, 0.2, 1.1, 1.4, 0.9, 0.5, 0.1])
OBSERVATION = GaussianWindows(VALUES, 0.4)
PUSH = np.array([0.2, -0.1, 0.3, 0.1, -0.2, -0.3, -0.2])
PULL = np.array([-0.3, -0.1, -0.5, 0.0, -0.2, -0.4, -0.1])
NONE = np.zeros(7)
UNBOUNDED = [
    ChainLaw(0.3, 1.0, None, PUSH, PULL),
    ChainLaw(0.05, 1.0, None, PUSH, NONE),
    ChainLaw(0.3, 0.5, None, PUSH, -2.0 * np.ones(7)),
]
BOUNDED = [
    ChainLaw(0.3, 1.0, (0.0, 1.5), 0.5 - PULL, PULL - 0.5),
    ChainLaw(0.3, 1.0, (0.0, 1.5), 2.0 * PUSH, NONE),
    ChainLaw(2.0, 1.0, (0.0, 1.5), PUSH, PULL),
]


@pytest.fixture(scope="module")
def synapses() -> dict[str, Synapse]:
    rules: list[LearningRule] = [Additive(), Multiplicative(), AdditiveBounded(), Static()]
    return {rule.name: synapse_of(rule, duration=15.0) for rule in rules}


@pytest.mark.parametrize("law", UNBOUNDED)
def test_evidence_of_every_window_equals_kalman(law: ChainLaw) -> None:
    grid = GridFilter(OBSERVATION)
    exact = kalman_smoother(law, OBSERVATION)
    assert grid.log_evidence(law) == pytest.approx(exact.log_evidence, abs=1e-6)
    windows = grid.window_log_evidence(law)
    for k in range(1, 9):
        head = ChainLaw(law.noise, law.initial_scale, None, law.intercept[: k - 1],
                        law.slope[: k - 1])  # fmt: skip
        start = kalman_smoother(head, GaussianWindows(VALUES[:k], 0.4)).log_evidence
        assert windows[:k].sum() == pytest.approx(start, abs=1e-6)


@pytest.mark.parametrize("law", BOUNDED)
def test_bounded_evidence_equals_brute_force(law: ChainLaw) -> None:
    coarse, fine = (quadrature_smoother(law, OBSERVATION, n).log_evidence for n in (200, 400))
    # The brute force errs where clipping puts a kink, by the inverse square of its nodes.
    limit = fine + (fine - coarse) / 3.0
    error = 1e-6 + abs(fine - coarse)
    assert GridFilter(OBSERVATION).log_evidence(law) == pytest.approx(limit, abs=error)


@pytest.mark.stat
@pytest.mark.parametrize("law", [UNBOUNDED[0], *BOUNDED])
def test_draws_follow_the_smoother(law: ChainLaw) -> None:
    smoother = kalman_smoother if law.bounds is None else quadrature_smoother
    exact, rng = smoother(law, OBSERVATION), np.random.default_rng(0)
    draws = np.empty((1, 3000, 8))
    for i in range(3000):
        if i % 100 == 0:
            grid = GridFilter(OBSERVATION, offset=rng.random())
        draws[0, i] = grid.sample(law, rng)
    assert np.abs(moment_z_scores(draws, exact.mean, exact.variance)).max() < LARGEST_Z
    shifted = draws + 0.15 * np.sqrt(exact.variance)
    assert np.abs(moment_z_scores(shifted, exact.mean, exact.variance)).max() > LARGEST_Z


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("name", ["additive", "multiplicative", "additive_bounded"])
def test_evidence_of_spikes_has_converged(
    synapses: dict[str, Synapse], name: str, noise: float
) -> None:
    """The grid is unbounded, contracted by the multiplicative rule, clipped by the bounded."""
    observation, law = synapses[name].chain.observation, synapses[name].law(weight_noise=noise)
    fine = GridFilter(observation, resolution=9.0, bounded_resolution=30.0).log_evidence(law)
    assert GridFilter(observation).log_evidence(law) == pytest.approx(fine, abs=1e-6, rel=0.0)


def test_a_grid_that_is_too_coarse_has_not_converged(synapses: dict[str, Synapse]) -> None:
    observation = synapses["additive_bounded"].chain.observation
    law = synapses["additive_bounded"].law(weight_noise=0.1)
    exact, coarse = (
        GridFilter(observation, bounded_resolution=r).log_evidence(law) for r in (30.0, 1.2)
    )
    assert abs(coarse - exact) > 1e-6


@pytest.mark.parametrize("law", [*UNBOUNDED, *BOUNDED[:1]])
def test_a_drift_that_happens_to_be_affine_gives_the_affine_evidence(law: ChainLaw) -> None:
    def drift(states: Floats) -> Floats:
        return law.intercept + law.slope * states[:, None]

    general = ChainLaw(law.noise, law.initial_scale, law.bounds, NONE, NONE, drift)
    first, second = (GridFilter(OBSERVATION) for _ in range(2))
    assert second.log_evidence(general) == pytest.approx(first.log_evidence(law), abs=1e-8)
    paths = [
        grid.sample(own, np.random.default_rng(2))
        for grid, own in ((first, law), (second, general))
    ]
    np.testing.assert_allclose(*paths, atol=1e-12)
    path = law.sample(8, np.random.default_rng(0))
    assert general.log_density(path) == pytest.approx(law.log_density(path), abs=1e-10)
    np.testing.assert_allclose(general.path_mean(path), law.path_mean(path))


def test_a_constant_trajectory_is_a_normal_mean() -> None:
    law, grid = ChainLaw(0.0, 1.0, None, NONE, NONE), GridFilter(OBSERVATION, offset=0.3)
    moving = ChainLaw(1e-9, 1.0, None, NONE, NONE)
    exact = kalman_smoother(moving, OBSERVATION)
    assert grid.log_evidence(law) == pytest.approx(exact.log_evidence, abs=1e-6)
    rng = np.random.default_rng(0)
    paths = np.array([grid.sample(law, rng) for _ in range(1000)])[None]
    assert (paths == paths[..., :1]).all()
    z = moment_z_scores(paths[..., 0], exact.mean[0], exact.variance[0])
    assert np.abs(z).max() < LARGEST_Z


def test_impossible_observations_and_tiny_noise_raise() -> None:
    impossible = GaussianWindows(VALUES, 0.4)
    impossible.values = np.where(np.arange(8) == 3, np.inf, VALUES)
    with pytest.raises(InferenceError, match="No state of the trajectory has a finite likelihood"):
        GridFilter(impossible).log_evidence(UNBOUNDED[0])
    tiny = ChainLaw(1e-6, 1.0, None, PUSH, NONE)
    with pytest.raises(InferenceError, match=r"The grid of states would need \d+ nodes"):
        GridFilter(OBSERVATION).log_evidence(tiny)


@pytest.mark.parametrize("sd", [0.2, 0.05, 0.02, 0.005])
def test_evidence_holds_where_spikes_tell_more_than_a_step(sd: float) -> None:
    """Likelihoods far sharper than the step noise, for which a grid of the noise is too coarse."""
    sharp = GaussianWindows(VALUES, sd)
    free = ChainLaw(0.3, 1.0, None, PUSH, PULL)
    exact = kalman_smoother(free, sharp)
    assert GridFilter(sharp).log_evidence(free) == pytest.approx(exact.log_evidence, abs=0.01)
    mean = np.mean([GridFilter(sharp, offset=u).sample(free, np.random.default_rng(i))
                    for i, u in enumerate(np.linspace(0, 0.99, 40))], axis=0)  # fmt: skip
    assert np.abs(mean - exact.mean).max() < 5 * np.sqrt(exact.variance.max() / 40) + 0.3 * sd
    for law in BOUNDED[:2]:
        fine = GridFilter(sharp, bounded_resolution=500.0).log_evidence(law)
        filtered = GridFilter(sharp)
        assert filtered.log_evidence(law) == pytest.approx(fine, abs=0.01)
        assert filtered.coarser(1.5).log_evidence(law) == pytest.approx(fine, abs=1.0)
