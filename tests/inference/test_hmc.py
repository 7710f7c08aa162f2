from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.errors import SettingError
from probneuro.core.gibbs import SmoothConditional
from probneuro.inference.adaptation import schedule
from probneuro.inference.hamiltonian import Dynamics, Point
from probneuro.inference.hamiltonian_chains import HamiltonianKernel
from probneuro.inference.hmc import HMC, hmc_step, start_hmc
from probneuro.inference.runner import ChainDraws, run_chains
from probneuro.inference.target import Target
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

Floats = NDArray[np.float64]
SCALES = np.array([0.05, 1.0, 5.0])
CORRELATION = np.array([[1.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 1.0]])
COVARIANCE = CORRELATION * np.outer(SCALES, SCALES)
MEAN = np.array([0.3, -1.0, 5.0])


class Gaussian(SmoothConditional):
    """A correlated normal, whose gradient may be told wrong by a factor per coordinate."""

    def __init__(self, factors: Floats | float = 1.0) -> None:
        self.precision, self.factors = np.linalg.inv(COVARIANCE), factors

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        gradient = -self.precision @ (position - MEAN)
        return 0.5 * float((position - MEAN) @ gradient), self.factors * gradient


class Cliff(Gaussian):
    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        value, gradient = super().value_and_gradient(position)
        return (value, gradient) if position[1] < 0.0 else (-np.inf, np.full(3, np.nan))


def chains(
    conditional: SmoothConditional, draws: int = 1500, warmup: int = 400
) -> tuple[Floats, Floats, Arrays]:
    """Return draws (chain, draw, 3), their acceptance rates, and the last chain's state."""
    plan, out, rates = schedule(warmup), np.empty((2, draws, 3)), np.empty((2, draws))
    for chain in range(2):
        rng, position, state = np.random.default_rng(chain), MEAN, start_hmc(3)
        for i in range(warmup + draws):
            position, state, rate = hmc_step(
                conditional, position, state, rng, iteration=i, plan=plan, warmup=i < warmup
            )
            if i >= warmup:
                out[chain, i - warmup], rates[chain, i - warmup] = position, rate
    return out, rates, state


def worst(draws: Floats) -> float:
    return float(np.abs(moment_z_scores(draws, MEAN, np.diag(COVARIANCE))).max())


@pytest.mark.stat
def test_a_correlated_gaussian_of_many_scales_is_recovered() -> None:
    draws, rates, state = chains(Gaussian())
    assert worst(draws) < LARGEST_Z
    standard = (draws - MEAN) / SCALES
    product = standard[..., 0] * standard[..., 1]
    assert abs(moment_z_scores(product, 0.6, 1.36)[0]) < LARGEST_Z
    assert 0.6 < rates.mean() < 0.98
    ratio = state["inverse_metric"] / np.diag(COVARIANCE)
    assert ratio.max() / ratio.min() < 4.0


@pytest.mark.stat
def test_a_wrong_gradient_costs_acceptance_but_not_validity() -> None:
    draws, _, _ = chains(Gaussian(np.array([1.0, 0.7, 1.0])))
    assert worst(draws) < LARGEST_Z


@pytest.mark.stat
def test_the_check_catches_a_momentum_that_is_half_refreshed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kick = Dynamics.kick

    def weak(
        self: Dynamics, position: Floats, value: float, gradient: Floats, rng: np.random.Generator
    ) -> Point:
        point = kick(self, position, value, gradient, rng)
        momentum = 0.5 * point.momentum
        return Point(position, momentum, value, gradient, self.velocity(momentum))

    monkeypatch.setattr(Dynamics, "kick", weak)
    assert worst(chains(Gaussian())[0]) > LARGEST_Z


@pytest.mark.stat
def test_places_without_a_density_are_never_accepted() -> None:
    draws, _, _ = chains(Cliff(), draws=400, warmup=100)
    assert (draws[..., 1] < 0.0).all()
    assert np.isfinite(draws).all()


def test_after_the_warm_up_nothing_adapts() -> None:
    rng, state = np.random.default_rng(0), start_hmc(3)
    _, after, _ = hmc_step(
        Gaussian(), MEAN, state, rng, iteration=50, plan=schedule(50), warmup=False
    )
    assert after is state


class Normal(Target):
    """The same normal as a target, its gradient as wrong as wanted."""

    def __init__(self, wrong: float = 1.0) -> None:
        self.density = Gaussian()
        self.wrong = wrong

    @property
    def dimension(self) -> int:
        return 3

    @property
    def dims(self) -> Mapping[str, list[Any]]:
        return {"x": [None]}

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        value, gradient = self.density.value_and_gradient(position)
        return self.wrong * value, self.wrong * gradient

    def variables(self, position: Floats) -> Arrays:
        return {"x": position}


def engine_draws(engine: HMC, target: Target, seed: int = 4) -> ChainDraws:
    kernel = HamiltonianKernel(target, engine)
    settings = {"draws": 800, "warmup": engine.warmup, "chains": 2}
    return run_chains(kernel, seed=seed, progress=False, **settings)


@pytest.mark.stat
@pytest.mark.parametrize("dense", [False, True])
def test_the_engine_recovers_a_correlated_gaussian(dense: bool) -> None:
    for seed in (4, 5):
        result = engine_draws(HMC(warmup=300, dense_mass=dense), Normal(), seed)
        assert worst(result.posterior["position"]) < LARGEST_Z
        assert 0.6 < result.sample_stats["acceptance_rate"].mean() < 0.98
        assert not result.sample_stats["diverging"].any()


@pytest.mark.stat
def test_the_engines_check_catches_a_wrong_density() -> None:
    result = engine_draws(HMC(warmup=300), Normal(wrong=0.6))
    assert worst(result.posterior["position"]) > LARGEST_Z


def test_path_length_and_jitter_set_the_number_of_steps() -> None:
    engine = HMC(warmup=0, path_length=3.0, jitter=0.0, max_steps=10)
    stats = engine_draws(engine, Normal()).sample_stats
    expected = np.minimum(10, np.maximum(1, np.round(3.0 / stats["step_size"])))
    complete = ~stats["diverging"]
    assert complete.any()
    np.testing.assert_array_equal(stats["n_steps"][complete], expected[complete])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path_length": 0.0}, r"`path_length` must be positive; got 0\.0"),
        ({"jitter": 1.0}, r"`jitter` must lie between 0 and 1; got 1\.0"),
        ({"max_steps": 0}, "`max_steps` must be at least 1; got 0"),
        ({"target_accept": 0.0}, r"`target_accept` must lie between 0 and 1; got 0\.0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        HMC(**settings)
