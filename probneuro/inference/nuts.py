"""The no-U-turn sampler, for any Pyro program with continuous latent variables."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from probneuro.core.engine import Asking, Floats
from probneuro.core.errors import SettingError
from probneuro.inference.hamiltonian import Dynamics, Point, Tally, Transition
from probneuro.inference.hamiltonian_chains import HamiltonianEngine


@dataclass(frozen=True, kw_only=True)
class NUTS(HamiltonianEngine):
    """Multinomial NUTS with Stan's warm-up (Hoffman & Gelman 2014; Betancourt 2017).

    All chains run as one batch: each keeps its own tree, step size and metric, and every
    evaluation of the gradient serves them all.

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
    compiled : bool
        Whether to compile the gradient, which takes seconds to a minute at the start and pays
        for long runs; without a C++ compiler the run goes on uncompiled.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Examples
    --------
    >>> NUTS(target_accept=0.9).settings()["target_accept"]
    0.9
    """

    max_tree_depth: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.max_tree_depth <= 20:
            raise SettingError(
                f"`max_tree_depth` must lie between 1 and 20; got {self.max_tree_depth}. "
                "Pass e.g. 10."
            )

    def move(
        self, dynamics: Dynamics, start: Point, step: float, rng: np.random.Generator
    ) -> Asking[Transition]:
        """Make one transition from a point with a fresh momentum, at a step size."""
        return transition(dynamics, start, step, self.max_tree_depth, rng)


class _Tree(NamedTuple):
    """A stretch of trajectory: its ends in the order of travel, its sum, and one draw."""

    begin: Point
    end: Point
    momentum: Floats
    log_weight: float
    draw: Point


def _goes_on(first: Floats, last: Floats, momentum: Floats) -> bool:
    """Betancourt 2017, appendix A.4.2: neither end moves back along the summed momentum."""
    return bool(first.dot(momentum) > 0) and bool(last.dot(momentum) > 0)


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
) -> Asking[_Tree | None]:
    """Return the tree of 2^depth steps from a point on, or None where it must not be used."""
    if depth == 0:
        point = yield from dynamics.leap(start, step)
        log_weight = tally.add(point)
        if tally.diverging:
            return None
        return _Tree(point, point, point.momentum, log_weight, point)
    left = yield from _grow(dynamics, start, depth - 1, step, tally, rng)
    if left is None:
        return None
    right = yield from _grow(dynamics, left.end, depth - 1, step, tally, rng)
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
) -> Asking[Transition]:
    """Make one NUTS transition.

    Parameters
    ----------
    dynamics : Dynamics
        The metric.
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
    depth, goes_on = 0, True
    while goes_on and depth < max_depth:
        forward = rng.random() > 0.5
        # A tree grown backwards is kept in the order of travel: its begin touches ours.
        edge = tree.end if forward else tree.begin
        signed = step if forward else -step
        fresh = yield from _grow(dynamics, edge, depth, signed, tally, rng)
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
    return Transition(
        tree.draw,
        tally.acceptance / max(tally.steps, 1),
        tally,
        {
            "tree_depth": np.array(depth),
            "reached_max_treedepth": np.array(depth >= max_depth),
        },
    )


def _reversed(tree: _Tree) -> _Tree:
    return tree._replace(begin=tree.end, end=tree.begin)
