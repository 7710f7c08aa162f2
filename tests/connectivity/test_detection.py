"""Scores of detection against their definitions, written as slow loops."""

import numpy as np
import pytest
from scipy.stats import binomtest

from probneuro.core.detection import (
    auc,
    auc_covariance,
    average_precision,
    brier,
    precision_recall,
    reliability,
    roc_curve,
)
from probneuro.core.errors import DataError, SettingError
from probneuro.testing.stats import LARGEST_Z


@pytest.fixture(params=range(4))
def scored(request):
    """Scores with ties, and a truth."""
    rng = np.random.default_rng(request.param)
    truth = rng.random(60) < 0.3
    return np.round(rng.normal(size=60) + truth, 1), truth


def pairs(score, truth):
    """Return every comparison of a true with a false item: 1, 1/2 or 0."""
    return np.array([
        [float(x > y) + 0.5 * (x == y) for y in score[~truth]] for x in score[truth]
    ])  # fmt: skip


def test_auc_is_the_share_of_pairs_in_order(scored):
    score, truth = scored
    assert auc(score, truth) == pytest.approx(pairs(score, truth).mean(), abs=1e-12)
    x, y, _ = roc_curve(score, truth)
    assert np.trapezoid(y, x) == pytest.approx(auc(score, truth), abs=1e-12)
    assert auc(-score, truth) == pytest.approx(1 - auc(score, truth), abs=1e-12)


def test_curves_count_what_lies_above_each_threshold(scored):
    score, truth = scored
    roc, curve = roc_curve(score, truth), precision_recall(score, truth)
    assert roc.threshold[0] == np.inf
    for i, threshold in enumerate(curve.threshold):
        found = score >= threshold
        assert roc.x[i + 1] == pytest.approx(found[~truth].mean())
        assert roc.y[i + 1] == pytest.approx(found[truth].mean()) == pytest.approx(curve.x[i])
        assert curve.y[i] == pytest.approx(truth[found].mean())
    steps = zip(np.diff(curve.x, prepend=0), curve.y, strict=True)
    area = sum(step * precision for step, precision in steps)
    assert average_precision(score, truth) == pytest.approx(area)


def test_covariance_of_aucs_is_that_of_delong(scored):
    score, truth = scored
    other = np.random.default_rng(9).normal(size=score.size)
    tables = [pairs(score, truth), pairs(other, truth)]
    of_true = np.cov([table.mean(1) for table in tables]) / truth.sum()
    of_false = np.cov([table.mean(0) for table in tables]) / (~truth).sum()
    np.testing.assert_allclose(auc_covariance([score, other], truth), of_true + of_false)


@pytest.mark.stat
def test_standard_errors_of_paired_differences_are_right():
    rng = np.random.default_rng(3)
    truth = np.arange(80) < 30
    differences, variances = [], []
    for _ in range(1500):
        signal = rng.normal(size=80) + 1.2 * truth
        scores = signal + rng.normal(size=(2, 80)) * np.array([[0.5], [0.5]])
        spread = auc_covariance(scores, truth)
        differences.append(auc(scores[0], truth) - auc(scores[1], truth))
        variances.append(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1])
    differences, variances = np.array(differences), np.array(variances)
    squares = differences**2 - variances
    z = squares.mean() / (squares.std() / np.sqrt(squares.size))
    assert abs(z) < LARGEST_Z
    # The fault of taking the two for independent would be seen.
    independent = differences**2 - 2 * variances
    assert abs(independent.mean() / (independent.std() / np.sqrt(squares.size))) > LARGEST_Z


def test_covariance_needs_two_of_a_kind():
    assert np.isnan(auc_covariance([[1.0, 2.0, 3.0]], [0, 0, 1])).all()


def test_reliability_counts_by_bin_with_exact_intervals():
    rng = np.random.default_rng(1)
    probability = np.append(rng.random(200), [0.0, 1.0])
    truth = rng.random(202) < probability
    found = reliability(probability, truth, bins=5, level=0.8)
    for i in range(5):
        inside = (probability >= i / 5) & ((probability < (i + 1) / 5) | (i == 4))
        interval = binomtest(int(truth[inside].sum()), int(inside.sum())).proportion_ci(0.8)
        one = found.isel(bin=i)
        assert int(one["count"]) == inside.sum()
        assert float(one["probability"]) == pytest.approx(probability[inside].mean())
        assert float(one["frequency"]) == pytest.approx(truth[inside].mean())
        assert float(one["lower"]) == pytest.approx(interval.low)
        assert float(one["upper"]) == pytest.approx(interval.high)


def test_reliability_at_the_ends_and_in_empty_bins():
    found = reliability([0.0, 0.1, 1.0], [0, 0, 1], bins=4)
    assert found["lower"].values[0] == 0.0
    assert found["upper"].values[3] == 1.0
    assert np.isnan(found["frequency"].values[1:3]).all()
    assert np.isnan(found["lower"].values[1:3]).all()
    assert found["count"].values.tolist() == [2, 0, 0, 1]


def test_brier_is_the_mean_squared_error():
    assert brier([0.0, 1.0, 0.5], [0, 1, 1]) == pytest.approx(0.25 / 3)
    assert brier([0.2], [0]) == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("score", "truth", "message"),
    [
        ([1.0, np.nan], [0, 1], r"`score` must be finite; item 1 is nan"),
        ([1.0, 2.0], [0, 1, 1], r"`score` and `truth` must be flat and of one length.*\(2,\)"),
        ([], [], r"of one length; got shapes \(0,\)"),
        ([1.0, 2.0], [0, 2], r"`truth` must be zeros and ones; got 2"),
        ([1.0, 2.0], [0, 0], r"`truth` must have true and false items.*all 2 are false"),
        ([1.0, 2.0], [1, 1], r"all 2 are true"),
    ],
)
def test_bad_input_is_named(score, truth, message):
    for function in (auc, roc_curve, precision_recall, average_precision):
        with pytest.raises(DataError, match=message):
            function(score, truth)


def test_probabilities_must_be_ones():
    with pytest.raises(DataError, match=r"`probability` must lie between 0 and 1; got -1 to 2"):
        brier([-1.0, 2.0], [0, 1])
    with pytest.raises(SettingError, match=r"`bins` must be 1 or more.*got 0 and 0.9"):
        reliability([0.5], [1], bins=0)
    with pytest.raises(SettingError, match=r"`level` between 0 and 1; got 10 and 1"):
        reliability([0.5], [1], level=1)
