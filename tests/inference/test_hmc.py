import numpy as np
import pytest
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.gibbs import SmoothConditional
from probneuro.inference.adaptation import schedule
from probneuro.inference.hamiltonian import Dynamics, Point
from probneuro.inference.hmc import hmc_step, start_hmc
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
