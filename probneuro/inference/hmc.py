"""Hamiltonian Monte Carlo: an engine, and a move for one block of a Gibbs sweep."""

import math
from dataclasses import dataclass

import numpy as np

from probneuro.core.engine import Arrays, Asking, Floats
from probneuro.core.errors import SettingError
from probneuro.core.gibbs import SmoothConditional
from probneuro.inference.adaptation import (
    Schedule,
    add_moment,
    average,
    learnt_metric,
    start_averaging,
    start_moments,
)
from probneuro.inference.hamiltonian import (
    Dynamics,
    Point,
    Transition,
    answered,
    static_transition,
)
from probneuro.inference.hamiltonian_chains import HamiltonianEngine

# A quarter turn of a standard normal, where one trajectory forgets most.
_PATH = 0.5 * math.pi
_MAX_STEPS = 12
_TARGET_ACCEPTANCE = 0.8
_FIRST_STEP_SIZE = 0.05
_JITTER = 0.2


@dataclass(frozen=True, kw_only=True)
class HMC(HamiltonianEngine):
    """Hamiltonian Monte Carlo with trajectories of fixed length, jittered (Neal 2011).

    All chains run as one batch and adapt as those of `NUTS` do.

    Parameters
    ----------
    warmup : int
        Steps that tune step size and metric; they are not draws.
    target_accept : float
        Acceptance rate that the step size is tuned to, in (0, 1).
    dense_mass : bool
        Whether to learn correlations too; pays for few, strongly correlated variables.
    compiled : bool
        Whether to compile the gradient, which takes seconds to a minute at the start and pays
        for long runs; without a C++ compiler the run goes on uncompiled.
    path_length : float
        Time that a trajectory runs, in units of the learnt metric; a quarter turn of a standard
        normal by default.
    jitter : float
        Each step size is drawn within this share of the tuned one, in [0, 1), so that no
        variable's period is hit at every draw.
    max_steps : int
        Most leapfrog steps a draw, whatever the path length.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Examples
    --------
    >>> HMC(path_length=3.0).settings()["path_length"]
    3.0
    """

    path_length: float = _PATH
    jitter: float = _JITTER
    max_steps: int = 1023

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path_length > 0:
            raise SettingError(
                f"`path_length` must be positive; got {self.path_length!r}. Pass e.g. 1.5."
            )
        if not 0 <= self.jitter < 1:
            raise SettingError(
                f"`jitter` must lie between 0 and 1; got {self.jitter!r}. Pass e.g. 0.2."
            )
        if self.max_steps < 1:
            raise SettingError(
                f"`max_steps` must be at least 1; got {self.max_steps}. Pass e.g. 1000."
            )

    def move(
        self, dynamics: Dynamics, start: Point, step: float, rng: np.random.Generator
    ) -> Asking[Transition]:
        """Make one transition from a point with a fresh momentum, at a step size."""
        step *= rng.uniform(1 - self.jitter, 1 + self.jitter)
        steps = min(self.max_steps, max(1, round(self.path_length / step)))
        return static_transition(dynamics, start, step, steps, rng)


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
    step = step_size(state, warmup=warmup) * rng.uniform(1 - _JITTER, 1 + _JITTER)
    steps = min(_MAX_STEPS, max(1, round(_PATH / step)))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        value, gradient = conditional.value_and_gradient(position)
        start = dynamics.kick(position, value, gradient, rng)
        moved = answered(static_transition(dynamics, start, step, steps, rng), conditional)
    position, acceptance = moved.point.position, moved.acceptance
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
