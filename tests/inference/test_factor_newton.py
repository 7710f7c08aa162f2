"""Exact curvature of a factor analysis, and Newton's method against slopes alone."""

import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.core.factor_analysis import FactorMoments, fit_em, fit_profile
from probneuro.core.factor_newton import newton, profile_curvature


def moments_of(strength: float, size: int = 12, count: int = 400, seed: int = 0) -> FactorMoments:
    rng = np.random.default_rng(seed)
    loading = strength * rng.normal(size=(size, 3))
    noise = rng.uniform(0.5, 2.0, size)
    values = rng.normal(size=(count, 3)) @ loading.T + rng.normal(size=(count, size)) * noise
    return FactorMoments.of(values)


@pytest.mark.parametrize("strength", [1.0, 0.05])
def test_slope_and_curvature_are_those_of_the_likelihood(strength: float) -> None:
    covariance = moments_of(strength).covariance
    rng = np.random.default_rng(1)
    here, step = np.log(0.6 * np.diagonal(covariance)), 1e-6 * rng.normal(size=12)
    _, slope, curvature, _ = profile_curvature(here, covariance, 3)
    up, down = (profile_curvature(here + sign * step, covariance, 3) for sign in (1, -1))
    np.testing.assert_allclose((up[0] - down[0]) / 2, slope @ step, rtol=1e-5)
    np.testing.assert_allclose((up[1] - down[1]) / 2, curvature @ step, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("strength", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_newton_ends_where_nothing_is_higher(strength: float, seed: int) -> None:
    moments = moments_of(strength, seed=seed)
    fit, by_em = fit_profile(moments, 3), fit_em(moments, 3)
    assert fit.log_likelihood > by_em.log_likelihood - 1e-8


def test_newton_takes_few_steps_and_keeps_within_bounds() -> None:
    covariance = moments_of(1.0).covariance
    variances = np.diagonal(covariance)
    bounds = np.log(0.5 * variances), np.log(variances)
    found = newton(np.log(0.7 * variances), covariance, 3, bounds, 1e-9)
    assert found is not None
    assert (found[0] >= bounds[0]).all() and (found[0] <= bounds[1]).all()
    assert found[1] <= 10
    slope = profile_curvature(found[0], covariance, 3)[1]
    inside = (found[0] > bounds[0]) & (found[0] < bounds[1])
    assert np.abs(slope[inside]).max(initial=0.0) < 1e-9
    assert (slope[found[0] <= bounds[0]] >= 0).all()


@pytest.mark.parametrize("copies", [1, 2])
def test_tied_eigenvalues_are_left_to_slopes(copies: int) -> None:
    design = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    fit = fit_profile(FactorMoments.of(np.repeat(design, copies, axis=1)), 1)
    assert np.isfinite(fit.log_likelihood)
    assert np.isfinite(fit.loading).all()


def test_rounding_is_no_variance_and_masks_are_not_lost() -> None:
    values = np.random.default_rng(0).normal(size=(300, 4))
    values[:, 3] = 0.1
    with pytest.raises(DataError, match="electrode 3 never change"):
        FactorMoments.of(values)
    masked = np.ma.masked_array(values[:, :3], mask=False)
    masked[0, 0] = np.ma.masked
    with pytest.raises(DataError, match="masked"):
        FactorMoments.of(masked)


def test_settings_that_make_no_sense_are_refused() -> None:
    moments = moments_of(1.0)
    with pytest.raises(SettingError, match="whole number"):
        fit_profile(moments, 2.0)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="`start` must hold"):
        fit_profile(moments, 2, start=np.ones(3))
    with pytest.raises(SettingError, match="`floor` must be a share"):
        fit_profile(moments, 2, floor=2.0)
