"""Factor analysis: highest likelihood, however weak the factors, and the program's own density."""

import numpy as np
import pyro
import pytest
import torch

from probneuro import infer
from probneuro.core.errors import CapabilityError, DataError, SettingError
from probneuro.core.factor_analysis import FactorFit, FactorMoments, fit_em, fit_profile
from probneuro.core.factor_selection import cross_validate, most_frequent
from probneuro.inference.factor_likelihood import FactorLikelihood
from probneuro.models.omiso import FactorAnalysis

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds


def counts_of(seed: int, size: int = 30, time: int = 600, strength: float = 0.5):
    """Return observations of three factors, and the loadings behind them."""
    rng = np.random.default_rng(seed)
    loading = strength * rng.normal(size=(size, 3))
    noise = rng.gamma(2.0, 0.5, size) + 0.1
    latents = rng.normal(size=(time, 3))
    return latents @ loading.T + 3 + rng.normal(size=(time, size)) * np.sqrt(noise), loading


@pytest.mark.parametrize("strength", [0.1, 0.25, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_at_least_as_likely_as_scikit_learn(seed: int, strength: float) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    counts, _ = counts_of(seed, strength=strength)
    theirs = decomposition.FactorAnalysis(3, svd_method="lapack", tol=1e-6, max_iter=20_000)
    fit = fit_profile(FactorMoments.of(counts), 3)
    assert fit.log_likelihood > theirs.fit(counts).score(counts) - 1e-8


def test_em_never_beats_the_profile_and_agrees_on_strong_factors() -> None:
    for seed in range(5):
        moments = FactorMoments.of(counts_of(seed, strength=0.8)[0])
        profile, em = fit_profile(moments, 3), fit_em(moments, 3)
        assert em.log_likelihood <= profile.log_likelihood + 1e-9
        assert em.log_likelihood > profile.log_likelihood - 1e-5


def test_gradient_is_that_of_the_value() -> None:
    from probneuro.core.factor_analysis import _profile

    moments = FactorMoments.of(counts_of(1)[0])
    place = np.log(0.7 * np.diagonal(moments.covariance))
    _, gradient = _profile(place, moments.covariance, 3)
    for axis in range(0, 30, 7):
        step = np.zeros(30)
        step[axis] = 1e-5
        high = _profile(place + step, moments.covariance, 3)[0]
        low = _profile(place - step, moments.covariance, 3)[0]
        assert gradient[axis] == pytest.approx((high - low) / 2e-5, rel=1e-5, abs=1e-6)


def test_log_likelihood_is_the_programs() -> None:
    for seed in range(3):
        counts, _ = counts_of(seed, size=12, time=80)
        rng = np.random.default_rng(seed)
        fit = FactorFit(rng.normal(size=12), rng.normal(size=(12, 3)), rng.gamma(2.0, 1.0, 12), 0.0)
        point = {
            "mean": torch.tensor(fit.mean),
            "loading": torch.tensor(fit.loading),
            "noise_variance": torch.tensor(fit.noise_variance),
        }
        program = pyro.poutine.condition(FactorAnalysis(num_latents=3).model, data=point)
        trace = pyro.poutine.trace(program).get_trace(counts)
        ours = len(counts) * fit.score(FactorMoments.of(counts))
        assert ours == pytest.approx(trace.log_prob_sum().item(), rel=1e-9)


def test_reported_likelihood_is_that_of_the_data() -> None:
    moments = FactorMoments.of(counts_of(2)[0])
    for fit in (fit_profile(moments, 3), fit_em(moments, 3)):
        assert fit.log_likelihood == pytest.approx(fit.score(moments), abs=1e-9)


def test_posterior_mean_is_the_conditional_mean() -> None:
    counts, _ = counts_of(0)
    fit = fit_profile(FactorMoments.of(counts), 3)
    by_definition = fit.loading.T @ np.linalg.inv(fit.covariance())
    assert np.allclose(fit.readout(), by_definition, atol=1e-10)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = fit.rotated(turn).posterior_mean(counts)
    assert np.allclose(turned, fit.posterior_mean(counts) @ turn.T, atol=1e-9)


def test_an_electrode_without_private_variance_stays_at_the_floor() -> None:
    counts, _ = counts_of(3)
    counts[:, 0] = counts[:, 1] + 1e-9 * counts[:, 2]
    moments = FactorMoments.of(counts)
    fit = fit_profile(moments, 3, floor=1e-4)
    share = fit.noise_variance / np.diagonal(moments.covariance)
    assert np.isfinite(fit.log_likelihood) and share.min() >= 0.99e-4


def test_cross_validation_finds_the_number_and_is_that_of_plain_folds() -> None:
    counts, _ = counts_of(4, strength=0.7)
    found = cross_validate(counts, (1, 2, 3, 4), folds=4, seed=3)
    assert found.best == 3
    from probneuro.core.rng import generator

    parts = np.array_split(generator(3, "folds").permutation(len(counts)), 4)
    plain = [
        fit_profile(FactorMoments.of(np.delete(counts, part, axis=0)), 3).score(
            FactorMoments.of(counts[part])
        )
        for part in parts
    ]
    assert np.allclose(found.scores[2], plain, atol=1e-6)
    assert most_frequent([3, 4, 3]) == 3


def test_infer_returns_the_estimate_with_names() -> None:
    counts, _ = counts_of(0)
    result = infer(FactorAnalysis(num_latents=3), counts, seed=1, progress=False)
    assert result.attrs["engine"] == "FactorLikelihood"
    assert result["parameters/loading"].dims == ("chain", "draw", "electrode", "latent")
    again = infer(
        FactorAnalysis(num_latents=3), counts, engine=FactorLikelihood(by_em=True), seed=1,
        progress=False,
    )  # fmt: skip
    gap = again["fit_history/log_likelihood"] - result["fit_history/log_likelihood"]
    assert abs(gap.item()) < 1e-4


def test_refusals_say_what_to_do() -> None:
    counts, _ = counts_of(0)
    with pytest.raises(SettingError, match=r"`num_latents` must be a whole number.*29.*Pass fewer"):
        infer(FactorAnalysis(num_latents=30), counts, progress=False)
    with pytest.raises(SettingError, match=r"`floor` must be a share.*Pass 1e-6"):
        FactorLikelihood(floor=1.0)
    with pytest.raises(CapabilityError, match=r"FactorLikelihood fits.*Use NUTS"):
        infer(lambda: None, engine=FactorLikelihood(), progress=False)
    with pytest.raises(DataError, match=r"electrode 2 never change.*Leave"):
        FactorMoments.of(np.where(np.arange(30) == 2, 1.0, counts))
    with pytest.raises(DataError, match=r"2 entries that are not finite.*Drop"):
        FactorMoments.of(
            np.where(np.arange(len(counts))[:, None] * 30 + np.arange(30) < 2, np.nan, counts)
        )
    with pytest.raises(DataError, match=r"shape \(observation, electrode\).*Reshape"):
        FactorMoments.of(counts[0])
    with pytest.raises(SettingError, match=r"`folds` must be between 2.*Pass 10"):
        cross_validate(counts, (1,), folds=1)
