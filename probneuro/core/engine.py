"""The contract between an engine, the chains it runs and the checkpoints they leave."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""Named arrays: a chain's state, one draw, or one step's statistics."""


class Kernel(ABC):
    """One chain's transition, bound to a model and its data.

    A state is a flat dict of numpy arrays and holds all that the next step needs
    (adaptation included), so that any chain can be checkpointed and resumed to the same
    draws without executing code from a file.
    """

    @abstractmethod
    def init(self, rng: np.random.Generator) -> Arrays:
        """Return the state a chain starts from."""

    @abstractmethod
    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Return the next state and this step's statistics (they become ``sample_stats``).

        ``warmup`` says whether the step may adapt. The state passed in is never changed.
        """

    @abstractmethod
    def draw(self, state: Arrays) -> Arrays:
        """Return the posterior variables of a state, one array a variable."""


@dataclass(frozen=True, kw_only=True)
class Engine(ABC):
    """A way to infer: frozen settings, and what it needs from a model."""

    @property
    def name(self) -> str:
        """The engine's name in results and on the command line."""
        return type(self).__name__

    def settings(self) -> Mapping[str, Any]:
        """Return the settings as plain values, for the result's attributes."""
        return asdict(self)
