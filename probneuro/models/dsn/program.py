"""Degenerate solution networks: uniform parameters, a simulator, and a flow as the guide."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from torch import Tensor

from probneuro.components.flows import AffineCoupling, AutoregressiveSpline, Box, Simplex, Support
from probneuro.core.engine import Engine
from probneuro.core.entropy import HasGradient
from probneuro.core.entropy_verdict import PARAMETER
from probneuro.core.errors import CapabilityError, DataError
from probneuro.core.flow import Flow
from probneuro.core.model import DescribesData, HasDefaultEngine, Model, Reference
from probneuro.core.registry import load
from probneuro.data.behaviour import Behaviour, as_behaviour
from probneuro.models.dsn.prior import uniform_density

Floats = NDArray[np.float64]
Features = Mapping[str, Any]

BITTNER = Reference(
    "Bittner SR, Cunningham JP",
    2018,
    "Degenerate solution networks (DSNs) for theoretical neuroscience",
    "Computational and Systems Neuroscience (Cosyne) abstracts",
)
EPI = Reference(
    "Bittner SR, Palmigiano A, Piet AT, Duan CA, Brody CD, Miller KD, Cunningham JP",
    2021,
    "Interrogating theoretical models of neural computation with emergent property inference",
    "eLife 10:e56265",
)


@final
@dataclass(frozen=True)
class SplineSize:
    """Size of the autoregressive spline flow.

    Parameters
    ----------
    stages, hidden, bins : int
        Passes, width of the hidden layers, bins of each spline.
    """

    stages: int = 1
    hidden: int = 64
    bins: int = 16


@final
@dataclass(frozen=True)
class CouplingSize:
    """Size of the affine coupling flow; the defaults are EPI's for the linear system.

    Parameters
    ----------
    stages, hidden, layers : int
        Stages of two half steps, width and number of hidden layers.
    """

    stages: int = 3
    hidden: int = 50
    layers: int = 2


@final
@dataclass(frozen=True)
class DSN(Model, HasGradient, HasDefaultEngine, DescribesData):
    r"""All parameters of a simulator under which it behaves as asked, as random as can be.

    .. math::

        q^*(z) = \arg\max_q H(q) \quad \text{such that} \quad
        \mathrm E_{z \sim q}\, \mathrm E_{x \sim p(x \mid z)}[T(x)] = \mu

    Parameters
    ----------
    simulator : callable
        Takes parameters by name, arrays of shape (draw,), and returns features by name, arrays
        of the same shape; NaN where a simulation has no such feature. With ``noisy`` it takes a
        ``numpy.random.Generator`` as well.
    differentiable : bool
        Whether the simulator is written in torch, so that it can be handed tensors and its
        features differentiated.
    noisy : bool
        Whether it draws random numbers.
    repeats : int
        Simulations whose mean is the feature of a parameter, for noisy simulators.
    swap : tuple of (str, str) or None
        Two parameters whose exchange changes no feature. There are then two modes of equal
        mass, told apart by which of the two is larger; a fit says what it gave each.
    spline, coupling : SplineSize, CouplingSize
        Flows of the gradient-free engine and of the one by gradients.

    Raises
    ------
    DataError
        If the simulator gives other features than the behaviour asks for.
    CapabilityError
        If gradients are asked of a simulator that has none.

    Notes
    -----
    Source: Bittner and Cunningham (2018), Eq. 1. Their supports may be unbounded; here a box
    is part of the problem, since without one a solution need not exist.

    Examples
    --------
    >>> behaviour = Behaviour({"gain": (0.0, 2.0)}, means={"rate": 3.0}, variances={"rate": 1.0})
    >>> model = DSN(lambda z: {"rate": 5.0 * z["gain"]})
    >>> trace = pyro.poutine.trace(model.model).get_trace(behaviour)
    >>> sorted(trace.nodes["features"]["value"].shape)
    [1]
    """

    simulator: Callable[..., Features]
    differentiable: bool = False
    noisy: bool = False
    repeats: int = 1
    swap: tuple[str, str] | None = None
    spline: SplineSize = field(default_factory=SplineSize)
    coupling_size: CouplingSize = field(default_factory=CouplingSize)

    name = "dsn"
    references = (BITTNER, EPI)

    def model(self, data: Behaviour, multipliers: Floats | None = None) -> Any:
        """Run the program: uniform parameters, simulation, features, statistics.

        With ``multipliers`` the statistics tilt it, which makes its posterior the distribution
        of largest entropy.
        """
        values = pyro.sample("z", uniform_density(data))
        features = self._features(data, values)
        features = pyro.deterministic("features", features, event_dim=1)
        statistics = data.statistics(features.reshape(1, -1))[0]
        statistics = pyro.deterministic("statistics", statistics, event_dim=1)
        if multipliers is not None:
            pyro.factor("tilt", -(statistics * torch.as_tensor(multipliers)).sum())
        return statistics

    def guide(self, data: Behaviour, multipliers: Floats | None = None) -> Any:
        """Run the flow q(z), its weights in Pyro's parameter store.

        ``multipliers`` are those of the program and play no part here.
        """
        make = self.coupling if len(data.parameters) > 1 else self.flow
        flow = make(data, np.random.default_rng(0))
        pyro.module("flow", flow)
        with pyro.poutine.block():
            base = pyro.sample("base", _base(flow, data))
        values, density = flow.push(base.reshape(1, -1))
        pyro.sample("z", dist.Delta(values[0], density[0], event_dim=1))

    def simulate(self, behaviour: Behaviour, values: Floats, rng: np.random.Generator) -> Floats:
        """Return features, shape (draw, feature); the mean over repeats where there are any."""
        if self.differentiable:
            with torch.no_grad():
                return np.asarray(self.differentiate(behaviour, torch.from_numpy(values)).numpy())
        named = dict(zip(behaviour.parameters, values.T, strict=True))
        total = np.zeros((len(values), len(behaviour.features)))
        for _ in range(self.repeats):
            given = self.simulator(named, rng) if self.noisy else self.simulator(named)
            total += np.stack(_ordered(behaviour, given, len(values)), axis=1)
        return total / self.repeats

    def differentiate(self, behaviour: Behaviour, values: Tensor) -> Tensor:
        """Return features with their history, shape (draw, feature)."""
        if not self.differentiable:
            raise CapabilityError(
                "The simulator is not declared as differentiable. Write it in torch and pass "
                "DSN(simulate, differentiable=True), or use ImportanceDual()."
            )
        named = dict(zip(behaviour.parameters, values.unbind(dim=1), strict=True))
        return torch.stack(_ordered(behaviour, self.simulator(named), len(values)), dim=1)

    def modes(self, behaviour: Behaviour, values: Floats) -> Floats:
        """Return which of the two swapped parameters is larger, 0 or 1; empty without a swap."""
        if self.swap is None:
            return np.empty(0)
        one, other = (behaviour.parameters.index(name) for name in self.swap)
        return np.asarray(values[:, one] > values[:, other], dtype=np.float64)

    def flow(self, behaviour: Behaviour, rng: np.random.Generator) -> Flow:
        """Return a fresh autoregressive spline flow: the uniform density on the support."""
        size = self.spline
        return AutoregressiveSpline(
            support_of(behaviour),
            len(behaviour.parameters),
            rng,
            stages=size.stages,
            hidden=size.hidden,
            bins=size.bins,
        )

    def coupling(self, behaviour: Behaviour, rng: np.random.Generator) -> Flow:
        """Return a fresh affine coupling flow: a bell on the support."""
        size = self.coupling_size
        if len(behaviour.parameters) < 2:
            raise CapabilityError(
                "A coupling flow needs at least 2 parameters; the behaviour has 1. Use "
                "ImportanceDual()."
            )
        return AffineCoupling(
            support_of(behaviour),
            len(behaviour.parameters),
            rng,
            stages=size.stages,
            hidden=size.hidden,
            layers=size.layers,
        )

    def default_engine(self) -> Engine:
        """Return the engine that needs no gradients."""
        engine: Engine = load("engine", "importance_dual")()
        return engine

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the named dimensions of every site."""
        return {"z": (PARAMETER,)}

    def coords(self, data: Behaviour) -> Mapping[str, Any]:
        """Return the names of the parameters."""
        return {PARAMETER: list(as_behaviour(data).parameters)}

    def data_groups(self, data: Behaviour) -> Mapping[str, Mapping[str, Any]]:
        """Return nothing: the engine records targets and bounds itself."""
        return {}

    def attributes(self) -> Mapping[str, Any]:
        """Return the model's settings as plain values."""
        named = getattr(self.simulator, "__qualname__", type(self.simulator).__qualname__)
        return {"simulator": str(named), "repeats": self.repeats, "swap": self.swap}

    def _features(self, data: Behaviour, values: Tensor) -> Tensor:
        rows = values.reshape(1, -1).double()
        if self.differentiable:
            return self.differentiate(data, rows)[0]
        seed = int(torch.randint(2**31, (1,)))
        rng = np.random.default_rng(seed)
        return torch.from_numpy(self.simulate(data, rows.detach().numpy(), rng))[0]


