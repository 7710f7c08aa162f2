"""Log likelihoods with a program's discrete variables summed out, exactly."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import pyro
import torch
from opt_einsum import shared_intermediates
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.distributions.util import scale_and_mask
from pyro.ops.contract import contract_to_tensor
from pyro.ops.packed import pack
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.util import site_is_subsample

from probneuro.convert.replay import Replay, Run, Tensors, is_deterministic, observed_sites
from probneuro.core.errors import CapabilityError, DataError

_ENUMERATED: Final = "_enumerate_dim"
_FEW: Final = 3


class _Enumerate(EnumMessenger):
    """Pyro's enumeration, which asks for shapes in a way that `torch.func.vmap` forbids."""

    def _pyro_post_sample(self, msg: Any) -> None:
        if not isinstance(msg["fn"], TorchDistributionMixin) or msg["value"] is None:
            return
        shape = msg["value"].shape[: msg["value"].dim() - msg["fn"].event_dim]
        known = msg["infer"].setdefault("_dim_to_id", {})
        known.update(self._param_dims.get(msg["name"], {}))
        self._value_dims[msg["name"]] = {
            dim: label for dim, label in known.items() if len(shape) >= -dim and shape[dim] > 1
        }


def log_prob(node: Any) -> torch.Tensor:
    """Return a sample node's log density at each point: masked to zero, never scaled.

    Parameters
    ----------
    node : dict
        A node of a trace.

    Returns
    -------
    torch.Tensor
        The shape of the density's batch; for an enumerated node never masked, since its
        probabilities must sum to one wherever the data are masked.
    """
    fn = node["fn"]
    if _ENUMERATED in node["infer"]:
        while isinstance(fn, MaskedDistribution):
            fn = fn.base_dist
        values: torch.Tensor = fn.log_prob(node["value"])
    else:
        values = scale_and_mask(fn.log_prob(node["value"]), mask=node["mask"])
    return values


def num_batch_dims(trace: Any) -> int:
    """Return how many dimensions on the left of a trace's events are taken."""
    sizes = [0]
    for node in trace.nodes.values():
        if node["type"] == "sample" and not site_is_subsample(node) and not is_deterministic(node):
            sizes.append(len(node["fn"].batch_shape))
            sizes += [-frame.dim for frame in node["cond_indep_stack"] if frame.vectorized]
    return max(sizes)


def trace_summing(run: Run, replay: Replay, num_dims: int) -> Any:
    """Return the program's trace with discrete variables enumerated on dims of their own.

    Parameters
    ----------
    run : callable
        The program.
    replay : Replay
        With ``summed``.
    num_dims : int
        Dimensions taken by plates and batches.

    Raises
    ------
    CapabilityError
        If the program cannot take all values of a variable at once.
    """
    try:
        with pyro.poutine.trace() as tracer, _Enumerate(-1 - num_dims), replay:
            run()
    except DataError:
        raise
    except (RuntimeError, IndexError, ValueError) as error:
        if "dtype" in str(error) or "Double" in str(error):
            raise
        raise CapabilityError(
            "The program cannot take all values of its discrete variables at once "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}). Index with "
            "Vindex, use torch.where instead of `if`, and a vectorised plate instead of a loop."
        ) from error
    trace = tracer.trace
    trace.symbolize_dims()
    return trace


def summed_log_likelihood(trace: Any, whole: Collection[str], num_dims: int) -> Tensors:
    r"""Return each observed site's log likelihood with the discrete variables summed out.

    .. math::

        \log p(y_i \mid \theta) = \log \sum_z p(z, x, y_i \mid \theta)
        - \log \sum_z p(z, x \mid \theta)

    with z the discrete variables that the data depend on, and x the given ones that
    depend on z as well.

    Parameters
    ----------
    trace : pyro.poutine.Trace
        Of `trace_summing`.
    whole : collection of str
        Plates that will be summed over, so that data that share a variable can be taken
        together.
    num_dims : int
        Dimensions taken by plates and batches.

    Returns
    -------
    dict of str to torch.Tensor
        Log likelihood, with the shape of the data's batch; plates already summed over have
        length one.

    Raises
    ------
    CapabilityError
        If data cannot be told apart since they share a discrete variable.
    """
    observed = observed_sites(trace)
    densities = {
        name: log_prob(node)
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not is_deterministic(node) and not site_is_subsample(node)
    }
    coupled = {
        name: pack_density(trace.nodes[name], values)
        for name, values in densities.items()
        if values.dim() > num_dims or _ENUMERATED in trace.nodes[name]["infer"]
    }
    answer = {name: densities[name] for name in observed if name not in coupled}
    for group in _components(coupled, trace):
        data = [name for name in group if name in observed]
        if len(data) > 1:
            raise CapabilityError(_shared(data, _hidden(trace, group)))
        for name in data:
            answer[name] = _site(trace, coupled, group, name, whole)
    return {name: answer[name] for name in observed}


def pack_density(node: Any, values: torch.Tensor) -> torch.Tensor:
    """Return a density with the names of its dimensions, as Pyro's contraction needs it."""
    try:
        packed: torch.Tensor = pack(values, node["infer"]["_dim_to_symbol"])
    except ValueError as error:
        raise CapabilityError(
            f"Site `{node['name']}` has a dimension outside of any plate (shape "
            f"{tuple(values.shape)}), so its discrete variables cannot be summed out. Put it "
            "into a `pyro.plate`, or make the dimension part of an event with `.to_event`."
        ) from error
    return packed


