"""Log likelihoods with a program's discrete variables summed out, exactly."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from pyro.poutine.util import site_is_subsample

from probneuro.convert.replay import Tensors, observed_sites
from probneuro.core.errors import CapabilityError
from probneuro.inference.enumeration import (
    contracted,
    enumerated_among,
    enumerated_symbols,
    log_prob,
    pack_density,
    plates_of,
)
from probneuro.inference.pyro_program import is_deterministic


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
    hidden = set(enumerated_among(trace, densities))
    coupled = {
        name: pack_density(trace.nodes[name], values)
        for name, values in densities.items()
        if values.dim() > num_dims or name in hidden
    }
    answer = {name: densities[name] for name in observed if name not in coupled}
    for group in _components(coupled, trace):
        data = [name for name in group if name in observed]
        if len(data) > 1:
            raise CapabilityError(_shared(data, enumerated_among(trace, group)))
        for name in data:
            answer[name] = _site(trace, coupled, group, name, whole)
    return {name: answer[name] for name in observed}


def _components(coupled: Mapping[str, Any], trace: Any) -> list[list[str]]:
    """Group the sites that share enumerated dimensions, directly or through others."""
    symbols = enumerated_symbols(trace, coupled)
    groups: list[tuple[list[str], set[str]]] = []
    for name, values in coupled.items():
        own = set(values._pyro_dims) & symbols
        touching = [g for g in groups if g[1] & own]
        groups = [g for g in groups if not g[1] & own]
        names = [n for g in touching for n in g[0]]
        groups.append(([*names, name], own.union(*(g[1] for g in touching))))
    return [names for names, _ in groups]


def _site(
    trace: Any, coupled: Mapping[str, Any], group: list[str], name: str, whole: Collection[str]
) -> torch.Tensor:
    own, hidden = plates_of(trace.nodes[name]), enumerated_among(trace, group)
    unit = set(own).intersection(*(plates_of(trace.nodes[z]) for z in hidden))
    extra = set(own) - unit
    if extra - set(whole):
        raise CapabilityError(_spread(name, hidden, sorted(extra)))
    shape = [1] * max((-frame.dim for frame in own.values()), default=0)
    for plate in unit:
        shape[own[plate].dim] = own[plate].size
    order = sorted(unit, key=lambda plate: own[plate].dim)
    symbols = [trace.plate_to_symbol[plate] for plate in order if own[plate].size > 1]
    others = [n for n in group if n != name]
    total = _arranged(contracted(trace, coupled, group, unit), symbols)
    if len(others) > len(hidden):
        total = total - _arranged(contracted(trace, coupled, others, unit), symbols)
    return total.reshape(shape)


def _arranged(packed: Any, symbols: list[str]) -> torch.Tensor:
    arranged: torch.Tensor = packed.permute([packed._pyro_dims.index(s) for s in symbols])
    return arranged


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
