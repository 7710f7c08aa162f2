"""Particle EM of state-space models: point estimates by conditional particle filters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.engine import Arrays, Engine, RunOptions, RunsOnDevice
from probneuro.core.gibbs import SmoothConditional
from probneuro.core.state_space import STATE, Series, StateSpaceModel
from probneuro.inference.em import check_counts
from probneuro.inference.point_estimates import point_result
from probneuro.inference.runner import run_as_asked
from probneuro.inference.state_space_filter import run_conditional_filter
from probneuro.inference.state_space_parameters import FilteredPosterior
from probneuro.inference.state_space_steps import require_state_space, series_on
from probneuro.inference.stochastic_em import (
    WEIGHT,
    HiddenDraws,
    StepSizes,
    StochasticEMKernel,
    step_sizes,
)

Floats = NDArray[np.float64]

_LEAST_PARTICLES: Final = 2


@dataclass(frozen=True, kw_only=True)
class ParticleEM(Engine, RunsOnDevice):
    r"""Most probable global parameters of a state-space model, its trajectory averaged over.

    .. math::

        \hat\theta = \arg\max_\theta \; p(\theta) \int p(x, y \mid \theta)\, dx

    An iteration moves the trajectory by one conditional particle filter with ancestor
    sampling, adds it to a weighted average of complete log densities, and climbs that average
    by L-BFGS (:class:`~probneuro.inference.stochastic_em.StochasticEMKernel`). It converges for
    any number of particles; few of them move the trajectory slowly. A chain is a restart.
    Priors count, and the mode is that of the density in each parameter's own space, without
    the volume of a transform, as under ``SVI(guide=AutoDelta)``.

    Parameters
    ----------
    iterations : int
        Iterations, burn-in included.
    burn_in : int
        First iterations, in which an average holds the newest trajectory alone; the estimate is
        the mean of the parameters after them, in unconstrained space.
    decay : float
        Exponent of the weights after the burn-in, in (1/2, 1].
    num_particles : int
        Particles of the conditional filter.
    maximisation_steps : int
        Most L-BFGS steps of an iteration.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: Lindsten (2013), who averages over all paths of the filter; here one path, drawn
    from it, stands for them. ``fit_history`` holds the parameters of every iteration and
    ``log_density``, log prior plus the conditional filter's log evidence, which is a noisy
    estimate, somewhat too high: use :func:`~probneuro.inference.state_space.filter_states` for
    an evidence. Draws after the fit are trajectories given the estimate, each a step of the
    conditional filter from the one before.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.testing.state_space import FiniteChain
    >>> engine = ParticleEM(iterations=20, burn_in=10, num_particles=10)
    >>> sizes = {"draws": 5, "chains": 1, "seed": 1, "progress": False}
    >>> result = infer(FiniteChain(), [0, 1, 7, 5], engine=engine, **sizes)
    >>> result["parameters/stay"].shape, result.posterior["state"].shape
    ((1, 1), (1, 5, 4))
    """

    iterations: int = 300
    burn_in: int = 100
    decay: float = 0.7
    num_particles: int = 50
    maximisation_steps: int = 10

    def __post_init__(self) -> None:
        check_counts(self, iterations=1, num_particles=_LEAST_PARTICLES, maximisation_steps=1)
        self.step_sizes()

    def step_sizes(self) -> StepSizes:
        """Return the weights that trajectories enter the average with."""
        return step_sizes(self.iterations, self.burn_in, self.decay)

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Fit every restart on a state-space model and return the result."""
        known = require_state_space(model, self.name)
        paths = PathDraws(known, series_on(options.device, *args, **kwargs), self.num_particles)
        chains = run_as_asked(
            StochasticEMKernel(paths, self.iterations, self.step_sizes(), self.maximisation_steps),
            options,
            warmup=self.iterations,
            label=self.name,
            keep_warmup=True,
        )
        return point_result(chains, options, estimates=list(paths.dims), dims=paths.dims)


class PathDraws(HiddenDraws):
    """A state-space model's trajectories, moved by conditional particle filters.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    series : Series
        The data.
    num_particles : int
        Particles of the filters, the held one included.
    """

    def __init__(self, model: StateSpaceModel, series: Series, num_particles: int) -> None:
        self._posterior = FilteredPosterior(model, series, num_particles)
        self._density = self._posterior.path_density(own_space=True)
        self._size = num_particles

    @property
    def dims(self) -> Mapping[str, list[Any]]:
        """Names of the dimensions of the global sites."""
        return self._posterior.parameters.dims

    def start(self, rng: np.random.Generator) -> tuple[Floats, Arrays]:
        """Return the best of a few draws from the prior, with a trajectory of its filter."""
        position, _, history = self._posterior.start(rng)
        return position, {STATE: history.draw_path(rng)}

    def draw(
        self, position: Floats, hidden: Arrays, rng: np.random.Generator
    ) -> tuple[Arrays, float]:
        """Move the trajectory by one conditional filter."""
        bound, log_prior = self._posterior.bind(position)
        history = run_conditional_filter(bound, hidden[STATE], self._size, rng)
        volume = self._posterior.parameters.log_volume_at(position)
        return {STATE: history.draw_path(rng)}, log_prior - volume + history.log_evidence

    def averaged(self, draws: Arrays) -> SmoothConditional:
        """Return the log density given trajectories, averaged over them."""
        return self._density.averaged(draws[STATE], draws[WEIGHT])

    def variables(self, position: Floats) -> Arrays:
        """Return the global sites at a position."""
        return self._posterior.parameters.variables(position)
