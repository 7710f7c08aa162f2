"""Skeleton of an engine's kernel: copy it, rename it, put your own transition in."""

from collections.abc import Callable
from typing import final

import numpy as np

from probneuro.core.engine import Arrays, Kernel


@final
class RandomWalk(Kernel):
    """Metropolis steps with Gaussian proposals, for a log density on the real line.

    Parameters
    ----------
    log_density : callable
        From a number to its log density, up to a constant.
    step_size : float
        Standard deviation of a proposal.
    """

    def __init__(self, log_density: Callable[[float], float], step_size: float) -> None:
        self.log_density = log_density
        self.step_size = step_size

    def init(self, rng: np.random.Generator) -> Arrays:
        """Start from a standard normal draw."""
        return {"x": np.asarray(rng.standard_normal())}

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Propose, and accept with the Metropolis probability; nothing adapts here."""
        here = float(state["x"])
        there = here + self.step_size * rng.standard_normal()
        log_ratio = self.log_density(there) - self.log_density(here)
        accepted = bool(np.log(rng.random()) < log_ratio)
        x = there if accepted else here
        stats = {"lp": np.asarray(self.log_density(x)), "accepted": np.asarray(accepted)}
        return {"x": np.asarray(x)}, stats

    def draw(self, state: Arrays) -> Arrays:
        """Return the posterior variables of a state."""
        return {"x": state["x"]}
