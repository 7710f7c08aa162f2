"""The no-U-turn sampler, for any Pyro program with continuous latent variables."""

from dataclasses import dataclass

import numpy as np

from probneuro.core.engine import Asking
from probneuro.core.errors import SettingError
from probneuro.inference.hamiltonian import DIVERGENCE, Dynamics, Point, Tally, Transition
from probneuro.inference.hamiltonian_chains import HamiltonianEngine
from probneuro.inference.nuts_tree import (
    ACCEPTANCE,
    DEPTH,
    DIVERGING,
    DOUBLED,
    DRAW,
    GOES_ON,
    POSITION,
    STEPS,
    VALUE,
    add_leaf,
    metric_rows,
    new_tree,
    plant,
    set_off,
)


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
    metric = metric_rows(dynamics.inverse_metric)
    vectors, numbers = new_tree(len(start.position), max_depth)
    position, momentum, value, gradient, velocity = start
    energy = start.energy
    plant(vectors, numbers, position, momentum, gradient, velocity, value, energy)
    position = vectors[POSITION]
    outcome, depth = DOUBLED, 0
    while outcome == DOUBLED and depth < max_depth:
        # One for every join: those inside a half of 2^depth leaves, and that with the tree.
        chances = rng.random(2**depth + 1)
        set_off(vectors, numbers, metric, step if chances[-1] > 0.5 else -step)
        joins, outcome = chances[:-1], GOES_ON
        while outcome == GOES_ON:
            value, gradient = yield position
            outcome = add_leaf(vectors, numbers, metric, value, gradient, joins, DIVERGENCE)
        depth = int(numbers[DEPTH])
    place, momentum, gradient = vectors[DRAW : DRAW + 3].copy()
    end = Point(place, momentum, float(numbers[VALUE]), gradient, dynamics.velocity(momentum))
    steps, acceptance = int(numbers[STEPS]), float(numbers[ACCEPTANCE])
    return Transition(
        end,
        acceptance / max(steps, 1),
        Tally(energy, steps, acceptance, bool(numbers[DIVERGING])),
        {
            "tree_depth": np.array(depth),
            "reached_max_treedepth": np.array(depth >= max_depth),
        },
    )
