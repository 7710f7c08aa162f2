"""Hamiltonian dynamics: points in phase space, leapfrog steps, and what a trajectory met.

Everything here asks for gradients instead of computing them (see `core.engine.Asking`), so
that many chains can be answered by one batch, and one chain by `answered`.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import numpy as np

from probneuro.core.engine import Arrays, Asking, Floats
from probneuro.core.gibbs import SmoothConditional

DIVERGENCE: Final = 1000.0
"""Energy error from which Stan calls a trajectory divergent."""
_FIRST_ACCEPTANCE: Final = 0.8
_TRIES: Final = 100
T = TypeVar("T")


class Point(NamedTuple):
    """A point in phase space, with its log density, gradient, and velocity.

    Parameters
    ----------
    position, momentum : numpy.ndarray
        Shape (dimension,).
    value : float
        Log density.
    gradient, velocity : numpy.ndarray
        Shape (dimension,).
    """

    position: Floats
    momentum: Floats
    value: float
    gradient: Floats
    velocity: Floats

    @property
    def energy(self) -> float:
        """Minus log density plus kinetic energy; infinite where either is no number."""
        energy = 0.5 * float(self.momentum.dot(self.velocity)) - self.value
        return energy if np.isfinite(energy) else np.inf


@dataclass(frozen=True)
class Dynamics:
    """Leapfrog steps under a metric.

    Parameters
    ----------
    inverse_metric : numpy.ndarray
        Shape (dimension,) or (dimension, dimension).
    """

    inverse_metric: Floats

    def velocity(self, momentum: Floats) -> Floats:
        """Return the time derivative of the position."""
        metric = self.inverse_metric
        return metric.dot(momentum) if metric.ndim == 2 else metric * momentum

    def kick(
        self, position: Floats, value: float, gradient: Floats, rng: np.random.Generator
    ) -> Point:
        """Return a point with a fresh momentum."""
        noise = rng.standard_normal(len(position))
        if self.inverse_metric.ndim == 2:
            factor = np.linalg.cholesky(self.inverse_metric)
            momentum = np.linalg.solve(factor.T, noise)
        else:
            momentum = noise / np.sqrt(self.inverse_metric)
        return Point(position, momentum, value, gradient, self.velocity(momentum))

    def leap(self, point: Point, step: float) -> Asking[Point]:
        """Return the point one leapfrog step on."""
        half = point.momentum + 0.5 * step * point.gradient
        position = point.position + step * self.velocity(half)
        value, gradient = yield position
        momentum = half + 0.5 * step * gradient
        return Point(position, momentum, value, gradient, self.velocity(momentum))


@dataclass
class Tally:
    """What a transition met on its way.

    Parameters
    ----------
    start_energy : float
        Energy it started from.
    steps : int
        Leapfrog steps made.
    acceptance : float
        Sum of the Metropolis probabilities of these.
    diverging : bool
        Whether the energy error ran away.
    """

    start_energy: float
    steps: int = 0
    acceptance: float = 0.0
    diverging: bool = False

    def add(self, point: Point) -> float:
        """Count a point and return the logarithm of its weight."""
        change = self.start_energy - point.energy
        self.steps += 1
        self.acceptance += float(np.exp(min(0.0, change)))
        self.diverging |= change < -DIVERGENCE
        return change


@dataclass(frozen=True)
class Transition:
    """Where a transition ended, and how.

    Parameters
    ----------
    point : Point
        The draw.
    acceptance : float
        Its acceptance rate, to which the step size is tuned.
    tally : Tally
        What it met.
    report : dict of numpy.ndarray
        Statistics that only this kind of transition has.
    """

    point: Point
    acceptance: float
    tally: Tally
    report: Arrays = field(default_factory=dict)


def static_transition(
    dynamics: Dynamics, start: Point, step: float, steps: int, rng: np.random.Generator
) -> Asking[Transition]:
    """Make one transition of a given number of steps, accepted or refused at its end.

    Parameters
    ----------
    dynamics : Dynamics
        The metric.
    start : Point
        With a fresh momentum.
    step : float
        Leapfrog step size.
    steps : int
        Leapfrog steps; fewer where the energy runs away.
    rng : numpy.random.Generator
        The chain's stream.

    Returns
    -------
    Transition
        The draw and what was met.
    """
    tally, point, change = Tally(start.energy), start, 0.0
    for _ in range(steps):
        point = yield from dynamics.leap(point, step)
        change = tally.add(point)
        if tally.diverging:
            break
    acceptance = float(np.exp(min(0.0, change))) if np.isfinite(change) else 0.0
    return Transition(point if rng.random() < acceptance else start, acceptance, tally)


def first_step_size(
    dynamics: Dynamics,
    position: Floats,
    value: float,
    gradient: Floats,
    step: float,
    rng: np.random.Generator,
) -> Asking[float]:
    """Return a step size whose first leap is accepted about 80 % of the time, as Stan does."""

    def accepts(size: float) -> Asking[bool]:
        point = dynamics.kick(position, value, gradient, rng)
        following = yield from dynamics.leap(point, size)
        return point.energy - following.energy > np.log(_FIRST_ACCEPTANCE)

    grows = yield from accepts(step)
    for _ in range(_TRIES):
        following = step * 2 if grows else step / 2
        if (yield from accepts(following)) != grows:
            return following
        step = following
    return step


def answered(asking: Asking[T], conditional: SmoothConditional) -> T:
    """Run work that asks for gradients on one density, and return its result.

    Parameters
    ----------
    asking : Asking
        For example ``dynamics.leap(point, 0.1)``.
    conditional : SmoothConditional
        Where the answers come from.

    Returns
    -------
    Any
        What the work returns.
    """
    try:
        position = next(asking)
        while True:
            position = asking.send(conditional.value_and_gradient(position))
    except StopIteration as end:
        result: T = end.value
        return result
