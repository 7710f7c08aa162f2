"""Particle Gibbs with ancestor sampling for any state-space model."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from probneuro.core.engine import Arrays, Kernel
from probneuro.core.state_space import STATE, Series, StateSpaceModel
from probneuro.inference.adaptation import schedule
from probneuro.inference.gibbs_blocks import join, split
from probneuro.inference.hmc import hmc_step, start_hmc, step_size
from probneuro.inference.state_space_filter import run_conditional_filter
from probneuro.inference.state_space_parameters import FilteredPosterior


class StateSpaceKernel(Kernel):
    r"""One chain that moves a trajectory given the parameters, then these given the trajectory.

    .. math::

        x \sim \mathrm{PGAS}(p(x \mid y, \theta)), \qquad
        \theta \sim \mathrm{HMC}(p(\theta)\, p(x, y \mid \theta))

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    series : Series
        The data.
    num_particles : int
        Particles of the conditional filter, the held one included.
    warmup : int
        Steps that tune the HMC move.

    Notes
    -----
    Source: Lindsten, Jordan and Schoen (2012).
    """

    def __init__(
        self, model: StateSpaceModel, series: Series, num_particles: int, warmup: int
    ) -> None:
        self._posterior = FilteredPosterior(model, series, num_particles)
        self._size = num_particles
        self._density = self._posterior.path_density()
        self._plan = schedule(warmup)

    @property
    def dims(self) -> Mapping[str, list[Any]]:
        """Names of the dimensions of the global sites."""
        return self._posterior.parameters.dims

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return the best of a few draws from the prior, with a trajectory of its filter."""
        position, _, history = self._posterior.start(rng)
        point = {"position": position, "path": history.draw_path(rng)}
        return join(point=point, hmc=start_hmc(position.size), clock={"iteration": np.array(0)})

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Move the trajectory, then the parameters."""
        parts = split(state)
        position, path = parts["point"]["position"], parts["point"]["path"]
        iteration = int(parts["clock"]["iteration"])
        bound, _ = self._posterior.bind(position)
        history = run_conditional_filter(bound, path, self._size, rng)
        path = history.draw_path(rng)
        conditional = self._density.given(path)
        position, hmc, acceptance = hmc_step(
            conditional, position, parts["hmc"], rng,
            iteration=iteration, plan=self._plan, warmup=warmup,
        )  # fmt: skip
        stats = {
            "lp": np.array(conditional.value_and_gradient(position)[0]),
            "acceptance_rate": np.array(acceptance),
            "step_size": np.array(step_size(hmc, warmup=warmup)),
            "particle_ess": np.array(history.effective_sizes.mean()),
        }
        clock = {"iteration": np.array(iteration + 1)}
        return join(point={"position": position, "path": path}, hmc=hmc, clock=clock), stats

    def draw(self, state: Arrays) -> Arrays:
        """Return the global parameters and the trajectory."""
        point = split(state)["point"]
        return {**self._posterior.parameters.variables(point["position"]), STATE: point["path"]}
