"""Slice sampling of any Pyro program with continuous variables, without gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import xarray as xr

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions, RunsOnDevice
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.model import Model
from probneuro.inference.adaptation import schedule
from probneuro.inference.pyro_program import Program, read
from probneuro.inference.pyro_target import PyroTarget
from probneuro.inference.runner import chains_result, run_as_asked
from probneuro.inference.slice import learn_directions, slice_sweep, start_slice
from probneuro.inference.starts import free_place, start_of_finite_density

_OWN: Final = ("position", "value", "iteration")


@dataclass(frozen=True, kw_only=True)
class Slice(Engine, RunsOnDevice):
    r"""Slice sampling along directions learnt in the warm-up.

    .. math::

        h \sim \mathrm U(0, \pi(u)), \qquad
        u' \sim \mathrm U\bigl(\{u + s\, d : s \in \mathbb R\}
        \cap \{\pi > h\}\bigr)

    for each direction d in random order, in unconstrained space, with the interval found by
    stepping out and shrinking. The directions are the axes of coordinates at first and later
    the principal axes of the warm-up's draws, three standard deviations long, so that strongly
    correlated variables mix. There is no gradient, no step size and no rejection.

    Parameters
    ----------
    warmup : int
        Steps that learn the directions; they are not draws.
    sweeps : int
        Times that a step moves along all directions.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: Neal (2003), Figs. 3 and 5; directions after Tibbits, Groendyke, Haran and Liechty
    (2014). A step needs some five densities for every number of the program. For programs with
    discrete variables use :class:`~probneuro.inference.site_gibbs.Gibbs`, whose continuous
    sites move in the same way.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist, torch
    >>> from probneuro import infer
    >>> def spikes(count):
    ...     rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    ...     pyro.sample("count", dist.Poisson(rate), obs=count)
    >>> sizes = {"draws": 200, "chains": 1, "seed": 1, "progress": False}
    >>> result = infer(spikes, torch.tensor(4.0), engine=Slice(warmup=100), **sizes)
    >>> bool(abs(result.posterior["rate"].mean() - 3.0) < 0.5)
    True
    """

    warmup: int = 500
    sweeps: int = 1

    def __post_init__(self) -> None:
        for name, least in (("warmup", 0), ("sweeps", 1)):
            if getattr(self, name) < least:
                raise SettingError(
                    f"`{name}` must be at least {least}; got {getattr(self, name)!r}. "
                    f"Its default is {getattr(Slice, name)}."
                )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the chains on a program and return the result."""
        target = PyroTarget(_continuous(model, args, kwargs, torch.device(options.device)))
        chains = run_as_asked(
            SliceKernel(target, self), options, warmup=self.warmup, label=self.name
        )
        return chains_result(chains, options, dims=target.dims)


def _continuous(
    model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], device: torch.device
) -> Program:
    """Read a program, and refuse discrete variables for the reason that slices have."""
    whole = model.model if isinstance(model, Model) else model
    program = read(whole, args, kwargs, discrete=True, device=device)
    if program.discrete:
        raise CapabilityError(
            f"Site `{program.discrete[0].name}` is discrete, and a slice is an interval of "
            "numbers. Use Gibbs(), which draws discrete variables one by one and moves the "
            "others by slices, or sum it out in the program."
        )
    return program


class SliceKernel(Kernel):
    """One chain of :class:`Slice`.

    Parameters
    ----------
    target : PyroTarget
        The program.
    settings : Slice
        The engine's settings.
    """

    def __init__(self, target: PyroTarget, settings: Slice) -> None:
        self._target, self._sweeps = target, settings.sweeps
        self._plan = schedule(settings.warmup)

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a random point of finite density."""
        size, density = self._target.dimension, self._target.log_density
        position = start_of_finite_density(lambda: free_place(size, rng), density)
        clock = {"value": np.array(density(position)), "iteration": np.array(0)}
        return {"position": position, **clock, **start_slice(size)}

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Move along every direction."""
        position, value, iteration = (state[name] for name in _OWN)
        own = {name: part for name, part in state.items() if name not in _OWN}
        height = float(value)
        for _ in range(self._sweeps):
            position, height = slice_sweep(self._target.log_density, position, height, own, rng)
        if warmup:
            own = learn_directions(own, position, int(iteration), self._plan)
        clock = {"value": np.array(height), "iteration": iteration + 1}
        return {"position": position, **clock, **own}, {"lp": np.array(height)}

    def draw(self, state: Arrays) -> Arrays:
        """Return the program's latent and deterministic sites."""
        return self._target.variables(state["position"])
