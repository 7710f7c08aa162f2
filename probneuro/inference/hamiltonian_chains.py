"""What Hamiltonian samplers share: how chains start, adapt, report, and run as one batch."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
import xarray as xr

from probneuro.core.engine import (
    Arrays,
    Asking,
    BatchKernel,
    Engine,
    Floats,
    RunOptions,
    RunsOnDevice,
)
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.model import Model
from probneuro.inference.adaptation import (
    add_moment,
    average,
    learnt_metric,
    schedule,
    start_averaging,
    start_moments,
)
from probneuro.inference.hamiltonian import Dynamics, Point, Transition, first_step_size
from probneuro.inference.pyro_target import read_program
from probneuro.inference.runner import chains_result, run_as_asked
from probneuro.inference.target import Target

_TRIES: Final = 100
_RADIUS: Final = 2.0
_CLIFF: Final = 1e-6
"""Step sizes below it say nothing of the posterior: no scale that data give is so small."""
_CLIFFS: Final = 20
_POSITION: Final = "position"


@dataclass(frozen=True, kw_only=True)
class HamiltonianEngine(Engine, RunsOnDevice):
    """What Hamiltonian samplers share: Stan's warm-up, and all chains run as one batch.

    Parameters
    ----------
    warmup : int
        Steps that tune step size and metric; they are not draws.
    target_accept : float
        Acceptance rate that the step size is tuned to, in (0, 1).
    dense_mass : bool
        Whether to learn correlations too.
    compiled : bool
        Whether to compile the gradient.

    Raises
    ------
    SettingError
        If a setting is out of its range.
    """

    warmup: int = 1000
    target_accept: float = 0.8
    dense_mass: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.target_accept < 1:
            raise SettingError(
                f"`target_accept` must lie between 0 and 1; got {self.target_accept!r}. "
                "Pass e.g. 0.9."
            )
        if self.warmup < 0:
            raise SettingError(f"`warmup` must not be negative; got {self.warmup}. Pass e.g. 1000.")

    @abstractmethod
    def move(
        self, dynamics: Dynamics, start: Point, step: float, rng: np.random.Generator
    ) -> Asking[Transition]:
        """Make one transition from a point with a fresh momentum, at a step size."""

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the chains on a program and return the result."""
        program = model.model if isinstance(model, Model) else model
        device = torch.device(options.device)
        target = read_program(program, args, kwargs, compiled=self.compiled, device=device)
        chains = run_as_asked(
            HamiltonianKernel(target, self), options, warmup=self.warmup, label=self.name
        )
        chains = replace(
            chains,
            posterior=_variables(target, chains.posterior),
            warmup_posterior=_variables(target, chains.warmup_posterior),
        )
        return chains_result(chains, options, dims=target.dims)


def _variables(target: Target, draws: Arrays) -> Arrays:
    if not draws:
        return {}
    positions = draws[_POSITION]
    found = target.variables_along(positions.reshape(-1, positions.shape[-1]))
    return {name: v.reshape(*positions.shape[:2], *v.shape[1:]) for name, v in found.items()}


class HamiltonianKernel(BatchKernel):
    """One chain of a Hamiltonian sampler over a target, adapted as Stan does.

    Parameters
    ----------
    target : Target
        Log density and gradient.
    engine : HamiltonianEngine
        Its transition and settings; ``engine.warmup`` must be the run's.
    """

    def __init__(self, target: Target, engine: HamiltonianEngine) -> None:
        self._target = target
        self._engine = engine
        self._schedule = schedule(engine.warmup)

    def answer(self, positions: Floats) -> tuple[Floats, Floats]:
        """Return log densities and gradients of all chains at once."""
        return self._target.values_and_gradients(positions)

    def init(self, rng: np.random.Generator) -> Asking[Arrays]:
        """Return a state at a random place where density and gradient are finite.

        A place where only minute steps hold is a cliff, such as a recursion that explodes: a
        chain would spend its warm-up there. Other places are tried, and the best one is taken.
        """
        size, step, cliffs = self._target.dimension, 0.0, 0
        metric = np.eye(size) if self._engine.dense_mass else np.ones(size)
        for _ in range(_TRIES):
            place = rng.uniform(-_RADIUS, _RADIUS, size)
            answer = yield place
            if not np.isfinite(answer[0]):
                continue
            found = yield from first_step_size(Dynamics(metric), place, *answer, 1.0, rng)
            if found > step:
                step, position, (value, gradient) = found, place, answer
            cliffs += 1
            if step > _CLIFF or cliffs == _CLIFFS:
                break
        if step == 0.0:
            raise InferenceError(
                f"No place with finite density and gradient in {_TRIES} tries between -2 and 2 in "
                "unconstrained space. Check the program's scales, or data outside its support"
            )
        return {
            _POSITION: position,
            "value": np.array(value),
            "gradient": gradient,
            "inverse_metric": metric,
            "step_size": np.array(step),
            "iteration": np.array(0),
            **start_averaging(step),
            **start_moments(size, self._engine.dense_mass),
        }

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> Asking[tuple[Arrays, Arrays]]:
        """Return the state after one transition, and its statistics."""
        dynamics = Dynamics(state["inverse_metric"])
        start = dynamics.kick(state[_POSITION], float(state["value"]), state["gradient"], rng)
        step = float(state["step_size"])
        moved = yield from self._engine.move(dynamics, start, step, rng)
        fresh = {
            **state,
            _POSITION: moved.point.position,
            "value": np.array(moved.point.value),
            "gradient": moved.point.gradient,
            "iteration": state["iteration"] + 1,
        }
        if warmup:
            fresh = yield from self._adapted(fresh, moved.acceptance, rng)
        return fresh, _statistics(moved, step)

    def draw(self, state: Arrays) -> Arrays:
        """Return the position; the engine turns all of them into variables at once."""
        return {_POSITION: state[_POSITION]}

    def _adapted(
        self, state: Arrays, acceptance: float, rng: np.random.Generator
    ) -> Asking[Arrays]:
        state = average(state, acceptance, self._engine.target_accept)
        done = int(state["iteration"]) - 1
        step = float(np.exp(state["log_step"]))
        if self._schedule.start <= done < self._schedule.stop:
            state = add_moment(state, state[_POSITION])
        if done in self._schedule.ends:
            metric = learnt_metric(state)
            place = state[_POSITION], float(state["value"]), state["gradient"]
            step = yield from first_step_size(Dynamics(metric), *place, step, rng)
            empty = start_moments(self._target.dimension, self._engine.dense_mass)
            state = {**state, "inverse_metric": metric, **start_averaging(step), **empty}
        if done == self._engine.warmup - 1 and int(state["num_averaged"]):
            step = float(np.exp(state["log_step_mean"]))
        return {**state, "step_size": np.array(step)}


def _statistics(moved: Transition, step: float) -> Arrays:
    tally, energy = moved.tally, moved.point.energy
    return {
        "lp": np.array(moved.point.value),
        "acceptance_rate": np.array(moved.acceptance),
        "step_size": np.array(step),
        "n_steps": np.array(tally.steps),
        "diverging": np.array(tally.diverging),
        "energy": np.array(energy),
        "energy_error": np.array(energy - tally.start_energy),
        **moved.report,
    }
