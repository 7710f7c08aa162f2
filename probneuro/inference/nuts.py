"""The no-U-turn sampler, for any Pyro program with continuous latent variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.model import Model
from probneuro.inference.adaptation import (
    Schedule,
    add_moment,
    average,
    learnt_metric,
    schedule,
    start_averaging,
    start_moments,
)
from probneuro.inference.hamiltonian import Dynamics, Transition, first_step_size, transition
from probneuro.inference.runner import chains_result, run_chains
from probneuro.inference.target import Floats, Target

_TRIES: Final = 100
_RADIUS: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class NUTS(Engine):
    """Multinomial NUTS with Stan's warm-up (Hoffman & Gelman 2014; Betancourt 2017).

    Parameters
    ----------
    warmup : int
        Steps that tune step size and metric; they are not draws.
    target_accept : float
        Acceptance rate that the step size is tuned to, in (0, 1). Higher means smaller
        steps: slower, and with fewer divergences.
    max_tree_depth : int
        At most 2^depth - 1 leapfrog steps a draw.
    dense_mass : bool
        Whether to learn correlations too; pays for few, strongly correlated variables.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Examples
    --------
    >>> NUTS(target_accept=0.9).settings()["target_accept"]
    0.9
    """

    warmup: int = 1000
    target_accept: float = 0.8
    max_tree_depth: int = 10
    dense_mass: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.target_accept < 1:
            raise SettingError(
                f"`target_accept` must lie between 0 and 1; got {self.target_accept!r}. "
                "Pass e.g. 0.9."
            )
        if self.warmup < 0:
            raise SettingError(f"`warmup` must not be negative; got {self.warmup}. Pass e.g. 1000.")
        if not 1 <= self.max_tree_depth <= 20:
            raise SettingError(
                f"`max_tree_depth` must lie between 1 and 20; got {self.max_tree_depth}. "
                "Pass e.g. 10."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the chains on a program and return the result."""
        program = model.model if isinstance(model, Model) else model
        target = Target.from_pyro(program, *args, **kwargs)
        chains = run_chains(
            NUTSKernel(target, self),
            draws=options.draws,
            warmup=self.warmup,
            chains=options.chains,
            seed=options.seed,
            workers=options.workers,
            progress=options.progress,
            checkpoint=options.checkpoint,
            fingerprint=options.fingerprint,
            label="NUTS",
            keep_warmup=options.save_warmup,
        )
        return chains_result(chains, options, dims=target.dims)


class NUTSKernel(Kernel):
    """One NUTS chain over a target.

    Parameters
    ----------
    target : Target
        Log density and gradient.
    settings : NUTS
        The engine's settings; ``settings.warmup`` must be the run's.
    """

    def __init__(self, target: Target, settings: NUTS) -> None:
        self._target = target
        self._settings = settings
        self._schedule: Schedule = schedule(settings.warmup)

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a state at a random place where density and gradient are finite."""
        size = self._target.dimension
        for _ in range(_TRIES):
            position = rng.uniform(-_RADIUS, _RADIUS, size)
            value, gradient = self._target.value_and_gradient(position)
            if np.isfinite(value) and np.all(np.isfinite(gradient)):
                break
        else:
            raise InferenceError(
                f"No place with finite density and gradient in {_TRIES} tries between -2 and 2 in "
                "unconstrained space. Check the program's scales, or data outside its support"
            )
        metric = np.eye(size) if self._settings.dense_mass else np.ones(size)
        dynamics = Dynamics(self._target, metric)
        step = first_step_size(dynamics, position, value, gradient, 1.0, rng)
        return {
            "position": position,
            "value": np.array(value),
            "gradient": gradient,
            "inverse_metric": metric,
            "step_size": np.array(step),
            "iteration": np.array(0),
            **start_averaging(step),
            **start_moments(size, self._settings.dense_mass),
        }

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Return the state after one transition, and its statistics."""
        dynamics = Dynamics(self._target, state["inverse_metric"])
        value = float(state["value"])
        start = dynamics.kick(state["position"], value, state["gradient"], rng)
        step = float(state["step_size"])
        with np.errstate(over="ignore", invalid="ignore"):
            moved = transition(dynamics, start, step, self._settings.max_tree_depth, rng)
        fresh = {
            **state,
            "position": moved.point.position,
            "value": np.array(moved.point.value),
            "gradient": moved.point.gradient,
            "iteration": state["iteration"] + 1,
        }
        stats = self._stats(moved, step)
        if warmup:
            fresh = self._adapted(fresh, float(stats["acceptance_rate"]), rng)
        return fresh, stats

    def draw(self, state: Arrays) -> Arrays:
        """Return the model's variables."""
        return self._target.variables(state["position"])

    def _stats(self, moved: Transition, step: float) -> Arrays:
        tally = moved.tally
        return {
            "lp": np.array(moved.point.value),
            "acceptance_rate": np.array(tally.acceptance / max(tally.steps, 1)),
            "step_size": np.array(step),
            "tree_depth": np.array(moved.depth),
            "n_steps": np.array(tally.steps),
            "diverging": np.array(tally.diverging),
            "energy": np.array(moved.point.energy),
            "energy_error": np.array(moved.point.energy - tally.start_energy),
            "reached_max_treedepth": np.array(moved.depth >= self._settings.max_tree_depth),
        }

    def _adapted(self, state: Arrays, acceptance: float, rng: np.random.Generator) -> Arrays:
        state = average(state, acceptance, self._settings.target_accept)
        done = int(state["iteration"]) - 1
        step = float(np.exp(state["log_step"]))
        if self._schedule.start <= done < self._schedule.stop:
            state = add_moment(state, state["position"])
        if done in self._schedule.ends:
            metric = learnt_metric(state)
            step = self._restart(state, metric, step, rng)
            empty = start_moments(self._target.dimension, self._settings.dense_mass)
            state = {**state, "inverse_metric": metric, **start_averaging(step), **empty}
        if done == self._settings.warmup - 1 and int(state["num_averaged"]):
            step = float(np.exp(state["log_step_mean"]))
        return {**state, "step_size": np.array(step)}

    def _restart(
        self, state: Arrays, metric: Floats, step: float, rng: np.random.Generator
    ) -> float:
        place = state["position"], float(state["value"]), state["gradient"]
        return first_step_size(Dynamics(self._target, metric), *place, step, rng)
