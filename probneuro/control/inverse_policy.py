"""Policies that invert a response model: by a cloned network, or exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from probneuro.control.adaptive import (
    AdaptivePolicy,
    Choice,
    Exploration,
    Policy,
    Trial,
    matching_arrays,
)
from probneuro.control.inverse_network import InverseNetwork
from probneuro.control.patterns import PatternSet
from probneuro.control.response_cache import ResponseCache
from probneuro.control.safety import whole_numbers
from probneuro.core.errors import SettingError

if TYPE_CHECKING:
    from probneuro.control.inverse_training import ClippedUpdate

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class ExactInverse(Policy):
    """The pattern whose prediction given the state is nearest to the target: static, exact.

    Parameters
    ----------
    patterns : PatternSet
        To choose from.
    cache : ResponseCache
        Predictions of all patterns.
    """

    patterns: PatternSet
    cache: ResponseCache

    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return the nearest pattern."""
        best, _ = self.cache.nearest(target, before)
        return Choice(tuple(int(e) for e in self.patterns.members[best]))


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class InversePolicy(AdaptivePolicy):
    """OMiSO: a cloned inverse model, epsilon-greedy choice, clipped updates.

    Without an update it is the paper's "Static with pre-stim".

    Parameters
    ----------
    network : InverseNetwork
        The inverse model.
    num_stimulated : int
        Electrodes a pattern.
    allowed : tuple of int, optional
        Candidates that may be used; all by default.
    exploration : Exploration or None
        None for the most suitable electrodes always.
    update : ClippedUpdate or None
        None for a static policy.

    Raises
    ------
    SettingError
        If `allowed` are no candidates, or fewer than a pattern needs.

    Notes
    -----
    Source: Minai et al. (2025), sections 2.5 and 2.6.

    Examples
    --------
    >>> policy = InversePolicy(network=InverseNetwork.fresh(2, 5, 20), num_stimulated=5)
    >>> rng = np.random.default_rng(0)
    >>> len(policy.choose(np.zeros(2), np.zeros((5, 2)), 0, rng).electrodes)
    5
    """

    network: InverseNetwork
    num_stimulated: int
    allowed: tuple[int, ...] | None = None
    exploration: Exploration | None = field(default_factory=Exploration)
    update: "ClippedUpdate | None" = None

    def __post_init__(self) -> None:
        total = self.network.num_candidates
        everything = tuple(range(total))
        places, wrong = (
            (everything, "") if self.allowed is None else whole_numbers(tuple(self.allowed))
        )
        if wrong or not set(places) <= set(everything):
            raise SettingError(
                f"`allowed` must be candidates, whole numbers from 0 to {total - 1}; got "
                f"{self.allowed!r}. Leave others out."
            )
        number, most = self.num_stimulated, len(set(places))
        if whole_numbers([number])[1] or not 1 <= number <= most:
            raise SettingError(
                f"`num_stimulated` must be a whole number between 1 and {most} (allowed "
                f"candidates); got {number!r}. Pass fewer, or allow more."
            )

    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return the most suitable electrodes, or explore."""
        suitability = self.network.suitability(target, before).astype(np.float64)
        if self.allowed is not None:
            barred = np.ones(len(suitability), dtype=bool)
            barred[list(self.allowed)] = False
            suitability[barred] = -np.inf
        exploration = self.exploration or Exploration(initial=0.0, floor=0.0)
        return exploration.choose(suitability, self.num_stimulated, trial, rng)

    def learned(self, trials: Sequence[Trial]) -> "InversePolicy":
        """Return the policy after a clipped update with these trials alone."""
        if self.update is None:
            return self
        return replace(self, network=self.update.apply(self.network, trials))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the network's weights."""
        return self.network.arrays()

    def with_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> "InversePolicy":
        """Return the policy with another network."""
        found = matching_arrays(arrays, self.arrays())
        return replace(self, network=InverseNetwork.from_arrays(found))
