"""Draws of data from a program: before seeing any, after, and for new circumstances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro.distributions import Unit

from probneuro.convert.fresh_draws import fresh_over_draws
from probneuro.convert.labels import fitting, labels_of, own_names, prefer, with_groups
from probneuro.convert.log_density import missing_sites
from probneuro.convert.replay import (
    Draws,
    Replay,
    Run,
    Tensors,
    draws_at_once,
    draws_of,
    observed_sites,
    program_of,
    trace_once,
    value_dims,
)
from probneuro.core.device import as_numpy, resolve_device
from probneuro.core.errors import CapabilityError, DataError, SettingError
from probneuro.core.names import (
    OBSERVED_DATA,
    POSTERIOR,
    POSTERIOR_PREDICTIVE,
    PREDICTIONS,
    PREDICTIONS_CONSTANT_DATA,
    PRIOR,
    PRIOR_PREDICTIVE,
)
from probneuro.core.results import build_result
from probneuro.core.rng import generator, resolve_seed
from probneuro.inference.pyro_program import (
    in_working_dtype,
    is_deterministic,
    latent_sites,
    pyro_as_found,
)


@dataclass
class Drawn:
    """Values of a program's sites at every draw, with names for their dimensions."""

    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    dims: dict[str, list[Any]] = field(default_factory=dict)
    observed: dict[str, NDArray[Any]] = field(default_factory=dict)


def sample_prior_predictive(
    model: Any,
    *args: Any,
    draws: int = 500,
    seed: int | None = None,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    device: Any = None,
    **kwargs: Any,
) -> xr.DataTree:
    """Draw parameters from the prior, and data from them.

    Parameters
    ----------
    model : Model or callable
        The program.
    *args, **kwargs
        Its arguments, with the data, which tell what is observed and are not looked at.
    draws : int
        Number of draws.
    seed : int or None
        Same seed, same numbers; None for a fresh one, which is recorded.
    coords, dims : mapping, optional
        Labels of dimensions, and names of each variable's dimensions.
    device : str, torch.device or None
        Where the program runs, as in `infer`.

    Returns
    -------
    xarray.DataTree
        Groups ``prior`` (deterministic sites included), ``prior_predictive`` and
        ``observed_data``, with one chain.

    Raises
    ------
    CapabilityError
        If a prior cannot be drawn from, or plates are subsampled.
    SettingError
        If ``draws`` is not a positive integer.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> def coin(heads):
    ...     bias = pyro.sample("bias", dist.Beta(1.0, 1.0))
    ...     pyro.sample("heads", dist.Binomial(10, bias), obs=heads)
    >>> found = sample_prior_predictive(coin, torch.tensor(7.0), draws=20, seed=1)
    >>> sorted(found.children), found["prior_predictive/heads"].shape
    (['observed_data', 'prior', 'prior_predictive'], (1, 20))
    """
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise SettingError(f"`draws` must be a positive integer; got {draws!r}. Pass e.g. 500.")
    seed = resolve_seed(seed)
    none = Draws({}, (1, int(draws)), {})
    where = resolve_device(device, args, kwargs)

    def work(run: Run, dtype: torch.dtype) -> Drawn:
        with pyro_as_found(dtype, device=where):
            return _draw(run, dtype, none, (seed, PRIOR), everything=True)

    found = in_working_dtype(program_of(model), args, kwargs, work, where)
    names = {**_preferred(found, own_names(model, None)), **(dims or {})}
    arrays = none.unflatten(found.values)
    groups = {
        PRIOR: {n: v for n, v in arrays.items() if n not in found.observed},
        PRIOR_PREDICTIVE: {n: v for n, v in arrays.items() if n in found.observed},
        OBSERVED_DATA: found.observed,
    }
    tree = build_result({}, groups=groups, dims=names, coords=coords or {})
    for group in (PRIOR, PRIOR_PREDICTIVE):
        if group in tree.children:
            tree[group].attrs["seed"] = seed
    return tree


