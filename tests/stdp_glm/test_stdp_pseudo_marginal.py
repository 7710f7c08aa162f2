"""Rule parameters of the STDP-GLM by particle marginal Metropolis-Hastings: what it reports."""

import numpy as np
import pytest

from probneuro import infer
from probneuro.core.errors import CapabilityError
from probneuro.inference.particle_gibbs import ParticleGibbs, ParticleKernel
from probneuro.learning_rules import Additive, Oja, Static
from probneuro.models.stdp_glm import STDPGLM, FullyConnected
from probneuro.testing.state_space import FiniteChain
from stdp_glm.problems import recording

ENGINE = ParticleGibbs(warmup=6, num_particles=8, pseudo_marginal=True)


def test_it_runs_and_reports_how_often_it_moved() -> None:
    sizes = {"draws": 8, "chains": 2, "seed": 1, "progress": False}
    result = infer(STDPGLM(), recording(0), engine=ENGINE, **sizes)  # type: ignore[arg-type]
    rate = result.sample_stats["pseudo_marginal_acceptance_rate"]
    assert rate.dims == ("chain", "draw")
    assert 0.0 < float(rate.mean()) < 1.0
    moved = np.diff(result.posterior["amplitude_plus"].values[..., 0]) != 0.0
    assert 0.0 < moved.mean() < 1.0
    plain = infer(STDPGLM(rule=Static()), recording(0), engine=ENGINE, **sizes)  # type: ignore[arg-type]
    assert plain.posterior["weight"].shape[:2] == (2, 8)


def test_nothing_is_learnt_after_the_warm_up() -> None:
    target = STDPGLM(rule=Additive(), network=FullyConnected()).gibbs(recording(1))
    kernel, rng = ParticleKernel(target, ENGINE), np.random.default_rng(0)
    state = kernel.init(rng)
    for _ in range(6):
        state, _ = kernel.step(state, rng, warmup=True)
    learnt = {name: value for name, value in state.items() if name.startswith("rule.")}
    assert not np.array_equal(learnt["rule.0.covariance"], 0.25 * np.eye(5))
    for _ in range(3):
        state, _ = kernel.step(state, rng, warmup=False)
    for name, value in learnt.items():
        np.testing.assert_array_equal(state[name], value)


def test_models_that_it_does_not_apply_to_are_refused() -> None:
    with pytest.raises(CapabilityError, match=r"`pseudo_marginal` does not apply .*share filters"):
        infer(STDPGLM(rule=Oja()), recording(0), engine=ENGINE, progress=False)
    with pytest.raises(CapabilityError, match=r"`pseudo_marginal` does not apply .*PMMH\(\)"):
        infer(FiniteChain(), [0, 1, 7, 5], engine=ENGINE, progress=False)
