"""Skeleton of an engine's test: a target whose moments are known, and a planted fault."""

import numpy as np
import pytest
from my_engine import MyEngine

from probneuro.core.engine import RunOptions
from probneuro.core.errors import CapabilityError


def log_density(x: float) -> float:
    """Return the log density of a normal of mean 1, up to a constant."""
    return -0.5 * (x - 1.0) ** 2


def z_score_of_the_mean(centre: float) -> float:
    """Return how far the mean of the chains is from `centre`, in standard errors."""
    options = RunOptions(draws=1000, chains=8, seed=1, progress=False, workers=1)
    result = MyEngine().run(log_density, (), {}, options)
    means = np.asarray(result["posterior"]["x"]).mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(means.size)
    return float((means.mean() - centre) / error)


def test_mean_is_the_target_s() -> None:
    assert abs(z_score_of_the_mean(centre=1.0)) < 4.9


def test_the_check_sees_a_wrong_mean() -> None:
    assert abs(z_score_of_the_mean(centre=1.5)) > 4.9


def test_what_it_cannot_run_it_refuses() -> None:
    with pytest.raises(CapabilityError, match="needs a callable log density; got int"):
        MyEngine().run(3, (), {}, RunOptions(progress=False))