def _enumerated(trace: Any, names: Iterable[str]) -> set[str]:
    found = set()
    for name in names:
        infer = trace.nodes[name]["infer"]
        if _ENUMERATED in infer:
            found.add(infer["_dim_to_symbol"][infer[_ENUMERATED]])
    return found


def _components(coupled: Mapping[str, Any], trace: Any) -> list[list[str]]:
    """Group the sites that share enumerated dimensions, directly or through others."""
    symbols = _enumerated(trace, coupled)
    groups: list[tuple[list[str], set[str]]] = []
    for name, values in coupled.items():
        own = set(values._pyro_dims) & symbols
        touching = [g for g in groups if g[1] & own]
        groups = [g for g in groups if not g[1] & own]
        names = [n for g in touching for n in g[0]]
        groups.append(([*names, name], own.union(*(g[1] for g in touching))))
    return [names for names, _ in groups]


def _hidden(trace: Any, group: Iterable[str]) -> list[str]:
    return [name for name in group if _ENUMERATED in trace.nodes[name]["infer"]]


def _plates(node: Any) -> dict[str, Any]:
    return {frame.name: frame for frame in node["cond_indep_stack"] if frame.vectorized}


def _site(
    trace: Any, coupled: Mapping[str, Any], group: list[str], name: str, whole: Collection[str]
) -> torch.Tensor:
    node = trace.nodes[name]
    own = _plates(node)
    unit = set(own).intersection(*(_plates(trace.nodes[z]) for z in _hidden(trace, group)))
    extra = set(own) - unit
    if extra - set(whole):
        raise CapabilityError(_spread(name, _hidden(trace, group), sorted(extra)))
    shape = [1] * max((-frame.dim for frame in own.values()), default=0)
    for plate in unit:
        shape[own[plate].dim] = own[plate].size
    order = sorted(unit, key=lambda plate: own[plate].dim)
    symbols = [trace.plate_to_symbol[plate] for plate in order if own[plate].size > 1]
    others = [n for n in group if n != name]
    total = _arranged(_contracted(trace, coupled, group, unit), symbols)
    if len(others) > len(_hidden(trace, group)):
        total = total - _arranged(_contracted(trace, coupled, others, unit), symbols)
    return total.reshape(shape)


def _arranged(packed: Any, symbols: list[str]) -> torch.Tensor:
    arranged: torch.Tensor = packed.permute([packed._pyro_dims.index(s) for s in symbols])
    return arranged


def _contracted(
    trace: Any, coupled: Mapping[str, Any], names: list[str], unit: set[str]
) -> torch.Tensor:
    """Sum the enumerated dimensions out, and plates that are not the unit's."""
    present = {s for name in names for s in coupled[name]._pyro_dims}
    symbols = _enumerated(trace, names) & present
    kept = frozenset(trace.plate_to_symbol[plate] for plate in unit) & present
    level = all(set(_plates(trace.nodes[z])) == unit for z in _hidden(trace, names))
    if level and len(symbols) <= _FEW:
        return _at_once([coupled[name] for name in names], sorted(symbols), sorted(kept))
    tree: OrderedDict[frozenset[str], list[torch.Tensor]] = OrderedDict()
    for name in names:
        plates = {trace.plate_to_symbol[plate] for plate in _plates(trace.nodes[name])}
        tree.setdefault(frozenset(plates & present), []).append(coupled[name])
    with shared_intermediates() as cache:
        total: torch.Tensor = contract_to_tensor(tree, symbols, kept, cache=cache)
    return total


def _at_once(terms: list[Any], summed: list[str], kept: list[str]) -> torch.Tensor:
    """Contract variables that stand side by side in one plate; unlike Pyro's, this batches."""
    total: Any = 0.0
    for term in terms:
        dims = term._pyro_dims
        for axis in reversed(range(len(dims))):
            if dims[axis] not in summed + kept:
                term = term.sum(axis)
        left = [dim for dim in dims if dim in summed + kept]
        order = [dim for dim in summed + kept if dim in left]
        term = term.permute(*(left.index(dim) for dim in order)) if order else term
        for axis, dim in enumerate(summed + kept):
            term = term if dim in order else term.unsqueeze(axis)
        total = total + term
    result: Any = total.logsumexp(tuple(range(len(summed)))) if summed else total
    result._pyro_dims = "".join(kept)
    contracted: torch.Tensor = result
    return contracted


def _shared(data: list[str], hidden: list[str]) -> str:
    data_text = ", ".join(f"`{name}`" for name in data[:3]) + (" ..." if len(data) > 3 else "")
    hidden_text = ", ".join(f"`{name}`" for name in hidden[:3])
    return (
        f"The data {data_text} depend together on the discrete {hidden_text}, so that no single "
        "one has a likelihood of its own. Make them one observed site, e.g. the steps of a "
        "chain one site with DiscreteHMM, or keep draws of the discrete variables in the result."
    )


def _spread(name: str, hidden: list[str], extra: list[str]) -> str:
    over = ", ".join(extra)
    wanted = repr(extra[0]) if len(extra) == 1 else repr(extra)
    hidden_text = ", ".join(f"`{z}`" for z in hidden)
    return (
        f"The values of `{name}` along {over} share the discrete {hidden_text}, so that no single "
        f"one has a likelihood of its own. Pass reduce={wanted} to take them together, or keep "
        f"draws of {hidden_text} in the result."
    )
