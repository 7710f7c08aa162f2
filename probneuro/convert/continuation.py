"""Log densities of data that come after those that a fit has seen, for any sequential program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from probneuro.convert.log_density import compute_log_likelihood
from probneuro.convert.replay import (
    Draws,
    Replay,
    draws_of,
    is_discrete,
    observed_sites,
    program_of,
    trace_once,
)
from probneuro.convert.truncation import Arguments, Timeline
from probneuro.core.errors import CapabilityError
from probneuro.core.results import build_result
from probneuro.core.rng import generator
from probneuro.core.state_space import StateSpaceModel, as_series
from probneuro.inference.enumeration import log_prob
from probneuro.inference.pyro_program import (
    in_working_dtype,
    is_deterministic,
    latent_sites,
    pyro_as_found,
)
from probneuro.inference.state_space_filter import run_filter
from probneuro.inference.state_space_steps import BoundModel, bind_parameters, torch_stream

Floats = NDArray[np.float64]

_CHECKED: Final = 2
_AGREE: Final = {torch.float64: 1e-8, torch.float32: 1e-3}


@dataclass(frozen=True)
class Sequence:
    """A program with all its data, in order of time.

    Parameters
    ----------
    model : Model or callable
        The program.
    args, kwargs
        Its arguments, uncut.
    timeline : Timeline
        Where time runs in its observations.
    """

    model: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    timeline: Timeline

    def log_densities(self, fit: xr.DataTree, seen: int, seed: int) -> Floats:
        """Return log p(y_t | y_<t, draw) at every time, shape (chain, draw, time).

        Parameters
        ----------
        fit : xarray.DataTree
            Draws given the data before ``seen``. Latent variables of later times are drawn
            from the program, given the draw.
        seen : int
            Times that the fit has seen.
        seed : int
            Of what is drawn.
        """
        timeline = self.timeline
        full = self._continued(fit, seen, seed)
        others = {d for dims in timeline.names.values() for d in dims} - {timeline.dim}
        found = compute_log_likelihood(
            full, self.model, *self.args, reduce=sorted(others), **self.kwargs
        )["log_likelihood"].to_dataset()
        parts = [v.values for v in found.data_vars.values() if timeline.dim in v.dims]
        total: Floats = np.sum(np.asarray(parts, dtype=np.float64), axis=0)
        return total

    def check(self, fit: xr.DataTree, seen: int, short: Arguments) -> None:
        """Refuse a program in which what comes later changes what was before.

        Raises
        ------
        CapabilityError
            If a site's density at a draw is another once later data are there.
        """
        few = fit.isel(chain=slice(0, 1), draw=slice(0, _CHECKED))
        draws, longer = draws_of(few), draws_of(self._continued(few, seen, 0))
        program, name = program_of(self.model), self.timeline.dim

        def densities(given: Draws, args: Any, kwargs: Any, row: int) -> tuple[Any, torch.dtype]:
            def work(run: Any, dtype: torch.dtype) -> Any:
                with pyro_as_found(dtype), torch.no_grad():
                    trace = trace_once(run, Replay(given.at(row), dtype))
                    return _densities(trace, given), dtype

            return in_working_dtype(program, args, kwargs, work)

        for row in range(draws.shape[1]):
            before, dtype = densities(draws, *short, row)
            after, _ = densities(longer, self.args, self.kwargs, row)
            for site, first in before.items():
                if site not in after or not _same(first, after[site], _AGREE[dtype]):
                    raise CapabilityError(
                        f"The density of `{site}` at times before {seen} changes once later data "
                        f"are there, so that the program is no prediction along `{name}`. Let "
                        "each observation depend on earlier ones alone; if the arguments were "
                        "cut wrongly, pass `truncate=`."
                    )

    def _continued(self, fit: xr.DataTree, seen: int, seed: int) -> xr.DataTree:
        draws = draws_of(fit)

        def work(run: Any, dtype: torch.dtype) -> xr.DataTree:
            with pyro_as_found(dtype), torch.no_grad():
                look = _Continue(draws.at(0), dtype, self.timeline.dim, seen)
                _run(run, look)
                if not look.drawn:
                    return fit
                torch.manual_seed(int(generator(seed, "continue").integers(2**62)))
                rows: dict[str, list[NDArray[Any]]] = {}
                for index in range(draws.shape[0] * draws.shape[1]):
                    fresh = _Continue(draws.at(index), dtype, self.timeline.dim, seen)
                    _run(run, fresh)
                    for site, value in fresh.drawn.items():
                        rows.setdefault(site, []).append(value.numpy().copy())
            known = {n: v for n, v in draws.values.items() if n not in rows and "." not in n}
            values = {**known, **{n: np.stack(v) for n, v in rows.items()}}
            return build_result(draws.unflatten(values), coords=dict(draws.coords))

        return in_working_dtype(program_of(self.model), self.args, self.kwargs, work)


def _run(run: Callable[[], Any], messenger: Messenger) -> None:
    with messenger:
        run()


def _densities(trace: Any, draws: Draws) -> dict[str, torch.Tensor]:
    wanted = {n: x for n, x in latent_sites(trace).items() if n in draws.values}
    if len(wanted) < len(latent_sites(trace)):
        return {}  # densities depend on what is summed out
    return {n: log_prob(x) for n, x in {**wanted, **observed_sites(trace)}.items()}


def _same(first: torch.Tensor, later: torch.Tensor, tolerance: float) -> bool:
    if first.dim() != later.dim():
        return False
    part = later[tuple(slice(size) for size in first.shape)]
    return part.shape == first.shape and torch.allclose(
        part, first, rtol=tolerance, atol=tolerance, equal_nan=True
    )


class _Continue(Messenger):
    """Gives latent variables their values as far as the data went, and draws the rest."""

    def __init__(
        self, values: dict[str, torch.Tensor], dtype: torch.dtype, dim: str, seen: int
    ) -> None:
        super().__init__()
        self.values, self.dtype, self.dim, self.seen = values, dtype, dim, seen
        self.drawn: dict[str, torch.Tensor] = {}

    def _pyro_param(self, message: Any) -> None:
        value = self.values.get("param." + message["name"])
        if value is not None:
            message["value"], message["done"] = value.to(self.dtype), True

    def _pyro_sample(self, message: Any) -> None:
        if message["is_observed"] or site_is_subsample(message) or is_deterministic(message):
            return
        name, fn = message["name"], message["fn"]
        value = self.values.get(name)
        if value is None:
            if is_discrete(message):
                return  # to be summed out
            message["value"] = self.drawn[name] = fn.sample()
        elif tuple(value.shape) == tuple(fn.shape()):
            message["value"] = value.to(fn.sample().dtype if is_discrete(message) else self.dtype)
        else:
            message["value"] = self.drawn[name] = self._longer(message, value)
        message["done"] = True

    def _longer(self, message: Any, value: torch.Tensor) -> torch.Tensor:
        name, fn = message["name"], message["fn"]
        for frame in message["cond_indep_stack"]:
            axis = frame.dim - fn.event_dim if frame.vectorized else 0
            if frame.name != self.dim or not frame.vectorized:
                continue
            fresh: torch.Tensor = fn.sample()
            part = fresh.narrow(axis, 0, min(self.seen, fresh.shape[axis]))
            if part.shape == value.shape:
                part.copy_(value.to(fresh.dtype))
                return fresh
        raise CapabilityError(
            f"`{name}` has shape {tuple(value.shape)} after {self.seen} times and "
            f"{tuple(fn.shape())} after all, and is not in the plate `{self.dim}`, so it cannot be "
            "continued. Sample it in that plate or one site a time, or write the program as a "
            "StateSpaceModel."
        )


def filtered_log_densities(
    model: StateSpaceModel, data: Any, fit: xr.DataTree, num_particles: int, seed: int
) -> Floats:
    """Return log p(y_t | y_<t, draw) of a state-space model, its states integrated out.

    A particle filter at each draw's parameters gives them; the states of the draws are not
    used.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    data : Series or array_like
        All its data.
    fit : xarray.DataTree
        Draws of its global sites.
    num_particles : int
        Particles of each filter.
    seed : int
        Seed of the filters.

    Returns
    -------
    numpy.ndarray
        Shape (chain, draw, time).
    """
    series, rng = as_series(data), generator(seed, "filters")
    with torch_stream(rng):
        sites = list(bind_parameters(model, None)[1])
    draws = draws_of(fit)
    rows = np.empty((draws.shape[0] * draws.shape[1], series.length))
    for index in range(len(rows)):
        with torch_stream(rng):
            params = bind_parameters(model, {n: draws.values[n][index] for n in sites})[0]
        rows[index] = run_filter(BoundModel(model, params, series), num_particles, rng).increments
    return rows.reshape(*draws.shape, series.length)


def prior_of_parameters(model: StateSpaceModel, draws: int, chains: int, seed: int) -> xr.DataTree:
    """Draw the global sites of a state-space model from their prior.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    draws, chains, seed : int
        Sizes of the sample, and its seed.
    """
    with torch_stream(generator(seed, "prior")):
        rows = [bind_parameters(model, None)[1] for _ in range(draws * chains)]
    stacked = {n: np.stack([row[n] for row in rows]) for n in rows[0]}
    return build_result({n: v.reshape(chains, draws, *v.shape[1:]) for n, v in stacked.items()})
