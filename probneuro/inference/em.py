"""Expectation maximisation of a Pyro program whose discrete variables are summed out exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions, RunsOnDevice
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.model import Model
from probneuro.core.state_space import StateSpaceModel
from probneuro.inference.discrete_posterior import DiscretePosterior, read_discrete
from probneuro.inference.gibbs import join, split
from probneuro.inference.point_estimates import maximise, point_result
from probneuro.inference.runner import run_as_asked
from probneuro.inference.starts import free_place, start_of_finite_density

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class EM(Engine, RunsOnDevice):
    r"""Most probable parameters of a program, its discrete variables averaged over exactly.

    .. math::

        \theta_{k+1} = \arg\max_\theta \; \sum_z P(z \mid \theta_k, y) \log p(z, \theta, y)

    with z all discrete sites, and θ all continuous ones. The log density
    :math:`\log \sum_z p(z, \theta, y)` never falls from one iteration to the next, and ends at
    a mode: a chain is a restart, and the best one counts. Priors count, and the mode is that of
    the density in each variable's own space, without the volume of a transform, as under
    ``SVI(guide=AutoDelta)``; a flat prior gives the maximum of the likelihood.

    Parameters
    ----------
    iterations : int
        Most E and M steps.
    tolerance : float
        An iteration that raises the log density by less is the last one; the history repeats
        it.
    maximisation_steps : int
        Most L-BFGS steps of an M step, which starts from the parameters before.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: Dempster, Laird and Rubin (1977). The E step is exact: the derivative of the summed
    log density by each factor is the posterior of its discrete variables. The M step has no
    closed form for any program, so that it climbs by L-BFGS: where that ends before the
    maximum it is their *generalised* EM, whose log density does not fall either.

    After the fit every draw is one of the discrete variables given the estimate and the data,
    exact and independent; group ``posterior`` holds them beside the estimate. They do not say
    how uncertain the estimate is.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist, torch
    >>> from probneuro import infer
    >>> def program(y):
    ...     high = pyro.sample("high", dist.Normal(2.0, 10.0))
    ...     with pyro.plate("trial", len(y)):
    ...         up = pyro.sample("up", dist.Bernoulli(0.5))
    ...         pyro.sample("y", dist.Normal(up * high, 0.5), obs=y)
    >>> sizes = {"draws": 5, "chains": 1, "seed": 1, "progress": False}
    >>> result = infer(program, torch.tensor([0.1, 2.9, 3.1, -0.1]), engine=EM(), **sizes)
    >>> round(result["parameters/high"].item(), 2)
    3.0
    """

    iterations: int = 200
    tolerance: float = 1e-10
    maximisation_steps: int = 10

    def __post_init__(self) -> None:
        check_counts(self, iterations=1, maximisation_steps=1)
        if not self.tolerance >= 0:
            raise SettingError(
                f"`tolerance` must not be negative; got {self.tolerance!r}. Pass e.g. 1e-10."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Fit every restart on a program and return the result."""
        if isinstance(model, StateSpaceModel):
            raise CapabilityError(
                f"EM sums discrete variables out, and {type(model).__name__} is a state-space "
                "model. Use ParticleEM(), which averages over its trajectories."
            )
        whole = model.model if isinstance(model, Model) else model
        posterior = read_discrete(whole, args, kwargs, torch.device(options.device))
        chains = run_as_asked(
            EMKernel(posterior, self),
            options,
            warmup=self.iterations,
            label=self.name,
            keep_warmup=True,
        )
        program = posterior.program
        names = {site.name: site.dims for site in program.sites}
        names |= {site.name: site.dims for site in program.discrete}
        estimates = [site.name for site in program.sites]
        return point_result(
            chains, options, estimates=estimates, dims={**names, **program.deterministic}
        )


def check_counts(engine: Engine, **least: int) -> None:
    """Refuse settings of an engine that are below their least value.

    Raises
    ------
    SettingError
        Names the setting and its default.
    """
    for name, bound in least.items():
        if getattr(engine, name) < bound:
            raise SettingError(
                f"`{name}` must be at least {bound}; got {getattr(engine, name)!r}. "
                f"Its default is {getattr(type(engine), name)}."
            )


class EMKernel(Kernel):
    """One restart of :class:`EM`: its warm-up steps are iterations, its draws are of latents.

    Parameters
    ----------
    posterior : DiscretePosterior
        The program.
    settings : EM
        The engine's settings.
    """

    def __init__(self, posterior: DiscretePosterior, settings: EM) -> None:
        self._posterior, self._settings = posterior, settings

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a random point of finite density."""
        size, density = self._posterior.dimension, self._posterior.log_density
        position = start_of_finite_density(lambda: free_place(size, rng), density)
        return join(point=_point(position, -np.inf, settled=False))

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Make an iteration while fitting, and draw the discrete variables afterwards."""
        point = split(state)["point"]
        position = point["position"]
        if not warmup:
            drawn, value = self._posterior.draw(position, rng)
            return join(point=point, drawn=drawn), {"lp": np.array(value)}
        estimates = self._posterior.estimates(position)
        if not point["settled"]:
            point = self._iterated(position, float(point["log_density"]))
        return join(point=point), {"log_density": point["log_density"], **estimates}

    def draw(self, state: Arrays) -> Arrays:
        """Return the estimate with the discrete variables drawn; nothing while fitting."""
        return split(state).get("drawn", {})

    def _iterated(self, position: Floats, before: float) -> Arrays:
        weights = self._posterior.weights(position)
        value = weights.log_density
        if value - before < self._settings.tolerance:
            return _point(position, value, settled=True)
        steps = self._settings.maximisation_steps
        fresh = maximise(self._posterior.expected(weights), position, steps)
        return _point(fresh, value, settled=fresh is position)


def _point(position: Any, log_density: float, *, settled: bool) -> Arrays:
    """Return where a restart is, and how high it was before its last M step."""
    height = {"log_density": np.array(log_density), "settled": np.array(settled)}
    return {"position": position, **height}
