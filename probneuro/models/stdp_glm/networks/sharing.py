"""Which synapses share one set of a rule's parameters."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probneuro.core.names import synapse_name
from probneuro.models.stdp_glm.networks.classes import as_classes, unknown_unit
from probneuro.models.stdp_glm.networks.graphs import Integers


class Sharing(ABC):
    """Which synapses share one set of rule parameters."""

    @abstractmethod
    def groups(self, names: Sequence[str]) -> tuple[Integers, tuple[str, ...]]:
        """Return each synapse's group, shape (synapse,), and the groups' names."""


@dataclass(frozen=True)
class Shared(Sharing):
    """All synapses follow one rule with the same parameters.

    Examples
    --------
    >>> Shared().groups(["a->b", "b->a"])
    (array([0, 0]), ('all',))
    """

    def groups(self, names: Sequence[str]) -> tuple[Integers, tuple[str, ...]]:
        """Return one group."""
        return np.zeros(len(names), dtype=np.int64), ("all",)


@dataclass(frozen=True)
class PerSynapse(Sharing):
    """Each synapse has rule parameters of its own.

    Examples
    --------
    >>> PerSynapse().groups(["a->b", "b->a"])
    (array([0, 1]), ('a->b', 'b->a'))
    """

    def groups(self, names: Sequence[str]) -> tuple[Integers, tuple[str, ...]]:
        """Return one group a synapse."""
        return np.arange(len(names), dtype=np.int64), tuple(names)


@dataclass(frozen=True)
class PerClass(Sharing):
    """Synapses share rule parameters by the classes of their two neurons.

    Parameters
    ----------
    classes : mapping of str to str
        Class of every unit by its name, such as ``{"a": "pyramidal", "b": "basket"}``.

    Raises
    ------
    SettingError
        If there are no classes, or, on use, if a synapse joins a unit that has none.

    Examples
    --------
    >>> PerClass({"a": "E", "b": "E", "c": "I"}).groups(["a->b", "a->c", "b->a"])
    (array([0, 1, 0]), ('E->E', 'E->I'))
    """

    classes: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", as_classes(self.classes))

    def groups(self, names: Sequence[str]) -> tuple[Integers, tuple[str, ...]]:
        """Return one group a pair of classes that has a synapse, in order of first use."""
        known = {
            synapse_name(a, b): synapse_name(self.classes[a], self.classes[b])
            for a in self.classes
            for b in self.classes
        }
        for name in names:
            if name not in known:
                raise unknown_unit(f"a unit of synapse '{name}'", self.classes)
        labels = tuple(dict.fromkeys(known[name] for name in names))
        place = {label: i for i, label in enumerate(labels)}
        return np.array([place[known[name]] for name in names], dtype=np.int64), labels
