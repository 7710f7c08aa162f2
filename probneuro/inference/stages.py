"""Runs of unknown length: stage by stage to an end, with threads, progress and checkpoints."""

import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from probneuro.core.checkpoint import ChainStore, Segment, open_run
from probneuro.core.engine import Arrays
from probneuro.core.errors import (
    CapabilityError,
    CheckpointError,
    DataError,
    InferenceError,
    SettingError,
)
from probneuro.core.progress import ChainStatus, progress_display
from probneuro.core.rng import generator

log = logging.getLogger("probneuro")

_POLL_SECONDS: Final = 0.1
_PERCENT: Final = 100
_HISTORY: Final = "history"
_USER_ERRORS: Final = (CapabilityError, CheckpointError, DataError, SettingError)


class Stopped(Exception):
    """Raised by a stage that was told to stop; the stages before it stay."""


class StageKernel(ABC):
    """A run's transition from one stage to the next, until a stage says that it is the last.

    A state is a flat dict of numpy arrays and holds all that the next stage needs.
    """

    @abstractmethod
    def init(self, rng: np.random.Generator) -> Arrays:
        """Return the state a run starts from."""

    @abstractmethod
    def stage(
        self, state: Arrays, rng: np.random.Generator, stop: threading.Event
    ) -> tuple[Arrays, Arrays]:
        """Return the next state and the stage's figures; raise `Stopped` soon after ``stop``."""

    @abstractmethod
    def share(self, state: Arrays) -> float:
        """Return how much of the way is done, in [0, 1]; 1 ends the run."""

    @abstractmethod
    def words(self, state: Arrays) -> str:
        """Return where a state stands, in a few words."""


@dataclass(frozen=True)
class StagedRun:
    """Where a run ended.

    Parameters
    ----------
    state : dict of numpy.ndarray
        After the last stage.
    history : dict of numpy.ndarray
        The stages' figures, each of shape (stage,).
    number : int
        The run's number.
    """

    state: Arrays
    history: Arrays
    number: int


class _Run:
    """One run: it goes from stage to stage, and writes each one down."""

    def __init__(self, kernel: StageKernel, number: int, seed: int, folder: Path | None) -> None:
        self.kernel = kernel
        self.number = number
        self.seed = seed
        self.rng = generator(seed, "chain", number)
        self.status = ChainStatus(_PERCENT, 0)
        self.store = ChainStore(folder, number) if folder is not None else None
        self.state: Arrays | None = None
        self.figures: list[Arrays] = []
        self.kept = 0

    def run(self, stop: threading.Event) -> None:
        try:
            self._restore()
            if self.state is None:
                self.state = self.kernel.init(self.rng)
            while self.kernel.share(self.state) < 1 and not stop.is_set():
                self._stage(self.state, stop)
        except Stopped:
            return
        except _USER_ERRORS:
            raise
        except Exception as error:
            stop.set()
            raise self._failure(error) from error

    def finished(self) -> StagedRun:
        if self.state is None:
            raise InferenceError(f"Chain {self.number} was stopped before its first stage.")
        names = self.figures[0] if self.figures else {}
        history = {name: np.array([f[name] for f in self.figures]) for name in names}
        return StagedRun(self.state, history, self.number)

    def _stage(self, state: Arrays, stop: threading.Event) -> None:
        clock = time.monotonic()
        self.state, figures = self.kernel.stage(state, self.rng, stop)
        self.figures.append(figures)
        self._tell()
        if self.store is None:
            return
        number = len(self.figures)
        rng = dict(self.rng.bit_generator.state)
        records = {_HISTORY: {name: np.array([value]) for name, value in figures.items()}}
        seconds = time.monotonic() - clock
        try:
            self.store.append(Segment(number - 1, number, rng, self.state, records, seconds))
        except CheckpointError as error:
            # A gap cannot be resumed from, so that nothing after it is written either.
            log.warning("%s The run goes on in memory.", error)
            self.store = None
        else:
            self.kept = number

    def _restore(self) -> None:
        for segment in self.store.read() if self.store else ():
            block = segment.records[_HISTORY]
            self.figures.append({name: values[0] for name, values in block.items()})
            self.state = segment.state
            self.rng.bit_generator.state = dict(segment.rng)
        self.kept = len(self.figures)
        self._tell()

    def _tell(self) -> None:
        if self.state is not None:
            self.status.step = int(_PERCENT * self.kernel.share(self.state))
            self.status.note = self.kernel.words(self.state)

    def _failure(self, error: Exception) -> InferenceError:
        kept = (
            f"The stages before it are kept in `{self.store.folder}`."
            if self.store
            else "Pass `checkpoint=` to keep the stages before a failure."
        )
        words = str(error) or type(error).__name__
        if not isinstance(error, InferenceError):
            words = f"{type(error).__name__}: {words}"
        return InferenceError(
            f"Chain {self.number} failed at stage {len(self.figures)}, seed {self.seed}: "
            f"{words.rstrip('.')}. {kept}"
        )