def support_of(behaviour: Behaviour) -> Support:
    """Return the map from the cube to a behaviour's support."""
    if behaviour.simplex:
        return Simplex()
    return Box(behaviour.lower.tolist(), behaviour.upper.tolist())


def _base(flow: Flow, data: Behaviour) -> Any:
    """Return the base of a flow as a distribution."""
    zero = torch.zeros(len(data.parameters), dtype=torch.float64)
    if isinstance(flow, AffineCoupling):
        return dist.Normal(zero, 1.0).to_event(1)
    return dist.Uniform(zero, 1.0).to_event(1)


def _ordered(behaviour: Behaviour, given: Any, count: int) -> list[Any]:
    """Return features in the behaviour's order, checked."""
    if not isinstance(given, Mapping):
        raise DataError(
            f"The simulator must return features by name; got {type(given).__name__}. Return "
            "e.g. {'rate': rate}."
        )
    missing = [name for name in behaviour.features if name not in given]
    if missing:
        raise DataError(
            f"The simulator gives no feature '{missing[0]}', which the behaviour asks for; it "
            f"gives {', '.join(map(str, given)) or 'none'}. Return it too, or leave it out."
        )
    columns = [given[name] for name in behaviour.features]
    for name, column in zip(behaviour.features, columns, strict=True):
        shape = tuple(np.shape(column))
        if shape != (count,):
            raise DataError(
                f"The simulator's feature '{name}' has shape {shape} for {count} draws. It is "
                "given arrays of shape (draw,) and must return one number a draw."
            )
    return columns
