"""One NUTS transition: multinomial sampling on a doubling tree, with Stan's U-turn rule."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from probneuro.core.gibbs import SmoothConditional
from probneuro.inference.target import Floats

DIVERGENCE: Final = 1000.0
"""Energy error from which Stan calls a trajectory divergent."""


@dataclass(frozen=True)
class Point:
    """A point in phase space, with its log density, gradient, and velocity.

    Parameters
    ----------
    position, momentum, gradient, velocity : numpy.ndarray
        Shape (dimension,).
    value : float
        Log density.
    """

    position: Floats
    momentum: Floats
    value: float
    gradient: Floats
    velocity: Floats

    @property
    def energy(self) -> float:
        """Minus log density plus kinetic energy; infinite where either is no number."""
        energy = 0.5 * float(self.momentum @ self.velocity) - self.value
        return energy if np.isfinite(energy) else np.inf


@dataclass(frozen=True)
class Dynamics:
    """Leapfrog steps on a target under a metric.

    Parameters
    ----------
    target : SmoothConditional
        Where to move.
    inverse_metric : numpy.ndarray
        Shape (dimension,) or (dimension, dimension).
    """

    target: SmoothConditional
    inverse_metric: Floats

    def velocity(self, momentum: Floats) -> Floats:
        """Return the time derivative of the position."""
        metric = self.inverse_metric
        return metric @ momentum if metric.ndim == 2 else metric * momentum

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

    def leap(self, point: Point, step: float) -> Point:
        """Return the point one leapfrog step on."""
        half = point.momentum + 0.5 * step * point.gradient
        position = point.position + step * self.velocity(half)
        value, gradient = self.target.value_and_gradient(position)
        momentum = half + 0.5 * step * gradient
        return Point(position, momentum, value, gradient, self.velocity(momentum))


@dataclass(frozen=True)
class _Tree:
    """A stretch of trajectory: its ends in the order of travel, its sum, and one draw."""

    begin: Point
    end: Point
    momentum: Floats
    log_weight: float
    draw: Point


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
    tally : Tally
        What it met.
    depth : int
        Doublings made.
    """

    point: Point
    tally: Tally
    depth: int


def _goes_on(first: Floats, last: Floats, momentum: Floats) -> bool:
    """Betancourt 2017, appendix A.4.2: neither end moves back along the summed momentum."""
    return float(first @ momentum) > 0 and float(last @ momentum) > 0


def _joined_goes_on(left: _Tree, right: _Tree) -> bool:
    """Stan's check of a joint tree: across it, and across the seam from either side."""
    both = left.momentum + right.momentum
    return (
        _goes_on(left.begin.velocity, right.end.velocity, both)
        and _goes_on(
            left.begin.velocity, right.begin.velocity, left.momentum + right.begin.momentum
        )
        and _goes_on(left.end.velocity, right.end.velocity, right.momentum + left.end.momentum)
    )


def _grow(
    dynamics: Dynamics,
    start: Point,
    depth: int,
    step: float,
    tally: Tally,
    rng: np.random.Generator,
) -> _Tree | None:
    """Return the tree of 2^depth steps from a point on, or None where it must not be used."""
    if depth == 0:
        point = dynamics.leap(start, step)
        log_weight = tally.add(point)
        if tally.diverging:
            return None
        return _Tree(point, point, point.momentum, log_weight, point)
    left = _grow(dynamics, start, depth - 1, step, tally, rng)
    if left is None:
        return None
    right = _grow(dynamics, left.end, depth - 1, step, tally, rng)
    if right is None:
        return None
    log_weight = float(np.logaddexp(left.log_weight, right.log_weight))
    takes_right = np.log(rng.random()) < right.log_weight - log_weight
    if not _joined_goes_on(left, right):
        return None
    return _Tree(
        left.begin,
        right.end,
        left.momentum + right.momentum,
        log_weight,
        right.draw if takes_right else left.draw,
    )


def transition(
    dynamics: Dynamics, start: Point, step: float, max_depth: int, rng: np.random.Generator
) -> Transition:
    """Make one NUTS transition.

    Parameters
    ----------
    dynamics : Dynamics
        Target and metric.
    start : Point
        With a fresh momentum.
    step : float
        Leapfrog step size.
    max_depth : int
        Most doublings.
    rng : numpy.random.Generator
        The chain's stream.

    Returns
    -------
    Transition
        The draw and what was met.
    """
    tally = Tally(start.energy)
    tree = _Tree(start, start, start.momentum, 0.0, start)
    depth = 0
    while depth < max_depth:
        forward = rng.random() > 0.5
        # A tree grown backwards is kept in the order of travel: its begin touches ours.
        edge = tree.end if forward else tree.begin
        fresh = _grow(dynamics, edge, depth, step if forward else -step, tally, rng)
        if fresh is None:
            break
        depth += 1
        # Biased progressive sampling: the new half is taken whenever it weighs more.
        takes_fresh = np.log(rng.random()) < fresh.log_weight - tree.log_weight
        left, right = (tree, fresh) if forward else (_reversed(fresh), tree)
        goes_on = _joined_goes_on(left, right)
        tree = _Tree(
            left.begin,
            right.end,
            left.momentum + right.momentum,
            float(np.logaddexp(tree.log_weight, fresh.log_weight)),
            fresh.draw if takes_fresh else tree.draw,
        )
        if not goes_on:
            break
    return Transition(tree.draw, tally, depth)


def _reversed(tree: _Tree) -> _Tree:
    return _Tree(tree.end, tree.begin, tree.momentum, tree.log_weight, tree.draw)


def first_step_size(
    dynamics: Dynamics,
    position: Floats,
    value: float,
    gradient: Floats,
    step: float,
    rng: np.random.Generator,
) -> float:
    """Return a step size whose first leap is accepted about 80 % of the time, as Stan does."""
    limit = np.log(0.8)

    def change(size: float) -> float:
        point = dynamics.kick(position, value, gradient, rng)
        return point.energy - dynamics.leap(point, size).energy

    grows = change(step) > limit
    for _ in range(100):
        following = step * 2 if grows else step / 2
        if (change(following) > limit) != grows:
            return following
        step = following
    return step
