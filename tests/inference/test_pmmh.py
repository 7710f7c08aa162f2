from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from state_space_posteriors import CASES, CHAIN, COUNTS, EXACT

from probneuro import infer
from probneuro.core.diagnostics import say
from probneuro.core.errors import CapabilityError, DataError, InferenceError, SettingError
from probneuro.core.results import build_result
from probneuro.inference.particle_filter import ParticleHistory
from probneuro.inference.pmmh import PMMH, PMMHKernel, adapted, propose
from probneuro.inference.state_space_filter import genealogy
from probneuro.testing.state_space import FiniteChain
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

QUIET = {"seed": 1, "progress": False}


@pytest.mark.stat
@pytest.mark.parametrize(
    "case", ["finite_chain", pytest.param("linear_gaussian", marks=pytest.mark.slow)]
)
def test_posterior_equals_quadrature(case: str) -> None:
    model, data = CASES[case]
    exact = EXACT[case]()
    engine = PMMH(warmup=200, num_particles=20)
    result = infer(model, data, engine=engine, draws=500, chains=2, **QUIET)
    for name, mean in exact.mean.items():
        z = moment_z_scores(result.posterior[name].values, mean, exact.variance[name])
        assert np.abs(z).max() < LARGEST_Z, name


@pytest.mark.stat
def test_the_check_catches_trajectories_drawn_without_their_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ParticleHistory, "draw_path", lambda self, rng: genealogy(self)[0])
    exact = EXACT["finite_chain"]()
    engine = PMMH(warmup=50, num_particles=20)
    result = infer(CHAIN, COUNTS, engine=engine, draws=300, chains=2, **QUIET)
    draws = result.posterior["state"].values
    z = moment_z_scores(draws, exact.mean["state"], exact.variance["state"])
    assert np.abs(z).max() > LARGEST_Z


def test_draws_do_not_depend_on_workers_or_interruptions(tmp_path: Path) -> None:
    sizes = {"engine": PMMH(warmup=10, num_particles=10), "draws": 10, "chains": 2, **QUIET}
    plain = infer(FiniteChain(), COUNTS, workers=1, **sizes)
    other = infer(FiniteChain(), COUNTS, workers=2, checkpoint=tmp_path / "run", **sizes)
    again = infer(FiniteChain(), COUNTS, checkpoint=tmp_path / "run", **sizes)
    for result in (other, again):
        assert result.posterior.equals(plain.posterior)
        assert result.sample_stats.equals(plain.sample_stats)


def test_the_result_reports_acceptance_and_the_evidences_variance() -> None:
    engine = PMMH(warmup=4, num_particles=5)
    result = infer(FiniteChain(), COUNTS, engine=engine, draws=6, chains=2, **QUIET)
    stats = result.sample_stats
    assert stats["acceptance_rate"].shape == (2, 6)
    assert (stats["log_evidence_variance"] > 0).all()
    assert (stats["log_evidence_variance"] == stats["log_evidence_variance"][:, :1]).all()
    assert result.posterior["state"].dims == ("chain", "draw", "time")
    bare = infer(FiniteChain(), COUNTS, engine=PMMH(warmup=0), draws=4, chains=1, **QUIET)
    assert (bare.sample_stats["log_evidence_variance"] > 0).all()


@pytest.mark.parametrize(("variance", "words"), [(6.0, "about 4 times"), (np.inf, "many times")])
def test_a_noisy_evidence_is_said_in_words(variance: float, words: str) -> None:
    x = np.random.default_rng(0).normal(size=(4, 200))
    stats = {"log_evidence_variance": np.full((4, 200), variance)}
    (finding,) = say(build_result({"x": x}, stats))
    assert f"has variance {variance:.1f} (at most 2 is wanted)" in finding
    assert f"Use {words} as many particles" in finding
    assert not say(build_result({"x": x}, {"log_evidence_variance": np.full((4, 200), 1.0)}))


def test_the_proposal_learns_the_posteriors_covariance() -> None:
    rng = np.random.default_rng(0)
    factor = np.array([[1.0, 0.0], [0.9, 0.1]])
    state: dict[str, Any] = {
        "position": np.zeros(2), "mean": np.zeros(2), "covariance": np.eye(2),
        "log_scale": np.array(0.0),
    }  # fmt: skip
    for done in range(2000):
        state = {**state, "position": factor @ rng.standard_normal(2)}
        state = adapted(state, 0.3, done, 1000)
    assert np.allclose(state["covariance"], factor @ factor.T, atol=0.15)
    assert state["log_scale"] == 0.0
    steps = np.stack([propose(state, rng) - state["position"] for _ in range(4000)])
    assert np.isclose(np.cov(steps.T)[0, 0], 0.95 * 2.38**2 / 2, rtol=0.2)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingError, match="`warmup` must not be negative; got -1"):
        PMMH(warmup=-1)
    with pytest.raises(SettingError, match="`num_particles` must be at least 2; got 1"):
        PMMH(num_particles=1)


def test_models_and_data_that_do_not_fit_are_refused() -> None:
    class Known(FiniteChain):
        def global_model(self) -> Any:
            return {"stay": torch.tensor(0.7)}

    with pytest.raises(CapabilityError, match="PMMH needs a StateSpaceModel; got function"):
        infer(lambda x: x, COUNTS, engine=PMMH(), **QUIET)
    with pytest.raises(CapabilityError, match=r"`global_model` of Known cannot .* ParticleFilter"):
        infer(Known(), COUNTS, engine=PMMH(), **QUIET)
    with pytest.raises(DataError, match=r"-1\.0 at time step 0 lies outside"):
        infer(FiniteChain(), [-1, 2], engine=PMMH(), **QUIET)


def test_a_start_where_all_particles_die_is_refused() -> None:
    class Shut(FiniteChain):
        def observe(self, state: Any, params: Any, t: Any, inputs: Any) -> Any:
            return dist.Poisson(torch.zeros(len(state)))

    with pytest.raises(InferenceError, match=r"seed 1: All particles died at each of 100 param"):
        infer(Shut(), [1, 2], engine=PMMH(num_particles=4), **QUIET)


def test_a_covariance_that_broke_is_refused() -> None:
    state = {
        "position": np.zeros(1), "covariance": np.array([[-1.0]]), "log_scale": np.array(0.0),
    }  # fmt: skip
    rng = np.random.default_rng(1)
    with pytest.raises(InferenceError, match="is not positive definite"):
        for _ in range(20):
            propose(state, rng)


def test_transformed_and_deterministic_parameters_are_kept() -> None:
    class Half(FiniteChain):
        def global_model(self) -> Any:
            rare = pyro.sample("rare", dist.Beta(2.0, 4.0))
            return {"stay": pyro.deterministic("stay", 1.0 - rare)}

    kernel = PMMHKernel(Half(), COUNTS, PMMH(warmup=0, num_particles=10))
    draw = kernel.draw(kernel.init(np.random.default_rng(0)))
    assert draw["stay"] == pytest.approx(1.0 - draw["rare"])
