"""Programs whose discrete variables take all their values at once."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
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
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from probneuro.core.errors import CapabilityError, DataError
from probneuro.inference.pyro_program import is_deterministic

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


def trace_summing(run: Callable[[], Any], replay: Messenger, num_dims: int) -> Any:
    """Return the program's trace with discrete variables enumerated on dims of their own.

    Parameters
    ----------
    run : callable
        The program.
    replay : pyro.poutine.messenger.Messenger
        Marks those variables with ``infer["enumerate"]``, and gives the others their values.
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


def enumerated_symbols(trace: Any, names: Iterable[str]) -> set[str]:
    """Return the names of the dimensions that hold the values of sites' discrete variables."""
    found = set()
    for name in names:
        infer = trace.nodes[name]["infer"]
        if _ENUMERATED in infer:
            found.add(infer["_dim_to_symbol"][infer[_ENUMERATED]])
    return found


def enumerated_among(trace: Any, group: Iterable[str]) -> list[str]:
    """Return those of some sites whose values were enumerated."""
    return [name for name in group if _ENUMERATED in trace.nodes[name]["infer"]]


def plates_of(node: Any) -> dict[str, Any]:
    """Return a node's vectorised plates, by name."""
    return {frame.name: frame for frame in node["cond_indep_stack"] if frame.vectorized}


def contracted(
    trace: Any, coupled: Mapping[str, Any], names: list[str], unit: set[str]
) -> torch.Tensor:
    """Sum the enumerated dimensions out, and plates that are not the unit's.

    Parameters
    ----------
    trace : pyro.poutine.Trace
        Of `trace_summing`.
    coupled : mapping of str to torch.Tensor
        Densities that depend on discrete variables, from `pack_density`.
    names : list of str
        Which of them to multiply.
    unit : set of str
        Plates to keep.
    """
    present = {s for name in names for s in coupled[name]._pyro_dims}
    symbols = enumerated_symbols(trace, names) & present
    kept = frozenset(trace.plate_to_symbol[plate] for plate in unit) & present
    level = all(set(plates_of(trace.nodes[z])) == unit for z in enumerated_among(trace, names))
    if level and len(symbols) <= _FEW:
        return _at_once([coupled[name] for name in names], sorted(symbols), sorted(kept))
    tree: OrderedDict[frozenset[str], list[torch.Tensor]] = OrderedDict()
    for name in names:
        plates = {trace.plate_to_symbol[plate] for plate in plates_of(trace.nodes[name])}
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
