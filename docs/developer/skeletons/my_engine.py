"""Skeleton of an engine and its kernel: copy it, rename it, put your own transition in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import xarray as xr

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.errors import CapabilityError
from probneuro.inference.runner import chains_result, run_chains


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


@final
@dataclass(frozen=True, kw_only=True)
class MyEngine(Engine):
    """Random-walk Metropolis for a model that is a log density of one number.

    Parameters
    ----------
    step_size : float
        Standard deviation of a proposal.
    warmup : int
        Steps thrown away at the start of each chain.
    """

    step_size: float = 2.4
    warmup: int = 100

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the chains and return posterior and statistics."""
        if not callable(model):
            raise CapabilityError(
                f"MyEngine needs a callable log density; got {type(model).__name__}. "
                "NUTS takes Pyro programs."
            )
        kernel = RandomWalk(lambda x: float(model(x, *args, **kwargs)), self.step_size)
        run = run_chains(
            kernel,
            draws=options.draws,
            warmup=self.warmup,
            chains=options.chains,
            first_chain=options.first_chain,
            seed=options.seed,
            workers=options.workers,
            progress=options.progress,
            checkpoint=options.checkpoint,
            fingerprint=options.fingerprint,
            label=self.name,
        )
        return chains_result(run, options)
