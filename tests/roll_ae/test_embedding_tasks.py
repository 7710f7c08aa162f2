"""Tasks and classical features on data with known answers."""

import numpy as np
import pandas as pd
import pytest
import torch

from probneuro.components.embedding_tasks import (
    classify,
    cluster_treatments,
    credential,
    leave_groups_out,
    phenotype,
    two_level_classification,
)
from probneuro.components.mea_features import (
    autocorrelation,
    burst_metrics,
    correlation_features,
    firing_rates,
    metrics_of_bins,
    orbit_cross_correlation,
    power_spectrum,
)
from probneuro.components.shifts import act, mirror_flips_323, no_permutation
from probneuro.core.errors import DataError, SettingError
from probneuro.data import Wells
from probneuro.simulators.mea_bursts import BurstClass, simulate_mea_bursts

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds

RNG = np.random.default_rng(0)
LABELS = np.repeat(["a", "b", "c"], 40)
PLACES = np.repeat(np.eye(3), 40, axis=0)
CLEAR = PLACES + 0.1 * RNG.normal(size=(120, 3))
NOISE = RNG.normal(size=(120, 3))


def test_clear_classes_are_told_and_noise_is_not() -> None:
    assert two_level_classification(CLEAR, LABELS).accuracy == 1.0
    noise = two_level_classification(NOISE, LABELS)
    assert noise.accuracy < 0.6
    assert noise.confusion.sum() == 36 and noise.classes == ("a", "b", "c")


def test_a_leaked_group_flatters_and_leaving_it_out_does_not() -> None:
    """Features that know the well, not the class: a random split is fooled, leave-out is not."""
    wells = np.repeat(np.arange(24), 5)
    labels = np.where(np.arange(24) % 2, "a", "b")[wells]
    own = RNG.normal(size=(24, 30))[wells] + 0.01 * RNG.normal(size=(120, 30))
    assert two_level_classification(own, labels).accuracy > 0.95
    assert leave_groups_out(own, labels, wells).accuracy < 0.75


def test_phenotype_is_by_treatment() -> None:
    condition = np.tile(["sick", "well"], 32)
    treatment = np.repeat(["cure", "none"], 32)
    wells = np.tile(np.repeat(np.arange(4), 8), 2)
    wells = np.char.add(condition, wells.astype(str))
    signal = ((condition == "sick") & (treatment == "none"))[:, None] + 0.05 * RNG.normal(
        size=(64, 1)
    )
    found = phenotype(signal, condition, treatment, wells)
    assert found["none"] == 1.0 and found["cure"] < 0.8


def test_credentialing() -> None:
    x = RNG.normal(size=(200, 5))
    table = pd.DataFrame({"known": x[:, 0], "noise": RNG.normal(size=200), "still": 1.0,
                          "blank": np.nan})  # fmt: skip
    found = credential(x, table)
    assert found["known"] > 0.99 and abs(found["noise"]) < 0.45
    assert found[["still", "blank"]].isna().all()
    assert found.index[0] == "known"


def test_clusters_join_what_is_near() -> None:
    found = cluster_treatments(np.array([[0.0], [0.2], [9.0]]), ["x", "y", "z"])
    assert set(found.tree[0, :2]) == {0.0, 1.0}
    assert found.distances[0, 2] == pytest.approx(9.0)
    assert found.explained == pytest.approx(1.0)


def moved(wells: Wells) -> Wells:
    x = torch.as_tensor(wells.counts.astype(float))
    element = torch.as_tensor(RNG.integers(0, 4 * wells.num_bins, len(wells)))
    return Wells(act(x, mirror_flips_323(), element).numpy(), wells.bin_width)


WELLS = simulate_mea_bursts([BurstClass(cycle=True, network=True)], num_recordings=5)


@pytest.mark.parametrize(
    "features",
    [
        lambda w: autocorrelation(w),
        lambda w: orbit_cross_correlation(w, mirror_flips_323()),
        lambda w: correlation_features(w, mirror_flips_323()),
        lambda w: power_spectrum(w),
    ],
)
def test_features_are_invariant(features) -> None:
    assert np.allclose(features(WELLS), features(moved(WELLS)), atol=1e-9)
    assert not np.allclose(firing_rates(WELLS), firing_rates(moved(WELLS)))


def test_autocorrelation_is_that_of_the_definition() -> None:
    x = WELLS.counts - WELLS.counts.mean(-1, keepdims=True)
    slow = [(x * np.roll(x, lag, -1)).mean((1, 2)) for lag in range(6)]
    assert np.allclose(autocorrelation(WELLS, num_lags=6), np.transpose(slow))


def test_metrics_as_features_have_no_blanks() -> None:
    assert np.isfinite(burst_metrics(WELLS, settings=metrics_of_bins(WELLS.bin_width))).all()


def test_messages() -> None:
    with pytest.raises(DataError, match="`features` must have shape"):
        classify(np.zeros(4), ["a"] * 4, [0], [1])
    with pytest.raises(DataError, match="`features` must be finite"):
        classify(np.full((4, 1), np.nan), ["a"] * 4, [0], [1])
    with pytest.raises(DataError, match="`labels` has one class only, 'a'"):
        classify(np.zeros((4, 1)), ["a"] * 4, [0, 1], [2, 3])
    with pytest.raises(DataError, match="a class with a single recording"):
        classify(np.zeros((4, 1)), ["a", "a", "a", "b"], [0, 1, 2, 3], [0])
    with pytest.raises(DataError, match="`groups` has a single group"):
        leave_groups_out(CLEAR, LABELS, np.zeros(120))
    with pytest.raises(DataError, match="`treatments` has one only"):
        cluster_treatments(np.zeros((2, 1)), ["a", "a"])
    with pytest.raises(SettingError, match="`num_lags` must be 1 to 150"):
        autocorrelation(WELLS, num_lags=200)
    with pytest.raises(DataError, match="`wells` has 8 electrodes, the group permutes 3"):
        orbit_cross_correlation(WELLS, no_permutation(3))
