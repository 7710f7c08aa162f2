"""What a model is: a generative Pyro program, its guide, and names for every site."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probneuro.core.engine import Engine


@dataclass(frozen=True)
class Reference:
    """A published source.

    Parameters
    ----------
    authors, title, venue : str
        As they would stand in a bibliography.
    year : int
        Year of publication.
    identifier : str
        DOI or arXiv number, empty if there is none.
    """

    authors: str
    year: int
    title: str
    venue: str
    identifier: str = ""

    def text(self) -> str:
        """Return the reference as one line.

        Examples
        --------
        >>> Reference("Oja E", 1982, "A simplified neuron model", "J. Math. Biol.").text()
        'Oja E (1982). A simplified neuron model. J. Math. Biol.'
        """
        tail = f" {self.identifier}" if self.identifier else ""
        return f"{self.authors} ({self.year}). {self.title}. {self.venue}{tail}"


class Model(ABC):
    """A generative Pyro program plus a guide; it stores neither data nor samples."""

    name: str
    references: tuple[Reference, ...] = ()

    @abstractmethod
    def model(self, data: Any) -> Any:
        """Run the generative program: the one truth that every fast path is held against."""

    @abstractmethod
    def guide(self, data: Any) -> Any:
        """Run the guide that belongs to the program."""

    @abstractmethod
    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the named dimensions of every site."""

    @abstractmethod
    def coords(self, data: Any) -> Mapping[str, Any]:
        """Return the labels of every dimension for these data."""


class HasDefaultEngine(ABC):
    """A model that knows which engine suits it; `infer` asks it when none is given."""

    @abstractmethod
    def default_engine(self) -> Engine:
        """Return the engine to use when the user names none."""


class DescribesData(ABC):
    """A model that adds what it was given to its results."""

    @abstractmethod
    def data_groups(self, data: Any) -> Mapping[str, Mapping[str, Any]]:
        """Return arrays by group and name, such as ``constant_data``; `dims` names their axes."""

    @abstractmethod
    def attributes(self) -> Mapping[str, Any]:
        """Return the model's settings as plain values, for the result's attributes."""
