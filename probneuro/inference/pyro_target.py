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

from probneuro.core.device import CPU, as_numpy
from probneuro.core.engine import Arrays
from probneuro.inference.graph_code import as_function
from probneuro.inference.graph_folding import compiled, fold
from probneuro.inference.graph_rewriting import Plainer, rewrite, writes
from probneuro.inference.pyro_program import (
    Program,
    read,
    trace_given,
)
from probneuro.inference.target import Floats, Target, finite_rows

log = logging.getLogger("probneuro")

_CHECKS: Final = 3
_CHECK_SEED: Final = 0
_ROWS: Final = 256
_AGREE: Final = {torch.float64: 1e-8, torch.float32: 1e-3}

Evaluate = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


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
        return self._alone(gradient=True)

    @cached_property
    def _value_graph(self) -> Evaluate | None:
        return self._alone(gradient=False)

    def _alone(self, *, gradient: bool) -> Evaluate | None:
        if not self._trace:
            return None
        graph = self._traced(None, gradient=gradient)
        if isinstance(graph, str):
            log.info("The program runs untraced, and slower: %s", graph)
            return None
        return graph

    def log_density(self, position: Floats) -> float:
        """Return the log density, without its gradient; minus infinity where it is no number."""
        vector = self._program.vectors(position)
        try:
            with torch.no_grad():
                (value,) = (self._value_graph or self._eager_value)(vector)
        except torch.linalg.LinAlgError:
            return -np.inf
        return float(value) if torch.isfinite(value) else -np.inf

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        """Return log density and gradient; minus infinity where the density is zero."""
        vector = self._program.vectors(position)
        try:
            if self._graph is not None:
                with torch.no_grad():
                    gradient, value = self._graph(vector)
            else:
                gradient, value = self._eager(vector)
        except torch.linalg.LinAlgError:
            return -np.inf, np.zeros_like(position)
        values, gradients = finite_rows(
            as_numpy(value.double())[None], as_numpy(gradient.double())[None]
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
        batch = self._program.vectors(positions)
        # What overflows in a row that runs away is dealt with below.
        with torch.no_grad(), np.errstate(all="ignore"):
            try:
                gradients, values = graph(batch)
            except torch.linalg.LinAlgError:
                gradients, values = _row_by_row(graph, batch)
            # Inside the block too: sums may overflow.
            return finite_rows(as_numpy(values.double()), as_numpy(gradients.double()))

    def variables(self, position: Floats) -> Arrays:
        """Return the program's latent and deterministic sites at a position."""
        vector = self._program.vectors(position)
        with torch.no_grad():
            values, _ = self.own_space(vector)
            out = {name: as_numpy(value.double()).copy() for name, value in values.items()}
            if self._program.deterministic:
                with self._program.as_found():
                    trace = trace_given(self._program.run, values)
                for name in self._program.deterministic:
                    out[name] = as_numpy(trace.nodes[name]["value"]).copy()
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
            values, _ = self.own_space(vector)
            out = {name: value.double() for name, value in values.items()}
            if self._program.deterministic:
                trace = trace_given(self._program.run, values)
                out |= {name: trace.nodes[name]["value"] for name in self._program.deterministic}
            return out

        batches = self._program.vectors(positions).split(_ROWS)
        with self._program.as_found(), torch.no_grad():
            parts = [torch.func.vmap(own)(batch) for batch in batches]
        return {name: np.concatenate([as_numpy(p[name]) for p in parts]) for name in parts[0]}

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
        where = self._program.device
        parts = [
            transform.inv(torch.as_tensor(values[site.name]).to(where, torch.float64)).ravel()
            for site, transform in zip(self._program.sites, self._transforms, strict=True)
        ]
        return as_numpy(torch.cat(parts))

    def own_space(self, vector: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the value of every site at a vector, and the log volume of the transforms."""
        values = {}
        volume = vector.new_zeros(())
        rows = zip(self._program.sites, self._transforms, self._starts, self._ends, strict=True)
        for site, transform, start, end in rows:
            free = vector[int(start) : int(end)].reshape(site.free_shape)
            values[site.name] = transform(free)
            volume = volume + transform.log_abs_det_jacobian(free, values[site.name]).sum()
        return values, volume

    def _log_density(self, vector: torch.Tensor) -> torch.Tensor:
        values, volume = self.own_space(vector)
        trace = trace_given(self._program.run, values)
        self._program.check(trace)
        total = volume
        trace.compute_log_prob()
        for node in trace.nodes.values():
            if node["type"] == "sample":
                total = total + node["log_prob_sum"]
        return total

    def _value(self, vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self._log_density(vector),)

    def _eager(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with self._program.as_found(), torch.enable_grad():
            free = vector.clone().requires_grad_(True)
            value = self._log_density(free) + 0.0 * free.sum()  # a gradient even without any
            (gradient,) = torch.autograd.grad(value, free)
        return gradient, value.detach()

    def _eager_value(self, vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with self._program.as_found(), torch.no_grad():
            return self._value(vector)

    def _batch_graph(self, size: int) -> Evaluate | None:
        graph = self._traced(size)
        if isinstance(graph, str):
            if self._graph is not None:  # else its own line has been written
                log.info("The program runs one chain at a time, and slower: %s", graph)
            return None
        return graph

    def _traced(self, size: int | None, *, gradient: bool = True) -> Evaluate | str:
        """Return the density, mostly with its gradient, as a graph for a batch or for one.

        Where that is no graph of the same function, return why not.
        """
        from torch._guards import TracingContext, tracing
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.fx.experimental.proxy_tensor import make_fx

        rng = np.random.default_rng(_CHECK_SEED)
        shape = (self.dimension,) if size is None else (size, self.dimension)
        points = self._program.vectors(rng.uniform(-1, 1, (_CHECKS + 1, *shape)))
        exact = self._eager if gradient else self._eager_value
        whole = torch.func.grad_and_value(self._log_density) if gradient else self._value
        if size is not None:
            whole = torch.func.functionalize(torch.func.vmap(whole))
        try:
            # Without one to find, tracing makes a fake mode for every step: half its time.
            fake = TracingContext(FakeTensorMode(allow_fallback_kernels=True))
            with self._program.as_found(), warnings.catch_warnings(), Plainer(), tracing(fake):
                warnings.simplefilter("ignore")  # torch's own, about tracing
                module = fold(make_fx(lambda point: whole(point))(points[0]))
                graph = self._fast(module, points[0]) if size is not None else module
            with torch.no_grad(), np.errstate(all="ignore"):
                found = [graph(point) for point in points[1:]]
        except Exception as error:  # any program may hold what cannot be traced
            return str(error)
        for number, (point, ours) in enumerate(zip(points[1:], found, strict=True)):
            row = ... if size is None else number % size
            for a, b in zip(ours, exact(point[row]), strict=True):
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
        if writes(module):
            return module
        module = rewrite(module)
        return as_function(module) if example.device == CPU else module


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
    device: torch.device = CPU,
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
    device : torch.device
        Where the program computes; positions and densities stay arrays on the CPU.

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
    return PyroTarget(read(program, args, kwargs, device=device), compiled, trace)
