"""Laplace's evidence of a trajectory: exact for Gaussians, wherever the trajectory is."""

import numpy as np
import pytest

from probneuro.core.gibbs import ChainLaw
from probneuro.inference.grid_filter import GridFilter
from probneuro.inference.laplace import LaplaceEvidence
from probneuro.testing.chains import GaussianWindows, kalman_smoother


def runaway(seed: int, length: float) -> tuple[ChainLaw, GaussianWindows]:
    rng = np.random.default_rng(seed)
    drift = np.full(39, length / 40.0)
    law = ChainLaw(0.2, 1.0, None, drift, np.zeros(39))
    path = law.sample(40, rng)
    return law, GaussianWindows(path + 0.3 * rng.standard_normal(40), 0.3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("length", [0.0, 12.0, -40.0])
def test_the_path_is_followed_however_far_it_goes(length: float, seed: int) -> None:
    law, windows = runaway(seed, length)
    found = LaplaceEvidence(windows).log_evidence(law)
    exact = kalman_smoother(law, windows).log_evidence
    assert found == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_value_depends_on_law_and_data_alone(seed: int) -> None:
    law, windows = runaway(seed, 10.0)
    other = ChainLaw(0.5, 1.0, None, -law.intercept, law.slope - 0.2)
    afresh, asked_before = LaplaceEvidence(windows), LaplaceEvidence(windows, windows.values)
    asked_before.log_evidence(other)
    assert asked_before.log_evidence(law) == pytest.approx(afresh.log_evidence(law), abs=1e-9)


def test_a_general_drift_is_linearised_along_the_path() -> None:
    law, windows = runaway(0, 5.0)
    steps = law.intercept.size

    def drift(states: np.ndarray) -> np.ndarray:
        return np.repeat(0.1 * np.tanh(states)[:, None], steps, axis=1)

    general = ChainLaw(0.2, 1.0, None, np.zeros(steps), np.zeros(steps), drift)
    found = LaplaceEvidence(windows).log_evidence(general)
    assert found == pytest.approx(GridFilter(windows).log_evidence(general), abs=0.05)
