"""Gibbs sampling of any Pyro program: discrete sites one by one, the rest by slices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch.distributions import biject_to

from probneuro.core.device import as_numpy
from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions, RunsOnDevice
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.model import Model
from probneuro.inference.adaptation import schedule
from probneuro.inference.pyro_program import Program, read, trace_given
from probneuro.inference.runner import chains_result, run_as_asked
from probneuro.inference.slice import learn_directions, slice_sweep, start_slice
from probneuro.inference.starts import free_place, start_of_finite_density

Floats = NDArray[np.float64]

_CHOICE: Final = "choice."
_SLICE: Final = "slice."


@dataclass(frozen=True, kw_only=True)
class Gibbs(Engine, RunsOnDevice):
    r"""Gibbs sampling of a Pyro program whose discrete sites take finitely many values.

    .. math::

        P(z_i = v \mid z_{-i}, \theta, y) \propto p(z_{-i}, z_i = v, \theta, y)

    for every element of every discrete site in random order, and slice sampling along the
    principal axes of the warm-up's draws for all continuous sites together (Neal, 2003;
    Tibbits et al., 2014). It needs no gradient and nothing to tune.

    Parameters
    ----------
    warmup : int
        Steps that learn the directions of slices; they are not draws.
    sweeps : int
        Slice sweeps a step.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    A step runs the program once for every value of every discrete element, and some five times
    for every continuous number: it is meant for small programs. Discrete variables that are
    strongly dependent move slowly; sum them out where you can.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> from probneuro import infer
    >>> def coin(heads):
    ...     fair = pyro.sample("fair", dist.Bernoulli(0.5))
    ...     pyro.sample("heads", dist.Binomial(10, 0.9 - 0.4 * fair), obs=heads)
    >>> sizes = {"draws": 200, "chains": 1, "seed": 1, "progress": False}
    >>> result = infer(coin, torch.tensor(9.0), engine=Gibbs(warmup=0), **sizes)
    >>> bool(result.posterior["fair"].mean() < 0.1)
    True
    """

    warmup: int = 500
    sweeps: int = 1

    def __post_init__(self) -> None:
        for name, least in (("warmup", 0), ("sweeps", 1)):
            if getattr(self, name) < least:
                raise SettingError(
                    f"`{name}` must be at least {least}; got {getattr(self, name)!r}. "
                    f"Its default is {getattr(Gibbs, name)}."
                )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the chains on a program and return the result."""
        plain = model.model if isinstance(model, Model) else model
        device = torch.device(options.device)
        program = read(plain, args, kwargs, discrete=True, device=device)
        chains = run_as_asked(
            SiteKernel(program, self), options, warmup=self.warmup, label=self.name
        )
        names = {site.name: site.dims for site in program.sites}
        names |= {site.name: site.dims for site in program.discrete}
        return chains_result(chains, options, dims={**names, **program.deterministic})


class SiteKernel(Kernel):
    """One chain of :class:`Gibbs`.

    Parameters
    ----------
    program : Program
        Read with its discrete sites.
    settings : Gibbs
        The engine's settings.
    """

    def __init__(self, program: Program, settings: Gibbs) -> None:
        self._program, self._sweeps = program, settings.sweeps
        self._plan = schedule(settings.warmup)
        self._sizes = [int(np.prod(site.free_shape)) for site in program.sites]

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a random point of finite density."""
        size = sum(self._sizes)

        def draw() -> tuple[Floats, dict[str, NDArray[Any]]]:
            choices = {
                site.name: rng.integers(len(site.values), size=site.shape)
                for site in self._program.discrete
            }
            return free_place(size, rng), choices

        position, choices = start_of_finite_density(draw, lambda start: self._log_density(*start))
        parts: Arrays = {"position": position, "iteration": np.array(0)}
        parts |= {_CHOICE + name: index for name, index in choices.items()}
        return parts | {_SLICE + name: value for name, value in start_slice(size).items()}

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Draw every discrete element, then move the continuous sites."""
        position, iteration = state["position"], int(state["iteration"])
        choices = {site.name: state[_CHOICE + site.name].copy() for site in self._program.discrete}
        own = {n.removeprefix(_SLICE): v for n, v in state.items() if n.startswith(_SLICE)}
        value = self._draw_choices(position, choices, rng)
        if position.size:
            for _ in range(self._sweeps):
                position, value = slice_sweep(
                    lambda place: self._log_density(place, choices), position, value, own, rng
                )
            if warmup:
                own = learn_directions(own, position, iteration, self._plan)
        fresh: Arrays = {"position": position, "iteration": np.array(iteration + 1)}
        fresh |= {_CHOICE + name: index for name, index in choices.items()}
        fresh |= {_SLICE + name: part for name, part in own.items()}
        return fresh, {"lp": np.array(value)}

    def draw(self, state: Arrays) -> Arrays:
        """Return the program's latent and deterministic sites."""
        choices = {site.name: state[_CHOICE + site.name] for site in self._program.discrete}
        with self._program.as_found(), torch.no_grad():
            values, _ = self._values(state["position"], choices)
            trace = trace_given(self._program.run, values)
        fixed = {name: trace.nodes[name]["value"] for name in self._program.deterministic}
        return {name: as_numpy(value).copy() for name, value in (values | fixed).items()}

    def _draw_choices(
        self, position: Floats, choices: dict[str, NDArray[Any]], rng: np.random.Generator
    ) -> float:
        """Draw every discrete element given all else, in place; return the log density."""
        elements = [
            (site, index) for site in self._program.discrete for index in np.ndindex(site.shape)
        ]
        value = np.nan if elements else self._log_density(position, choices)
        for number in rng.permutation(len(elements)):
            site, index = elements[number]
            values = np.empty(len(site.values))
            for v in range(values.size):
                choices[site.name][index] = v
                values[v] = self._log_density(position, choices)
            best = values.max()
            if not np.isfinite(best):
                raise InferenceError(f"No value of `{site.name}` has a finite density.")
            weights = np.cumsum(np.exp(values - best))
            chosen = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
            choices[site.name][index] = chosen
            value = values[chosen]
        return float(value)

    def _log_density(self, position: Floats, choices: Mapping[str, NDArray[Any]]) -> float:
        with self._program.as_found(), torch.no_grad():
            values, volume = self._values(position, choices)
            try:
                trace = trace_given(self._program.run, values)
                total = float(volume + trace.log_prob_sum())
            except torch.linalg.LinAlgError:
                return -np.inf
        return total if np.isfinite(total) else -np.inf

    def _values(
        self, position: Floats, choices: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the value of every latent site, and the log volume of the transforms."""
        vector = self._program.vectors(position)
        volume, values = vector.new_zeros(()), {}
        for site, part in zip(self._program.sites, vector.split(self._sizes), strict=True):
            free, transform = part.reshape(site.free_shape), biject_to(site.support)
            values[site.name] = transform(free)
            volume = volume + transform.log_abs_det_jacobian(free, values[site.name]).sum()
        for finite in self._program.discrete:
            values[finite.name] = finite.values[
                torch.as_tensor(choices[finite.name], device=vector.device)
            ]
        return values, volume
