"""The capability of predicting blocks of data that come after those a posterior has seen."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class HasHeldOut(ABC):
    """A model that can tell how well a posterior predicts what comes next."""

    @abstractmethod
    def held_out(
        self, posterior: Mapping[str, Any], data: Any, first: int, **settings: Any
    ) -> Mapping[str, Any]:
        """Return the group ``held_out`` of a posterior fitted to the blocks before ``first``.

        ``log_likelihood`` has shape (chain, draw, block, unit): the log density of each block
        given everything before it and one draw's parameters, latent states integrated out.
        """
