"""A Pyro program as a log density: traced once into a graph where that is possible."""

import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch.distributions import biject_to
from torch.fx import GraphModule

from probneuro.core.engine import Arrays
from probneuro.core.errors import CapabilityError
from probneuro.inference.graph_code import as_function
from probneuro.inference.graph_folding import compiled, fold
from probneuro.inference.graph_rewriting import Plainer, rewrite, writes
from probneuro.inference.pyro_program import (
    Program,
    latent_sites,
    pyro_as_found,
    read,
    trace_given,
)
from probneuro.inference.target import Floats, Target, finite_rows

log = logging.getLogger("probneuro")

_CHECKS: Final = 3
_CHECK_SEED: Final = 0
_ROWS: Final = 256
_AGREE: Final = {torch.float64: 1e-8, torch.float32: 1e-3}

Evaluate = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class PyroTarget(Target):
    r"""The log density of a Pyro program over unconstrained space.

    .. math::

        \log \pi(u) = \log p(T(u), y) + \sum_i \log |\det \partial T_i / \partial u_i|

    with T_i the transform that ``biject_to`` has for the support of site i.

    Parameters
    ----------
    program : Program
        What `read` told about it.
    compiled : bool
        Whether batches run as machine code where a C++ compiler is found.
    trace : bool
        Whether to trace the density into a graph, which does not pay for a few evaluations.
    """

    def __init__(self, program: Program, compiled: bool = False, trace: bool = True) -> None:
        self._program = program
        self._trace = trace
        self._compiled = compiled
        sizes = [int(np.prod(site.free_shape)) for site in program.sites]
        self._ends = np.cumsum(sizes)
        self._starts = self._ends - sizes
        self._transforms = [biject_to(site.support) for site in program.sites]
        self._batched: dict[int, Evaluate | None] = {}

    @property
    def dimension(self) -> int:
        """Length of the vector."""
        return int(self._ends[-1])

    @property
    def dims(self) -> Mapping[str, list[Any]]:
        """Names of the dimensions of every variable; None where there is no name."""
        return {s.name: s.dims for s in self._program.sites} | dict(self._program.deterministic)

    @property
    def traced(self) -> bool:
        """Whether the density runs as a graph, without Pyro and its lock."""
        return self._graph is not None

    @cached_property
    def _graph(self) -> Evaluate | None:
        if not self._trace:
            return None
        graph = self._traced(None)
        if isinstance(graph, str):
            log.info("The program runs untraced, and slower: %s", graph)
            return None
        return graph

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        """Return log density and gradient; minus infinity where the density is zero."""
        vector = torch.as_tensor(position).to(self._program.dtype)
        try:
            if self._graph is not None:
                with torch.no_grad():
                    gradient, value = self._graph(vector)
            else:
                gradient, value = self._eager(vector)
        except torch.linalg.LinAlgError:
            return -np.inf, np.zeros_like(position)
        values, gradients = finite_rows(
            value.double().numpy()[None], gradient.double().numpy()[None]
        )
        return float(values[0]), gradients[0]

    def values_and_gradients(self, positions: Floats) -> tuple[Floats, Floats]:
        """Return log densities and gradients at many positions, from one graph if possible."""
        size = len(positions)
        if size not in self._batched:
            self._batched[size] = self._batch_graph(size)
        graph = self._batched[size]
        if graph is None:
            return super().values_and_gradients(positions)
        batch = torch.as_tensor(positions)
        if self._program.dtype is not torch.float64:
            batch = batch.to(self._program.dtype)
        # What overflows in a row that runs away is dealt with below.
        with torch.no_grad(), np.errstate(all="ignore"):
            try:
                gradients, values = graph(batch)
            except torch.linalg.LinAlgError:
                gradients, values = _row_by_row(graph, batch)
            # Inside the block too: sums may overflow.
            return finite_rows(values.double().numpy(), gradients.double().numpy())

    def variables(self, position: Floats) -> Arrays:
        """Return the program's latent and deterministic sites at a position."""
        vector = torch.as_tensor(position).to(self._program.dtype)
        with torch.no_grad():
            values, _ = self._own_space(vector)
            out = {name: value.double().numpy().copy() for name, value in values.items()}
            if self._program.deterministic:
                with pyro_as_found(self._program.dtype):
                    trace = trace_given(self._program.run, values)
                for name in self._program.deterministic:
                    out[name] = trace.nodes[name]["value"].detach().numpy().copy()
        return out

    def variables_along(self, positions: Floats) -> Arrays:
        """Return the variables at many positions (batch, dimension), that axis first."""
        ends = [self.variables(positions[i]) for i in (0, -1)]
        try:
            found = self._vectorised(positions)
        except Exception as error:  # any program may hold what cannot be vectorised
            log.info("Deterministic sites are computed one draw at a time: %s", error)
            return super().variables_along(positions)
        for i, end in zip((0, -1), ends, strict=True):
            for name, value in end.items():
                if not np.allclose(found[name][i], value, equal_nan=True):
                    log.info("Deterministic sites are computed one draw at a time.")
                    return super().variables_along(positions)
        return found

    def _vectorised(self, positions: Floats) -> Arrays:
        def own(vector: torch.Tensor) -> dict[str, torch.Tensor]:
            values, _ = self._own_space(vector)
            out = {name: value.double() for name, value in values.items()}
            if self._program.deterministic:
                trace = trace_given(self._program.run, values)
                out |= {name: trace.nodes[name]["value"] for name in self._program.deterministic}
            return out

        batches = torch.as_tensor(positions).to(self._program.dtype).split(_ROWS)
        with pyro_as_found(self._program.dtype), torch.no_grad():
            parts = [torch.func.vmap(own)(batch) for batch in batches]
        return {name: np.concatenate([p[name].numpy() for p in parts]) for name in parts[0]}

    def position(self, values: Mapping[str, Any]) -> Floats:
        """Return the flat vector of given values of all latent sites.

        Parameters
        ----------
        values : mapping of str to array
            One for every latent site, in its own space.

        Returns
        -------
        numpy.ndarray
            Shape (dimension,).
        """
        parts = [
            transform.inv(torch.as_tensor(values[site.name], dtype=torch.float64)).ravel()
            for site, transform in zip(self._program.sites, self._transforms, strict=True)
        ]
        return torch.cat(parts).numpy()

    def _own_space(self, vector: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        values = {}
        volume = vector.new_zeros(())
        rows = zip(self._program.sites, self._transforms, self._starts, self._ends, strict=True)
        for site, transform, start, end in rows:
            free = vector[int(start) : int(end)].reshape(site.free_shape)
            values[site.name] = transform(free)
            volume = volume + transform.log_abs_det_jacobian(free, values[site.name]).sum()
        return values, volume

    def _log_density(self, vector: torch.Tensor) -> torch.Tensor:
        values, volume = self._own_space(vector)
        trace = trace_given(self._program.run, values)
        if odd := latent_sites(trace).keys() ^ values.keys():
            raise CapabilityError(
                f"Site `{min(odd)}` is there in some runs of the program and not in others. "
                "Write the program so that every run has the same sites."
            )
        total = volume
        trace.compute_log_prob()
        for node in trace.nodes.values():
            if node["type"] == "sample":
                total = total + node["log_prob_sum"]
        return total

    def _eager(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with pyro_as_found(self._program.dtype), torch.enable_grad():
            free = vector.clone().requires_grad_(True)
            value = self._log_density(free) + 0.0 * free.sum()  # a gradient even without any
            (gradient,) = torch.autograd.grad(value, free)
        return gradient, value.detach()

    def _batch_graph(self, size: int) -> Evaluate | None:
        graph = self._traced(size)
        if isinstance(graph, str):
            if self._graph is not None:  # else its own line has been written
                log.info("The program runs one chain at a time, and slower: %s", graph)
            return None
        return graph

    def _traced(self, size: int | None) -> Evaluate | str:
        """Return density and gradient as a graph, for a batch or for one, or why not."""
        from torch.fx.experimental.proxy_tensor import make_fx

        rng = np.random.default_rng(_CHECK_SEED)
        shape = (self.dimension,) if size is None else (size, self.dimension)
        points = torch.as_tensor(rng.uniform(-1, 1, (_CHECKS + 1, *shape)))
        points = points.to(self._program.dtype)
        both = torch.func.grad_and_value(self._log_density)
        if size is not None:
            both = torch.func.functionalize(torch.func.vmap(both))
        try:
            with pyro_as_found(self._program.dtype), warnings.catch_warnings(), Plainer():
                warnings.simplefilter("ignore")  # torch's own, about tracing
                module = fold(make_fx(lambda point: both(point))(points[0]))
                graph = self._fast(module, points[0]) if size is not None else module
            with torch.no_grad(), np.errstate(all="ignore"):
                found = [graph(point) for point in points[1:]]
        except Exception as error:  # any program may hold what cannot be traced
            return str(error)
        for number, (point, ours) in enumerate(zip(points[1:], found, strict=True)):
            row = ... if size is None else number % size
            for a, b in zip(ours, self._eager(point[row]), strict=True):
                scale = _AGREE[self._program.dtype] * (1 + b.abs().max())
                if not torch.allclose(a[row], b, rtol=0, atol=float(scale), equal_nan=True):
                    return "its graph depends on values."
        return graph

    def _fast(self, module: GraphModule, example: torch.Tensor) -> Evaluate:
        if self._compiled:
            try:
                return compiled(module, example)
            except Exception as error:  # no compiler, or not this graph
                log.info("The program's graph runs uncompiled, and slower: %s", error)
        return module if writes(module) else as_function(rewrite(module))


def _row_by_row(graph: Evaluate, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Evaluate a batch in which some row fails, each row in a batch of its copies.

    So a row gets the very bits that it gets beside others, and a failing one fails alone.
    """
    gradients, values = torch.zeros_like(batch), batch.new_full((len(batch),), -torch.inf)
    for row, position in enumerate(batch):
        with suppress(torch.linalg.LinAlgError):
            found = graph(position.repeat(len(batch), 1))
            gradients[row], values[row] = found[0][row], found[1][row]
    return gradients, values


def read_program(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    compiled: bool = False,
    trace: bool = True,
) -> PyroTarget:
    """Read a Pyro program and return its target.

    Parameters
    ----------
    program : callable
        Any Pyro program whose latent sites are continuous and always the same.
    args, kwargs
        Its arguments.
    compiled : bool
        Whether batches run as machine code where a C++ compiler is found.
    trace : bool
        Whether to trace the density into a graph, which does not pay for a few evaluations.

    Returns
    -------
    PyroTarget
        Over a flat float64 vector.

    Raises
    ------
    CapabilityError
        If gradients cannot treat the program correctly; says why and what to do.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> def program():
    ...     pyro.sample("scale", dist.Exponential(1.0))
    >>> target = read_program(program, (), {})
    >>> value, gradient = target.value_and_gradient(np.zeros(1))
    >>> round(value, 3), gradient.round(3)
    (-1.0, array([0.]))
    """
    return PyroTarget(read(program, args, kwargs), compiled, trace)
