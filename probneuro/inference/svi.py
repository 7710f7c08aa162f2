"""Stochastic variational inference, for any Pyro program and guide."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyro
import torch
import xarray as xr
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoGuide, AutoNormal, init_to_uniform
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from probneuro.core.device import CPU, as_numpy, moved, seed_torch
from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions, RunsOnDevice
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.model import Model
from probneuro.core.names import CHAIN, PARAMETERS
from probneuro.core.results import FIT_HISTORY
from probneuro.core.rng import generator
from probneuro.inference.program_structure import refused_site
from probneuro.inference.pyro_program import (
    is_deterministic,
    latent_sites,
    plate_dims,
    pyro_as_found,
    require_static,
    site_dims,
)
from probneuro.inference.runner import ChainDraws, chains_result, run_as_asked

# Kingma & Ba 2015, their defaults.
_FIRST_DECAY, _SECOND_DECAY, _FLOOR = 0.9, 0.999, 1e-8
_PARAM, _DRAW = "param.", "draw."
_INIT_SCALE: Final = 0.1
_INIT_RADIUS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class SVI(Engine, RunsOnDevice):
    """Fits a guide by gradient ascent on the ELBO; a chain is a restart.

    Parameters
    ----------
    guide : callable, AutoGuide class or None
        The guide, or a class such as ``pyro.infer.autoguide.AutoMultivariateNormal`` to build
        one on the program (``AutoDelta`` finds the most probable point); None for the model's
        own, or a mean-field normal for a bare program.
    steps : int
        Gradient steps.
    learning_rate : float
        Adam's step size at the start.
    final_learning_rate : float
        Adam's step size at the end, reached exponentially; it averages the noise out.
    num_particles : int
        Guide samples a step.
    loss : object or None
        A Pyro ELBO such as ``TraceEnum_ELBO()``; None for ``Trace_ELBO(num_particles)``.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Examples
    --------
    >>> SVI(steps=500).steps
    500
    """

    guide: Any = None
    steps: int = 2000
    learning_rate: float = 0.02
    final_learning_rate: float = 0.001
    num_particles: int = 1
    loss: Any = None

    def __post_init__(self) -> None:
        for name in ("steps", "num_particles", "learning_rate", "final_learning_rate"):
            if not getattr(self, name) > 0:
                raise SettingError(
                    f"`{name}` must be positive; got {getattr(self, name)!r}. "
                    f"Its default is {getattr(SVI, name)}."
                )
        if isinstance(self.guide, type) and not issubclass(self.guide, AutoGuide):
            raise SettingError(
                f"`guide` is the class {self.guide.__name__}, which is no AutoGuide. Pass "
                "an object of it, or a Pyro program."
            )
        if self.guide is not None and not callable(self.guide):
            raise SettingError(
                f"`guide` must be a Pyro program; got {type(self.guide).__name__}. "
                "Pass the function or module itself, or None for an automatic one."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Fit every restart and return draws from the fitted guides."""
        program = model.model if isinstance(model, Model) else model
        own = model.guide if isinstance(model, Model) else None
        device = torch.device(options.device)
        kernel = SVIKernel(program, self.guide or own, args, kwargs, self, options.seed, device)
        chains = run_as_asked(kernel, options, warmup=self.steps, label=self.name, keep_warmup=True)
        return _result(chains, kernel, options)


def _result(chains: ChainDraws, kernel: "SVIKernel", options: RunOptions) -> xr.DataTree:
    elbo = chains.warmup_sample_stats["elbo"]
    names = kernel.dims
    points = {
        name.removeprefix(_PARAM): values[:, -1]
        for name, values in chains.posterior.items()
        if name.startswith(_PARAM)
    }
    draws = {n: v for n, v in chains.posterior.items() if not n.startswith(_PARAM)}
    groups = {FIT_HISTORY: {"elbo": elbo}, PARAMETERS: {n: v[:, None] for n, v in points.items()}}
    own = {f"{FIT_HISTORY}/elbo": [CHAIN, "iteration"], **names}
    plain = replace(chains, posterior=draws, warmup_posterior={}, warmup_sample_stats={})
    return chains_result(plain, options, dims=own, groups=groups)


