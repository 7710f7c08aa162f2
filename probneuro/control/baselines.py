"""What a policy has to beat: chance, nothing, a table, and a table that learns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probneuro.control.adaptive import AdaptivePolicy, Choice, Policy, Trial, matching_arrays
from probneuro.control.patterns import PatternSet
from probneuro.core.errors import DataError

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class RandomPattern(Policy):
    """Any pattern, whatever the state and the target.

    Parameters
    ----------
    patterns : PatternSet
        To choose from.
    """

    patterns: PatternSet

    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return a pattern."""
        row = self.patterns.members[rng.integers(len(self.patterns))]
        return Choice(tuple(int(e) for e in row), explored=True)


@final
@dataclass(frozen=True)
class NoStimulation(Policy):
    """Never stimulates: what happens by itself."""

    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return nothing."""
        return Choice(())


@final
@dataclass(frozen=True, eq=False)
class Static(Policy):
    """The best pattern by a table of predictions that do not know the state.

    Parameters
    ----------
    patterns : PatternSet
        To choose from.
    table : ndarray
        Predicted latents, shape (pattern, latent).

    Raises
    ------
    DataError
        If the table has not one row a pattern.

    Notes
    -----
    Source: Minai et al. (2025), section 3.2.
    """

    patterns: PatternSet
    table: Floats

    def __post_init__(self) -> None:
        _check_table(self.patterns, self.table)

    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return the pattern whose prediction is nearest to the target."""
        best = int(np.abs(self.table - target).sum(axis=1).argmin())
        return Choice(tuple(int(e) for e in self.patterns.members[best]))


@final
@dataclass(frozen=True, eq=False)
class MiSO(AdaptivePolicy):
    r"""A table of predictions that is moved towards what came about.

    .. math:: \hat z_S \leftarrow \hat z_S + \eta (z^{post} - \hat z_S)

    Parameters
    ----------
    patterns : PatternSet
        To choose from.
    table : ndarray
        Predicted latents, shape (pattern, latent).
    rate : float
        Share of the error that an update takes away.
    explore : float
        Chance of a random pattern.

    Raises
    ------
    DataError
        If the table has not one row a pattern.

    Notes
    -----
    Source: Minai et al. (2024), MiSO, with the rate 0.1 and 0.05.
    """

    patterns: PatternSet
    table: Floats
    rate: float = 0.1
    explore: float = 0.05

    def __post_init__(self) -> None:
        _check_table(self.patterns, self.table)

    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return the nearest pattern, now and then a random one."""
        if rng.random() < self.explore:
            return RandomPattern(self.patterns).choose(target, before, trial, rng)
        return Static(self.patterns, self.table).choose(target, before, trial, rng)

    def learned(self, trials: Sequence[Trial]) -> "MiSO":
        """Return the policy with the rows of tested patterns moved."""
        table = self.table.copy()
        for trial in trials:
            if len(trial.electrodes) == self.patterns.num_stimulated:
                row = self.patterns.index(trial.electrodes)
                table[row] += self.rate * (trial.after - table[row])
        return replace(self, table=table)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the table."""
        return {"table": self.table}

    def with_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> "MiSO":
        """Return the policy with another table."""
        found = matching_arrays(arrays, self.arrays())
        return replace(self, table=np.asarray(found["table"], dtype=np.float64))


def _check_table(patterns: PatternSet, table: Floats) -> None:
    if np.ndim(table) != 2 or len(table) != len(patterns):
        raise DataError(
            f"`table` must have shape (pattern, latent) with {len(patterns)} patterns; got "
            f"{np.shape(table)}. Pass one row a pattern of the set."
        )
