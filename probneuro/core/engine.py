"""The contract between an engine, the chains it runs and the checkpoints they leave."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""Named arrays: a chain's state, one draw, or one step's statistics."""
Floats = NDArray[np.float64]
T = TypeVar("T")
Asking = Generator[Floats, tuple[float, Floats], T]
"""Work that asks for the log density and gradient at positions, one after the other.

It yields a position, is sent value and gradient there, and returns its result at the end.
"""


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


class BatchKernel(ABC):
    """One chain's transition that asks for gradients, so that all chains are told at once.

    The chains of a run share every call of `answer`: each runs on to the next position that
    it needs, whatever step it is at, and waits there. States are as those of a `Kernel`.
    """

    @abstractmethod
    def init(self, rng: np.random.Generator) -> Asking[Arrays]:
        """Return the state a chain starts from."""

    @abstractmethod
    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> Asking[tuple[Arrays, Arrays]]:
        """Return the next state and this step's statistics; see `Kernel.step`."""

    @abstractmethod
    def draw(self, state: Arrays) -> Arrays:
        """Return what is recorded of a state, one array a variable."""

    @abstractmethod
    def answer(self, positions: Floats) -> tuple[Floats, Floats]:
        """Return log densities, shape (chain,), and gradients at positions (chain, dimension).

        No row may depend on what the other rows hold.
        """


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `infer` asks of any engine, beside the engine's own settings.

    Parameters
    ----------
    draws, chains : int
        Size of the posterior sample.
    first_chain : int
        Number of the first chain: chain c of a larger run, with its own random stream and
        its own label, is a run of one chain whose first is c.
    seed : int
        Seed of the run.
    progress : bool
        Whether to show progress.
    checkpoint : path or None
        Folder to resume from and to write to.
    workers : int or None
        Chains at a time; None for as many as there are processors.
    save_warmup : bool
        Whether to keep the warm-up in groups ``warmup_posterior`` and
        ``warmup_sample_stats``.
    fingerprint : mapping
        What the draws depend on beside these options (model, engine, settings, data hash),
        to be handed to the checkpoint.
    dims, coords : mapping
        Names of every variable's dimensions and their labels, the model's own included.
    groups : mapping
        What the model records of its data, by group and name, to be put into the result.
    device : str
        Where torch computes, as ``"cuda:0"``; other than the CPU for a `RunsOnDevice` only.
    subject : str
        What is fitted, where the engine's name does not tell runs apart: a learning rule.
    """

    draws: int = 1000
    chains: int = 4
    first_chain: int = 0
    seed: int = 0
    progress: bool = True
    checkpoint: str | PathLike[str] | None = None
    workers: int | None = None
    save_warmup: bool = False
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    dims: Mapping[str, Any] = field(default_factory=dict)
    coords: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "cpu"
    subject: str = ""

    def label(self, engine: str) -> str:
        """Return what progress lines call the run."""
        return f"{self.subject}, {engine}" if self.subject else engine


class RunsOnDevice(ABC):  # noqa: B024 -- a capability, and nothing to do for it
    """An engine that computes by torch where `RunOptions.device` says; others know the CPU only."""


@dataclass(frozen=True, kw_only=True)
class Engine(ABC):
    """A way to infer: frozen settings, and what it needs from a model."""

    @abstractmethod
    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the engine on a model and its arguments, and return the result.

        ``model`` is a `Model` or any Pyro callable. The result holds the groups alone:
        versions, seed, settings, data hash and time are added by `infer`. An engine that
        cannot treat the model correctly raises `CapabilityError` and says which can.
        """

    @property
    def name(self) -> str:
        """The engine's name in results and on the command line."""
        return type(self).__name__

    def settings(self) -> Mapping[str, Any]:
        """Return the settings as plain values, for the result's attributes."""
        return asdict(self)