class _SameSites(Messenger):
    """Refuses a run of the program that has other sites than the guide was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: set[str] | None = None
        self._seen: set[str] = set()

    def __enter__(self) -> Any:
        self._seen = set()
        return super().__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        super().__exit__(kind, error, trace)
        if kind is None and self.expected is None:
            self.expected = self._seen
        elif kind is None and (odd := self._seen ^ (self.expected or set())):
            raise refused_site(odd)

    def _pyro_post_sample(self, message: Any) -> None:
        if not site_is_subsample(message):
            self._seen.add(message["name"])


class SVIKernel(Kernel):
    """One restart: its warm-up steps train the guide, its draws come from it.

    Pyro keeps parameters in one global store; here they live in the chain's state, and
    stand in the store only for the time of a step.

    Parameters
    ----------
    program, guide : callable
        The model, and the guide or None for a mean-field normal.
    args, kwargs
        The program's arguments.
    settings : SVI
        The engine's settings.
    seed : int
        Seed of the first look at the program.
    device : torch.device
        Where it computes; its arguments are moved there, its states are arrays on the CPU.
    """

    def __init__(
        self,
        program: Callable[..., Any],
        guide: Callable[..., Any] | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        settings: SVI,
        seed: int,
        device: torch.device = CPU,
    ) -> None:
        self._program = program
        self._given = guide
        self._device = device
        self._args = moved(args, device)
        self._kwargs = moved(dict(kwargs), device)
        self._settings = settings
        self._loss = settings.loss or Trace_ELBO(num_particles=settings.num_particles)
        self._dtype = torch.get_default_dtype()
        rng = generator(seed, "look")
        self._guide, self._store = self._fresh(rng)
        if isinstance(self._guide, AutoGuide):
            self._require_static()
        self._own, self.dims = self._look(rng)

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a state with fresh parameters."""
        _, store = self._fresh(rng)
        state: Arrays = {"iteration": np.array(0)}
        for name, tensor in store["params"].items():
            value = as_numpy(tensor).copy()
            zero = np.zeros_like(value)
            state |= {_PARAM + name: value, f"first.{name}": zero, f"second.{name}": zero}
        return state

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Make a gradient step while training, and draw from the guide afterwards."""
        torch_seed = int(rng.integers(2**62))
        with self._as_found():
            self._enter(state)
            seed_torch(torch_seed, self._device)
            if warmup:
                elbo, slopes = self._gradient()
                fresh = self._ascend(state, slopes)
                return fresh, {"elbo": np.array(elbo)}
            values, log_joint = self._sample()
        drawn = {_DRAW + name: value for name, value in values.items()}
        kept = {n: v for n, v in state.items() if not n.startswith(_DRAW)}
        return {**kept, **drawn}, {"lp": np.array(log_joint)}

    def draw(self, state: Arrays) -> Arrays:
        """Return the variables drawn, and the program's own parameters as they stand."""
        values = {n.removeprefix(_DRAW): v for n, v in state.items() if n.startswith(_DRAW)}
        if not values:
            return {}
        with self._as_found():
            self._enter(state)
            store = pyro.get_param_store()
            points = {_PARAM + n: as_numpy(store[n]).copy() for n in self._own}
        return {**values, **points}

    def _as_found(self) -> AbstractContextManager[None]:
        return pyro_as_found(self._dtype, device=self._device)

    def _fresh(self, rng: np.random.Generator) -> tuple[Callable[..., Any], Any]:
        with self._as_found():
            store = pyro.get_param_store()
            store.clear()
            seed_torch(int(rng.integers(2**62)), self._device)
            guide = self._built()
            with torch.no_grad():
                self._traces(guide)
            return guide, store.get_state()

    def _require_static(self) -> None:
        """Hold the program to the sites, shapes and supports that an automatic guide is for.

        Pyro does not look, and would fit what is there in the first run alone.
        """
        with self._as_found():
            seed_torch(0, self._device)  # to look at it, no draw depends on it
            require_static(lambda: self._program(*self._args, **self._kwargs))
        self._program = _SameSites()(self._program)

    def _built(self) -> Callable[..., Any]:
        """Return the guide given, or one of the class given."""
        given, start = self._given or AutoNormal, init_to_uniform(radius=_INIT_RADIUS)
        if not isinstance(given, type):
            return given
        guide: Any = given
        takes = inspect.signature(guide).parameters
        own = {"init_loc_fn": start, "init_scale": _INIT_SCALE}
        built: Callable[..., Any] = guide(
            self._program, **{name: value for name, value in own.items() if name in takes}
        )
        return built

    def _look(self, rng: np.random.Generator) -> tuple[list[str], dict[str, list[Any]]]:
        with self._as_found():
            pyro.get_param_store().set_state(self._store)
            seed_torch(int(rng.integers(2**62)), self._device)
            _, trace = self._traces(self._guide)
            own = [n for n, node in trace.nodes.items() if node["type"] == "param"]
            names = {n: site_dims(node) for n, node in _whole(latent_sites(trace)).items()}
            for name, node in _whole(_deterministic(trace)).items():
                names[name] = plate_dims(node, tuple(node["value"].shape))
        return own, names

    def _enter(self, state: Arrays) -> None:
        pyro.get_param_store().set_state(self._store)
        with torch.no_grad():
            for name, tensor in self._store["params"].items():
                tensor.copy_(torch.from_numpy(state[_PARAM + name]))

    def _gradient(self) -> tuple[float, Arrays]:
        params = self._store["params"]
        for tensor in params.values():
            tensor.grad = None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encountered NaN")  # an error of ours says more
            loss = self._loss.loss_and_grads(
                self._program, self._guide, *self._args, **self._kwargs
            )
        slopes = {
            name: np.zeros(tensor.shape) if tensor.grad is None else as_numpy(tensor.grad).copy()
            for name, tensor in params.items()
        }
        bad = [name for name, slope in slopes.items() if not np.isfinite(slope).all()]
        if bad or not np.isfinite(loss):
            raise InferenceError(self._blame(float(loss), bad))
        return -float(loss), slopes

    def _ascend(self, state: Arrays, slopes: Arrays) -> Arrays:
        done = int(state["iteration"])
        settings = self._settings
        share = done / max(settings.steps - 1, 1)
        rate = settings.learning_rate ** (1 - share) * settings.final_learning_rate**share
        fresh: Arrays = {"iteration": np.array(done + 1)}
        for name, slope in slopes.items():
            kind = state[_PARAM + name].dtype
            first = _FIRST_DECAY * state[f"first.{name}"] + (1 - _FIRST_DECAY) * slope
            second = _SECOND_DECAY * state[f"second.{name}"] + (1 - _SECOND_DECAY) * slope**2
            mean = first / (1 - _FIRST_DECAY ** (done + 1))
            size = np.sqrt(second / (1 - _SECOND_DECAY ** (done + 1))) + _FLOOR
            value = state[_PARAM + name] - rate * mean / size
            fresh |= {
                _PARAM + name: np.asarray(value, dtype=kind),
                f"first.{name}": np.asarray(first, dtype=kind),
                f"second.{name}": np.asarray(second, dtype=kind),
            }
        return fresh

    def _traces(self, guide: Callable[..., Any]) -> tuple[Any, Any]:
        guided = pyro.poutine.trace(guide).get_trace(*self._args, **self._kwargs)
        replayed = pyro.poutine.replay(self._program, guided)
        return guided, pyro.poutine.trace(replayed).get_trace(*self._args, **self._kwargs)

    def _sample(self) -> tuple[Arrays, float]:
        with torch.no_grad():
            _, trace = self._traces(self._guide)
            log_joint = float(trace.log_prob_sum())
        nodes = _whole(latent_sites(trace)) | _whole(_deterministic(trace))
        return {n: as_numpy(node["value"]).copy() for n, node in nodes.items()}, log_joint

    def _blame(self, loss: float, bad: list[str]) -> str:
        """Say which site or parameter spoilt the ELBO."""
        cure = "Lower `learning_rate`, or look at that site's scale"
        with torch.no_grad():
            for trace in self._traces(self._guide):
                trace.compute_log_prob()
                for name, node in trace.nodes.items():
                    if node["type"] == "sample" and not torch.isfinite(node["log_prob_sum"]):
                        where = f"site `{name}` has log density {float(node['log_prob_sum'])}"
                        return f"the ELBO is {-loss}: {where}. {cure}"
        what = f"the gradient of parameter `{bad[0]}`" if bad else "the ELBO"
        return f"{what} is not finite (ELBO {-loss}). {cure}"


def _deterministic(trace: Any) -> dict[str, Any]:
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and is_deterministic(node)
    }


def _whole(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what lives on a part of a plate: it is another part at every draw."""
    return {
        name: node
        for name, node in nodes.items()
        if all(f.full_size in (None, f.size) for f in node["cond_indep_stack"])
    }
