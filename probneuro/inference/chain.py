"""One chain of a run: its steps, its records and its segments."""

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from probneuro.core.checkpoint import ChainStore, Segment
from probneuro.core.engine import Arrays, Asking, BatchKernel
from probneuro.core.errors import (
    CapabilityError,
    CheckpointError,
    DataError,
    InferenceError,
    SettingError,
)
from probneuro.core.names import POSTERIOR, SAMPLE_STATS, WARMUP_PREFIX
from probneuro.core.progress import ChainStatus
from probneuro.core.rng import generator

log = logging.getLogger("probneuro")

# Draws lie in every chain's record and in the stack of all chains.
_COPIES: Final = 2
_USER_ERRORS: Final = (CapabilityError, CheckpointError, DataError, SettingError)


class Trace:
    """Arrays filled step by step, their length known from the start.

    Parameters
    ----------
    length : int
        Number of steps.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.arrays: Arrays = {}

    def put(self, index: int, values: Mapping[str, Any]) -> None:
        """Record a step; raise InferenceError if shape or dtype changed."""
        if not self.arrays:
            self._allocate({name: np.asarray(value) for name, value in values.items()})
        if values.keys() != self.arrays.keys():
            odd = sorted(values.keys() ^ self.arrays.keys())
            raise InferenceError(f"the variables changed between steps: {', '.join(odd)}")
        for name, value in values.items():
            target, array = self.arrays[name], np.asarray(value)
            if array.shape != target.shape[1:] or not np.can_cast(array.dtype, target.dtype):
                raise InferenceError(
                    f"`{name}` changed from {target.dtype} of shape {target.shape[1:]} "
                    f"to {array.dtype} of shape {array.shape}"
                )
            target[index] = array

    def _allocate(self, values: Arrays) -> None:
        _refuse_objects(values)
        self.arrays = {
            n: np.zeros((self.length, *v.shape), dtype=v.dtype) for n, v in values.items()
        }

    def fill(self, start: int, block: Arrays) -> None:
        """Put back steps read from a segment."""
        for name, values in block.items():
            if name not in self.arrays:
                self.arrays[name] = np.zeros((self.length, *values.shape[1:]), dtype=values.dtype)
            self.arrays[name][start : start + len(values)] = values

    def cut(self, start: int, stop: int) -> Arrays:
        """Return the steps from one to another."""
        if stop <= start:
            return {}
        return {name: values[start:stop] for name, values in self.arrays.items()}


def _refuse_objects(arrays: Mapping[str, Any]) -> None:
    for name, values in arrays.items():
        if np.asarray(values).dtype == object:
            raise InferenceError(
                f"`{name}` holds Python objects, which cannot be stored; "
                "the kernel must return numbers or strings, as numpy arrays"
            )


def _memory() -> float:
    """Return the machine's memory in bytes, infinity where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not POSIX, or unknown there
        return np.inf


@dataclass(frozen=True)
class Plan:
    """What all chains of a run share; see `run_chains`."""

    kernel: BatchKernel
    chains: int
    draws: int
    warmup: int
    seed: int
    keep_warmup: bool
    segment_seconds: float

    @property
    def total(self) -> int:
        """Steps of a chain."""
        return self.warmup + self.draws

    def windows(self) -> dict[str, tuple[int, int]]:
        """Return first and last step recorded by each kind of record."""
        windows = dict.fromkeys((POSTERIOR, SAMPLE_STATS), (self.warmup, self.total))
        if self.keep_warmup:
            for kind in (POSTERIOR, SAMPLE_STATS):
                windows[WARMUP_PREFIX + kind] = (0, self.warmup)
        return windows


