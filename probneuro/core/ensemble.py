"""The capability of being fitted as an ensemble: one member a part of the data."""

from abc import ABC, abstractmethod
from typing import Any

from probneuro.core.engine import Arrays


class HasEnsemble(ABC):
    """A model whose parameters are fitted several times, each time without a part of the data."""

    @abstractmethod
    def num_members(self, data: Any) -> int:
        """Return how many members the data make."""

    @abstractmethod
    def fit_member(self, data: Any, member: int, seed: int) -> tuple[Arrays, Arrays]:
        """Return a member's parameters by site, and its history, one number an epoch."""
