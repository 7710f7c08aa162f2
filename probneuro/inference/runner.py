"""Running chains: threads or batches, progress, checkpoints and resuming, for every kernel."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.checkpoint import ChainStore, Segment, open_run
from probneuro.core.engine import Arrays, Asking, BatchKernel, Floats, Kernel, RunOptions
from probneuro.core.errors import (
    CapabilityError,
    CheckpointError,
    DataError,
    InferenceError,
    SettingError,
)
from probneuro.core.names import POSTERIOR, SAMPLE_STATS, WARMUP_PREFIX
from probneuro.core.progress import ChainStatus, progress_display
from probneuro.core.results import build_result
from probneuro.core.rng import generator

log = logging.getLogger("probneuro")

SEGMENT_SECONDS: Final = 10.0
"""Most work that a kill -9 can cost, against one small file a chain each time."""
_POLL_SECONDS: Final = 0.1
_HANDOVER_SECONDS: Final = 2e-5
_USER_ERRORS: Final = (CapabilityError, CheckpointError, DataError, SettingError)


@dataclass(frozen=True)
class ChainDraws:
    """What the chains of a run gave.

    Parameters
    ----------
    posterior, sample_stats : dict of numpy.ndarray
        Arrays of shape (chain, draw, ...).
    warmup_posterior, warmup_sample_stats : dict of numpy.ndarray
        The same over the warm-up steps; empty unless they were asked for.
    seconds : numpy.ndarray
        Sampling time of each chain in s, shape (chain,), earlier sessions included. Chains
        of one batch share their time: each counts what the batch took until its end.
    """

    posterior: Arrays
    sample_stats: Arrays
    warmup_posterior: Arrays
    warmup_sample_stats: Arrays
    seconds: NDArray[np.float64]


class _Trace:
    """Arrays filled step by step, their length known from the start."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.arrays: Arrays = {}

    def put(self, index: int, values: Mapping[str, Any]) -> None:
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
        for name, values in block.items():
            if name not in self.arrays:
                self.arrays[name] = np.zeros((self.length, *values.shape[1:]), dtype=values.dtype)
            self.arrays[name][start : start + len(values)] = values

    def cut(self, start: int, stop: int) -> Arrays:
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