def sample_posterior_predictive(
    result: xr.DataTree,
    model: Any,
    *args: Any,
    seed: int | None = None,
    device: Any = None,
    **kwargs: Any,
) -> xr.DataTree:
    """Draw replicated data, once for every draw of the posterior.

    The program runs for every draw with its latent variables given and its data drawn anew, in
    the order of the program; many draws at once where torch can batch it. Discrete variables of
    which there are no draws are drawn from the program as well, as for new units. To draw less,
    pass fewer draws: ``result.isel(draw=slice(None, None, 10))``.

    Parameters
    ----------
    result : xarray.DataTree
        Draws of the program.
    model : Model or callable
        The program.
    *args, **kwargs
        Its arguments, as in the fit.
    seed : int or None
        Same seed, same numbers; None for a fresh one, which is recorded.
    device : str, torch.device or None
        Where the program runs, as in `infer`.

    Returns
    -------
    xarray.DataTree
        The result with group ``posterior_predictive``, and ``observed_data`` if it had none.

    Raises
    ------
    DataError
        If the draws do not fit the program.
    CapabilityError
        If the program predicts nothing, or plates are subsampled.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> from probneuro.core.results import build_result
    >>> def sure(heads):
    ...     bias = pyro.sample("bias", dist.Beta(1.0, 1.0))
    ...     pyro.sample("heads", dist.Binomial(10, bias), obs=heads)
    >>> draws = build_result({"bias": np.array([[0.0, 1.0]])})
    >>> found = sample_posterior_predictive(draws, sure, torch.tensor(7.0), seed=1)
    >>> found["posterior_predictive/heads"].values
    array([[ 0., 10.]])
    """
    draws, seed = draws_of(result), resolve_seed(seed)
    where = resolve_device(device, args, kwargs)
    known = set(result[OBSERVED_DATA].data_vars) if OBSERVED_DATA in result.children else set()

    def work(run: Run, dtype: torch.dtype) -> Drawn:
        with pyro_as_found(dtype, device=where):
            _check(run, dtype, draws, {str(name) for name in known})
            return _draw(run, dtype, draws, (seed, POSTERIOR_PREDICTIVE))

    found = in_working_dtype(program_of(model), args, kwargs, work, where)
    names = _preferred(found, own_names(model, result))
    groups: dict[str, Any] = {POSTERIOR_PREDICTIVE: draws.unflatten(found.values)}
    if OBSERVED_DATA not in result.children:
        groups[OBSERVED_DATA] = found.observed
    labels = fitting(labels_of(result), _sizes(found, names))
    tree = with_groups(result, groups, dims=names, coords={**labels, **draws.coords})
    tree[POSTERIOR_PREDICTIVE].attrs["seed"] = seed
    return tree


def predictions(
    result: xr.DataTree,
    model: Any,
    *new_args: Any,
    seed: int | None = None,
    constant_data: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    redraw: Sequence[str] = (),
    device: Any = None,
    **new_kwargs: Any,
) -> xr.DataTree:
    """Predict under new circumstances, once for every draw of the posterior.

    The program runs once a draw with new arguments. What it observes, and what the posterior
    has no draws of, is drawn from the program; its deterministic sites are recorded as well.

    Parameters
    ----------
    result : xarray.DataTree
        Draws of the program.
    model : Model or callable
        The program.
    *new_args, **new_kwargs
        New arguments; None or anything of the right shape for data to be predicted.
    seed : int or None
        Same seed, same numbers; None for a fresh one, which is recorded.
    constant_data : mapping, optional
        New covariates, kept as ``predictions_constant_data``.
    coords, dims : mapping, optional
        Labels of new dimensions, and names of each variable's dimensions. Dimensions of the
        posterior keep their labels.
    redraw : sequence of str
        Latent variables to draw anew, such as the effects of units that were not in the fit.
    device : str, torch.device or None
        Where the program runs, as in `infer`.

    Returns
    -------
    xarray.DataTree
        The result with group ``predictions``, and ``predictions_constant_data`` if given.

    Raises
    ------
    DataError
        If the draws do not fit the program.
    CapabilityError
        If the program predicts nothing, or plates are subsampled.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> from probneuro.core.results import build_result
    >>> def line(x, y=None):
    ...     slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    ...     with pyro.plate("trial", len(x)):
    ...         pyro.sample("y", dist.Delta(slope * x), obs=y)
    >>> draws = build_result({"slope": np.array([[1.0, 2.0]])})
    >>> predictions(draws, line, torch.tensor([3.0]))["predictions/y"].values
    array([[[3.],
            [6.]]])
    """
    draws, seed = draws_of(result), resolve_seed(seed)
    where = resolve_device(device, new_args, new_kwargs)
    for name in redraw:
        if name not in draws.values:
            raise DataError(
                f"`redraw` names `{name}`, of which there are no draws. Leave it out: what the "
                "posterior does not hold is drawn anyway."
            )

    def work(run: Run, dtype: torch.dtype) -> Drawn:
        stream = seed, PREDICTIONS
        with pyro_as_found(dtype, device=where):
            return _draw(run, dtype, draws, stream, everything=True, redraw=tuple(redraw))

    found = in_working_dtype(program_of(model), new_args, new_kwargs, work, where)
    names = {**_preferred(found, own_names(model, result)), **(dims or {})}
    posterior = xr.DataTree.from_dict({POSTERIOR: result[POSTERIOR].to_dataset()})
    labels = {**fitting(labels_of(posterior), _sizes(found, names)), **(coords or {})}
    groups = {
        PREDICTIONS: draws.unflatten(found.values),
        PREDICTIONS_CONSTANT_DATA: dict(constant_data or {}),
    }
    tree = with_groups(result, groups, dims=names, coords={**labels, **draws.coords})
    tree[PREDICTIONS].attrs["seed"] = seed
    return tree


