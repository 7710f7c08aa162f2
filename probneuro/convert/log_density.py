"""Log likelihood and log prior of every draw, at every observation, for any Pyro program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro.distributions import MaskedDistribution

from probneuro.convert.labels import fitting, labels_of, own_names, with_groups
from probneuro.convert.reduction import Reduction, parse_reduction
from probneuro.convert.replay import (
    Draws,
    Replay,
    Run,
    Tensors,
    draws_at_once,
    draws_of,
    is_discrete,
    named,
    observed_sites,
    over_draws,
    program_of,
    trace_once,
)
from probneuro.convert.summed_out import summed_log_likelihood
from probneuro.core.device import resolve_device
from probneuro.core.errors import CapabilityError, DataError, InferenceError
from probneuro.core.names import LOG_LIKELIHOOD, LOG_PRIOR
from probneuro.inference.enumeration import log_prob, num_batch_dims, trace_summing
from probneuro.inference.pyro_program import (
    in_working_dtype,
    latent_sites,
    plate_dims,
    pyro_as_found,
)

NUM_MASKED = "num_masked"
"""Attribute of a log likelihood: how many of its observations are masked, and so are zero."""


@dataclass(frozen=True)
class _Found:
    """Values of every draw, with names for their dimensions."""

    values: dict[str, NDArray[Any]]
    dims: dict[str, list[str]]
    masked: dict[str, int]


def compute_log_likelihood(
    result: xr.DataTree,
    model: Any,
    *args: Any,
    reduce: str | Sequence[str] | Mapping[str, int | None] | None = None,
    chunk: int | str = "auto",
    device: Any = None,
    **kwargs: Any,
) -> xr.DataTree:
    r"""Add the log likelihood of every observation under every draw.

    .. math::

        \ell_{s,i} = \log p(y_i \mid \theta_s), \qquad
        p(y_i \mid \theta_s) = \sum_z p(z \mid \theta_s)\, p(y_i \mid z, \theta_s)

    The program is run again with the latent variables at each draw, so that what it computes
    is what is recorded. Discrete variables z of which there are no draws are summed out
    exactly. An observation is an element of the batch of a site's density: events (a vector
    with ``.to_event(1)``) are one observation. Masked observations (`pyro.poutine.mask`,
    ``obs_mask=``) contribute zero; the variable's attribute ``num_masked`` counts them.
    `pyro.poutine.scale` is left out, since it changes the fit and not the data's probability.
    Terms of ``pyro.factor`` count as observations under the factor's name.

    Parameters
    ----------
    result : xarray.DataTree
        Draws of the program, from `infer`, `from_pyro` or `from_pyro_svi`.
    model : Model or callable
        The program.
    *args, **kwargs
        Its arguments, with the data.
    reduce : str, sequence of str, or mapping, optional
        Dimensions to sum over, which saves memory, and makes all that is summed one
        observation; ``{"time": 1000}`` sums blocks of 1000.
    chunk : int or "auto"
        Draws held in memory at a time.
    device : str, torch.device or None
        Where the program runs, as in `infer`.

    Returns
    -------
    xarray.DataTree
        The result with group ``log_likelihood``: a variable a site, of dimensions
        (chain, draw, plates from the outermost in).

    Raises
    ------
    CapabilityError
        If the program observes nothing, subsamples its data, or several observations share a
        discrete variable, so that they have no likelihood of their own.
    DataError
        If the draws do not fit the program.
    InferenceError
        If a value is NaN.
    SettingError
        If ``reduce`` or ``chunk`` is unknown.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> from probneuro.core.results import build_result
    >>> def coin(heads):
    ...     bias = pyro.sample("bias", dist.Beta(1.0, 1.0))
    ...     with pyro.plate("toss", len(heads)):
    ...         pyro.sample("heads", dist.Bernoulli(bias), obs=heads)
    >>> draws = build_result({"bias": np.array([[0.5, 0.25]])})
    >>> found = compute_log_likelihood(draws, coin, torch.tensor([1.0, 0.0]))
    >>> np.exp(found["log_likelihood/heads"].values)
    array([[[0.5 , 0.5 ],
            [0.25, 0.75]]])
    """
    draws, reduction = draws_of(result), parse_reduction(reduce)
    given = own_names(model, result)

    where = resolve_device(device, args, kwargs)

    def work(run: Run, dtype: torch.dtype) -> _Found:
        with pyro_as_found(dtype, device=where), torch.no_grad():
            return _likelihood(run, dtype, draws, reduction, chunk, given)

    found = in_working_dtype(program_of(model), args, kwargs, work, where)
    _refuse_nan(found.values, draws)
    known = reduction.labels(labels_of(result))
    tree = _with(result, LOG_LIKELIHOOD, found, draws, known)
    for name, count in found.masked.items():
        tree[LOG_LIKELIHOOD][name].attrs[NUM_MASKED] = count
    return tree


def compute_log_prior(
    result: xr.DataTree, model: Any, *args: Any, device: Any = None, **kwargs: Any
) -> xr.DataTree:
    """Add the log prior density of every latent variable at every draw.

    Densities are those of the program: conditional on the variables before, never scaled.

    Parameters
    ----------
    result : xarray.DataTree
        Draws of the program.
    model : Model or callable
        The program.
    *args, **kwargs
        Its arguments.
    device : str, torch.device or None
        Where the program runs, as in `infer`.

    Returns
    -------
    xarray.DataTree
        The result with group ``log_prior``: a variable a site, of dimensions (chain, draw,
        plates from the outermost in); an event is one number.

    Raises
    ------
    CapabilityError
        If a prior depends on a discrete variable of which there are no draws.
    DataError
        If the draws do not fit the program.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> from probneuro.core.results import build_result
    >>> def program():
    ...     pyro.sample("rate", dist.Exponential(2.0))
    >>> draws = build_result({"rate": np.array([[0.0, 1.0]])})
    >>> np.exp(compute_log_prior(draws, program)["log_prior/rate"].values).round(3)
    array([[2.   , 0.271]])
    """
    draws = draws_of(result)
    where = resolve_device(device, args, kwargs)

    def work(run: Run, dtype: torch.dtype) -> _Found:
        with pyro_as_found(dtype, device=where), torch.no_grad():
            return _prior(run, dtype, draws)

    found = in_working_dtype(program_of(model), args, kwargs, work, where)
    return _with(result, LOG_PRIOR, found, draws, labels_of(result))


def _with(
    result: xr.DataTree, group: str, found: _Found, draws: Draws, known: Mapping[str, Any]
) -> xr.DataTree:
    sizes = {
        dim: length
        for name, dims in found.dims.items()
        for dim, length in zip(dims, found.values[name].shape[1:], strict=True)
    }
    return with_groups(
        result,
        {group: draws.unflatten(found.values)},
        dims=found.dims,
        coords={**fitting(known, sizes), **draws.coords},
    )


def _refuse_nan(values: Mapping[str, NDArray[Any]], draws: Draws) -> None:
    for name, rows in values.items():
        if bad := np.argwhere(np.isnan(rows)).tolist():
            chain, draw = divmod(bad[0][0], draws.shape[1])
            raise InferenceError(
                f"The log likelihood of `{name}` is NaN at {len(bad)} places, first in chain "
                f"{chain}, draw {draw}, observation {tuple(bad[0][1:])}. Mask missing data with "
                "`pyro.poutine.mask`, and look at that draw."
            )


def missing_sites(trace: Any, draws: Draws, *, discrete_too: bool) -> list[str]:
    """Return latent sites without draws: discrete ones may be summed out.

    Raises
    ------
    DataError
        If a continuous one is missing.
    """
    absent = [name for name in latent_sites(trace) if name not in draws.values]
    for name in absent:
        if discrete_too or not is_discrete(trace.nodes[name]):
            have = ", ".join(n for n in draws.values if "." not in n) or "none"
            raise DataError(
                f"There are no draws of `{name}`, which the program needs; there are draws of "
                f"{have}. Pass the program and the arguments of the fit, with the data."
            )
    return absent


def _likelihood(
    run: Run,
    dtype: torch.dtype,
    draws: Draws,
    reduction: Reduction,
    chunk: int | str,
    given: Mapping[str, Sequence[str]],
) -> _Found:
    look = Replay(draws.at(0), dtype)
    trace = trace_once(run, look)
    observed = observed_sites(trace)
    if not observed:
        raise CapabilityError(
            "The program observes nothing when called like this. Pass the data, as in the fit."
        )
    summing = bool(missing_sites(trace, draws, discrete_too=False))
    densities = {name: log_prob(node) for name, node in observed.items()}
    names = {n: point_names(observed[n], v, given.get(n)) for n, v in densities.items()}
    reduction.check(names.values())
    num_dims = num_batch_dims(trace)
    plates = {p for n in names for p in _whole_plates(observed[n], names[n], reduction)}

    def one(values: Tensors) -> Tensors:
        replay = Replay(values, dtype, look.kinds, summed=summing)
        if not summing:
            found = observed_sites(trace_once(run, replay))
            points = {name: log_prob(node) for name, node in found.items()}
        else:
            whole = trace_summing(run, replay, num_dims)
            points = summed_log_likelihood(whole, plates, num_dims)
        return {n: reduction.apply(v, names[n]) for n, v in points.items()}

    if summing:
        whole = Replay(draws.at(0), dtype, look.kinds, summed=True)
        trace = trace_summing(run, whole, num_dims)
    size = draws_at_once(chunk, trace)
    used = _used(draws, trace)
    values = over_draws(one, used, draws.shape[0] * draws.shape[1], size, dtype)
    dims = {name: reduction.dims(labels) for name, labels in names.items()}
    masked = {n: c for n in names if (c := _count_masked(observed[n], densities[n]))}
    return _Found(values, dims, masked)


def _used(draws: Draws, trace: Any) -> dict[str, NDArray[Any]]:
    wanted = {*latent_sites(trace)} | {
        f"param.{name}" for name, node in trace.nodes.items() if node["type"] == "param"
    }
    return {name: values for name, values in draws.values.items() if name in wanted}


def point_names(node: Any, density: torch.Tensor, given: Sequence[str] | None) -> list[str]:
    """Return names for the axes of a density: the plates, or what the user gave."""
    found = named(node["name"], plate_dims(node, tuple(density.shape)))
    value_size = torch.as_tensor(node["value"]).dim()
    if given is not None and len(given) == value_size and density.dim() <= value_size:
        return [*given][: density.dim()]
    return found


def _whole_plates(node: Any, names: list[str], reduction: Reduction) -> set[str]:
    """Return the plates whose axis of this site is summed over."""
    gone = {axis - len(names) for axis, name in enumerate(names) if name in reduction.whole}
    return {f.name for f in node["cond_indep_stack"] if f.vectorized and f.dim in gone}


def _count_masked(node: Any, density: torch.Tensor) -> int:
    kept = torch.ones(density.shape, dtype=torch.bool)
    fn = node["fn"]
    masks = [node["mask"]]
    while isinstance(fn, MaskedDistribution):
        masks.append(fn._mask)
        fn = fn.base_dist
    for mask in masks:
        if mask is not None:
            kept = kept & torch.as_tensor(mask)
    return int((~kept).sum())


def _prior(run: Run, dtype: torch.dtype, draws: Draws) -> _Found:
    look = Replay(draws.at(0), dtype)
    trace = trace_once(run, look)
    summing = bool(missing_sites(trace, draws, discrete_too=False))
    num_dims = num_batch_dims(trace)
    latent = [name for name in latent_sites(trace) if name in draws.values]
    names = {
        name: named(name, plate_dims(node, tuple(log_prob(node).shape)))
        for name, node in latent_sites(trace).items()
        if name in latent
    }

    def one(values: Tensors) -> Tensors:
        replay = Replay(values, dtype, look.kinds, summed=summing)
        full = trace_summing(run, replay, num_dims) if summing else trace_once(run, replay)
        found = {name: log_prob(full.nodes[name]) for name in latent}
        for name, density in found.items():
            if density.dim() > num_dims:
                raise CapabilityError(
                    f"The prior of `{name}` depends on a discrete variable without draws. "
                    "Keep that variable's draws in the result."
                )
        return found

    count = draws.shape[0] * draws.shape[1]
    values = over_draws(one, _used(draws, trace), count, draws_at_once("auto", trace), dtype)
    return _Found(values, names, {})
