"""What gradient engines see of a model: a log density over one flat vector."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.gibbs import SmoothConditional

Floats = NDArray[np.float64]


class Target(SmoothConditional):
    """A log density with its gradient, over unconstrained float64 vectors."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of the vector."""

    @property
    @abstractmethod
    def dims(self) -> Mapping[str, list[Any]]:
        """Names of the dimensions of every variable; None where there is no name."""

    @abstractmethod
    def variables(self, position: Floats) -> Arrays:
        """Return the model's variables at a position, in their own space."""

    @staticmethod
    def from_pyro(program: Callable[..., Any], *args: Any, **kwargs: Any) -> "Target":
        """Read a Pyro program once and return its target; see `PyroTarget`."""
        from probneuro.inference.pyro_target import read_program

        return read_program(program, args, kwargs)
