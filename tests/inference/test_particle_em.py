"""Particle EM against exact modes, by Kalman filter, sums over chains, and scipy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyro import distributions as dist
from scipy.optimize import minimize
from state_space_posteriors import CHAIN, COUNTS

from probneuro import infer
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.inference.particle_em import ParticleEM, PathDraws
from probneuro.inference.state_space import simulate
from probneuro.inference.state_space_parameters import FilteredPosterior
from probneuro.inference.stochastic_em import StepSizes, add_draw
from probneuro.testing.state_space import LinearGaussian, forward_backward, kalman
from probneuro.testing.stats import LARGEST_Z

Floats = NDArray[np.float64]
MODEL = LinearGaussian()
PAIRS = simulate(MODEL, {"decay": 0.9, "noise": 0.5}, 6, seed=2).series
ENGINE = ParticleEM(iterations=80, burn_in=20, num_particles=5, maximisation_steps=4)
RESTARTS = 4


def pair_height(free: Floats, series: Any) -> float:
    """Log density of decay and noise in their own space, at decay and log noise."""
    prior = -0.5 * ((free[0] - 0.8) / 0.3) ** 2 - 0.5 * ((free[1] + 0.7) / 0.5) ** 2 - free[1]
    params = {"decay": free[0], "noise": np.exp(free[1])}
    return kalman(MODEL, params, series).log_evidence + prior


def chain_height(free: Floats) -> float:
    """Log density of how persistent the finite chain is, at its logit."""
    stay = 1.0 / (1.0 + np.exp(-free[0]))
    prior = float(dist.Beta(4.0, 2.0).log_prob(torch.tensor(stay)))
    return forward_backward(CHAIN, {"stay": stay}, COUNTS).log_evidence + prior


def mode(height: Callable[[Floats], float], start: list[float]) -> Floats:
    options = {"xatol": 1e-6, "fatol": 1e-9}
    found: Floats = minimize(lambda u: -height(u), start, method="Nelder-Mead", options=options).x
    return found


def pair_estimates(series: Any, engine: ParticleEM, seed: int) -> Floats:
    result = infer(
        MODEL, series, engine=engine, draws=1, chains=RESTARTS, seed=seed, progress=False
    )
    found = result["parameters"]
    return np.column_stack([found["decay"].values[:, 0], np.log(found["noise"].values[:, 0])])


def score(estimates: Floats, exact: Floats) -> float:
    """Return the z-score of the restarts' mean that is largest."""
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    return float(np.abs((estimates.mean(0) - exact) / error).max())


@pytest.mark.slow
@pytest.mark.stat
def test_it_ends_at_the_mode_of_a_linear_gaussian_model() -> None:
    found = pair_estimates(PAIRS, ENGINE, 1)
    start = [0.8, -0.7]
    assert score(found, mode(lambda u: pair_height(u, PAIRS), start)) < LARGEST_Z
    # the check sees the mode without the prior of the noise, which lies elsewhere
    other = mode(lambda u: pair_height(u, PAIRS) + 0.5 * ((u[1] + 0.7) / 0.5) ** 2, start)
    assert score(found, other) > LARGEST_Z


