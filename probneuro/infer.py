"""One call that runs any model with any engine and hands back an ArviZ result."""

import json
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from typing import Any, Final

import torch
import xarray as xr

from probneuro.convert.log_density import compute_log_likelihood
from probneuro.core.device import refuse_device, resolve_device
from probneuro.core.diagnostics import say
from probneuro.core.engine import Engine, RunOptions, RunsOnDevice
from probneuro.core.errors import SettingError
from probneuro.core.hashing import stable_hash
from probneuro.core.model import DescribesData, HasDefaultEngine, Model
from probneuro.core.results import plain_attrs
from probneuro.core.rng import resolve_seed
from probneuro.core.settling import fit_summary
from probneuro.inference.executors import run_apart
from probneuro.inference.nuts import NUTS

_LIBRARIES: Final = (
    *("probneuro", "torch", "pyro-ppl", "numpy", "numba", "scipy", "xarray"),
    *("arviz-base", "arviz-stats"),
)


def infer(
    model: Model | Callable[..., Any],
    *args: Any,
    engine: Engine | None = None,
    draws: int = 1000,
    chains: int = 4,
    seed: int | None = None,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Any] | None = None,
    progress: bool = True,
    checkpoint: str | PathLike[str] | None = None,
    workers: int | None = None,
    executor: Any = None,
    save_warmup: bool = False,
    log_likelihood: bool = False,
    device: Any = None,
    **kwargs: Any,
) -> xr.DataTree:
    """Draw from a model's posterior given data.

    Parameters
    ----------
    model : Model or callable
        One of our models, or any Pyro program of yours.
    *args
        Passed to the program: mostly one data container.
    engine : Engine or None
        An engine object such as ``NUTS(target_accept=0.9)``; None for the one that the model
        names, else ``NUTS()``.
    draws, chains : int
        Draws a chain, and chains.
    seed : int or None
        Same seed, same machine, same numbers; None for a fresh one, which is recorded.
    coords, dims : mapping or None
        Labels of dimensions, and names of each variable's dimensions, beside the model's own.
    progress : bool
        Whether to show progress and say what the diagnostics find, on standard error.
    checkpoint : path or None
        A folder: a run that was stopped or killed goes on from it when called again.
    workers : int or None
        Chains at a time; None for as many as there are processors. Does not change the draws.
    executor : None, "processes", concurrent.futures.Executor or distributed.Client
        Where chains run: None for here, in threads or as one batch; else each chain is a task
        of its own, in a process of ours, or sent to the executor or Dask cluster.
    save_warmup : bool
        Whether to keep the warm-up.
    log_likelihood : bool
        Whether to add the log likelihood of every observation, by `compute_log_likelihood`.
    device : str, torch.device or None
        Where torch computes, such as ``"cuda"``: tensors among the arguments are moved there,
        those in lists, mappings and dataclasses too. None for where they are, the CPU mostly.
        Results and checkpoints are always on the CPU.
    **kwargs
        Passed to the program.

    Returns
    -------
    xarray.DataTree
        Groups of the InferenceData schema, with the run's record in the attributes.

    Raises
    ------
    SettingError
        If a setting is unknown or out of its range, a device is not to be had, or the model
        cannot be sent to a process.
    CapabilityError
        If the engine cannot treat this model correctly, run a chain apart from the others, or
        compute on that device.
    InferenceError
        If numbers go wrong; names the step and the seed.

    Notes
    -----
    With an executor the draws are the same whatever executor it is and however many workers it
    has, on processors of one kind: a task is one chain with its own stream, and other processes
    work in one thread. They are also those of a run without executor where chains run one by
    one; NUTS and HMC without executor run all chains as one batch, which may round differently,
    so that a chain draws the same random numbers but parts from its twin once a last bit grows.

    Programs make their own tensors on ``device`` where they name none, and draw from its own
    stream: the same seed gives the same numbers on the same device, and others elsewhere. A
    checkpoint goes on on the kind of device that it was begun on.

    Tasks that are killed are started again, three times, and with ``checkpoint`` go on from
    their last segment; tasks that have ended are read from the folder. It must be on a disk
    that all workers see. Workers of other processes get model and data by pickle, never from a
    file.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist, torch
    >>> def coin(heads):
    ...     bias = pyro.sample("bias", dist.Beta(1.0, 1.0))
    ...     pyro.sample("heads", dist.Binomial(10, bias), obs=heads)
    >>> settings = {"draws": 50, "chains": 1, "seed": 1, "progress": False}
    >>> result = infer(coin, torch.tensor(7.0), engine=NUTS(warmup=50), **settings)
    >>> result.posterior["bias"].shape
    (1, 50)
    """
    chosen = _engine(model, engine)
    where = _device(device, chosen, args, kwargs)
    record = {**_record(model, args, kwargs, chosen), "device": torch.device(where).type}
    own: Mapping[str, Any] = model.attributes() if isinstance(model, DescribesData) else {}
    options = RunOptions(
        draws=draws,
        chains=chains,
        seed=resolve_seed(seed),
        progress=progress,
        checkpoint=checkpoint,
        workers=workers,
        save_warmup=save_warmup,
        fingerprint=record,
        dims={**(model.dims() if isinstance(model, Model) else {}), **(dims or {})},
        coords={**(model.coords(*args) if isinstance(model, Model) else {}), **(coords or {})},
        groups=model.data_groups(*args) if isinstance(model, DescribesData) else {},
        device=where,
        subject=str(own.get("rule", "")),
    )
    start = time.perf_counter()
    if executor is None:
        result = chosen.run(model, args, kwargs, options)
    else:
        result = run_apart(chosen, model, args, kwargs, options, executor)
    if log_likelihood:
        result = compute_log_likelihood(result, model, *args, device=where, **kwargs)
    seconds = time.perf_counter() - start
    findings = say(result)
    for line in [*fit_summary(result), *findings] if progress else ():
        print(line, file=sys.stderr)  # noqa: T201 -- asked for by `progress`
    result.attrs.update(_attributes({**record, **own}, options.seed, seconds, findings))
    return result


