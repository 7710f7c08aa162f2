"""Hamiltonian Monte Carlo for one block of a Gibbs sweep."""

import math

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.gibbs import SmoothConditional
from probneuro.inference.adaptation import (
    Schedule,
    add_moment,
    average,
    learnt_metric,
    start_averaging,
    start_moments,
)
from probneuro.inference.hamiltonian import Dynamics, answered

Floats = NDArray[np.float64]

# A quarter turn of a standard normal, where one trajectory forgets most.
_PATH = 0.5 * math.pi
_MAX_STEPS = 12
_TARGET_ACCEPTANCE = 0.8
_FIRST_STEP_SIZE = 0.05


def start_hmc(size: int) -> Arrays:
    """Return the state of a block's sampler: step size, metric and their adaptation."""
    return {
        "inverse_metric": np.ones(size),
        **start_averaging(_FIRST_STEP_SIZE),
        **start_moments(size, dense=False),
    }


def step_size(state: Arrays, *, warmup: bool) -> float:
    """Return the step size in use: the one being tried, or the tuned one after the warm-up."""
    tuned = not warmup and int(state["num_averaged"]) > 0
    return float(np.exp(state["log_step_mean"] if tuned else state["log_step"]))


def hmc_step(
    conditional: SmoothConditional,
    position: Floats,
    state: Arrays,
    rng: np.random.Generator,
    *,
    iteration: int,
    plan: Schedule,
    warmup: bool,
) -> tuple[Floats, Arrays, float]:
    """Move a block once and adapt while warming up.

    Parameters
    ----------
    conditional : SmoothConditional
        The block's log density and gradient, the rest held.
    position : ndarray
        Where the block is.
    state : dict of arrays
        From :func:`start_hmc` or the step before.
    rng : numpy.random.Generator
        The chain's stream.
    iteration : int
        Step of the chain.
    plan : Schedule
        When the metric is learnt.
    warmup : bool
        Whether to adapt.

    Returns
    -------
    tuple
        The new position, the new state and the acceptance probability.
    """
    dynamics = Dynamics(state["inverse_metric"])
    step = step_size(state, warmup=warmup) * rng.uniform(0.8, 1.2)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        value, gradient = conditional.value_and_gradient(position)
        start = point = dynamics.kick(position, value, gradient, rng)
        for _ in range(min(_MAX_STEPS, max(1, round(_PATH / step)))):
            point = answered(dynamics.leap(point, step), conditional)
            if not math.isfinite(point.energy):
                break
        change = start.energy - point.energy
    acceptance = math.exp(min(0.0, change)) if math.isfinite(change) else 0.0
    if rng.random() < acceptance:
        position = point.position
    if warmup:
        state = _adapt(state, position, acceptance, iteration, plan)
    return position, state, acceptance


def _adapt(
    state: Arrays, position: Floats, acceptance: float, iteration: int, plan: Schedule
) -> Arrays:
    state = average(state, acceptance, _TARGET_ACCEPTANCE)
    if plan.start <= iteration < plan.stop:
        state = add_moment(state, position)
    if iteration in plan.ends:
        metric = learnt_metric(state)
        fresh = start_moments(position.size, dense=False)
        restart = start_averaging(float(np.exp(state["log_step_mean"])))
        state = {**state, "inverse_metric": metric, **fresh, **restart}
    return state