@pytest.mark.stat
def test_it_ends_at_the_mode_of_a_finite_chain() -> None:
    result = infer(CHAIN, COUNTS, engine=ENGINE, draws=2, chains=RESTARTS, seed=3, progress=False)
    stay = result["parameters/stay"].values
    assert stay.shape == (RESTARTS, 1)
    assert score(np.log(stay / (1 - stay)), mode(chain_height, [0.0])) < LARGEST_Z
    assert result["fit_history/stay"].dims == ("chain", "iteration")
    assert result["fit_history/log_density"].shape == (RESTARTS, ENGINE.iterations)
    assert result.posterior["state"].dims == ("chain", "draw", "time")
    np.testing.assert_array_equal(result.posterior["stay"].values, np.repeat(stay, 2, 1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_longer_series_are_fitted_to_a_tenth_of_their_uncertainty(seed: int) -> None:
    series = simulate(MODEL, {"decay": 0.9, "noise": 0.5}, 60, seed=seed).series
    exact = mode(lambda u: pair_height(u, series), [0.8, -0.7])
    step, curvature = 1e-3 * np.eye(2), np.empty(2)
    for i in range(2):
        around = [pair_height(exact + s * step[i], series) for s in (-1, 0, 1)]
        curvature[i] = -(around[0] - 2 * around[1] + around[2]) / 1e-6
    engine = ParticleEM(iterations=300, burn_in=100, num_particles=10)
    estimates = pair_estimates(series, engine, seed)
    assert score(estimates, exact) < LARGEST_Z
    assert np.abs((estimates.mean(0) - exact) * np.sqrt(curvature)).max() < 0.1


def test_weights_of_draws_are_those_of_the_average() -> None:
    sizes, draws = StepSizes(burn_in=2, decay=0.6), {}
    exact = 0.0
    for k in range(30):
        size = sizes.at(k)
        draws = add_draw(draws, {"x": np.array(float(k))}, size)
        exact = (1 - size) * exact + size * k
    assert draws["weight"].sum() == pytest.approx(1.0, abs=0.01)  # what was forgotten
    assert draws["weight"] @ draws["x"] == pytest.approx(exact, rel=0.01)
    assert len(add_draw(draws, {"x": np.array(0.0)}, 1.0)["weight"]) == 1


def test_many_paths_have_the_densities_that_each_has_alone() -> None:
    posterior = FilteredPosterior(MODEL, PAIRS, 10)
    density = posterior.path_density(own_space=True)
    rng = np.random.default_rng(0)
    paths, weights = rng.normal(size=(19, 6, 2)), rng.random(19)
    place = np.array([0.4, -0.3])
    value, gradient = density.averaged(paths, weights).value_and_gradient(place)
    alone = [density.given(path).value_and_gradient(place) for path in paths]
    assert value == pytest.approx(weights @ [v for v, _ in alone])
    np.testing.assert_allclose(gradient, weights @ np.stack([g for _, g in alone]))
    volume = posterior.path_density().given(paths[0]).value_and_gradient(place)[0]
    assert volume - alone[0][0] == pytest.approx(-0.3)  # of noise = exp(u)


def test_resume_gives_the_same_fit(tmp_path: Any) -> None:
    options: dict[str, Any] = {"draws": 3, "chains": 2, "seed": 5, "progress": False}
    engine = ParticleEM(iterations=6, burn_in=2, num_particles=5)
    full = infer(CHAIN, COUNTS, engine=engine, **options)
    calls, whole = [0], PathDraws.draw

    def failing(self: Any, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            raise RuntimeError("cut")
        return whole(self, *args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Exception, match="cut"):
        patch.setattr(PathDraws, "draw", failing)
        infer(CHAIN, COUNTS, engine=engine, checkpoint=tmp_path, workers=1, **options)
    again = infer(CHAIN, COUNTS, engine=engine, checkpoint=tmp_path, **options)
    for group in ("posterior", "fit_history", "parameters"):
        assert full[group].equals(again[group])


def test_other_models_are_refused() -> None:
    with pytest.raises(CapabilityError, match="ParticleEM needs a StateSpaceModel; got function"):
        infer(lambda: None, engine=ParticleEM(), progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_particles": 1}, r"`num_particles` must be at least 2; got 1\. Its default is 50"),
        ({"iterations": 0}, "`iterations` must be at least 1; got 0"),
        ({"burn_in": -1}, "`burn_in` must not be negative; got -1"),
        ({"burn_in": 300}, "`burn_in` is 300 of 300 iterations, which leaves none to average"),
        ({"decay": 0.5}, r"`decay` must lie above 0\.5 and be at most 1; got 0\.5"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ParticleEM(**settings)
