"""Exact posteriors of a program's discrete variables, and densities averaged over them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.infer import infer_discrete
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from probneuro.core.device import CPU, as_numpy, seed_torch
from probneuro.core.engine import Arrays
from probneuro.core.errors import CapabilityError, InferenceError
from probneuro.core.gibbs import SmoothConditional
from probneuro.inference.enumeration import (
    contracted,
    enumerated_among,
    log_prob,
    num_batch_dims,
    pack_density,
    trace_summing,
)
from probneuro.inference.pyro_program import (
    Program,
    in_working_dtype,
    is_deterministic,
    read_bound,
    trace_given,
)
from probneuro.inference.pyro_target import PyroTarget

Floats = NDArray[np.float64]
Tensors = dict[str, torch.Tensor]


class _Held(Messenger):
    """Gives continuous variables their values, and lets discrete ones take all of theirs."""

    def __init__(self, values: Mapping[str, torch.Tensor], discrete: set[str]) -> None:
        super().__init__()
        self._values, self._discrete = values, discrete

    def _pyro_sample(self, message: Any) -> None:
        if message["is_observed"]:
            return
        if message["name"] in self._values:  # not "done": enumeration has to see it
            message["value"] = self._values[message["name"]]
        elif message["name"] in self._discrete:
            message["infer"]["enumerate"] = "parallel"


@dataclass(frozen=True)
class Weights:
    """How probable the discrete variables' values are, given parameters and data.

    Parameters
    ----------
    log_density : float
        Log density of data and parameters, the discrete variables summed out.
    of_factor : dict of str to torch.Tensor
        For every site whose density depends on discrete variables, the probability of each
        entry of that density.
    """

    log_density: float
    of_factor: Tensors


class DiscretePosterior:
    r"""A program's continuous variables θ as one vector, and its discrete ones z given them.

    .. math::

        \log p(\theta, y) = \log \sum_z \prod_f f(z, \theta), \qquad
        P(z_f \mid \theta, y) = \frac{\partial \log p(\theta, y)}{\partial \log f(z_f, \theta)}

    so that one derivative of the sum gives the posterior of the discrete variables that each
    factor f depends on, for mixtures, chains and trees alike. Densities are those of the
    variables in their own space.

    Parameters
    ----------
    program : Program
        Read with its discrete sites.

    Notes
    -----
    The derivative of a log partition function is the factors' marginals (Darwiche, 2003, "A
    differential approach to inference in Bayesian networks"). Sums are done by Pyro's tensor
    variable elimination (Obermeyer et al., 2019).
    """

    def __init__(self, program: Program) -> None:
        self._program, self._target = program, PyroTarget(program)
        self._names = {site.name for site in program.discrete}
        with program.as_found(), torch.no_grad():
            values, _ = self._target.own_space(self._vector(np.zeros(self.dimension)))
            self._num_dims = num_batch_dims(trace_given(program.run, values))

    @property
    def program(self) -> Program:
        """The program."""
        return self._program

    @property
    def dimension(self) -> int:
        """Length of the vector."""
        return self._target.dimension

    def estimates(self, position: Floats) -> Arrays:
        """Return the continuous variables at a position."""
        with torch.no_grad():
            values, _ = self._target.own_space(self._vector(position))
        return {name: as_numpy(value.double()).copy() for name, value in values.items()}

    def log_density(self, position: Floats) -> float:
        """Return the log density of parameters and data, minus infinity where there is none."""
        with self._program.as_found(), torch.no_grad():
            try:
                trace, coupled, rest = self._factors(self._vector(position))
                total = float(rest + contracted(trace, coupled, list(coupled), set()))
            except torch.linalg.LinAlgError:
                return -np.inf
        return total if np.isfinite(total) else -np.inf

    def weights(self, position: Floats) -> Weights:
        """Return the posterior of the discrete variables at a position.

        Raises
        ------
        InferenceError
            If the density is not finite there.
        """
        with self._program.as_found():
            with torch.no_grad():
                trace, coupled, rest = self._factors(self._vector(position))
            with torch.enable_grad():
                leaves = {name: _leaf(values) for name, values in coupled.items()}
                total = contracted(trace, leaves, list(leaves), set())
                found = torch.autograd.grad(total, list(leaves.values()))
        value = float(rest + total.detach())
        if not np.isfinite(value) or not all(bool(w.isfinite().all()) for w in found):
            raise InferenceError(
                f"The log density is {value} in the E step. Look at priors that push a parameter "
                "to the edge of its support"
            )
        return Weights(value, dict(zip(leaves, found, strict=True)))

    def expected(self, weights: Weights) -> SmoothConditional:
        """Return the complete log density averaged over the discrete variables."""
        return _Expected(self, weights)

    def draw(self, position: Floats, rng: np.random.Generator) -> tuple[Arrays, float]:
        """Draw the discrete variables at a position; return all variables and log density."""
        with self._program.as_found(), torch.no_grad():
            seed_torch(int(rng.integers(2**62)), self._program.device)
            values, _ = self._target.own_space(self._vector(position))

            def held() -> Any:
                with _Held(values, self._names):
                    return self._program.run()

            with pyro.poutine.trace() as tracer:
                infer_discrete(held, first_available_dim=-1 - self._num_dims)()
            nodes: Any = tracer.trace.nodes
            for site in self._program.discrete:
                shape = site.shape + tuple(site.values.shape[1:])
                values[site.name] = nodes[site.name]["value"].expand(shape)
            trace = trace_given(self._program.run, values)
            height = float(trace.log_prob_sum())
        fixed = {name: trace.nodes[name]["value"] for name in self._program.deterministic}
        return {n: as_numpy(v).copy() for n, v in (values | fixed).items()}, height

    def averaged(self, vector: torch.Tensor, weights: Weights) -> torch.Tensor:
        """Return the log density averaged with some weights; to be called inside Pyro's lock."""
        _, coupled, total = self._factors(vector)
        for name, values in coupled.items():
            share = weights.of_factor[name]
            possible = share > 0  # elsewhere the density may be zero, and its log infinite
            total = total + (share * values.where(possible, values.new_zeros(()))).sum()
        return total

    def value_and_gradient(self, position: Floats, weights: Weights) -> tuple[float, Floats]:
        """Return the averaged log density and its gradient at a position."""
        with self._program.as_found(), torch.enable_grad():
            free = self._vector(position).requires_grad_(True)
            try:
                value = self.averaged(free, weights)
                (gradient,) = torch.autograd.grad(value, free)
            except torch.linalg.LinAlgError:
                return -np.inf, np.zeros_like(position)
        return float(value.detach()), as_numpy(gradient.double())

    def _vector(self, position: Floats) -> torch.Tensor:
        return torch.tensor(position, dtype=self._program.dtype, device=self._program.device)

    def _factors(self, vector: torch.Tensor) -> tuple[Any, Tensors, torch.Tensor]:
        """Return the densities that depend on discrete variables, and the sum of the others."""
        values, _ = self._target.own_space(vector)
        trace = trace_summing(self._program.run, _Held(values, self._names), self._num_dims)
        nodes = {
            name: node
            for name, node in trace.nodes.items()
            if node["type"] == "sample"
            and not is_deterministic(node)
            and not site_is_subsample(node)
        }
        hidden = set(enumerated_among(trace, nodes))
        rest, coupled = 0.0 * vector.sum(), {}  # a gradient even where nothing depends on it
        for name, node in nodes.items():
            density = log_prob(node)
            if name in hidden or density.dim() > self._num_dims:
                _refuse_scale(node)
                coupled[name] = pack_density(node, density)
            else:
                rest = rest + (density * node["scale"]).sum()
        return trace, coupled, rest


