"""Tests of state dependence: the level under a null, the power under an alternative."""

import numpy as np
import pytest
from scipy.stats import binom

from probneuro.core.errors import DataError, SettingError
from probneuro.models.tbfm.dependence import independence_test, state_dependence
from probneuro.simulators.stim_lfp import simulate_paired_pulses

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds


@pytest.mark.stat
@pytest.mark.parametrize("measure", ["ksg", "hsic"])
def test_level_and_power(measure: str) -> None:
    rejected = {True: 0, False: 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=80)
        for dependent in (True, False):
            y = rng.normal(size=(80, 2))
            y[:, 0] += 2.0 * np.abs(x) * dependent
            p = independence_test(x, y, measure, permutations=39, seed=seed)[1]  # type: ignore[arg-type]
            rejected[dependent] += p <= 0.05
    assert rejected[False] <= binom.ppf(0.9999, 60, 0.05)
    assert rejected[True] > 50


@pytest.mark.stat
def test_mutual_information_of_normals() -> None:
    rng = np.random.default_rng(1)
    correlation = 0.8
    pairs = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=(20, 300))
    found = [independence_test(p[:, 0], p[:, 1], "ksg", permutations=1)[0] for p in pairs]
    exact = -0.5 * np.log(1 - correlation**2)
    assert abs(np.mean(found) - exact) < 4.9 * np.std(found) / np.sqrt(20) + 0.01


@pytest.mark.stat
def test_stimulation_without_state_dependence_keeps_the_level() -> None:
    p = []
    for seed in range(5):
        trials = simulate_paired_pulses(
            120, 6, state_dependence=0.0, num_resting=300, seed=seed
        ).trials
        p += list(state_dependence(trials, permutations=39, max_trials=120, seed=seed)["p"])
    # Channels of one session share rhythms, so that their errors are not independent.
    assert np.mean(np.array(p) <= 0.05) <= 0.2


def test_what_cannot_be_tested_is_refused() -> None:
    trials = simulate_paired_pulses(20, 1, num_resting=20, seed=0).trials
    with pytest.raises(SettingError, match="Unknown measure 'mi'"):
        state_dependence(trials, measure="mi")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"must lie within the 0\.184 s of a trial"):
        state_dependence(trials, window=(45.0, 70.0))
    with pytest.raises(DataError, match="hold no resting trials"):
        state_dependence(simulate_paired_pulses(20, 1, seed=0).trials)
