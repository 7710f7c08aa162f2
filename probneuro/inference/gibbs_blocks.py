"""The blocks that Gibbs samplers of trajectories share: real vectors and rules' parameters."""

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.gibbs import Conditionals, GibbsTarget
from probneuro.inference.adaptation import Schedule, schedule
from probneuro.inference.hmc import hmc_step, start_hmc, step_size
from probneuro.inference.slice import (
    LogDensity,
    curved_directions,
    learn_directions,
    slice_sweep,
    start_slice,
)

Floats = NDArray[np.float64]
Parameters = dict[str, float]

_LARGEST_LOG = 700.0


class SmoothBlocks:
    """HMC on every real vector of a point."""

    def __init__(self, target: GibbsTarget, warmup: int) -> None:
        self._sizes = target.smooth_sizes
        self._plan: Schedule = schedule(warmup)

    def start(self) -> Arrays:
        """Return the samplers' states."""
        return join(**{str(n): start_hmc(size) for n, size in enumerate(self._sizes)})

    def move(
        self, point: Conditionals, block: int, own: Arrays, rng: np.random.Generator,
        iteration: int, warmup: bool,
    ) -> tuple[Arrays, float, float]:  # fmt: skip
        """Move one block; return its sampler's state, how likely that was, and the step size."""
        step = step_size(own, warmup=warmup)
        position, own, rate = hmc_step(
            point.smooth(block), point.smooth_position(block), own, rng,
            iteration=iteration, plan=self._plan, warmup=warmup,
        )  # fmt: skip
        point.set_smooth(block, position, rng)
        return own, rate, step

    def sweep(
        self, point: Conditionals, state: Arrays, rng: np.random.Generator, iteration: int,
        warmup: bool,
    ) -> tuple[Arrays, Arrays]:  # fmt: skip
        """Move every block once; return the samplers' states and statistics."""
        parts = split(state)
        rates, steps = np.zeros((2, len(self._sizes)))
        for n in range(len(self._sizes)):
            parts[str(n)], rates[n], steps[n] = self.move(
                point, n, parts[str(n)], rng, iteration, warmup
            )
        return join(**parts), {"acceptance_rate": rates, "step_size": steps}


class Likelihood(Protocol):
    """The likelihood of a group's parameters, exactly and nearly."""

    def exact(self, parameters: Parameters) -> float:
        """Return the log likelihood."""

    def approximate(self, parameters: Parameters) -> float:
        """Return something near it, quickly."""


class RuleBlocks:
    """Slice sampling of the parameters that groups of trajectories share."""

    def __init__(self, target: GibbsTarget, warmup: int) -> None:
        self._priors = dict(target.parameter_priors())
        self._positive = np.array([prior.positive for prior in self._priors.values()])
        self._groups = len(target.groups)
        self._plan: Schedule = schedule(warmup)

    def start(self) -> Arrays:
        """Return the samplers' states."""
        size = len(self._priors)
        return join(**{str(g): start_slice(size) for g in range(self._groups if size else 0)})

    def parameters(self, point: Conditionals, group: int) -> Parameters:
        """Return a group's parameters."""
        return {name: float(point.values[name][group]) for name in self._priors}

    def position(self, point: Conditionals, group: int) -> Floats:
        """Return a group's parameters, those that are positive as logarithms."""
        values = np.array(list(self.parameters(point, group).values()))
        place: Floats = np.where(
            self._positive, np.log(np.where(self._positive, values, 1.0)), values
        )
        return place

    def sweep(
        self, point: Conditionals, group: int, likelihood: Likelihood, own: Arrays,
        rng: np.random.Generator, iteration: int, warmup: bool, *, sweeps: int = 2,
    ) -> tuple[Arrays, float]:  # fmt: skip
        """Move a group's parameters along every direction; return how likely that was.

        The sweep leaves the approximate density invariant and is reversible, so accepting it
        with the ratio of exact to approximate density leaves the exact one invariant (Liu
        2001, section 9.4.3).
        """
        if not self._priors:
            return own, 1.0
        log_density, start = self._density(point, group, likelihood)
        before = log_density(start)
        position, after = start, before
        for _ in range(sweeps):
            position, after = slice_sweep(log_density, position, after, own, rng)
        change = self.log_prior(position) - self.log_prior(start) - (after - before)
        change += likelihood.exact(self.unpack(position)) - likelihood.exact(self.unpack(start))
        if np.log(rng.random()) >= change:
            position = start
        if warmup:
            own = learn_directions(own, position, iteration, self._plan)
        point.set_parameters(group, self.unpack(position))
        return own, float(np.exp(min(change, 0.0)))

    def bend(self, point: Conditionals, group: int, likelihood: Likelihood, own: Arrays) -> Arrays:
        """Renew the directions of a group's sampler by the curvature of its density."""
        return curved_directions(own, *self._density(point, group, likelihood))

    def _density(
        self, point: Conditionals, group: int, likelihood: Likelihood
    ) -> tuple[LogDensity, Floats]:
        """Return a group's log density, approximate, and where the group is."""

        def log_density(position: Floats) -> float:
            value = self.log_prior(position)
            if not math.isfinite(value):
                return -np.inf
            return value + likelihood.approximate(self.unpack(position))

        return log_density, self.position(point, group)

    def unpack(self, position: Floats) -> Parameters:
        """Return parameters from a position: logarithms of the positive ones."""
        named = zip(self._priors.items(), position.tolist(), strict=True)
        return {
            name: math.exp(min(value, _LARGEST_LOG)) if prior.positive else value
            for (name, prior), value in named
        }

    def log_prior(self, position: Floats) -> float:
        """Return the log prior density of a position."""
        values = zip(self._priors.values(), position.tolist(), strict=True)
        return sum(prior.log_density_real(value) for prior, value in values)


def join(**parts: Arrays) -> Arrays:
    """Put named dicts of arrays into one flat dict, with dotted keys.

    Examples
    --------
    >>> sorted(join(a={"x": np.zeros(1)}, b={"x": np.ones(1)}))
    ['a.x', 'b.x']
    """
    return {f"{part}.{name}": value for part, own in parts.items() for name, value in own.items()}


def split(state: Arrays) -> dict[str, Arrays]:
    """Undo :func:`join`, one level.

    Examples
    --------
    >>> split({"a.b.x": np.zeros(1)})["a"].keys()
    dict_keys(['b.x'])
    """
    parts: dict[str, Arrays] = {}
    for key, value in state.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = value
    return parts