def read_discrete(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    device: torch.device = CPU,
) -> DiscretePosterior:
    """Read a Pyro program that has parameters to estimate and discrete variables to sum out.

    Parameters
    ----------
    program : callable
        Any Pyro program with both.
    args, kwargs
        Its arguments.
    device : torch.device
        Where it computes; its arguments are moved there.

    Raises
    ------
    CapabilityError
        If there are none of either, or they cannot be treated correctly; says why.
    """
    return in_working_dtype(program, args, kwargs, partial(_look, device=device), device)


def _look(run: Callable[[], Any], dtype: torch.dtype, device: torch.device) -> DiscretePosterior:
    program = read_bound(run, dtype, discrete=True, device=device)
    if not program.discrete:
        raise CapabilityError(
            "The program has no discrete variables to average over: EM takes all continuous ones "
            "as parameters. Use SVI(guide=AutoDelta) for the most probable values of them all."
        )
    if not program.sites:
        raise CapabilityError(
            "The program has no continuous variables to estimate. Use Gibbs() for draws of its "
            "discrete ones."
        )
    posterior = DiscretePosterior(program)
    # Sums meet what no run without them does: a mix of dtypes, which must show here.
    posterior.log_density(np.zeros(posterior.dimension))
    return posterior


def _leaf(values: torch.Tensor) -> torch.Tensor:
    # Pyro's enumeration hangs the names of its dimensions on tensors, which torch does not declare.
    leaf: Any = values.detach().clone().requires_grad_(True)
    leaf._pyro_dims = values._pyro_dims  # type: ignore[attr-defined]
    answer: torch.Tensor = leaf
    return answer


def _refuse_scale(node: Any) -> None:
    if torch.as_tensor(node["scale"] != 1.0).any():
        raise CapabilityError(
            f"The density of `{node['name']}` is scaled by {node['scale']} and depends on discrete "
            "variables, so that they have no posterior. Leave `poutine.scale` out."
        )


class _Expected(SmoothConditional):
    """The complete log density averaged with weights that are held."""

    def __init__(self, posterior: DiscretePosterior, weights: Weights) -> None:
        self._posterior, self._weights = posterior, weights

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        """Return the averaged log density and its gradient."""
        return self._posterior.value_and_gradient(position, self._weights)
