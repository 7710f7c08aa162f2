"""The contract between the closed-form engine and a model whose posterior is known exactly."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from probneuro.core.engine import Arrays


class ClosedFormPosterior(ABC):
    """An exact posterior, bound to a model and its data."""

    @abstractmethod
    def parameters(self) -> Arrays:
        """Return the point estimates, one array a variable."""

    @abstractmethod
    def constants(self) -> Arrays:
        """Return what else a forecast needs, and did not come out of a posterior."""

    @abstractmethod
    def history(self) -> Arrays:
        """Return what was tried on the way; may be empty."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Arrays:
        """Return one exact, independent draw of the program's variables."""

    @abstractmethod
    def draw_size(self) -> int:
        """Return the bytes that one draw takes."""


class HasClosedForm(ABC):
    """A model whose posterior is known in closed form."""

    @abstractmethod
    def closed_form(self, data: Any) -> ClosedFormPosterior:
        """Bind the model to data and return its posterior."""