def _check(run: Run, dtype: torch.dtype, draws: Draws, known: set[str]) -> None:
    """Refuse a program whose latent variables are not all in the draws."""
    trace = trace_once(run, Replay(draws.at(0), dtype))
    if _data(trace):
        missing_sites(trace, draws, discrete_too=False)
    elif known:  # called without data: what was observed in the fit may be missing
        for name in known & set(latent_sites(trace)):
            trace.nodes.pop(name)
        missing_sites(trace, draws, discrete_too=False)


def _data(trace: Any) -> dict[str, Any]:
    """Return the nodes that hold data, factors left out: they have nothing to draw."""
    return {
        n: node for n, node in observed_sites(trace).items() if not isinstance(node["fn"], Unit)
    }


def _draw(
    run: Run,
    dtype: torch.dtype,
    draws: Draws,
    stream: tuple[int, str],
    *,
    everything: bool = False,
    redraw: tuple[str, ...] = (),
) -> Drawn:
    """Run the program for every draw, its data drawn anew: several at once where torch can.

    What a draw gets depends on no other draw. With ``everything``, all that is not given is
    recorded; else data alone where there are.
    """
    found = Drawn()
    kinds: dict[str, torch.dtype] = {}

    def one(values: Tensors) -> Tensors:
        replay = Replay(values, dtype, kinds, fresh=True, redrawn=redraw)
        wanted = _wanted(trace_once(run, replay), draws, found, everything, redraw)
        found.dims.update({name: value_dims(node) for name, node in wanted.items()})
        return {name: torch.as_tensor(node["value"]).detach() for name, node in wanted.items()}

    try:
        look = trace_once(run, Replay(draws.at(0), dtype, kinds, redrawn=redraw))
        found.observed = {n: as_numpy(node["value"]).copy() for n, node in _data(look).items()}
        seed = int(generator(*stream).integers(2**62))
        count = draws.shape[0] * draws.shape[1]
        found.values = fresh_over_draws(one, draws.values, count, draws_at_once("auto", look), seed)
    except NotImplementedError as error:
        raise CapabilityError(
            f"The program cannot be drawn from ({error}): some prior is improper, or only a "
            "density. Give it a proper prior."
        ) from error
    if not found.values:
        raise CapabilityError(
            "The program has nothing to predict: it observes nothing, and every variable has "
            "draws. Pass the data, as in the fit."
        )
    return found


def _wanted(
    trace: Any, draws: Draws, found: Drawn, everything: bool, redraw: tuple[str, ...]
) -> dict[str, Any]:
    latent = latent_sites(trace)
    if found.observed and not everything:
        return {name: latent[name] for name in found.observed}
    new = {n: node for n, node in latent.items() if n not in draws.values or n in redraw}
    if everything:
        for name, node in trace.nodes.items():
            if node["type"] == "sample" and is_deterministic(node):
                new[name] = node
    return new


def _preferred(found: Drawn, given: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
    return {name: prefer(given.get(name), dims) for name, dims in found.dims.items()}


def _sizes(found: Drawn, names: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    return {
        dim: length
        for name, values in found.values.items()
        for dim, length in zip(names[name], values.shape[1:], strict=False)
        if dim
    }
