"""One chain as a task of its own: what its worker is sent and does, and how results are joined."""

import logging
import os
import pickle
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import xarray as xr

from probneuro.core.engine import Engine, RunOptions
from probneuro.core.errors import (
    CapabilityError,
    CheckpointError,
    CheckpointInUse,
    DataError,
    InferenceError,
    SettingError,
)
from probneuro.core.hashing import stable_hash
from probneuro.core.names import CHAIN
from probneuro.core.results import load, save

log = logging.getLogger("probneuro")

Groups = dict[str, xr.Dataset]
"""A result by the paths of its groups: datasets travel between processes as they are."""
PATIENCE_SECONDS: Final = 30.0
"""How long a task waits for a folder that an earlier worker, cut off from its run, still holds."""
_POLL_SECONDS: Final = 0.5
_OURS: Final = (CapabilityError, CheckpointError, DataError, InferenceError, SettingError)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all tasks of a run share; the number of its chain makes it one task.

    Parameters
    ----------
    engine : Engine
        Runs the chain.
    model, args, kwargs
        The model and its arguments.
    options : RunOptions
        Of the whole run.
    folder : pathlib.Path or None
        The run's checkpoint folder.
    dtype : torch.dtype
        Torch's default type where the run was called.
    home : tuple of str and int
        Machine and process where the run was called.
    """

    engine: Engine
    model: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: RunOptions
    folder: Path | None
    dtype: torch.dtype
    home: tuple[str, int]

    def task_folder(self, chain: int) -> Path | None:
        """Return where a chain's segments and result go."""
        return None if self.folder is None else self.folder / f"task-{chain}"

    def result_path(self, chain: int) -> Path | None:
        """Return the name of a chain's result: another for other draws or other labels."""
        folder, options = self.task_folder(chain), self.options
        if folder is None:
            return None
        sizes = [options.draws, options.seed, options.save_warmup]
        labels = [dict(options.dims), dict(options.coords), dict(options.groups)]
        return folder / f"result-{stable_hash(dict(options.fingerprint), sizes, labels)}.nc"

    def finished(self, chain: int) -> Groups | None:
        """Return the result that a chain's task left, or None if it has to run."""
        path = self.result_path(chain)
        if path is None or not path.is_file():
            return None
        try:
            return _groups(load(path))
        except DataError as error:
            log.warning("%s Chain %d is run again from its segments.", error, chain)
            return None


def home() -> tuple[str, int]:
    """Return the machine and process we are in."""
    return platform.node(), os.getpid()


def packed(job: Job, dumps: Callable[[Any], bytes] = pickle.dumps) -> bytes:
    """Return a job as bytes for another process.

    Parameters
    ----------
    job : Job
        The job.
    dumps : callable
        Pickles an object.

    Raises
    ------
    SettingError
        If a part of it cannot be sent; names the part.
    """
    try:
        return dumps(job)
    except Exception as error:
        raise SettingError(
            f"`{_culprit(job, dumps)}` cannot be sent to another process ({error}). Define "
            "functions and classes at the top level of a module, not inside a function, and "
            "keep locks, open files and generators out of them; or leave `executor` out."
        ) from error


def _culprit(job: Job, dumps: Callable[[Any], bytes]) -> str:
    named = {"model": job.model, "engine": job.engine, **job.kwargs}
    named |= {f"args[{i}]": value for i, value in enumerate(job.args)}
    named |= {"dims": job.options.dims, "coords": job.options.coords}
    for name, value in named.items():
        try:
            dumps(value)
        except Exception:
            return name
    return "model"


def attempt(job: Job | bytes, chain: int) -> Groups | Exception | None:
    """Run one chain of a job, in whatever process this is called.

    Parameters
    ----------
    job : Job or bytes
        The job, or what `packed` made of it.
    chain : int
        The chain.

    Returns
    -------
    dict of str to xarray.Dataset, Exception or None
        The chain's result; None where it was written to the job's folder. An error of ours
        is returned: trying again would give it again.
    """
    try:
        whole = _unpacked(job) if isinstance(job, bytes) else job
        with _settled(whole):
            return _run(whole, chain)
    except _OURS as error:
        if isinstance(error, InferenceError):
            error.add_note("In the worker:\n" + "".join(traceback.format_exception(error)))
        error.__cause__ = error.__context__ = None  # need not survive the way back
        return error


def _unpacked(content: bytes) -> Job:
    try:
        job: Job = pickle.loads(content)
    except Exception as error:
        raise SettingError(
            f"`model` cannot be rebuilt in a worker process ({type(error).__name__}: {error}). "
            "Put its definition, and the guide's, into a .py file that workers can import; "
            "what was typed into a notebook or a prompt exists there alone."
        ) from error
    return job


@contextmanager
def _settled(job: Job) -> Iterator[None]:
    """Work in one thread, in the caller's default type, if this is another process."""
    if job.home == home():
        yield
        return
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(job.dtype)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


def _run(job: Job, chain: int) -> Groups | None:
    coords = {name: labels for name, labels in job.options.coords.items() if name != CHAIN}
    options = replace(
        job.options,
        chains=1,
        first_chain=chain,
        workers=1,
        progress=False,
        checkpoint=job.task_folder(chain),
        coords=coords,
    )
    result = _in_turn(job, options)
    _check_number(result, chain, job.engine)
    path = job.result_path(chain)
    if path is None:
        return _groups(result)
    try:
        save(result, path)
    except DataError as error:
        log.warning("%s", error)
        return _groups(result)
    return None


def _in_turn(job: Job, options: RunOptions) -> xr.DataTree:
    """Run a chain, after a worker that still holds its folder has ended."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return job.engine.run(job.model, job.args, job.kwargs, options)
        except CheckpointInUse:
            if time.monotonic() > end:
                raise
        time.sleep(_POLL_SECONDS)


def _check_number(result: xr.DataTree, chain: int, engine: Engine) -> None:
    """Refuse chains that are all the same one: an engine says by labels which it ran."""
    for node in result.subtree:
        if CHAIN not in node.coords:
            continue
        ran = np.asarray(node.coords[CHAIN]).tolist()
        if ran != [chain]:
            raise CapabilityError(
                f"`executor` asks {engine.name} for chain {chain} alone; it ran {ran}. Let its "
                "`run` pass on `options.first_chain`, or leave `executor` out."
            )


def _groups(result: xr.DataTree) -> Groups:
    return {node.path: node.to_dataset(inherit=False) for node in result.subtree}


def joined(parts: Sequence[Groups], coords: Mapping[str, Any]) -> xr.DataTree:
    """Return the result of a run from those of its chains.

    Parameters
    ----------
    parts : sequence of dict
        One result a chain, in their order.
    coords : mapping
        The run's labels; those of ``chain`` are put on.

    Returns
    -------
    xarray.DataTree
        Variables with a dimension ``chain`` joined along it, shorter ones filled up with NaN;
        all others, and attributes, are the first chain's.
    """
    whole = {path: _along_chain([part[path] for part in parts]) for path in parts[0]}
    for path, dataset in whole.items():
        if CHAIN in coords and CHAIN in dataset.dims:
            whole[path] = dataset.assign_coords({CHAIN: np.asarray(coords[CHAIN])})
    return xr.DataTree.from_dict(whole)


def _along_chain(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    if CHAIN not in parts[0].dims:
        return parts[0]
    return xr.concat(
        parts,
        CHAIN,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="override",
    )