class _Alone(BatchKernel):
    """A kernel that asks for nothing, as a batch kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def init(self, rng: np.random.Generator) -> Asking[Arrays]:
        yield from ()
        return self._kernel.init(rng)

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> Asking[tuple[Arrays, Arrays]]:
        yield from ()
        return self._kernel.step(state, rng, warmup=warmup)

    def draw(self, state: Arrays) -> Arrays:
        return self._kernel.draw(state)

    def answer(self, positions: Floats) -> tuple[Floats, Floats]:
        raise NotImplementedError


@dataclass(frozen=True)
class _Plan:
    kernel: BatchKernel
    draws: int
    warmup: int
    seed: int
    keep_warmup: bool
    segment_seconds: float

    @property
    def total(self) -> int:
        return self.warmup + self.draws

    def windows(self) -> dict[str, tuple[int, int]]:
        """Return first and last step recorded by each kind of record."""
        windows = dict.fromkeys((POSTERIOR, SAMPLE_STATS), (self.warmup, self.total))
        if self.keep_warmup:
            for kind in (POSTERIOR, SAMPLE_STATS):
                windows[WARMUP_PREFIX + kind] = (0, self.warmup)
        return windows


class _Chain:
    """One chain of a run: it steps, records, and writes segments."""

    def __init__(
        self, plan: _Plan, number: int, status: ChainStatus, store: ChainStore | None
    ) -> None:
        self.plan = plan
        self.number = number
        self.status = status
        self.store = store
        self.rng = generator(plan.seed, "chain", number)
        self.windows = plan.windows()
        self.traces = {kind: _Trace(b - a) for kind, (a, b) in self.windows.items()}
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
                self.state = state
            yield from self._steps(stop)
        except _USER_ERRORS:
            raise
        except Exception as error:
            stop.set()
            raise self._failure(error) from error
        finally:
            self._save()

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


def _drive(kernel: BatchKernel, chains: Sequence[_Chain], stop: threading.Event) -> None:
    """Run chains side by side, each at its own step: a round answers all that they ask."""
    runs = [chain.run(stop) for chain in chains]
    try:
        asked: dict[int, Floats] = {}
        for number, run in enumerate(runs):
            with suppress(StopIteration):
                asked[number] = next(run)
        while asked:
            # A trajectory that runs away may overflow; its kernel deals with the infinity.
            with np.errstate(over="ignore", invalid="ignore"):
                asked = _round(kernel, runs, asked)
    finally:
        for run in runs:
            run.close()


def _round(
    kernel: BatchKernel, runs: Sequence[Asking[None]], asked: Mapping[int, Floats]
) -> dict[int, Floats]:
    """Answer every chain that asks, and return what they ask next.

    The batch keeps its size, and every chain its row, to the end of the run: what a chain is
    told then depends, to the last bit, on nothing but its position.
    """
    first = next(iter(asked))
    batch = np.stack([asked.get(number, asked[first]) for number in range(len(runs))])
    try:
        values, gradients = kernel.answer(batch)
    except Exception as error:
        runs[first].throw(error)  # it says where the run stands, and raises
        raise
    following = {}
    for number in asked:
        with suppress(StopIteration):
            following[number] = runs[number].send((float(values[number]), gradients[number]))
    return following


def run_chains(
    kernel: Kernel | BatchKernel,
    *,
    draws: int,
    warmup: int,
    chains: int,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    label: str = "",
    keep_warmup: bool = False,
    segment_seconds: float = SEGMENT_SECONDS,
) -> ChainDraws:
    """Run the chains of a kernel and stack their draws.

    Chains of a `Kernel` run in threads: kernels that release the GIL run side by side, and the
    draws of chain ``c`` depend on ``(seed, c)`` alone, never on ``workers``. Chains of a
    `BatchKernel` run as one batch in one thread: chain ``c`` draws the same random numbers
    whatever ``chains`` is, and the same draws where `BatchKernel.answer` gives a row the same
    bits in batches of any size (sums of products may not). Thread counts of torch
    and BLAS are left alone; set ``OMP_NUM_THREADS=1`` before starting Python when several
    chains would fight for the same cores.

    With a checkpoint folder, every chain writes a segment about every ten seconds, at its
    end, on Ctrl-C and on failure; the same call made again goes on from there to the very
    draws an uninterrupted run gives. If a segment cannot be written the run goes on in
    memory, says so, and tries again.

    Parameters
    ----------
    kernel : Kernel or BatchKernel
        The transition; it keeps no state, so that one object serves all chains.
    draws, warmup : int
        Steps kept of each chain, and steps before them that may adapt.
    chains : int
        Number of chains.
    seed : int
        Seed of the run.
    workers : int or None
        Chains that run at the same time; None for as many as there are processors.
    progress : bool
        Whether to show progress.
    checkpoint : path or None
        Folder for the segments; None to write none.
    fingerprint : mapping or None
        What else the draws depend on (model, data hash, settings), as JSON values; a
        checkpoint with another fingerprint is refused.
    label : str
        What runs, for the progress display.
    keep_warmup : bool
        Whether to keep the draws of the warm-up.
    segment_seconds : float
        Time between segments in s.

    Returns
    -------
    ChainDraws
        Arrays of shape (chain, draw, ...).

    Raises
    ------
    SettingError
        If a count is out of its range.
    InferenceError
        If a step fails; names the chain, the step and the seed.
    CheckpointError
        If the checkpoint belongs to another run or cannot be read.
    KeyboardInterrupt
        On Ctrl-C, after every chain has stopped at a step and written its segment.

    Examples
    --------
    >>> import numpy as np
    >>> class Dice(Kernel):
    ...     def init(self, rng):
    ...         return {"face": np.array(1)}
    ...     def step(self, state, rng, *, warmup):
    ...         return {"face": rng.integers(1, 7, size=())}, {"lp": np.array(-np.log(6))}
    ...     def draw(self, state):
    ...         return state
    >>> run = run_chains(Dice(), draws=5, warmup=0, chains=2, seed=1, progress=False)
    >>> run.posterior["face"].shape
    (2, 5)
    """
    for name, value, least in (("draws", draws, 1), ("warmup", warmup, 0), ("chains", chains, 1)):
        _check_count(name, value, least)
    if workers is not None:
        _check_count("workers", workers, 1)
    asking = kernel if isinstance(kernel, BatchKernel) else _Alone(kernel)
    plan = _Plan(asking, draws, warmup, seed, keep_warmup, segment_seconds)
    crew = min(chains, workers or os.cpu_count() or 1)
    if checkpoint is None:
        return _run(plan, chains, crew, progress, label, None)
    full = {
        **(fingerprint or {}),
        "draws": draws,
        "warmup": warmup,
        "chains": chains,
        "seed": seed,
        "keep_warmup": keep_warmup,
    }
    with open_run(checkpoint, full) as folder:
        return _run(plan, chains, crew, progress, label, folder)


def chains_result(
    run: ChainDraws,
    options: RunOptions,
    *,
    dims: Mapping[str, Any] | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
) -> xr.DataTree:
    """Return the result of a run, with the names that the model and the user gave.

    Parameters
    ----------
    run : ChainDraws
        What the chains gave.
    options : RunOptions
        Its ``dims`` and ``coords`` go first.
    dims : mapping, optional
        Names that the engine found, such as a program's plates.
    groups : mapping, optional
        Further groups, such as ``constant_data``.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior``, ``sample_stats``, the warm-up if kept, and those given.
    """
    warm = {
        WARMUP_PREFIX + POSTERIOR: run.warmup_posterior,
        WARMUP_PREFIX + SAMPLE_STATS: run.warmup_sample_stats,
    }
    return build_result(
        run.posterior,
        run.sample_stats,
        dims={**(dims or {}), **options.dims},
        coords=options.coords,
        groups={**warm, **options.groups, **(groups or {})},
    )


def _check_count(name: str, value: int, least: int) -> None:
    good = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
    if not good:
        raise SettingError(
            f"`{name}` must be an integer of at least {least}; got {value!r}. "
            f"Pass e.g. {name}={max(least, 1)}."
        )


def _run(
    plan: _Plan, number: int, crew: int, progress: bool, label: str, folder: Path | None
) -> ChainDraws:
    board = [ChainStatus(plan.total, plan.warmup) for _ in range(number)]
    chains = [
        _Chain(plan, c, board[c], ChainStore(folder, c) if folder is not None else None)
        for c in range(number)
    ]
    alone = isinstance(plan.kernel, _Alone)
    crowds = [[chain] for chain in chains] if alone else [chains]
    stop = threading.Event()
    with (
        _quick_handover(),
        progress_display(progress, label) as display,
        ThreadPoolExecutor(crew, thread_name_prefix="chain") as pool,
    ):
        try:
            futures = [pool.submit(_drive, plan.kernel, crowd, stop) for crowd in crowds]
            pending: set[Future[None]] = set(futures)
            while pending and not stop.is_set():
                _, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
                display.show(board)
                if any(f.done() and f.exception() for f in futures):
                    stop.set()
        except KeyboardInterrupt as interrupt:
            stop.set()
            wait(futures)
            raise KeyboardInterrupt(_farewell(chains, plan.total, folder)) from interrupt
        finally:
            stop.set()
    for future in futures:
        future.result()
    return _stack(chains)


@contextmanager
def _quick_handover() -> Iterator[None]:
    """Let chains pass the interpreter on at once while they run.

    Chains spend most of their time in kernels that hold no lock; with Python's own interval
    of 5 ms a chain that comes back waits for another's bytecode far longer than it computes
    (measured: two chains made 5.0 steps a second together, one alone 5.3; now 8.4).
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_HANDOVER_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _farewell(chains: Sequence[_Chain], total: int, folder: Path | None) -> str:
    done = ", ".join(str(chain.step) for chain in chains)
    start = f"Stopped by the user after {done} of {total} steps a chain."
    if folder is None:
        return f"{start} Nothing was kept; pass `checkpoint=` to be able to resume."
    if any(chain.saved < chain.step for chain in chains):
        kept = ", ".join(str(chain.saved) for chain in chains)
        return f"{start} Steps kept in `{folder}`: {kept}. Make the same call again to resume."
    return f"{start} All are kept in `{folder}`: make the same call again to resume."


def _stack(chains: Sequence[_Chain]) -> ChainDraws:
    def stacked(kind: str) -> Arrays:
        traces = [chain.traces[kind].arrays for chain in chains if kind in chain.traces]
        return {name: np.stack([t[name] for t in traces]) for name in (traces or [{}])[0]}

    return ChainDraws(
        posterior=stacked(POSTERIOR),
        sample_stats=stacked(SAMPLE_STATS),
        warmup_posterior=stacked(WARMUP_PREFIX + POSTERIOR),
        warmup_sample_stats=stacked(WARMUP_PREFIX + SAMPLE_STATS),
        seconds=np.array([chain.seconds for chain in chains]),
    )
