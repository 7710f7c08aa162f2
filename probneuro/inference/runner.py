"""Running chains: threads or batches, progress, checkpoints and resuming, for every kernel."""

import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.checkpoint import ChainStore, open_run
from probneuro.core.engine import Arrays, BatchKernel, Kernel, RunOptions
from probneuro.core.errors import SettingError
from probneuro.core.names import CHAIN, POSTERIOR, SAMPLE_STATS, WARMUP_PREFIX
from probneuro.core.progress import ChainStatus, progress_display
from probneuro.core.results import build_result
from probneuro.inference.batches import Alone, drive
from probneuro.inference.chain import Chain, Plan

log = logging.getLogger("probneuro")

SEGMENT_SECONDS: Final = 10.0
"""Most work that a kill -9 can cost, against one small file a chain each time."""
_POLL_SECONDS: Final = 0.1
_HANDOVER_SECONDS: Final = 2e-5


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
    first_chain : int
        Number of the first chain.
    """

    posterior: Arrays
    sample_stats: Arrays
    warmup_posterior: Arrays
    warmup_sample_stats: Arrays
    seconds: NDArray[np.float64]
    first_chain: int = 0


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
    first_chain: int = 0,
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
    first_chain : int
        Number of the first chain, which selects its stream and the name of its folder.
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
    _check_count("first_chain", first_chain, 0)
    if workers is not None:
        _check_count("workers", workers, 1)
    asking = kernel if isinstance(kernel, BatchKernel) else Alone(kernel)
    plan = Plan(asking, chains, draws, warmup, seed, keep_warmup, segment_seconds)
    numbers = range(first_chain, first_chain + chains)
    crew = min(chains, workers or os.cpu_count() or 1)
    if checkpoint is None:
        return _run(plan, numbers, crew, progress, label, None)
    full = {
        **(fingerprint or {}),
        "draws": draws,
        "warmup": warmup,
        "chains": chains,
        "seed": seed,
        "keep_warmup": keep_warmup,
    }
    with open_run(checkpoint, full) as folder:
        return _run(plan, numbers, crew, progress, label, folder)


def run_as_asked(
    kernel: Kernel | BatchKernel,
    options: RunOptions,
    *,
    warmup: int,
    label: str,
    keep_warmup: bool = False,
) -> ChainDraws:
    """Run the chains of a kernel as the caller of an engine asked; see :func:`run_chains`.

    Parameters
    ----------
    kernel : Kernel or BatchKernel
        The transition.
    options : RunOptions
        What was asked for.
    warmup : int
        Steps before the draws.
    label : str
        Name of the engine.
    keep_warmup : bool
        Whether to keep the warm-up where that was not asked for.

    Returns
    -------
    ChainDraws
        Arrays of shape (chain, draw, ...).
    """
    return run_chains(
        kernel,
        draws=options.draws,
        warmup=warmup,
        chains=options.chains,
        first_chain=options.first_chain,
        seed=options.seed,
        workers=options.workers,
        progress=options.progress,
        checkpoint=options.checkpoint,
        fingerprint=options.fingerprint,
        label=options.label(label),
        keep_warmup=keep_warmup or options.save_warmup,
    )


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
        coords={CHAIN: run.first_chain + np.arange(len(run.seconds)), **options.coords},
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
    plan: Plan, numbers: range, crew: int, progress: bool, label: str, folder: Path | None
) -> ChainDraws:
    board = [ChainStatus(plan.total, plan.warmup) for _ in numbers]
    chains = [
        Chain(plan, c, status, ChainStore(folder, c) if folder is not None else None)
        for c, status in zip(numbers, board, strict=True)
    ]
    alone = isinstance(plan.kernel, Alone)
    crowds = [[chain] for chain in chains] if alone else [chains]
    stop = threading.Event()
    with (
        _quick_handover,
        progress_display(progress, label) as display,
        ThreadPoolExecutor(crew, thread_name_prefix="chain") as pool,
    ):
        try:
            futures = [pool.submit(drive, plan.kernel, crowd, stop) for crowd in crowds]
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


class _Handover:
    """Lets chains pass the interpreter on at once while any run lasts.

    Chains spend most of their time in kernels that hold no lock; with Python's own interval
    of 5 ms a chain that comes back waits for another's bytecode far longer than it computes
    (measured: two chains made 5.0 steps a second together, one alone 5.3; now 8.4). Runs in
    several threads share the interval: the last one to end puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if self._runs == 0:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(_HANDOVER_SECONDS)
            self._runs += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._runs -= 1
            if self._runs == 0:
                sys.setswitchinterval(self._before)


_quick_handover: Final = _Handover()


def _farewell(chains: Sequence[Chain], total: int, folder: Path | None) -> str:
    done = ", ".join(str(chain.step) for chain in chains)
    start = f"Stopped by the user after {done} of {total} steps a chain."
    if folder is None:
        return f"{start} Nothing was kept; pass `checkpoint=` to be able to resume."
    if any(chain.saved < chain.step for chain in chains):
        kept = ", ".join(str(chain.saved) for chain in chains)
        return f"{start} Steps kept in `{folder}`: {kept}. Make the same call again to resume."
    return f"{start} All are kept in `{folder}`: make the same call again to resume."


def _stack(chains: Sequence[Chain]) -> ChainDraws:
    def stacked(kind: str) -> Arrays:
        traces = [chain.traces[kind].arrays for chain in chains if kind in chain.traces]
        return {name: np.stack([t[name] for t in traces]) for name in (traces or [{}])[0]}

    return ChainDraws(
        posterior=stacked(POSTERIOR),
        sample_stats=stacked(SAMPLE_STATS),
        warmup_posterior=stacked(WARMUP_PREFIX + POSTERIOR),
        warmup_sample_stats=stacked(WARMUP_PREFIX + SAMPLE_STATS),
        seconds=np.array([chain.seconds for chain in chains]),
        first_chain=chains[0].number,
    )
