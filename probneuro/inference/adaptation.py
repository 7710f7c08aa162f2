"""Stan's warm-up: step size by dual averaging, metric by windowed variances."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from probneuro.core.engine import Arrays
from probneuro.inference.target import Floats

# Hoffman & Gelman 2014, section 3.2.1, and Stan's defaults.
_SHRINKAGE: Final = 0.05
_STABILISER: Final = 10.0
_DECAY: Final = 0.75
# Stan reference manual, "Automatic parameter tuning".
_FIRST, _LAST, _WINDOW = 75, 50, 25
_FIRST_SHARE, _LAST_SHARE = 0.15, 0.10
_LEAST_WARMUP: Final = 20
_PRIOR_DRAWS: Final = 5.0
_PRIOR_VARIANCE: Final = 1e-3


@dataclass(frozen=True)
class Schedule:
    """When the metric learns, and when it is renewed.

    Parameters
    ----------
    start, stop : int
        First step that the metric learns from, and the first one that it does not.
    ends : frozenset of int
        Steps after which the metric is renewed.
    """

    start: int
    stop: int
    ends: frozenset[int]


def schedule(warmup: int) -> Schedule:
    """Return Stan's windows, each twice as long as the one before, the last one stretched.

    Parameters
    ----------
    warmup : int
        Number of warm-up steps.

    Returns
    -------
    Schedule
        Without windows when the warm-up is shorter than 20 steps.

    Examples
    --------
    >>> sorted(schedule(1000).ends)
    [99, 149, 249, 449, 949]
    """
    if warmup < _LEAST_WARMUP:
        return Schedule(warmup, warmup, frozenset())
    first, last, width = _FIRST, _LAST, _WINDOW
    if first + width + last > warmup:
        first, last = int(_FIRST_SHARE * warmup), int(_LAST_SHARE * warmup)
        width = warmup - first - last
    stop, ends, end = warmup - last, [], first + width
    while end < stop:
        ends.append(end - 1)
        width *= 2
        end = stop if end + width + 2 * width > stop else end + width
    ends.append(stop - 1)
    return Schedule(first, stop, frozenset(ends))


def start_averaging(step_size: float) -> Arrays:
    """Return a fresh dual average around ten times a step size, as Stan does."""
    return {
        "log_step": np.array(np.log(step_size)),
        "log_step_mean": np.array(0.0),
        "error_mean": np.array(0.0),
        "centre": np.array(np.log(10 * step_size)),
        "num_averaged": np.array(0),
    }


def average(state: Arrays, acceptance: float, target: float) -> Arrays:
    """Move the step size towards the target acceptance rate (Hoffman & Gelman 2014, eq. 6)."""
    count = int(state["num_averaged"]) + 1
    share = 1 / (count + _STABILISER)
    error = (1 - share) * float(state["error_mean"]) + share * (target - acceptance)
    log_step = float(state["centre"]) - np.sqrt(count) / _SHRINKAGE * error
    weight = count**-_DECAY
    mean = weight * log_step + (1 - weight) * float(state["log_step_mean"])
    return {
        **state,
        "log_step": np.array(log_step),
        "log_step_mean": np.array(mean),
        "error_mean": np.array(error),
        "num_averaged": np.array(count),
    }


def start_moments(dimension: int, dense: bool) -> Arrays:
    """Return empty running moments."""
    shape = (dimension, dimension) if dense else (dimension,)
    return {"count": np.array(0), "mean": np.zeros(dimension), "spread": np.zeros(shape)}


def add_moment(state: Arrays, position: Floats) -> Arrays:
    """Add a position to the running moments (Welford 1962)."""
    count = int(state["count"]) + 1
    delta = position - state["mean"]
    mean = state["mean"] + delta / count
    rest = position - mean
    term = np.outer(rest, delta) if state["spread"].ndim == 2 else rest * delta
    return {**state, "count": np.array(count), "mean": mean, "spread": state["spread"] + term}


def learnt_metric(state: Arrays) -> Floats:
    """Return the inverse metric of the moments, shrunk towards a small one as Stan does."""
    count = float(state["count"])
    estimate = state["spread"] / max(count - 1, 1)
    identity = np.eye(len(estimate)) if estimate.ndim == 2 else np.ones(len(estimate))
    total = count + _PRIOR_DRAWS
    metric: Floats = (count * estimate + _PRIOR_DRAWS * _PRIOR_VARIANCE * identity) / total
    return metric
