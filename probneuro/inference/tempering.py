"""A Pyro program as prior and likelihood apart, over many places at a time."""

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from pyro.distributions import ImproperUniform
from pyro.poutine.messenger import Messenger
from torch.distributions import biject_to

from probneuro.core.device import CPU, as_numpy, seed_torch
from probneuro.core.engine import Arrays
from probneuro.core.errors import CapabilityError, InferenceError
from probneuro.inference.graph_folding import fold
from probneuro.inference.program_structure import refused_shape, refused_site
from probneuro.inference.pyro_program import (
    Program,
    latent_sites,
    read,
    trace_given,
)
from probneuro.inference.target import Floats

log = logging.getLogger("probneuro")

_MOST_AT_ONCE: Final = 500
"""Places in one call of the graph: enough to drown Python's share, and little memory."""
_CHECKS: Final = 3
_CHECK_SEED: Final = 0
_AGREE: Final = {torch.float64: 1e-8, torch.float32: 1e-3}
_TRIES: Final = 100
_REFERENCE_TEMPERATURE: Final = 0.5

Graph = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Densities:
    """Log densities at many places.

    Parameters
    ----------
    log_prior : numpy.ndarray
        Of the latent variables in unconstrained space, the Jacobian included; shape (place,).
    log_likelihood : numpy.ndarray
        Of all that is observed, factors included; shape (place,). Minus infinity where
        either density is zero or not a number.
    gradient : numpy.ndarray
        Of ``log_prior + temperature * log_likelihood``, shape (place, dimension).
    """

    log_prior: Floats
    log_likelihood: Floats
    gradient: Floats


