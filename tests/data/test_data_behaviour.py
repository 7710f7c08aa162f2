"""Behaviours: their statistics and targets, and every message about an improper one."""

import numpy as np
import pytest
import torch

from probneuro.core.errors import DataError
from probneuro.data.behaviour import Behaviour

BOUNDS = {"a": (-1.0, 1.0), "b": (0.0, 4.0)}


def test_second_moments_are_taken_about_the_target_mean() -> None:
    band = Behaviour(BOUNDS, means={"f": 2.0, "g": 1.0}, variances={"f": 0.5, "h": (3.0, 0.1)})
    assert band.features == ("f", "g", "h")
    assert band.statistic_names == ("f", "f variance", "g", "h variance")
    np.testing.assert_array_equal(band.targets, [2.0, 0.5, 1.0, 0.1])
    features = np.array([[3.0, 5.0, 2.0]])
    np.testing.assert_array_equal(band.statistics(features), [[3.0, 1.0, 5.0, 1.0]])
    found = band.statistics(torch.from_numpy(features))
    np.testing.assert_array_equal(found.numpy(), band.statistics(features))
    assert band.log_volume == pytest.approx(np.log(8.0))


def test_the_volume_of_a_simplex() -> None:
    flat = Behaviour(dict.fromkeys("abc", (0.0, 1.0)), means={"f": 0.0}, simplex=True)
    assert flat.log_volume == pytest.approx(-np.log(6.0))


def test_raw_moments_become_variances() -> None:
    band = Behaviour.from_raw_moments(BOUNDS, {"f": 2.0}, {"f": 4.25})
    assert band.variances == {"f": 0.25}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": {}, "means": {"f": 0.0}}, "`bounds` names no parameter.*Pass e.g."),
        (
            {"bounds": {"a": (0.0, np.inf)}, "means": {"f": 0.0}},
            r"`bounds` of 'a' are \(0.0, inf\): on an unbounded support.*Pass finite bounds",
        ),
        ({"bounds": {"a": (1.0, 1.0)}, "means": {"f": 0.0}}, "`bounds` of 'a'.*Swap them"),
        ({"bounds": BOUNDS}, "asks for nothing.*Pass `means`"),
        ({"bounds": BOUNDS, "means": {"f": np.nan}}, "`means` of 'f' must be finite; got nan"),
        ({"bounds": BOUNDS, "variances": {"f": 1.0}}, "`variances` of 'f' has no centre"),
        (
            {"bounds": BOUNDS, "means": {"f": 1.0}, "variances": {"f": (0.0, 1.0)}},
            "`variances` of 'f' has a centre of its own",
        ),
        (
            {"bounds": BOUNDS, "means": {"f": 1.0}, "variances": {"f": 0.0}},
            "`variances` of 'f' must be positive; got 0.0.*small tolerance",
        ),
        (
            {"bounds": BOUNDS, "means": {"f": 1.0}, "simplex": True},
            "`simplex` parameters lie between 0 and 1",
        ),
    ],
)
def test_an_improper_behaviour_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Behaviour(**arguments)


def test_moments_that_no_distribution_has_are_refused() -> None:
    """As printed, the linear system's second moment of 1 has a mean of 4 pi."""
    with pytest.raises(DataError, match=r"no distribution has it, since E\[f²\] is at least 157"):
        Behaviour.from_raw_moments(BOUNDS, {"f": 4 * np.pi}, {"f": 1.0})