class Chain:
    """One chain of a run: it steps, records, and writes segments.

    Parameters
    ----------
    plan : Plan
        What all chains of the run share.
    number : int
        Its number, which selects its stream.
    status : ChainStatus
        Where it says how far it is.
    store : ChainStore or None
        Where its segments go.
    """

    def __init__(
        self, plan: Plan, number: int, status: ChainStatus, store: ChainStore | None
    ) -> None:
        self.plan = plan
        self.number = number
        self.status = status
        self.store = store
        self.rng = generator(plan.seed, "chain", number)
        self.windows = plan.windows()
        self.traces = {kind: Trace(b - a) for kind, (a, b) in self.windows.items()}
        self.step = self.saved = 0
        self.state: Arrays | None = None
        self.seconds = self.saved_seconds = 0.0

    def run(self, stop: threading.Event) -> Asking[None]:
        """Step to the end, or until told to stop; raise InferenceError when a step fails."""
        try:
            self._restore()
            if self.state is None:
                state = yield from self.plan.kernel.init(self.rng)
                _refuse_objects(state)
                self._check_room(state)
                self.state = state
            yield from self._steps(stop)
        except _USER_ERRORS:
            raise
        except Exception as error:
            stop.set()
            raise self._failure(error) from error
        finally:
            self._save()

    def _check_room(self, state: Arrays) -> None:
        """Raise SettingError if the draws of all chains will not fit into this machine."""
        one = sum(np.asarray(value).nbytes for value in self.plan.kernel.draw(state).values())
        needed, there = _COPIES * self.plan.chains * self.plan.draws * one, _memory()
        if needed > there:
            raise SettingError(
                f"The draws need {needed / 2**30:.1f} GiB ({self.plan.chains} chains of "
                f"{self.plan.draws} draws, {one / 2**20:.1f} MiB each, twice while they are "
                f"stacked); this machine has {there / 2**30:.1f} GiB. Pass fewer `draws`, which "
                "thinning keeps independent where the engine has it (`thin`), or run the chains "
                "one by one."
            )

    def _steps(self, stop: threading.Event) -> Asking[None]:
        clock = last = time.monotonic()
        before = self.seconds
        while self.step < self.plan.total and not stop.is_set():
            yield from self._one()
            now = time.monotonic()
            self.seconds = before + now - clock
            if now - last >= self.plan.segment_seconds:
                self._save()
                last = time.monotonic()

    def _one(self) -> Asking[None]:
        if self.state is None:
            return
        warm = self.step < self.plan.warmup
        kernel = self.plan.kernel
        rng_before = self.rng.bit_generator.state
        try:
            state, stats = yield from kernel.step(self.state, self.rng, warmup=warm)
            if not warm or self.plan.keep_warmup:
                self._record(WARMUP_PREFIX if warm else "", kernel.draw(state), stats)
        except BaseException:
            self.rng.bit_generator.state = rng_before  # the segment then holds a whole step
            raise
        self.state = state
        self.step += 1
        self._tell(stats, warm)

    def _record(self, prefix: str, draw: Arrays, stats: Arrays) -> None:
        index = self.step if prefix else self.step - self.plan.warmup
        self.traces[prefix + POSTERIOR].put(index, draw)
        self.traces[prefix + SAMPLE_STATS].put(index, stats)

    def _tell(self, stats: Arrays, warm: bool) -> None:
        status = self.status
        status.step = self.step
        if "acceptance_rate" in stats:
            rate = float(np.mean(stats["acceptance_rate"]))
            old = rate if status.acceptance is None else status.acceptance
            status.acceptance = 0.98 * old + 0.02 * rate
        if "diverging" in stats and not warm:
            status.divergences = (status.divergences or 0) + int(np.sum(stats["diverging"]))

    def _restore(self) -> None:
        for segment in self.store.read() if self.store else ():
            for kind, (first, _) in self.windows.items():
                if kind in segment.records:
                    self.traces[kind].fill(max(segment.start - first, 0), segment.records[kind])
            self.step = self.saved = segment.stop
            self.seconds = self.saved_seconds = self.saved_seconds + segment.seconds
            self.state = segment.state
            self.rng.bit_generator.state = dict(segment.rng)
        self.status.step = self.step
        stats = self.traces[SAMPLE_STATS].arrays
        if "diverging" in stats:
            self.status.divergences = int(stats["diverging"].sum())

    def _save(self) -> None:
        """Write what is new; when that fails the run goes on in memory and says so."""
        if self.store is None or self.state is None or self.step == self.saved:
            return
        records = {}
        for kind, (first, end) in self.windows.items():
            start, stop = max(self.saved, first), min(self.step, end)
            if stop > start:
                records[kind] = self.traces[kind].cut(start - first, stop - first)
        rng = dict(self.rng.bit_generator.state)
        seconds = self.seconds - self.saved_seconds
        try:
            self.store.append(Segment(self.saved, self.step, rng, self.state, records, seconds))
        except CheckpointError as error:
            log.warning("%s The run goes on in memory.", error)
            return
        self.saved, self.saved_seconds = self.step, self.seconds

    def _failure(self, error: Exception) -> InferenceError:
        stage = "warm-up" if self.step < self.plan.warmup else "draws"
        kept = (
            f"The steps before it are kept in `{self.store.folder}`."
            if self.store
            else "Pass `checkpoint=` to keep the steps before a failure."
        )
        words = str(error) or type(error).__name__
        if not isinstance(error, InferenceError):
            words = f"{type(error).__name__}: {words}"
        return InferenceError(
            f"Chain {self.number} failed at step {self.step} ({stage}), seed {self.plan.seed}: "
            f"{words.rstrip('.')}. {kept}"
        )
