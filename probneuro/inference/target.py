"""What gradient engines see of a model: a log density over one flat vector."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.gibbs import SmoothConditional

Floats = NDArray[np.float64]


def finite_rows(values: Floats, gradients: Floats) -> tuple[Floats, Floats]:
    """Return values and gradients with no density wherever either is no finite number.

    Examples
    --------
    >>> finite_rows(np.array([1.0, np.nan]), np.array([[2.0], [3.0]]))
    (array([  1., -inf]), array([[2.],
           [0.]]))
    """
    if math.isfinite(values.sum() + gradients.sum()):  # quick, and enough in nearly every round
        return values, gradients
    good = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
    return np.where(good, values, -np.inf), np.where(good[:, None], gradients, 0.0)


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

    def values_and_gradients(self, positions: Floats) -> tuple[Floats, Floats]:
        """Return log densities and gradients at many positions, each row for itself.

        Parameters
        ----------
        positions : numpy.ndarray
            Shape (batch, dimension).

        Returns
        -------
        tuple of numpy.ndarray
            Log densities, shape (batch,), minus infinity with a gradient of zero where the
            density is zero or no number, and gradients, shape (batch, dimension).
        """
        rows = [self.value_and_gradient(position) for position in positions]
        return finite_rows(np.array([row[0] for row in rows]), np.stack([row[1] for row in rows]))

    def variables_along(self, positions: Floats) -> Arrays:
        """Return the variables at many positions (batch, dimension), that axis first."""
        rows = [self.variables(position) for position in positions]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    @staticmethod
    def from_pyro(program: Callable[..., Any], *args: Any, **kwargs: Any) -> "Target":
        """Read a Pyro program once and return its target; see `PyroTarget`."""
        from probneuro.inference.pyro_target import read_program

        return read_program(program, args, kwargs)
