"""Skeleton of an engine's test: a target whose moments are known, and a planted fault."""

import numpy as np
from my_engine import RandomWalk

from probneuro.inference.runner import run_chains


def z_score_of_the_mean(step_size: float, centre: float) -> float:
    """Sample a normal of mean 1; return how far the mean of the chains is from `centre`."""
    kernel = RandomWalk(lambda x: -0.5 * (x - 1.0) ** 2, step_size)
    run = run_chains(kernel, draws=1000, warmup=50, chains=8, seed=1, progress=False, workers=1)
    means = run.posterior["x"].mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(means.size)
    return float((means.mean() - centre) / error)


def test_mean_is_the_target_s() -> None:
    assert abs(z_score_of_the_mean(step_size=2.4, centre=1.0)) < 4.9


def test_the_check_sees_a_wrong_mean() -> None:
    assert abs(z_score_of_the_mean(step_size=2.4, centre=1.5)) > 4.9
