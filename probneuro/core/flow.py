"""What an engine of largest entropy asks of a density that it trains."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]


class Flow(nn.Module, ABC):
    """A density on a bounded support that can be sampled, evaluated and trained.

    It is a map from a base of independent numbers, whose draws come from a numpy stream, so
    that no global random state is touched.
    """

    @abstractmethod
    def base(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return draws of the base, shape (count, parameter)."""

    @abstractmethod
    def push(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return draws (count, parameter) and their log density (count,), differentiably."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of values inside the support, shape (count,)."""


def flatten(flow: nn.Module) -> Floats:
    """Return a network's parameters as one vector, for a chain's state."""
    with torch.no_grad():
        parts = [value.reshape(-1).double() for value in flow.parameters()]
        return np.asarray(torch.cat(parts).numpy())


def fill(flow: nn.Module, vector: Floats) -> None:
    """Put a vector that `flatten` made back into a network."""
    place = 0
    with torch.no_grad():
        for value in flow.parameters():
            size = value.numel()
            part = torch.from_numpy(np.asarray(vector[place : place + size]))
            value.copy_(part.reshape(value.shape))
            place += size
