"""What engines of largest entropy ask of a model: a simulator, and a flow to be trained."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from probneuro.core.flow import Flow

Floats = NDArray[np.float64]


class HasSimulator(ABC):
    """A model whose simulations give features, some of which may fail (NaN)."""

    @abstractmethod
    def simulate(self, behaviour: Any, values: Floats, rng: np.random.Generator) -> Floats:
        """Return features, shape (draw, feature), of parameters, shape (draw, parameter).

        A row with a NaN is a simulation that has no such features, such as a silent cell's
        burst length: it carries no weight.
        """

    @abstractmethod
    def flow(self, behaviour: Any, rng: np.random.Generator) -> Flow:
        """Return a fresh flow on the behaviour's support."""

    @abstractmethod
    def modes(self, behaviour: Any, values: Floats) -> Floats:
        """Return which mode each draw belongs to, 0 or 1, where a symmetry has two; else empty."""


class HasGradient(HasSimulator):
    """A model whose features torch can differentiate by the parameters."""

    @abstractmethod
    def differentiate(self, behaviour: Any, values: Tensor) -> Tensor:
        """Return features as `simulate` does, with their history."""

    @abstractmethod
    def coupling(self, behaviour: Any, rng: np.random.Generator) -> Flow:
        """Return a fresh flow that is quick to draw from and differentiable."""
