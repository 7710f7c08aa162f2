"""What a trained guide says, as a result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro.distributions import Delta

from probneuro.convert.from_pyro import combined, extended, look_at
from probneuro.convert.log_density import compute_log_likelihood
from probneuro.convert.replay import Draws, program_of
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.names import PARAMETERS, POSTERIOR, SAMPLE_STATS
from probneuro.core.rng import generator, resolve_seed
from probneuro.inference.pyro_program import latent_sites, pyro_as_found


@dataclass
class _Drawn:
    """Draws of a guide: its sites, the program's parameters, and both log densities."""

    sites: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    params: dict[str, NDArray[Any]] = field(default_factory=dict)
    densities: dict[str, list[float]] = field(default_factory=dict)
    point: bool = True

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: np.stack(rows) for name, rows in self.sites.items()}


def from_pyro_svi(
    model: Any,
    guide: Callable[..., Any],
    *,
    model_args: Sequence[Any] = (),
    model_kwargs: Mapping[str, Any] | None = None,
    num_samples: int = 1000,
    seed: int | None = None,
    prior: Mapping[str, Any] | None = None,
    posterior_predictive: Mapping[str, Any] | None = None,
    predictions: Mapping[str, Any] | None = None,
    log_likelihood: bool = True,
    constant_data: Mapping[str, Any] | None = None,
    predictions_constant_data: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    pred_dims: Mapping[str, Sequence[str]] | None = None,
    extra_event_dims: Mapping[str, Sequence[str]] | None = None,
) -> xr.DataTree:
    """Turn a trained guide into a result: draws from it, in one chain.

    The guide is used with Pyro's parameter store as it stands. A guide that says one value
    for every variable, such as `AutoDelta`, gives a point estimate: it goes to the group
    ``parameters`` with one draw, as do the program's own parameters.

    Parameters
    ----------
    model : Model or callable
        The program.
    guide : callable
        Its guide, after training; automatic guides and your own.
    model_args, model_kwargs
        The arguments of both.
    num_samples : int
        Draws.
    seed : int or None
        Same seed, same numbers; None for a fresh one, which is recorded.
    prior, posterior_predictive, predictions : mapping of str to array, optional
        From `pyro.infer.Predictive`, as in `from_pyro`.
    log_likelihood : bool
        Whether to compute it, exactly, by `compute_log_likelihood`.
    constant_data, predictions_constant_data, coords, dims, pred_dims, extra_event_dims
        As in `from_pyro`.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior``, ``sample_stats`` with the log densities ``log_p`` of the program and
        ``log_q`` of the guide (where no part of the data is subsampled and no variable is
        summed out), ``observed_data``, ``log_likelihood``, ``parameters``, and those given.

    Raises
    ------
    CapabilityError
        If the guide draws nothing that the program has, or the log likelihood does not exist.
    SettingError
        If ``num_samples`` is not a positive integer, or ``guide`` cannot be called.

    Examples
    --------
    >>> import pyro.distributions as dist
    >>> def program():
    ...     pyro.sample("rate", dist.Gamma(2.0, 1.0))
    >>> def guide():
    ...     pyro.sample("rate", dist.Gamma(2.0, 1.0))
    >>> result = from_pyro_svi(program, guide, num_samples=10, seed=1, log_likelihood=False)
    >>> stats = result["sample_stats"]
    >>> stats["log_p"].shape, bool((stats["log_p"] == stats["log_q"]).all())
    ((1, 10), True)
    """
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
        raise SettingError(
            f"`num_samples` must be a positive integer; got {num_samples!r}. Pass e.g. 1000."
        )
    if not callable(guide):
        raise SettingError(f"`guide` must be callable; got {type(guide).__name__}. Pass it itself.")
    args, kwargs, seed = tuple(model_args), dict(model_kwargs or {}), resolve_seed(seed)
    drawn = _drawn(program_of(model), guide, args, kwargs, num_samples, seed)
    sites = drawn.arrays()
    count = 1 if drawn.point else num_samples
    params = {f"param.{n}": np.repeat(v[None], count, axis=0) for n, v in drawn.params.items()}
    draws = Draws({**sites, **params}, (1, count), {})
    look = look_at(model, args, kwargs, draws)
    look.dims = extended(look.dims, extra_event_dims or {})
    values = draws.unflatten({**sites, **look.deterministic})
    own = {name: v[None, None] for name, v in drawn.params.items()}
    groups: dict[str, Any] = {
        PARAMETERS: {**values, **own} if drawn.point else own,
        POSTERIOR: {} if drawn.point else values,
        SAMPLE_STATS: {n: np.array([row]) for n, row in drawn.densities.items()},
    }
    tree = combined(
        groups,
        look,
        dims=dims,
        pred_dims=pred_dims,
        coords=coords,
        attrs={"seed": seed, "guide": getattr(guide, "__qualname__", type(guide).__qualname__)},
        given=(prior, posterior_predictive, predictions, constant_data, predictions_constant_data),
    )
    return compute_log_likelihood(tree, model, *args, **kwargs) if log_likelihood else tree


def _drawn(
    program: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    count: int,
    seed: int,
) -> _Drawn:
    found = _Drawn()
    with pyro_as_found(torch.get_default_dtype()), torch.no_grad():
        torch.manual_seed(int(generator(seed, "guide").integers(2**62)))
        for index in range(count):
            guided = pyro.poutine.trace(guide).get_trace(*args, **kwargs)
            replayed = pyro.poutine.replay(program, guided)
            trace = pyro.poutine.trace(replayed).get_trace(*args, **kwargs)
            if index == 0:
                names = _covered(guided, trace)
                found.point = all(map(_is_delta, latent_sites(guided).values()))
                whole = set(latent_sites(trace)) == names and not _is_subsampled(trace)
                found.params = {
                    name: np.array(torch.as_tensor(node["value"]).detach().numpy())
                    for name, node in trace.nodes.items()
                    if node["type"] == "param"
                }
            for name in sorted(names, key=list(trace.nodes).index):
                value = np.array(torch.as_tensor(trace.nodes[name]["value"]).detach().numpy())
                found.sites.setdefault(name, []).append(value)
            if found.point:
                break
            if whole:
                found.densities.setdefault("log_p", []).append(float(trace.log_prob_sum()))
                found.densities.setdefault("log_q", []).append(float(guided.log_prob_sum()))
    return found


def _covered(guided: Any, trace: Any) -> set[str]:
    """Return the program's variables that the guide draws whole."""
    names = {
        name
        for name, node in latent_sites(trace).items()
        if name in guided.nodes
        and all(f.full_size in (None, f.size) for f in node["cond_indep_stack"])
    }
    if not names:
        own = ", ".join(latent_sites(guided)) or "nothing"
        raise CapabilityError(
            f"The guide draws {own}; the program has {', '.join(latent_sites(trace)) or 'nothing'}"
            " to draw. Pass the guide that belongs to the program."
        )
    return names


def _is_delta(node: Any) -> bool:
    fn = node["fn"]
    while not isinstance(fn, Delta) and "base_dist" in vars(fn):
        fn = fn.base_dist
    return isinstance(fn, Delta)


def _is_subsampled(trace: Any) -> bool:
    return any(
        frame.full_size not in (None, frame.size)
        for node in trace.nodes.values()
        for frame in node.get("cond_indep_stack", ())
    )