def run_stages(
    kernel: StageKernel,
    *,
    chains: int,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    label: str = "",
    first_chain: int = 0,
) -> list[StagedRun]:
    """Run a kernel's stages to their end, several independent runs side by side.

    Run ``c`` depends on ``(seed, c)`` alone, never on ``workers``. With a checkpoint folder
    every stage is written when it ends; the same call made again goes on after the last one
    to the very numbers an uninterrupted run gives, and a call for more chains adds them.

    Parameters
    ----------
    kernel : StageKernel
        The transition; it keeps no state.
    chains : int
        Number of runs.
    seed : int
        Seed of all of them.
    workers : int or None
        Runs at a time; None for as many as there are processors.
    progress : bool
        Whether to show progress, in per cent of the way.
    checkpoint : path or None
        Folder for the stages; None to write none.
    fingerprint : mapping or None
        What else the numbers depend on, as JSON values.
    label : str
        What runs, for the progress display.
    first_chain : int
        Number of the first run, which selects its stream and the name of its folder.

    Returns
    -------
    list of StagedRun
        One a chain.

    Raises
    ------
    SettingError
        If a count is below one.
    InferenceError
        If a stage fails; names the chain, the stage and the seed.
    CheckpointError
        If the checkpoint belongs to another run or cannot be read.
    KeyboardInterrupt
        On Ctrl-C, after every chain has stopped; finished stages are kept.
    """
    for name, value in (("chains", chains), ("workers", workers)):
        if value is not None and (isinstance(value, bool) or value < 1):
            raise SettingError(
                f"`{name}` must be an integer of at least 1; got {value!r}. Pass e.g. {name}=4."
            )
    numbers = range(first_chain, first_chain + chains)
    crew = min(chains, workers or os.cpu_count() or 1)
    if checkpoint is None:
        runs = [_Run(kernel, c, seed, None) for c in numbers]
        return _go(runs, crew, progress, label, None)
    with open_run(checkpoint, {**(fingerprint or {}), "seed": seed}) as folder:
        runs = [_Run(kernel, c, seed, folder) for c in numbers]
        return _go(runs, crew, progress, label, folder)


def _go(
    runs: Sequence[_Run], crew: int, progress: bool, label: str, folder: Path | None
) -> list[StagedRun]:
    stop = threading.Event()
    with (
        progress_display(progress, label) as display,
        ThreadPoolExecutor(crew, thread_name_prefix="chain") as pool,
    ):
        futures = [pool.submit(run.run, stop) for run in runs]
        try:
            pending = set(futures)
            while pending and not stop.is_set():
                _, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
                display.show([run.status for run in runs])
                if any(f.done() and f.exception() for f in futures):
                    stop.set()
        except KeyboardInterrupt as interrupt:
            stop.set()
            wait(futures)
            raise KeyboardInterrupt(_farewell(runs, folder)) from interrupt
        finally:
            stop.set()
    for future in futures:
        future.result()
    return [run.finished() for run in runs]


def _farewell(runs: Sequence[_Run], folder: Path | None) -> str:
    done = ", ".join(str(len(run.figures)) for run in runs)
    start = f"Stopped by the user after {done} stages of the chains."
    if folder is None:
        return f"{start} Nothing was kept; pass `checkpoint=` to be able to resume."
    if any(run.kept < len(run.figures) for run in runs):
        kept = ", ".join(str(run.kept) for run in runs)
        return f"{start} Stages kept in `{folder}`: {kept}. Make the same call again to resume."
    return f"{start} All are kept in `{folder}`: make the same call again to resume."