class _UntilLatent(Messenger):
    """Ends a program's run once every latent site has its value."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.values: dict[str, torch.Tensor] = {}
        self.missing = set(names)

    def _pyro_post_sample(self, message: Any) -> None:
        if message["name"] in self.missing:
            self.missing.remove(message["name"])
            self.values[message["name"]] = message["value"].detach()
            if not self.missing:
                raise _AllDrawn


class _AllDrawn(Exception):
    pass


class TemperedDensity:
    r"""Prior and likelihood of a Pyro program, apart, over unconstrained space.

    .. math::

        \log \pi_t(u) = \log p(T(u)) + \sum_i \log |\det \partial T_i / \partial u_i|
        + t \log p(y \mid T(u))

    with T_i the transform that ``biject_to`` has for the support of site i. Its likelihood
    is the product of all observed sites, ``pyro.factor`` included.

    Parameters
    ----------
    program : Program
        What `read` told about it.
    num_places : int
        Places of a usual call; it sets the size of the graph's batches.

    Raises
    ------
    CapabilityError
        If a prior is improper or reweighted, so that it cannot be drawn from.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> def coin(heads):
    ...     bias = pyro.sample("bias", dist.Beta(1.0, 1.0))
    ...     pyro.sample("heads", dist.Binomial(10, bias), obs=heads)
    >>> density = read_tempered(coin, (torch.tensor(7.0),), {}, num_places=2)
    >>> at = density.at(np.array([[0.0], [1.0]]), temperature=1.0)
    >>> at.log_prior.round(3), at.log_likelihood.round(3)
    (array([-1.386, -1.627]), array([-2.144, -1.345]))
    """

    def __init__(self, program: Program, num_places: int) -> None:
        self._program = program
        sizes = [int(np.prod(site.free_shape)) for site in program.sites]
        self._ends = np.cumsum(sizes)
        self._starts = self._ends - sizes
        self._transforms = [biject_to(site.support) for site in program.sites]
        _refuse_improper(program)
        calls = -(-num_places // _MOST_AT_ONCE)
        self._batch = -(-num_places // calls)
        self._graph = self._traced()

    @property
    def dimension(self) -> int:
        """Length of an unconstrained vector."""
        return int(self._ends[-1])

    @property
    def dims(self) -> Mapping[str, list[Any]]:
        """Names of the dimensions of every variable; None where there is no name."""
        return {s.name: s.dims for s in self._program.sites} | dict(self._program.deterministic)

    @property
    def latents(self) -> tuple[str, ...]:
        """Names of the latent sites, in the program's order."""
        return tuple(site.name for site in self._program.sites)

    @property
    def traced(self) -> bool:
        """Whether the density runs as a graph over many places."""
        return self._graph is not None

    def at(self, positions: Floats, temperature: float) -> Densities:
        """Return prior, likelihood and the tempered gradient at positions (place, dimension)."""
        usable = np.flatnonzero(np.isfinite(positions).all(1))
        values = np.full((len(positions), 2), -np.inf)
        gradient = np.zeros_like(positions)
        for start in range(0, len(usable), self._batch):
            rows = usable[start : start + self._batch]
            values[rows], gradient[rows] = self._rows(positions[rows], temperature)
        values[np.isnan(values).any(1) | (values == np.inf).any(1)] = -np.inf
        return Densities(values[:, 0].copy(), values[:, 1].copy(), gradient)

    def prior_positions(self, number: int, rng: np.random.Generator) -> Floats:
        """Return draws from the prior, shape (number, dimension).

        A draw whose unconstrained form is not finite (a rate that underflows to zero) is
        made anew.
        """
        positions = np.empty((number, self.dimension))
        missing = np.arange(number)
        for _ in range(_TRIES):
            positions[missing] = self.positions(self._prior_values(len(missing), rng))
            missing = missing[~np.isfinite(positions[missing]).all(1)]
            if not len(missing):
                return positions
        raise InferenceError(
            f"{len(missing)} of {number} prior draws are at the edge of their support in {_TRIES} "
            "tries, so that they are infinite in unconstrained space. Take a prior with less "
            "mass at the edge"
        )

    def positions(self, values: Mapping[str, Any]) -> Floats:
        """Return the vectors of given values, one array (place, ...) a latent site."""
        rows = zip(self._program.sites, self._transforms, strict=True)
        parts = []
        for site, transform in rows:
            value = torch.as_tensor(np.asarray(values[site.name], dtype=np.float64))
            value = value.to(self._program.device)
            parts.append(transform.inv(value).reshape(len(value), -1))
        return as_numpy(torch.cat(parts, 1))

    def variables(self, positions: Floats) -> Arrays:
        """Return latent and deterministic sites at positions, one array (place, ...) a site."""
        vectors = self._program.vectors(positions)
        values = {}
        rows = zip(self._program.sites, self._transforms, self._starts, self._ends, strict=True)
        for site, transform, start, end in rows:
            free = vectors[:, int(start) : int(end)].reshape(-1, *site.free_shape)
            values[site.name] = transform(free)
        out = {name: as_numpy(value.double()).copy() for name, value in values.items()}
        fixed: dict[str, list[Any]] = {name: [] for name in self._program.deterministic}
        if fixed:
            with torch.no_grad(), self._program.as_found():
                for place in range(len(vectors)):
                    own = {name: value[place] for name, value in values.items()}
                    trace = trace_given(self._program.run, own)
                    for name, found in fixed.items():
                        found.append(as_numpy(trace.nodes[name]["value"]).copy())
        return out | {name: np.stack(found) for name, found in fixed.items()}

    def _prior_values(self, number: int, rng: np.random.Generator) -> Arrays:
        names = {site.name for site in self._program.sites}
        drawn: dict[str, list[Any]] = {name: [] for name in names}
        with torch.no_grad(), self._program.as_found():
            seed_torch(int(rng.integers(2**62)), self._program.device)
            for _ in range(number):
                until = _UntilLatent(names)
                try:
                    with until:
                        self._program.run()
                except _AllDrawn:
                    pass
                else:
                    raise refused_site(until.missing)
                for name, found in drawn.items():
                    found.append(as_numpy(until.values[name].double()))
        for site in self._program.sites:
            for value in drawn[site.name]:
                if value.shape != site.shape:
                    raise refused_shape(site.name, site.shape, value.shape)
        return {name: np.stack(found) for name, found in drawn.items()}

    def _rows(self, positions: Floats, temperature: float) -> tuple[Floats, Floats]:
        """Return values (place, 2) and gradients; a place that breaks the algebra is impossible."""
        vectors = self._program.vectors(positions)
        heat = self._program.vectors(temperature)
        try:
            if self._graph is None:
                found = [self._eager(vector, heat) for vector in vectors]
                gradient, values = (torch.stack(part) for part in zip(*found, strict=True))
            else:
                padded = vectors.new_empty(self._batch, self.dimension)
                padded[: len(vectors)] = vectors
                padded[len(vectors) :] = vectors[0]
                with torch.no_grad():
                    gradient, values = self._graph(padded, heat)
        except torch.linalg.LinAlgError:
            if len(positions) == 1:
                return np.full((1, 2), -np.inf), np.zeros_like(positions)
            middle = len(positions) // 2
            halves = [self._rows(p, temperature) for p in (positions[:middle], positions[middle:])]
            return np.concatenate([h[0] for h in halves]), np.concatenate([h[1] for h in halves])
        count = len(positions)
        return as_numpy(values[:count].double()), as_numpy(gradient[:count].double())

    def _tempered(
        self, vector: torch.Tensor, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        values, prior = {}, vector.new_zeros(())
        rows = zip(self._program.sites, self._transforms, self._starts, self._ends, strict=True)
        for site, transform, start, end in rows:
            free = vector[int(start) : int(end)].reshape(site.free_shape)
            values[site.name] = transform(free)
            prior = prior + transform.log_abs_det_jacobian(free, values[site.name]).sum()
        trace = trace_given(self._program.run, values)
        self._program.check(trace)
        likelihood = 0.0 * vector.sum()  # a gradient even where nothing depends on it
        trace.compute_log_prob()
        for node in trace.nodes.values():
            if node["type"] == "sample" and node["is_observed"]:
                likelihood = likelihood + node["log_prob_sum"]
            elif node["type"] == "sample":
                prior = prior + node["log_prob_sum"]
        return prior + temperature * likelihood, torch.stack([prior, likelihood])

    def _eager(
        self, vector: torch.Tensor, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with self._program.as_found(), torch.enable_grad():
            free = vector.clone().requires_grad_(True)
            value, both = self._tempered(free, temperature)
            (gradient,) = torch.autograd.grad(value, free)
        return gradient, both.detach()

    def _traced(self) -> Graph | None:
        """Return density and gradient of a batch as a graph, if it is the same function."""
        from torch.fx.experimental.proxy_tensor import make_fx

        rng = np.random.default_rng(_CHECK_SEED)
        points = self._program.vectors(rng.uniform(-1, 1, (self._batch, self.dimension)))
        heat = self._program.vectors(_REFERENCE_TEMPERATURE)

        def one(vector: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            gradient, (_, both) = torch.func.grad_and_value(self._tempered, has_aux=True)(vector, t)
            return gradient, both

        try:
            with self._program.as_found(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own, about tracing
                batch = torch.func.vmap(one, in_dims=(0, None))
                graph: Graph = fold(make_fx(lambda u, t: batch(u, t))(points, heat))
                with torch.no_grad():
                    ours = graph(points.flip(0), heat)
        except Exception as error:  # any program may hold what cannot be traced
            log.info("The program runs one place at a time, and slower: %s", error)
            return None
        for place in range(min(_CHECKS, self._batch)):
            for a, b in zip(ours, self._eager(points.flip(0)[place], heat), strict=True):
                scale = _AGREE[self._program.dtype] * (1 + b.abs().nan_to_num(0, 0, 0).max())
                if not torch.allclose(a[place], b, rtol=0, atol=float(scale), equal_nan=True):
                    log.info("The program runs one place at a time: its graph disagrees with it.")
                    return None
        return graph


def read_tempered(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    num_places: int,
    device: torch.device = CPU,
) -> TemperedDensity:
    """Read a Pyro program and return its prior and likelihood, apart.

    Parameters
    ----------
    program : callable
        Any Pyro program whose latent sites are continuous, always the same, and have
        proper priors.
    args, kwargs
        Its arguments.
    num_places : int
        Places of a usual call.
    device : torch.device
        Where the program computes; positions and densities stay arrays on the CPU.

    Returns
    -------
    TemperedDensity
        Over flat float64 vectors.

    Raises
    ------
    CapabilityError
        If the program cannot be treated correctly; says why and what to do.
    """
    return TemperedDensity(read(program, args, kwargs, device=device), num_places)


def _refuse_improper(program: Program) -> None:
    with program.as_found():
        start = {s.name: biject_to(s.support)(torch.zeros(s.free_shape)) for s in program.sites}
        trace = trace_given(program.run, start)
    cure = "Give it a proper prior, or use NUTS(), which gives no evidence."
    for name, node in latent_sites(trace).items():
        fn: Any = node["fn"]
        if any(isinstance(part, ImproperUniform) for part in _layers(fn)):
            raise CapabilityError(
                f"The prior of `{name}` is improper ({type(fn).__name__}): it cannot be drawn "
                f"from, and the evidence would not exist. {cure}"
            )
        masks = [node.get("mask"), *(getattr(part, "_mask", None) for part in _layers(fn))]
        masked = any(mask is not None and not torch.as_tensor(mask).all() for mask in masks)
        if masked or bool((torch.as_tensor(node["scale"]) != 1).any()):
            raise CapabilityError(
                f"The prior of `{name}` is masked or scaled, so that its draws do not follow the "
                f"density it is given. {cure}"
            )


def _layers(fn: Any) -> list[Any]:
    """Return a distribution and those it wraps."""
    found = [fn]
    while (inner := getattr(found[-1], "base_dist", None)) is not None:
        found.append(inner)
    return found
