"""Whether a Pyro program has the same sites, shapes and supports in every run."""

from collections.abc import Collection
from typing import Any

import torch
from pyro.poutine.util import site_is_subsample
from torch.distributions.constraints import Constraint

from probneuro.core.errors import CapabilityError


def latent_sites(trace: Any) -> dict[str, Any]:
    """Return a trace's latent sample nodes, by name."""
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not node["is_observed"] and not site_is_subsample(node)
    }


def observed_names(trace: Any) -> set[str]:
    """Return the names of what a trace observes."""
    return {n for n, x in trace.nodes.items() if x["type"] == "sample" and x["is_observed"]}


def require_same(traces: list[Any]) -> None:
    """Refuse a program whose traces differ in more than values.

    Raises
    ------
    CapabilityError
        Naming the site.
    """
    _compare_observed(traces)
    first = latent_sites(traces[0])
    for other in map(latent_sites, traces[1:]):
        if odd := sorted(first.keys() ^ other.keys()):
            raise refused_site(odd)
        for name, node in first.items():
            if node["value"].shape != other[name]["value"].shape:
                shapes = tuple(node["value"].shape), tuple(other[name]["value"].shape)
                raise refused_shape(name, *shapes)
            if _describe(node["fn"].support) != _describe(other[name]["fn"].support):
                raise CapabilityError(
                    f"The support of `{name}` depends on other variables "
                    f"({node['fn'].support} in one run, {other[name]['fn'].support} in another); "
                    "a fixed transform would give wrong answers. Sample it on a fixed interval "
                    "and rescale it, e.g. b = (1 - a) * u with u ~ Uniform(0, 1)."
                )


def _compare_observed(traces: list[Any]) -> None:
    """Refuse data that a program observes in some runs only."""
    seen = [observed_names(trace) for trace in traces]
    for other in seen[1:]:
        if odd := sorted(seen[0] ^ other):
            raise refused_data(odd)


def _describe(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Constraint):
        return type(value).__name__, [_describe(v) for _, v in sorted(vars(value).items())]
    if isinstance(value, list | tuple):
        return [_describe(v) for v in value]
    return value


def refused_site(odd: Collection[str]) -> CapabilityError:
    """Build the error for sites that a program has in some runs and not in others."""
    return CapabilityError(
        f"Site `{min(odd)}` is there in some runs of the program and not in others. "
        "Write the program so that every run has the same sites."
    )


def refused_shape(name: str, first: tuple[int, ...], other: tuple[int, ...]) -> CapabilityError:
    """Build the error for a site that has different shapes in different runs."""
    return CapabilityError(
        f"Site `{name}` changes its shape from {first} to {other} between runs. Give it a fixed "
        "shape."
    )


def refused_data(odd: Collection[str]) -> CapabilityError:
    """Build the error for data that a program observes in some runs and not in others."""
    return CapabilityError(
        f"Site `{min(odd)}` is observed in some runs of the program and not in others. Let what "
        "is observed not depend on latent values; mask what does not count with "
        "`pyro.poutine.mask`."
    )
