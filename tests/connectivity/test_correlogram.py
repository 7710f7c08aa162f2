"""Cross-correlation: counts against a slow loop, z-scores against independent trains."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from probneuro.components.correlogram import (
    CrossCorrelation,
    correlograms,
    hollow_gaussian,
    poisson_z,
)
from probneuro.core.errors import SettingError
from probneuro.data import BinnedSpikes
from probneuro.testing.stats import LARGEST_Z

ONE_LAG = {"shortest_lag": 2e-3, "longest_lag": 2e-3}


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


def slow(counts, longest):
    """Return correlograms by the definition."""
    time, neurons = counts.shape
    out = np.zeros((neurons, neurons, 2 * longest + 1))
    for d in range(-longest, longest + 1):
        for t in range(max(0, -d), min(time, time - d)):
            out[:, :, d + longest] += np.outer(counts[t], counts[t + d])
    return out


def test_correlograms_are_those_of_a_slow_loop():
    counts = np.random.default_rng(0).poisson(0.2, size=(200, 4))
    np.testing.assert_array_equal(correlograms(counts, 7), slow(counts, 7))
    np.testing.assert_array_equal(correlograms(counts, 0), slow(counts, 0))
    assert not correlograms(np.zeros((5, 2), int), 3).any()


def test_the_kernel_sums_to_one_and_is_hollow():
    full, hollow = hollow_gaussian(10.0, 0.0), hollow_gaussian(10.0, 0.6)
    assert full.sum() == pytest.approx(1.0) == pytest.approx(hollow.sum())
    middle = full.size // 2
    ratio = hollow[middle] / hollow[middle - 1] / (full[middle] / full[middle - 1])
    assert ratio == pytest.approx(0.4)


def test_the_deviance_is_that_of_a_poisson_count():
    count, expected = np.array([0.0, 3.0, 9.0]), np.array([2.0, 3.0, 4.0])
    z = poisson_z(count, expected)
    assert z[0] == pytest.approx(-2.0)
    assert z[1] == 0.0
    assert z[2] == pytest.approx(np.sqrt(2 * (9 * np.log(9 / 4) - 5)))
    # An ordinary count's tail: z is a z-score.
    from scipy.stats import poisson

    assert norm.sf(poisson_z(np.array(150.5), np.array(100.0))) == pytest.approx(
        poisson.sf(150, 100.0), rel=0.1
    )


@pytest.mark.stat
def test_independent_trains_have_standard_normal_z():
    counts = np.random.default_rng(1).poisson(0.03, size=(60_000, 30))
    z = off_diagonal(CrossCorrelation(**ONE_LAG).score(BinnedSpikes(counts))["score"])
    assert abs(z.mean()) < LARGEST_Z / np.sqrt(z.size)
    assert abs(z.var() - 1.0) < LARGEST_Z * np.sqrt(2 / z.size) + 0.03  # the noise of mu
    assert kstest(z, "norm").pvalue > 1e-4


@pytest.mark.stat
def test_slow_common_drive_is_no_synapse_and_is_seen_without_the_convolution():
    rng = np.random.default_rng(2)
    time = np.arange(60_000) * 1e-3
    rate = 30 * (1 + 0.9 * np.sin(2 * np.pi * time))
    data = BinnedSpikes(rng.poisson(rate[:, None] * 1e-3, size=(60_000, 12)))
    z = off_diagonal(CrossCorrelation(**ONE_LAG).score(data)["score"])
    assert abs(z.mean()) < LARGEST_Z / np.sqrt(z.size)
    blind = off_diagonal(CrossCorrelation(**ONE_LAG, jitter=0.5).score(data)["score"])
    assert blind.mean() > 5 * LARGEST_Z / np.sqrt(z.size)


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_a_synapse_is_found_with_its_lag_and_its_strength(lag):
    rng = np.random.default_rng(lag)
    pre = rng.random(60_000) < 0.02
    follows = np.roll(pre, lag) & (rng.random(60_000) < 0.2)
    post = (rng.random(60_000) < 0.02) | follows
    data = BinnedSpikes(np.column_stack([pre, post]))
    found = CrossCorrelation(longest_lag=5e-3).score(data)
    assert found["score"][0, 1] > 10 > abs(found["score"][1, 0])
    assert found["lag"][0, 1] == pytest.approx(lag * 1e-3)
    assert found["excess"][0, 1] == pytest.approx(0.2, abs=0.05)
    assert np.isnan(np.diag(found["score"])).all()


def test_a_trough_counts_where_it_is_asked_for():
    rng = np.random.default_rng(5)
    pre = rng.random(100_000) < 0.05
    post = (rng.random(100_000) < 0.05) & ~np.roll(pre, 2)
    data = BinnedSpikes(np.column_stack([pre, post]))
    assert CrossCorrelation(troughs=True).score(data)["score"][0, 1] > 8
    assert CrossCorrelation().score(data)["score"][0, 1] < 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shortest_lag": 0.01}, r"`shortest_lag` and `longest_lag` must be seconds in order"),
        ({"longest_lag": np.inf}, r"got 0.0008 and inf"),
        ({"jitter": 0.0}, r"`jitter` must be seconds above 0.*got 0.0 and 0.6"),
        ({"hollow": 1.5}, r"`hollow` a share from 0 to 1; got 0.01 and 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        CrossCorrelation(**settings)


def test_bins_too_wide_are_refused():
    data = BinnedSpikes(np.ones((10, 2), int), bin_width=0.02, bins_per_window=5)
    with pytest.raises(SettingError, match=r"`bin_width` of 0.02 s is too wide for lags up to"):
        CrossCorrelation().score(data)
