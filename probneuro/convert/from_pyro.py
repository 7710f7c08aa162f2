"""What Pyro's own samplers and guides drew, as a result."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from probneuro.convert.log_density import compute_log_likelihood
from probneuro.convert.replay import (
    Draws,
    Replay,
    Run,
    Tensors,
    draws_at_once,
    observed_sites,
    over_draws,
    program_of,
    trace_once,
    value_dims,
)
from probneuro.core.errors import CapabilityError, DataError, SettingError
from probneuro.core.names import (
    CONSTANT_DATA,
    DRAW,
    OBSERVED_DATA,
    POSTERIOR,
    POSTERIOR_PREDICTIVE,
    PREDICTIONS,
    PREDICTIONS_CONSTANT_DATA,
    PRIOR,
    PRIOR_PREDICTIVE,
    SAMPLE_STATS,
)
from probneuro.core.results import build_result
from probneuro.inference.enumeration import num_batch_dims, trace_summing
from probneuro.inference.pyro_program import (
    in_working_dtype,
    is_deterministic,
    latent_sites,
    pyro_as_found,
)

log = logging.getLogger("probneuro")

Arrays = Mapping[str, Any]


@dataclass
class Look:
    """What one run of the program at a draw told."""

    dims: dict[str, list[Any]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    observed: dict[str, NDArray[Any]] = field(default_factory=dict)
    deterministic: dict[str, NDArray[Any]] = field(default_factory=dict)


def from_pyro(
    mcmc: Any = None,
    *,
    prior: Arrays | None = None,
    posterior_predictive: Arrays | None = None,
    predictions: Arrays | None = None,
    log_likelihood: bool | None = None,
    constant_data: Arrays | None = None,
    predictions_constant_data: Arrays | None = None,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    pred_dims: Mapping[str, Sequence[str]] | None = None,
    extra_event_dims: Mapping[str, Sequence[str]] | None = None,
    num_chains: int = 1,
    thin: int = 1,
    model: Any = None,
) -> xr.DataTree:
    """Turn what `pyro.infer.MCMC` and `pyro.infer.Predictive` drew into a result.

    Names of dimensions are the program's plates from the outermost in, then
    ``infer={"event_dims": [...]}`` of a site. Deterministic sites are computed again at every
    draw. Pyro keeps neither the draws of the warm-up nor a density or tree of each draw:
    ``sample_stats`` has ``diverging``, and the attributes what it keeps of a whole chain.

    Parameters
    ----------
    mcmc : pyro.infer.MCMC, optional
        After ``run``; chains may have run in one process or several.
    prior, posterior_predictive, predictions : mapping of str to array, optional
        From `pyro.infer.Predictive`, shape (draws of all chains, ...). Sites that the program
        observes go to ``prior_predictive``, the others to ``prior``.
    log_likelihood : bool or None
        Whether to compute it, exactly, by `compute_log_likelihood`; None for where the
        program allows it, with a line in the log where not.
    constant_data, predictions_constant_data : mapping of str to array, optional
        Kept as they are.
    coords, dims, pred_dims : mapping, optional
        Labels of dimensions, and names of each variable's dimensions; ``pred_dims`` are those
        of the predictions.
    extra_event_dims : mapping of str to sequence of str, optional
        Names for the axes of a site that no plate and no ``event_dims`` names.
    num_chains : int
        Chains of the other draws where there is no ``mcmc``.
    thin : int
        Keep every so manyth draw.
    model : callable, optional
        The program, where the kernel does not hold it.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior``, ``sample_stats``, ``observed_data``, ``log_likelihood``, and those
        given.

    Raises
    ------
    DataError
        If arrays do not fit the number of draws.
    SettingError
        If ``mcmc`` is not what Pyro returns, or has not run.
    CapabilityError
        If ``log_likelihood=True`` and it does not exist.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> from pyro.infer import MCMC, NUTS
    >>> from probneuro.core.rng import torch_seed
    >>> def coin(heads):
    ...     bias = pyro.sample("bias", dist.Beta(1.0, 1.0))
    ...     with pyro.plate("toss", len(heads)):
    ...         pyro.sample("heads", dist.Bernoulli(bias), obs=heads)
    >>> mcmc = MCMC(NUTS(coin), num_samples=20, warmup_steps=20, disable_progbar=True)
    >>> with torch_seed(1):
    ...     mcmc.run(torch.tensor([1.0, 0.0, 1.0]))
    >>> result = from_pyro(mcmc)
    >>> dict(result["log_likelihood/heads"].sizes)
    {'chain': 1, 'draw': 20, 'toss': 3}
    """
    run = _Run.of(mcmc, model, thin)
    look = run.look(required=bool(log_likelihood))
    look.dims = extended(look.dims, extra_event_dims or {})
    tree = combined(
        {
            POSTERIOR: {**run.posterior, **run.unflatten(look.deterministic)},
            SAMPLE_STATS: run.stats,
        },
        look,
        dims=dims,
        pred_dims=pred_dims,
        coords=coords,
        attrs=run.attrs,
        given=(prior, posterior_predictive, predictions, constant_data, predictions_constant_data),
        chains=run.shape[0] if run.posterior else num_chains,
        total=run.total,
        thin=thin,
    )
    return _with_likelihood(tree, run, look, log_likelihood)


def combined(
    groups: Mapping[str, Arrays],
    look: Look,
    *,
    given: tuple[Arrays | None, ...],
    dims: Mapping[str, Sequence[str]] | None,
    pred_dims: Mapping[str, Sequence[str]] | None,
    coords: Mapping[str, Any] | None,
    attrs: Mapping[str, Any],
    chains: int = 1,
    total: int = 0,
    thin: int = 1,
) -> xr.DataTree:
    """Put draws, what the program told, and what the user gave together.

    Parameters
    ----------
    groups : mapping of str to mapping
        Arrays of shape (chain, draw, ...), by group.
    look : Look
        What the program told.
    given : tuple of mapping or None
        Prior, posterior predictive, predictions, and the constant data of both.
    dims, pred_dims, coords, attrs : mapping or None
        As in `from_pyro`.
    chains, total, thin : int
        Chains, draws of each before thinning, and how many of them make one.

    Returns
    -------
    xarray.DataTree
        The result.
    """
    prior, posterior_predictive, predictions, constant, constant_predictions = given
    main = next((group for group in groups.values() if group), {})
    kept = len(next(iter(main.values()))[0]) if main else 0
    counts = _Counts(chains, total, kept, thin)
    before = _Counts(1, 0, 0, 1).folded(prior, look.shapes)
    names: dict[str, Sequence[Any]] = {**look.dims, **(dims or {})}
    names |= {f"{PREDICTIONS}/{name}": list(d) for name, d in (pred_dims or {}).items()}
    tree = build_result(
        groups.get(POSTERIOR, {}),
        groups.get(SAMPLE_STATS),
        dims=names,
        coords=coords,
        attrs={**_attributes(), **attrs},
        groups={
            **{n: v for n, v in groups.items() if n not in (POSTERIOR, SAMPLE_STATS)},
            OBSERVED_DATA: look.observed,
            CONSTANT_DATA: constant or {},
            PREDICTIONS_CONSTANT_DATA: constant_predictions or {},
            POSTERIOR_PREDICTIVE: counts.folded(posterior_predictive, look.shapes),
            PREDICTIONS: counts.folded(predictions, {}),
            PRIOR: {n: v for n, v in before.items() if n not in look.observed},
            PRIOR_PREDICTIVE: {n: v for n, v in before.items() if n in look.observed},
        },
    )
    counts.label(tree)
    return tree


@dataclass(frozen=True)
class _Counts:
    """Chains, draws before and after thinning (0 if unknown), and how many make one."""

    chains: int
    total: int
    kept: int
    thin: int

    def folded(
        self, arrays: Arrays | None, shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, NDArray[Any]]:
        """Return arrays of shape (draws of all chains, ...) as (chain, draw, ...)."""
        folded = {}
        for name, raw in (arrays or {}).items():
            values = np.asarray(raw.detach().cpu() if isinstance(raw, torch.Tensor) else raw)
            count = len(values) if values.ndim else 0
            kept = self.kept or count // self.chains
            if self.total and count == self.chains * self.total:
                values = values.reshape(self.chains, self.total, *values.shape[1:])
                values = values[:, :: self.thin]
            elif count and count == self.chains * kept:
                values = values.reshape(self.chains, kept, *values.shape[1:])
            else:
                raise DataError(
                    f"`{name}` has {count} draws; {self.chains} chains of {kept} draws are "
                    "wanted. Pass one value for every draw of the posterior, chain after chain."
                )
            site = shapes.get(name)
            if site is not None and int(np.prod(values.shape[2:])) == int(np.prod(site)):
                values = values.reshape(*values.shape[:2], *site)  # Predictive leaves ones
            folded[name] = values
        return folded

    def label(self, tree: xr.DataTree) -> None:
        """Keep the draws' own numbers when they are thinned."""
        if self.thin == 1 or not self.total:
            return
        numbers = np.arange(0, self.total, self.thin)
        for name, node in tree.children.items():
            if node.sizes.get(DRAW) == len(numbers) and name not in (PRIOR, PRIOR_PREDICTIVE):
                tree[name] = xr.DataTree(node.to_dataset().assign_coords({DRAW: numbers}))


