"""Where tasks run: worker processes of ours, an executor of the user's, or a Dask cluster."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from probneuro.core.errors import InferenceError
from probneuro.inference.tasks import Groups, Job, attempt, packed

log = logging.getLogger("probneuro")

TRIES: Final = 3
"""How often killed tasks are started again, with none finished, before the run is given up."""
_KILLED: Final = 1
_LAST_WORDS_SECONDS: Final = 5.0
Outcomes = Generator[tuple[int, Groups | Exception | None], None, None]


class Place(ABC):
    """Where tasks run."""

    @abstractmethod
    def packed(self, job: Job) -> Job | bytes:
        """Return a job as its workers take it; raise SettingError if it cannot be sent."""

    @abstractmethod
    def outcomes(self, job: Job | bytes, chains: Sequence[int]) -> Outcomes:
        """Yield chains and what came of them, as they end; stop the others when closed."""

    @abstractmethod
    def farewell(self) -> str:
        """Say what becomes of running tasks when the user stops the run."""


class Processes(Place):
    """Fresh worker processes of ours; a task whose process was killed runs again.

    Parameters
    ----------
    size : int
        Processes at a time.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def packed(self, job: Job) -> bytes:
        """Return the pickled job."""
        return packed(job)

    def outcomes(self, job: Job | bytes, chains: Sequence[int]) -> Outcomes:
        """Yield what came of the chains; a broken pool is replaced, a few times in a row."""
        left, deaths = list(chains), 0
        while left:
            with _pool(self._size) as pool:
                for chain, outcome in _unbroken(pool, job, tuple(left)):
                    left.remove(chain)
                    deaths = 0
                    yield chain, outcome
            if left:
                deaths += 1
                _mourn(left, deaths)

    def farewell(self) -> str:
        """Say that they have stopped."""
        return "Running tasks were told to write what they had, and have ended."


def _unbroken(pool: ProcessPoolExecutor, job: Job | bytes, chains: Sequence[int]) -> Outcomes:
    """Yield outcomes for as long as the pool holds."""
    futures: dict[Future[Any], int] = {}
    try:
        for chain in chains:
            futures[pool.submit(_serve, job, chain)] = chain
    except BrokenProcessPool:  # a process died while it started; its futures say so too
        log.debug("The pool broke while tasks were handed to it.")
    for future in as_completed(futures):
        if not isinstance(future.exception(), BrokenProcessPool):
            yield futures[future], _result(future, futures[future])


def _mourn(left: Sequence[int], deaths: int) -> None:
    chains = ", ".join(map(str, left))
    if deaths > TRIES:
        raise InferenceError(
            f"Worker processes died {deaths} times with chains {chains} unfinished. Look for too "
            "little memory, and run fewer `workers`; in a script, put the call below "
            '`if __name__ == "__main__":`, since each process runs the script up to there. '
            "With `checkpoint=` the same call goes on where they stopped."
        )
    log.warning(
        "A worker process died; chains %s go on in new ones (try %d of %d).", chains, deaths, TRIES
    )


@contextmanager
def _pool(size: int) -> Iterator[ProcessPoolExecutor]:
    """Hold worker processes that stop, with a word on disk, when we stop or die.

    They watch a pipe of which only we hold the writing end: it is closed when we ask them to
    stop, and by the system when we are killed.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(size, context, initializer=_enlist, initargs=(reader,))
    try:
        yield pool
    except BaseException:
        writer.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        writer.close()
        reader.close()


class _Duty:
    """What a worker process is at, for its signal handler."""

    def __init__(self) -> None:
        self.busy = False
        self.told = False

    def stop(self, number: int, frame: object) -> None:
        """End the process, after the task has written what it has."""
        if not self.busy:
            os._exit(_KILLED)
        if not self.told:
            self.told = True
            raise KeyboardInterrupt


_duty: Final = _Duty()


def _enlist(leash: Connection) -> None:
    """Prepare a worker process: Ctrl-C is for the parent, which then lets go of the leash."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _duty.stop)
    threading.Thread(target=_watch, args=(leash,), daemon=True).start()


def _watch(leash: Connection) -> None:
    parent = multiprocessing.parent_process()
    wait([leash])
    os.kill(os.getpid(), signal.SIGTERM)
    if parent is not None:
        parent.join()
    time.sleep(_LAST_WORDS_SECONDS)
    os._exit(_KILLED)


def _serve(job: Job | bytes, chain: int) -> Groups | Exception | None:
    """Run a task in a worker process, which ends with it where it was told to stop."""
    try:
        _duty.busy = True
        try:
            return attempt(job, chain)
        finally:
            _duty.busy = False
    except KeyboardInterrupt:
        os._exit(_KILLED)


class Lent(Place):
    """An executor of the user's own.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Stays open.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def packed(self, job: Job) -> Job | bytes:
        """Return the pickled job, or the job itself for threads."""
        return job if isinstance(self._executor, ThreadPoolExecutor) else packed(job)

    def outcomes(self, job: Job | bytes, chains: Sequence[int]) -> Outcomes:
        """Yield what came of the chains."""
        futures = {self._executor.submit(attempt, job, chain): chain for chain in chains}
        try:
            for future in as_completed(futures):
                yield futures[future], _result(future, futures[future])
        finally:
            for future in futures:
                future.cancel()

    def farewell(self) -> str:
        """Say that they go on."""
        return "Tasks that had begun may go on to the end of their chain."


class Cluster(Lent):
    """A Dask cluster, as an executor: it starts lost tasks again by itself."""

    def packed(self, job: Job) -> bytes:
        """Return the job pickled with what Dask brings along, programs of a notebook included."""
        import cloudpickle

        return packed(job, cloudpickle.dumps)


def _result(future: "Future[Any]", chain: int) -> Groups | Exception | None:
    """Return a task's outcome; anything that is not of ours becomes an error of ours."""
    try:
        outcome: Groups | Exception | None = future.result()
    except Exception as error:
        lost = InferenceError(
            f"The task of chain {chain} was lost ({type(error).__name__}: {error}). Look for "
            "workers that die of memory or time limits, or that cannot import probneuro. "
            "With `checkpoint=` the same call goes on where it stopped."
        )
        lost.__cause__ = error
        return lost
    return outcome
