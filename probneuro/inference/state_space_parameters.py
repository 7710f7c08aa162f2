"""Global parameters of a state-space model as one unconstrained vector."""

import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from torch.distributions import biject_to
from torch.fx.experimental.proxy_tensor import make_fx

from probneuro.core.device import CPU, as_numpy
from probneuro.core.engine import Arrays
from probneuro.core.errors import CapabilityError, InferenceError
from probneuro.core.gibbs import SmoothConditional
from probneuro.core.state_path import StatePath, observation_densities
from probneuro.core.state_space import Series, StateSpaceModel
from probneuro.inference.graph_folding import fold
from probneuro.inference.particle_filter import ParticleHistory
from probneuro.inference.pyro_program import pyro_as_found, read
from probneuro.inference.state_space_filter import run_filter
from probneuro.inference.state_space_steps import BoundModel, bind_parameters, torch_stream

Floats = NDArray[np.float64]

log = logging.getLogger("probneuro")

Evaluate = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

_AGREE: Final = 1e-8
_TOGETHER: Final = 16
"""Trajectories of an average that are evaluated at once."""
_SHIFTS: Final = (0.0, 0.1)
_STARTS: Final = 10
_TRIES: Final = 100


class GlobalParameters:
    r"""A model's global sites as a vector u in unconstrained space.

    .. math:: \log p(u) = \log p(T(u)) + \log |\det \partial T / \partial u|

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    device : torch.device
        Where it computes.

    Raises
    ------
    CapabilityError
        If ``global_model`` samples nothing, or what no vector can stand for.
    """

    def __init__(self, model: StateSpaceModel, device: torch.device = CPU) -> None:
        self.model, self.device = model, device
        try:
            self._program = read(model.global_model, (), {}, device=device)
        except CapabilityError as error:
            raise CapabilityError(
                f"`global_model` of {type(model).__name__} cannot be inferred. {error} "
                "Where its parameters are known, ParticleFilter(params=...) filters at them."
            ) from error
        self._transforms = [biject_to(site.support) for site in self._program.sites]
        ends = np.cumsum([int(np.prod(site.free_shape)) for site in self._program.sites])
        self._ends = [int(end) for end in ends]

    @property
    def dimension(self) -> int:
        """Length of the vector."""
        return self._ends[-1]

    @property
    def dims(self) -> Mapping[str, list[Any]]:
        """Names of the dimensions of every variable; None where there is no name."""
        return {s.name: s.dims for s in self._program.sites} | dict(self._program.deterministic)

    def at(self, vector: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """Return what ``global_model`` returns at a vector, and the vector's log prior density.

        To be called where the default dtype is float64.
        """
        values, total = self._own_space(vector)
        trace = self._trace(values)
        trace.compute_log_prob()
        for node in trace.nodes.values():
            if node["type"] == "sample":
                total = total + node["log_prob_sum"]
        return trace.nodes["_RETURN"]["value"], total

    def log_volume(self, vector: torch.Tensor) -> torch.Tensor:
        """Return the part of the log prior that is the volume of the transforms."""
        return self._own_space(vector)[1]

    def log_volume_at(self, position: Floats) -> float:
        """Return the same at a position, from anywhere."""
        with pyro_as_found(torch.float64, device=self.device), torch.no_grad():
            return float(self.log_volume(torch.as_tensor(position, device=self.device)))

    def variables(self, position: Floats) -> Arrays:
        """Return the global sites at a position, deterministic ones included."""
        with pyro_as_found(torch.float64, device=self.device), torch.no_grad():
            values, _ = self._own_space(torch.as_tensor(position, device=self.device))
            trace = self._trace(values)
        out = {name: as_numpy(value).copy() for name, value in values.items()}
        for name in self._program.deterministic:
            out[name] = as_numpy(trace.nodes[name]["value"]).copy()
        return out

    def draw(self) -> Floats:
        """Draw a position from the prior; to be called inside :func:`torch_stream`."""
        try:
            _, values = bind_parameters(self.model, None)
        except NotImplementedError:  # an improper prior cannot be drawn from
            anywhere = torch.empty(self.dimension, dtype=torch.float64).uniform_(-2.0, 2.0)
            return as_numpy(anywhere)
        parts = [
            transform.inv(torch.as_tensor(values[site.name], device=self.device)).ravel()
            for site, transform in zip(self._program.sites, self._transforms, strict=True)
        ]
        return as_numpy(torch.cat(parts))

    def _trace(self, values: Mapping[str, torch.Tensor]) -> Any:
        program = pyro.condition(self.model.global_model, data=dict(values))
        return pyro.poutine.trace(program).get_trace()

    def _own_space(self, vector: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        values, volume, start = {}, vector.new_zeros(()), 0
        rows = zip(self._program.sites, self._transforms, self._ends, strict=True)
        for site, transform, end in rows:
            free = vector[start:end].reshape(site.free_shape)
            values[site.name] = transform(free)
            volume = volume + transform.log_abs_det_jacobian(free, values[site.name]).sum()
            start = end
        return values, volume


class PathDensity:
    r"""The density of global parameters given a trajectory, :math:`p(\theta) p(x, y \mid \theta)`.

    It is traced once into a graph of both, if the graph is the same function.

    Parameters
    ----------
    parameters : GlobalParameters
        The vector's meaning.
    series : Series
        The data.
    position, path : ndarray
        Any vector with any trajectory, to trace with.
    own_space : bool
        Whether the density is that of the parameters in their own space, as point estimates
        take it, rather than that of the vector.
    """

    def __init__(
        self,
        parameters: GlobalParameters,
        series: Series,
        position: Floats,
        path: NDArray[Any],
        *,
        own_space: bool = False,
    ) -> None:
        self._parameters, self._series, self._own_space = parameters, series, own_space
        self._example = self.tensor(position), self.tensor(path)
        self._graph = self._traced(together=False)

    @property
    def traced(self) -> bool:
        """Whether the density runs as a graph."""
        return self._graph is not None

    @cached_property
    def _batched(self) -> Evaluate | None:
        return None if self._graph is None else self._traced(together=True)

    def given(self, path: NDArray[Any]) -> SmoothConditional:
        """Return the density of the parameters given one trajectory, shape (time, ...)."""
        return _GivenPath(self, self.tensor(path))

    def tensor(self, values: NDArray[Any]) -> torch.Tensor:
        """Return an array as a tensor where the density computes."""
        return torch.as_tensor(values, device=self._parameters.device)

    def averaged(self, paths: NDArray[Any], weights: Floats) -> SmoothConditional:
        """Return the weighted sum of log densities given trajectories, shape (path, time, ...)."""
        return _GivenPaths(self, self.tensor(paths), self.tensor(weights))

    def evaluate(self, vector: torch.Tensor, path: torch.Tensor) -> tuple[Any, Any]:
        """Return the gradient with respect to the vector, and the log density."""
        if self._graph is not None:
            with torch.no_grad():
                return self._graph(vector, path)
        return self._eager(vector, path)

    def evaluate_all(self, vector: torch.Tensor, paths: torch.Tensor) -> tuple[Any, Any]:
        """Return gradients and log densities for many paths, that axis first."""
        if len(paths) == 1 or self._batched is None:
            rows = [self.evaluate(vector, path) for path in paths]
            return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])
        missing = -len(paths) % _TOGETHER
        padded = torch.cat([paths, paths[:1].expand(missing, *paths.shape[1:])])
        with torch.no_grad():
            parts = [self._batched(vector, block) for block in padded.split(_TOGETHER)]
        gradients, values = (torch.cat(column) for column in zip(*parts, strict=True))
        return gradients[: len(paths)], values[: len(paths)]

    def _log_density(self, vector: torch.Tensor, path: torch.Tensor) -> torch.Tensor:
        model, series = self._parameters.model, self._series
        params, total = self._parameters.at(vector)
        total = total + 0.0 * vector.sum()  # a gradient even where nothing depends on it
        if self._own_space:
            total = total - self._parameters.log_volume(vector)
        total = total + StatePath(model, params, series.length, series.inputs).log_prob(path)
        sights = observation_densities(model, params, path, series.values, series.inputs)
        return total + sights.sum()

    def _eager(self, vector: torch.Tensor, path: torch.Tensor) -> tuple[Any, Any]:
        with self._as_found(), torch.enable_grad():
            free = vector.clone().requires_grad_(True)
            value = self._log_density(free, path)
            (gradient,) = torch.autograd.grad(value, free)
        return gradient, value.detach()

    def _as_found(self) -> AbstractContextManager[None]:
        return pyro_as_found(torch.float64, device=self._parameters.device)

    def _traced(self, *, together: bool) -> Evaluate | None:
        """Return the density as a graph of one path, or of some together, if it is the same."""
        vector, path = self._example
        both: Any = torch.func.grad_and_value(self._log_density)
        if together:
            both = torch.func.vmap(both, (None, 0))
            path = path.expand(_TOGETHER, *path.shape)
        try:
            with self._as_found(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own, about tracing
                graph: Evaluate = fold(make_fx(lambda v, x: both(v, x))(vector, path))
                same = all(self._agrees(graph, shift, together) for shift in _SHIFTS)
        except Exception as error:  # any model may hold what cannot be traced
            log.info("Parameters given trajectories run untraced, and slower: %s", error)
            return None
        if not same:
            log.info("Parameters given trajectories run untraced: the graph differs.")
        return graph if same else None

    def _agrees(self, graph: Evaluate, shift: float, together: bool) -> bool:
        """Say whether a graph gives what the model gives, at a place away from the traced one."""
        vector, path = self._example
        vector, moved = vector + shift, path.flip(0) if shift else path
        exact = self._eager(vector, moved)
        with torch.no_grad():
            if together:  # another path in the other rows, which must not matter
                paths = torch.stack([path, moved] * (_TOGETHER // 2))
                ours = tuple(values[-1] for values in graph(vector, paths))
            else:
                ours = graph(vector, moved)
        return all(
            torch.allclose(a, b, rtol=0, atol=float(_AGREE * (1 + b.abs().max())), equal_nan=True)
            for a, b in zip(ours, exact, strict=True)
        )


class _GivenPath(SmoothConditional):
    """A path density at one path."""

    def __init__(self, density: PathDensity, path: torch.Tensor) -> None:
        self._density, self._path = density, path

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        """Return log density and gradient; minus infinity where the density is zero."""
        try:
            gradient, value = self._density.evaluate(self._density.tensor(position), self._path)
        except torch.linalg.LinAlgError:
            return -np.inf, np.zeros_like(position)
        return float(value), as_numpy(gradient)


class _GivenPaths(SmoothConditional):
    """A weighted sum of path densities."""

    def __init__(self, density: PathDensity, paths: torch.Tensor, weights: torch.Tensor) -> None:
        self._density, self._paths, self._weights = density, paths, weights

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        """Return the sum and its gradient; minus infinity where a density is zero."""
        try:
            gradients, values = self._density.evaluate_all(
                self._density.tensor(position), self._paths
            )
        except torch.linalg.LinAlgError:
            return -np.inf, np.zeros_like(position)
        return float(self._weights @ values), as_numpy(self._weights @ gradients)


class FilteredPosterior:
    """The posterior of global parameters as a particle filter sees it.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    series : Series
        The data; the density computes where they are.
    num_particles : int
        Particles of each filter.
    """

    def __init__(self, model: StateSpaceModel, series: Series, num_particles: int) -> None:
        self._device = series.values.device
        self.parameters = GlobalParameters(model, self._device)
        self.series, self._size = series, num_particles
        with torch_stream(
            np.random.default_rng(0), self._device
        ):  # to look at it, no draw depends on it
            self._look = self.parameters.draw()
            params, _ = self.parameters.at(torch.as_tensor(self._look))
            BoundModel(model, params, series).check()
            path = StatePath(model, params, series.length, series.inputs).sample()
            self._path: NDArray[Any] = as_numpy(path)

    def bind(self, position: Floats) -> tuple[BoundModel, float]:
        """Return the model at a position, and the position's log prior density."""
        with pyro_as_found(torch.float64, device=self._device), torch.no_grad():
            params, log_prior = self.parameters.at(torch.as_tensor(position))
        return BoundModel(self.parameters.model, params, self.series), float(log_prior)

    def path_density(self, *, own_space: bool = False) -> PathDensity:
        """Return the density of the parameters given a trajectory; see `PathDensity`."""
        return PathDensity(
            self.parameters, self.series, self._look, self._path, own_space=own_space
        )

    def filter(
        self, position: Floats, rng: np.random.Generator
    ) -> tuple[float, ParticleHistory | None]:
        """Return the log prior and a fresh filter; None where all its particles died."""
        bound, log_prior = self.bind(position)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return log_prior, run_filter(bound, self._size, rng)
        except InferenceError:
            return log_prior, None

    def start(self, rng: np.random.Generator) -> tuple[Floats, float, ParticleHistory]:
        """Return the best of a few positions drawn from the prior, with log prior and filter.

        Raises
        ------
        InferenceError
            If all particles die at every one of them.
        """
        found, best = None, -np.inf
        for attempt in range(_TRIES):
            with torch_stream(rng, self._device):
                position = self.parameters.draw()
            log_prior, history = self.filter(position, rng)
            if history is not None and log_prior + history.log_evidence > best:
                found, best = (position, log_prior, history), log_prior + history.log_evidence
            if found is not None and attempt + 1 >= _STARTS:
                return found
        raise InferenceError(
            f"All particles died at each of {_TRIES} parameters drawn from the prior. "
            "Check the prior against the data, or use more particles"
        )