@dataclass(frozen=True)
class _Run:
    """A finished run of `pyro.infer.MCMC`."""

    posterior: dict[str, NDArray[Any]]
    stats: dict[str, NDArray[Any]]
    attrs: dict[str, Any]
    model: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    thin: int
    total: int

    @classmethod
    def of(cls, mcmc: Any, model: Any, thin: int) -> "_Run":
        if isinstance(thin, bool) or not isinstance(thin, int) or thin < 1:
            raise SettingError(f"`thin` must be a positive integer; got {thin!r}. Pass e.g. 10.")
        program = None if model is None else program_of(model)
        if mcmc is None:
            return cls({}, {}, {}, program, (), {}, thin, 0)
        from pyro.infer import MCMC

        if not isinstance(mcmc, MCMC) or mcmc._samples is None:
            raise SettingError(
                f"`mcmc` must be a `pyro.infer.MCMC` that has run; got {type(mcmc).__name__}. "
                "Call its `run` first."
            )
        raw = {
            n: v.detach().cpu().numpy() for n, v in mcmc.get_samples(group_by_chain=True).items()
        }
        chains, total = mcmc.num_chains, mcmc.num_samples
        kept = [record or {} for record in mcmc._diagnostics]
        diverging = np.zeros((chains, total), dtype=bool)
        for chain, record in enumerate(kept):
            diverging[chain, np.array(record.get("divergences", []), dtype=int)] = True
        return cls(
            {name: values[:, ::thin] for name, values in raw.items()},
            {"diverging": diverging[:, ::thin]} if "divergences" in kept[0] else {},
            {**_kept(mcmc, kept), "thin": thin},
            program or getattr(mcmc.kernel, "model", None),
            mcmc._args or (),
            mcmc._kwargs or {},
            thin,
            total,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of chains and draws."""
        shape = next(iter(self.posterior.values())).shape
        return shape[0], shape[1]

    def unflatten(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: v.reshape(*self.shape, *v.shape[1:]) for name, v in arrays.items()}

    def look(self, *, required: bool) -> Look:
        """Run the program at the draws, for names, data and deterministic sites."""
        if self.model is None or not self.posterior:
            return Look()
        flat = {n: v.reshape(-1, *v.shape[2:]) for n, v in self.posterior.items()}
        draws = Draws(flat, self.shape, {})
        try:
            return look_at(self.model, self.args, self.kwargs, draws)
        except CapabilityError as error:
            if required:
                raise
            log.warning("The result has no names, data and log likelihood: %s", error)
            return Look()


def _attributes() -> dict[str, Any]:
    return {"inference_library": "pyro", "inference_library_version": version("pyro-ppl")}


def _kept(mcmc: Any, records: list[dict[str, Any]]) -> dict[str, Any]:
    attrs: dict[str, Any] = {"kernel": type(mcmc.kernel).__name__, "warmup": mcmc.warmup_steps}
    if "acceptance rate" in records[0]:
        attrs["mean_acceptance_rate"] = [float(r["acceptance rate"]) for r in records]
    return attrs


def look_at(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], draws: Draws) -> Look:
    """Return a program's data, names of dimensions, and deterministic sites at every draw.

    Parameters
    ----------
    model : callable
        The program.
    args, kwargs
        Its arguments.
    draws : Draws
        Of its latent variables.

    Returns
    -------
    Look
        Deterministic sites have shape (chain * draw, ...); those that depend on a discrete
        variable without draws are left out.
    """

    def work(run: Run, dtype: torch.dtype) -> Look:
        with pyro_as_found(dtype), torch.no_grad():
            return _look(run, dtype, draws)

    return in_working_dtype(program_of(model), args, kwargs, work)


def _look(run: Run, dtype: torch.dtype, draws: Draws) -> Look:
    first = Replay(draws.at(0), dtype)
    trace = trace_once(run, first)
    latent, observed = latent_sites(trace), observed_sites(trace)
    fixed = {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and is_deterministic(node)
    }
    found = Look()
    for name, node in {**latent, **observed, **fixed}.items():
        found.dims[name] = value_dims(node)
        found.shapes[name] = tuple(torch.as_tensor(node["value"]).shape)
    found.observed = {
        name: np.array(torch.as_tensor(node["value"]).numpy())
        for name, node in observed.items()
        if node["value"].numel() or not node["infer"].get("is_auxiliary")
    }
    absent = [name for name in latent if name not in draws.values]
    kept = set(fixed)
    if absent and fixed:
        whole = Replay(draws.at(0), dtype, first.kinds, summed=True)
        nodes = trace_summing(run, whole, num_batch_dims(trace)).nodes
        kept = {n for n in fixed if tuple(nodes[n]["value"].shape) == found.shapes[n]}
    if kept:

        def one(values: Tensors) -> Tensors:
            nodes = trace_once(run, Replay(values, dtype, first.kinds)).nodes
            return {name: torch.as_tensor(nodes[name]["value"]) for name in fixed if name in kept}

        count, size = draws.shape[0] * draws.shape[1], draws_at_once("auto", trace)
        given = {n: v for n, v in draws.values.items() if n in latent or n.startswith("param.")}
        found.deterministic = over_draws(one, given, count, size, dtype)
    return found


def extended(
    dims: Mapping[str, list[Any]], extra: Mapping[str, Sequence[str]]
) -> dict[str, list[Any]]:
    """Put names for the last axes of sites where there are none.

    Parameters
    ----------
    dims : mapping of str to list
        Names found, by site.
    extra : mapping of str to sequence of str
        Names of the last axes.

    Returns
    -------
    dict of str to list
        Both.

    Raises
    ------
    DataError
        If there is no such site, or it has fewer axes.
    """
    names = {name: list(found) for name, found in dims.items()}
    for name, last in extra.items():
        if name not in names or len(last) > len(names[name]):
            raise DataError(
                f"`extra_event_dims` names axes of `{name}`, which the program does not have. "
                f"It has {', '.join(names) or 'no sites'}."
            )
        names[name][len(names[name]) - len(last) :] = last
    return names


def _with_likelihood(tree: xr.DataTree, run: _Run, look: Look, wanted: bool | None) -> xr.DataTree:
    if wanted is False or (wanted is None and not look.observed):
        return tree
    if POSTERIOR not in tree.children or run.model is None:
        raise SettingError(
            "`log_likelihood` needs draws and the program; the kernel does not hold one. "
            "Pass `model=`, or leave it out."
        )
    try:
        return compute_log_likelihood(tree, run.model, *run.args, **run.kwargs)
    except (CapabilityError, DataError) as error:
        if wanted:
            raise
        log.warning("The result has no log likelihood: %s", error)
        return tree
