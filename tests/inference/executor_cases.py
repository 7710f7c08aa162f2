"""Programs and engines that worker processes can import, for tests of executors."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr

from probneuro import infer
from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.errors import InferenceError
from probneuro.inference.runner import chains_result, run_chains

SIZES: dict[str, Any] = {"draws": 12, "chains": 3, "seed": 4, "progress": False}
Y = torch.tensor([1.2, 0.4, 2.2])


def location(y: torch.Tensor) -> None:
    centre = pyro.sample("centre", dist.Normal(0.0, 2.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("trial", len(y)):
        pyro.sample("y", dist.Normal(centre, scale), obs=y)


class Walk(Kernel):
    """A random walk that may meet an accident at a step, the first time it gets there."""

    def __init__(self, settings: "Walker") -> None:
        self._settings = settings

    def init(self, rng: np.random.Generator) -> Arrays:
        return {"x": rng.normal(size=2), "step": np.array(0)}

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        settings = self._settings
        time.sleep(settings.pause)
        step = int(state["step"]) + 1
        if settings.log:
            with open(settings.log, "a") as file:
                file.write(f"{os.getpid()}\n")
        if step == settings.fails_at:
            raise InferenceError("the walk fell off")
        if step == settings.dies_at:
            _die(Path(settings.mark))
        x = state["x"] + rng.normal(size=2)
        return {"x": x, "step": np.array(step)}, {"lp": np.array(-0.5 * float(x @ x))}

    def draw(self, state: Arrays) -> Arrays:
        return {"x": state["x"]}


def _die(mark: Path) -> None:
    """Kill this process; where there is a mark, only the first to make it."""
    try:
        if str(mark) != ".":
            mark.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Walker(Engine):
    pause: float = 0.0
    log: str = ""
    fails_at: int = -1
    dies_at: int = -1
    mark: str = ""
    numbered: bool = True
    segment_seconds: float = 0.0

    def settings(self) -> Mapping[str, Any]:
        return {}  # accidents do not change the draws

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        chains = run_chains(
            Walk(self),
            draws=options.draws,
            warmup=3,
            chains=options.chains,
            first_chain=options.first_chain if self.numbered else 0,
            seed=options.seed,
            workers=options.workers,
            progress=options.progress,
            checkpoint=options.checkpoint,
            fingerprint=options.fingerprint,
            segment_seconds=self.segment_seconds,
        )
        return chains_result(chains, options, dims={"x": ["axis"]})


def walk(executor: Any, **settings: Any) -> xr.DataTree:
    """Run the walk with settings of the engine and of `infer` together."""
    engine = Walker(**{k: settings.pop(k) for k in list(settings) if k in Walker.__annotations__})
    return infer(location, Y, engine=engine, executor=executor, **{**SIZES, **settings})
