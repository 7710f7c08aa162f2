"""Running every chain as a task of its own, in other processes or on a cluster."""

import os
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
import xarray as xr

from probneuro.core.checkpoint import open_run
from probneuro.core.engine import Engine, RunOptions
from probneuro.core.errors import InferenceError, SettingError
from probneuro.inference.places import TRIES, Cluster, Lent, Place, Processes
from probneuro.inference.tasks import Groups, Job, home, joined

PROCESSES: Final = "processes"


def run_apart(
    engine: Engine,
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: RunOptions,
    executor: Any,
) -> xr.DataTree:
    """Run every chain as a task of its own and join the results.

    With a checkpoint folder each task writes its segments and, at its end, its result into
    ``task-<chain>`` there: a task that is killed goes on from its last segment, and one that
    has ended is read, not run. The number of chains is not part of what the folder is held
    to, so that a later call may add some.

    Parameters
    ----------
    engine : Engine
        Runs a chain.
    model, args, kwargs
        The model and its arguments.
    options : RunOptions
        Of the whole run.
    executor : str, concurrent.futures.Executor or distributed.Client
        ``"processes"`` for processes of ours, or where else tasks are sent.

    Returns
    -------
    xarray.DataTree
        Groups as from the engine itself.

    Raises
    ------
    SettingError
        If the executor is unknown, or a part of the job cannot be sent.
    CapabilityError
        If the engine cannot run a chain of a larger run alone.
    InferenceError
        If a chain fails, or its worker keeps dying.
    KeyboardInterrupt
        On Ctrl-C, after tasks in processes of ours have written what they had.
    """
    place = place_of(executor, options)
    job = Job(
        engine=engine,
        model=model,
        args=args,
        kwargs=kwargs,
        options=options,
        folder=None,
        dtype=torch.get_default_dtype(),
        home=home(),
    )
    if options.checkpoint is None:
        return _collected(place, job)
    record = {
        **options.fingerprint,
        "draws": options.draws,
        "seed": options.seed,
        "keep_warmup": options.save_warmup,
        "one_task_a_chain": True,
    }
    with open_run(options.checkpoint, record) as folder:
        return _collected(place, replace(job, folder=folder.resolve()))


def place_of(executor: Any, options: RunOptions) -> Place:
    """Return the place that an executor stands for.

    Parameters
    ----------
    executor : str, concurrent.futures.Executor or distributed.Client
        What the user passed.
    options : RunOptions
        Their ``workers`` is for processes of ours only.

    Raises
    ------
    SettingError
        If it is none of these, or a count is out of its range.

    Examples
    --------
    >>> type(place_of("processes", RunOptions(workers=2))).__name__
    'Processes'
    """
    for name, count in (("chains", options.chains), ("workers", options.workers or 1)):
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise SettingError(
                f"`{name}` must be an integer of at least 1; got {count!r}. Pass e.g. {name}=4."
            )
    if executor == PROCESSES:
        return Processes(min(options.chains, options.workers or os.cpu_count() or 1))
    if options.workers is not None and _known(executor):
        raise SettingError(
            f"`workers` is {options.workers}, but an executor of your own has its own number of "
            'workers. Leave `workers` out, or pass executor="processes".'
        )
    if _is_client(executor):
        return Cluster(executor.get_executor(retries=TRIES))
    if isinstance(executor, Executor):
        return Lent(executor)
    raise SettingError(
        f'`executor` must be None, "{PROCESSES}", an executor of concurrent.futures, or a Client '
        f"of dask.distributed; got {executor!r}. For a Dask cluster pass Client(cluster)."
    )


def _known(executor: Any) -> bool:
    return _is_client(executor) or isinstance(executor, Executor)


def _is_client(executor: Any) -> bool:
    """Recognise a Dask client without importing Dask."""
    kinds = type(executor).__mro__
    return any(k.__name__ == "Client" and k.__module__.startswith("distributed") for k in kinds)


def _collected(place: Place, job: Job) -> xr.DataTree:
    """Run the tasks that have not ended yet, and join all."""
    chains = range(job.options.chains)
    start = time.monotonic()
    parts = {chain: found for chain in chains if (found := job.finished(chain)) is not None}
    left = [chain for chain in chains if chain not in parts]
    if parts:
        _say(job, f"{len(parts)} of {len(chains)} chains were finished before")
    if left:
        try:
            with closing(_outcomes(place, job, left)) as outcomes:
                for chain, part in outcomes:
                    parts[chain] = part
                    seconds = time.monotonic() - start
                    done = f"{len(parts)} of {len(chains)}"
                    _say(job, f"chain {chain} finished after {seconds:.0f} s, {done}")
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(_farewell(place, job, len(parts))) from interrupt
    return joined([parts[chain] for chain in chains], job.options.coords)


def _outcomes(
    place: Place, job: Job, left: Sequence[int]
) -> Generator[tuple[int, Groups], None, None]:
    with closing(place.outcomes(place.packed(job), left)) as outcomes:
        for chain, outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            part = job.finished(chain) if outcome is None else outcome
            if part is None:
                raise InferenceError(
                    f"Chain {chain} was finished, but `{job.result_path(chain)}` is not to be "
                    "seen from here. Put `checkpoint` on a disk that all workers share."
                )
            yield chain, part


def _say(job: Job, words: str) -> None:
    if job.options.progress:
        print(f"{job.options.label(job.engine.name)}: {words}.", file=sys.stderr, flush=True)  # noqa: T201 -- asked


def _farewell(place: Place, job: Job, done: int) -> str:
    start = f"Stopped by the user after {done} of {job.options.chains} chains. {place.farewell()}"
    if job.folder is None:
        return f"{start} Nothing was kept; pass `checkpoint=` to be able to resume."
    return f"{start} What is done is kept in `{job.folder}`: make the same call again to resume."
