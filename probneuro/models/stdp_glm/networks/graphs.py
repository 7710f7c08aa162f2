"""Which synapses may exist, and how likely each is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError, unknown_name

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Network(ABC):
    """A prior over directed graphs: candidate synapses and the probability of each."""

    @abstractmethod
    def candidates(self, units: Sequence[str]) -> tuple[Integers, Integers]:
        """Return pre and post indices of the candidate synapses."""

    @abstractmethod
    def edge_probability(self, units: Sequence[str]) -> Floats:
        """Return each candidate's prior probability of being there, shape (synapse,)."""


def every_pair(num_neurons: int) -> tuple[Integers, Integers]:
    """Return pre and post indices of all ordered pairs of different neurons."""
    pre, post = np.nonzero(~np.eye(num_neurons, dtype=bool))
    return pre.astype(np.int64), post.astype(np.int64)


@dataclass(frozen=True)
class ErdosRenyi(Network):
    """Every ordered pair of neurons is joined independently with the same probability.

    Parameters
    ----------
    probability : float
        Prior probability of an edge, above 0 and below 1.

    Raises
    ------
    SettingError
        If the probability is outside (0, 1).

    Examples
    --------
    >>> ErdosRenyi(0.5).edge_probability(["a", "b"])
    array([0.5, 0.5])
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.probability < 1.0:
            raise SettingError(
                f"`probability` of an edge must lie between 0 and 1; got {self.probability}. "
                "Use FullyConnected() for edges that are certain."
            )

    def candidates(self, units: Sequence[str]) -> tuple[Integers, Integers]:
        """Return every ordered pair."""
        return every_pair(len(units))

    def edge_probability(self, units: Sequence[str]) -> Floats:
        """Return the same probability for all."""
        return np.full(len(units) * (len(units) - 1), self.probability)


@dataclass(frozen=True)
class FullyConnected(Network):
    """Every ordered pair of neurons is joined.

    Examples
    --------
    >>> FullyConnected().edge_probability(["a", "b"])
    array([1., 1.])
    """

    def candidates(self, units: Sequence[str]) -> tuple[Integers, Integers]:
        """Return every ordered pair."""
        return every_pair(len(units))

    def edge_probability(self, units: Sequence[str]) -> Floats:
        """Return one for all."""
        return np.ones(len(units) * (len(units) - 1))


@dataclass(frozen=True)
class Candidates(Network):
    """Only the named synapses may exist.

    Parameters
    ----------
    pairs : sequence of (pre, post)
        Names of the neurons on both sides.
    probability : float
        Prior probability of each, above 0 and at most 1.

    Raises
    ------
    SettingError
        If a name is unknown, a pair is a neuron with itself or comes twice.

    Examples
    --------
    >>> Candidates((("a", "b"),)).candidates(["a", "b"])
    (array([0]), array([1]))
    """

    pairs: tuple[tuple[str, str], ...]
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.probability <= 1.0:
            raise SettingError(f"`probability` must lie in (0, 1]; got {self.probability}.")
        if len(set(self.pairs)) < len(self.pairs) or any(a == b for a, b in self.pairs):
            raise SettingError(
                f"`pairs` must be different neurons, each pair once; got {self.pairs}."
            )

    def candidates(self, units: Sequence[str]) -> tuple[Integers, Integers]:
        """Return the named pairs by index."""
        index = {unit: i for i, unit in enumerate(units)}
        for name in {name for pair in self.pairs for name in pair}:
            if name not in index:
                raise unknown_name("neuron", name, units)
        pairs = np.array([(index[a], index[b]) for a, b in self.pairs], dtype=np.int64)
        return pairs.reshape(-1, 2)[:, 0], pairs.reshape(-1, 2)[:, 1]

    def edge_probability(self, units: Sequence[str]) -> Floats:
        """Return the same probability for all."""
        return np.full(len(self.pairs), self.probability)


@dataclass(frozen=True)
class InputsTo(Network):
    """Only synapses onto the named neurons may exist; all others are their inputs.

    Parameters
    ----------
    neurons : sequence of str
        Names of the neurons that are driven.
    probability : float
        Prior probability of each, above 0 and at most 1.

    Raises
    ------
    SettingError
        If a name is unknown or comes twice, or there is none.

    Examples
    --------
    >>> InputsTo(("c",)).candidates(["a", "b", "c"])
    (array([0, 1]), array([2, 2]))
    """

    neurons: tuple[str, ...]
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.probability <= 1.0:
            raise SettingError(f"`probability` must lie in (0, 1]; got {self.probability}.")
        if isinstance(self.neurons, str) or not self.neurons:
            raise SettingError(
                f"`neurons` must be a tuple of names; got {self.neurons!r}. Write e.g. ('cell',)."
            )
        if len(set(self.neurons)) < len(self.neurons):
            raise SettingError(f"`neurons` must be named once each; got {self.neurons}.")

    def candidates(self, units: Sequence[str]) -> tuple[Integers, Integers]:
        """Return every pair whose second neuron is named, by index."""
        for name in self.neurons:
            if name not in units:
                raise unknown_name("neuron", name, units)
        pre, post = every_pair(len(units))
        kept = np.isin(np.asarray(units)[post], self.neurons)
        return pre[kept], post[kept]

    def edge_probability(self, units: Sequence[str]) -> Floats:
        """Return the same probability for all."""
        return np.full(len(self.neurons) * (len(units) - 1), self.probability)
