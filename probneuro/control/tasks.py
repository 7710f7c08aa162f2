"""The paper's two tasks for a controller, made out of trials that were recorded."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.control.costs import ReferenceTrajectory, TargetRange
from probneuro.core.errors import DataError
from probneuro.core.rng import generator

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RangeTask:
    """Ranges for some values of every trial, of which half are those it will pass through.

    Parameters
    ----------
    cost : TargetRange
        The ranges.
    should : ndarray
        Whether the trial passes through its ranges, shape (trial,).
    """

    cost: TargetRange
    should: NDArray[np.bool_]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceTask:
    """A reference trajectory for every trial.

    Parameters
    ----------
    cost : ReferenceTrajectory
        The references and the tolerance.
    should : ndarray
        Whether the trial stays close enough, shape (trial,).
    """

    cost: ReferenceTrajectory
    should: NDArray[np.bool_]


def range_task(values: ArrayLike, resting: ArrayLike, *, seed: int = 0) -> RangeTask:
    """Return the task of the paper's first demonstration.

    Parameters
    ----------
    values : array_like
        What happened at the time of the first pulse, shape (trial, target).
    resting : array_like
        The same values at rest, whose quartiles are the ranges, shape (resting trial, target).
    seed : int
        Which trials get their own ranges, and which ranges the others get.

    Returns
    -------
    RangeTask

    Raises
    ------
    DataError
        If the targets differ.

    Notes
    -----
    Source: Bryan et al. (2025), section 6.3.1. Outer quartiles are open to the outside.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> task = range_task(rng.normal(size=(200, 2)), rng.normal(size=(500, 2)))
    >>> bool(0.4 < task.should.mean() < 0.6)
    True
    """
    now, rest = np.asarray(values, float), np.asarray(resting, float)
    if now.ndim != 2 or rest.ndim != 2 or now.shape[1] != rest.shape[1]:
        raise DataError(
            f"`values` and `resting` must have shapes (trial, target) and (resting trial, target); "
            f"got {now.shape} and {rest.shape}. Pick the same channels from both."
        )
    rng = generator(seed, "range_task")
    edges = np.quantile(rest, [0.25, 0.5, 0.75], axis=0)
    edges = np.concatenate(
        [np.full((1, now.shape[1]), -np.inf), edges, np.full((1, now.shape[1]), np.inf)]
    )
    own = (now[None] > edges[1:-1, None]).sum(0)
    number = 4 ** now.shape[1]
    powers = 4 ** np.arange(now.shape[1])
    code = own @ powers
    should = rng.random(len(now)) < 0.5
    other = (code + rng.integers(1, number, size=len(now))) % number
    chosen = np.where(should, code, other)[:, None] // powers % 4
    columns = np.arange(now.shape[1])
    cost = TargetRange(low=edges[chosen, columns], high=edges[chosen + 1, columns])
    return RangeTask(cost=cost, should=should)


def reference_task(
    outcomes: ArrayLike, *, tolerance: float | None = None, mixed: int = 5, seed: int = 0
) -> ReferenceTask:
    """Return the task of the paper's second demonstration.

    Parameters
    ----------
    outcomes : array_like
        What happened from the first pulse on, shape (trial, channel, time).
    tolerance : float, optional
        ε; the median distance by default, so that half of the trials stay close enough.
    mixed : int
        Trials that a reference is a random weighted mean of.
    seed : int
        Of the references.

    Returns
    -------
    ReferenceTask

    Notes
    -----
    Source: Bryan et al. (2025), section 6.3.2. They name neither the number of trials in a mean
    nor the weights' distribution; ours are uniform on the simplex.

    Examples
    --------
    >>> outcomes = np.random.default_rng(0).normal(size=(60, 2, 10))
    >>> float(reference_task(outcomes).should.mean())
    0.5
    """
    happened = np.asarray(outcomes, dtype=np.float64)
    rng = generator(seed, "reference_task")
    reference = np.zeros_like(happened)
    weights = rng.dirichlet(np.ones(mixed), size=len(happened))
    for column in range(mixed):
        rows = rng.integers(len(happened), size=len(happened))
        reference += weights[:, column, None, None] * happened[rows]
    probe = ReferenceTrajectory(reference=reference, tolerance=np.inf)
    chosen = float(np.median(probe.distance(happened))) if tolerance is None else tolerance
    cost = ReferenceTrajectory(reference=reference, tolerance=chosen)
    return ReferenceTask(cost=cost, should=cost.reached(happened))
