"""What a quick method is that scores every pair of neurons, without a posterior."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from probneuro.data import BinnedSpikes


class EdgeScorer(ABC):
    """A method that gives every ordered pair of neurons a score, larger where a synapse is.

    ``name`` stands in tables and figures. A subclass of yours is used as
    ``probneuro.connectivity(spikes, methods=[Mine(), "additive"])``.
    """

    name: str

    @abstractmethod
    def score(self, data: BinnedSpikes) -> dict[str, NDArray[np.float64]]:
        """Return ``score`` and what else there is to tell, each of shape (pre, post)."""