def _attributes(
    record: Mapping[str, Any], seed: int, seconds: float, findings: list[str]
) -> dict[Hashable, Any]:
    attributes: dict[Hashable, Any] = {}
    attributes.update(
        plain_attrs(
            {
                **record,
                "seed": seed,
                "seconds": seconds,
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": json.dumps(_versions()),
                "diagnostics": json.dumps(findings),
            }
        )
    )
    return attributes


def _engine(model: Any, engine: Any) -> Engine:
    if not isinstance(model, Model) and not callable(model):
        raise SettingError(
            f"`model` must be a Model or a Pyro program; got {type(model).__name__}. "
            "Pass the function itself, without calling it."
        )
    if isinstance(engine, Engine):
        return engine
    if engine is None:
        return model.default_engine() if isinstance(model, HasDefaultEngine) else NUTS()
    if isinstance(engine, type) and issubclass(engine, Engine):
        raise SettingError(
            f"`engine` is the class {engine.__name__}; an object is needed. "
            f"Write engine={engine.__name__}()."
        )
    raise SettingError(
        f"`engine` must be an engine object; got {engine!r}. Write e.g. "
        "engine=NUTS(), from `probneuro.inference.nuts`."
    )


def _device(device: Any, engine: Engine, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    where = str(resolve_device(device, args, dict(kwargs)))
    if not isinstance(engine, RunsOnDevice):
        refuse_device(where, engine.name, "use an engine such as NUTS() or SVI()")
    return where


def _record(
    model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], engine: Engine
) -> dict[str, Any]:
    """Return what the draws depend on beside seed and sizes, as attributes and fingerprint."""
    name = model.name if isinstance(model, Model) else _program_name(model)
    return {
        "model": name,
        "model_hash": stable_hash(model),
        "engine": engine.name,
        "engine_settings": str(plain_attrs({"_": dict(engine.settings())})["_"]),
        "data_hash": stable_hash(args, dict(kwargs)),
    }


def _program_name(model: Any) -> str:
    return str(getattr(model, "__qualname__", type(model).__qualname__))


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # run from a checkout that was never installed
            continue
    return found
