"""Running a Pyro program at given draws: batched by torch where it can, else one by one."""

import logging
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyro
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro.distributions import Unit
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from probneuro.core.device import as_numpy
from probneuro.core.errors import CapabilityError, DataError, SettingError
from probneuro.core.model import Model
from probneuro.core.names import CHAIN, DRAW, PARAMETERS, POSTERIOR
from probneuro.inference.pyro_program import is_deterministic, plate_dims, site_dims

log = logging.getLogger("probneuro")

Tensors = dict[str, torch.Tensor]
Run = Callable[[], Any]
_PARAM: Final = "param."
_ROW: Final = "row."
_AT_ONCE: Final = 4_000_000
_MOST_AT_ONCE: Final = 1000
_AGREE: Final = {torch.float64: 1e-8, torch.float32: 1e-3}


@dataclass(frozen=True)
class Draws:
    """Draws of a program's variables, all chains in one row.

    Parameters
    ----------
    values : dict of str to array
        Shape (chain * draw, ...); trained parameters under ``"param.<name>"``.
    shape : tuple of int
        Numbers of chains and draws.
    coords : mapping
        Labels of ``chain`` and ``draw``.
    """

    values: dict[str, NDArray[Any]]
    shape: tuple[int, int]
    coords: Mapping[str, Any]

    def unflatten(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return arrays of shape (chain * draw, ...) as (chain, draw, ...)."""
        return {name: v.reshape(*self.shape, *v.shape[1:]) for name, v in arrays.items()}

    def at(self, index: int) -> Tensors:
        """Return one draw as tensors."""
        return {name: torch.as_tensor(v[index]) for name, v in self.values.items()}


def draws_of(result: xr.DataTree) -> Draws:
    """Return the draws that a result holds: its posterior, or its point estimates.

    Parameters
    ----------
    result : xarray.DataTree
        With a group ``posterior``, or else ``parameters``.

    Returns
    -------
    Draws
        Trained parameters of group ``parameters`` are repeated for every draw of a chain.

    Raises
    ------
    DataError
        If there is neither group, or it lacks the dimensions chain and draw.
    """
    group = POSTERIOR if POSTERIOR in result.children else PARAMETERS
    if group not in result.children:
        have = ", ".join(map(str, result.children)) or "no groups"
        raise DataError(
            f"The result has no group `{POSTERIOR}`; it has {have}. "
            "Pass what `infer` or `from_pyro` returned."
        )
    data = result[group].to_dataset()
    for dim in (CHAIN, DRAW):
        if dim not in data.dims:
            raise DataError(
                f"Group `{group}` has no dimension `{dim}`; it has {tuple(data.sizes)}. "
                "Keep (chain, draw): select with slices or lists instead of single numbers."
            )
    shape = (data.sizes[CHAIN], data.sizes[DRAW])
    values = _flat(data, shape)
    if group != PARAMETERS and PARAMETERS in result.children:
        trained = result[PARAMETERS].to_dataset()
        if trained.sizes.get(CHAIN) == shape[0] and trained.sizes.get(DRAW) == 1:
            for name, rows in _flat(trained, (shape[0], 1)).items():
                values[_PARAM + name] = np.repeat(rows, shape[1], axis=0)
    return Draws(values, shape, {dim: data[dim].values for dim in (CHAIN, DRAW) if dim in data})


def _flat(data: xr.Dataset, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    ordered = data.transpose(CHAIN, DRAW, ...)
    return {
        str(name): variable.values.reshape(shape[0] * shape[1], *variable.shape[2:])
        for name, variable in ordered.data_vars.items()
        if {CHAIN, DRAW} <= set(variable.dims)
    }


def program_of(model: Any) -> Callable[..., Any]:
    """Return the Pyro program of a `Model`, or the callable itself.

    Raises
    ------
    SettingError
        If it is neither.
    """
    if isinstance(model, Model):
        return model.model
    if not callable(model):
        raise SettingError(
            f"`model` must be a Model or a Pyro program; got {type(model).__name__}. "
            "Pass the function itself, without calling it."
        )
    program: Callable[..., Any] = model
    return program


@dataclass(eq=False)
class Replay(Messenger):
    """Gives a program's latent variables and parameters the values of a draw.

    Parameters
    ----------
    values : dict of str to torch.Tensor
        One draw; parameters under ``"param.<name>"``.
    dtype : torch.dtype
        Of continuous variables.
    kinds : dict
        Dtypes that the program's discrete variables take, filled on the first run.
    summed : bool
        Whether discrete variables without a value are marked to be enumerated.
    fresh : bool
        Whether observed variables are drawn anew.
    redrawn : collection of str
        Variables that are drawn anew although there are values.
    """

    values: Tensors
    dtype: torch.dtype
    kinds: dict[str, torch.dtype] = field(default_factory=dict)
    summed: bool = False
    fresh: bool = False
    redrawn: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__init__()

    def _pyro_sample(self, message: Any) -> None:
        if site_is_subsample(message) or is_deterministic(message):
            return
        name = message["name"]
        if message["is_observed"]:
            if self.fresh and not isinstance(message["fn"], Unit):
                message["is_observed"], message["done"] = False, False
                message["infer"]["was_observed"] = True
                message["value"] = _drawn(message)
        elif name in self.values and name not in self.redrawn:
            message["value"] = self._fitted(message)  # not "done": enumeration has to see it
            message["infer"].pop("enumerate", None)
        elif self.summed and is_discrete(message):
            _refuse_endless(message)
            message["infer"]["enumerate"] = "parallel"
        elif self.fresh:
            message["value"] = _drawn(message)

    def _pyro_param(self, message: Any) -> None:
        value = self.values.get(_PARAM + message["name"])
        if value is not None:
            message["value"], message["done"] = value.to(self.dtype), True

    def _fitted(self, message: Any) -> torch.Tensor:
        name, fn = message["name"], message["fn"]
        value = self.values[name]
        # With enumeration the densities have axes that the values do not; a look before told.
        if not self.summed and tuple(value.shape) != tuple(fn.shape()):
            raise DataError(
                f"`{name}` has shape {tuple(value.shape)} in each draw, but {tuple(fn.shape())} in "
                "the program as it was called. Pass the arguments of the fit, or a program "
                "with the same sizes."
            )
        if name not in self.kinds:
            discrete = is_discrete(message)
            self.kinds[name] = fn.sample().dtype if discrete else self.dtype
        return value.to(self.kinds[name])


def _drawn(message: Any) -> Any:
    """Draw from a site's law, by the way that torch can batch for most laws.

    Pyro itself takes the way that has gradients, which fills memory in place.
    """
    fn = message["fn"]
    return fn.sample() if isinstance(fn, TorchDistributionMixin) else None


def _refuse_endless(message: Any) -> None:
    if not message["fn"].has_enumerate_support:
        raise CapabilityError(
            f"Site `{message['name']}` is discrete ({type(message['fn']).__name__}), has no values "
            "in the draws, and too many to sum over. Keep its draws in the result, or bound "
            "it, e.g. with a Categorical."
        )


def is_discrete(node: Any) -> bool:
    """Whether a sample node's support is discrete."""
    return bool(node["fn"].support.is_discrete)


def observed_sites(trace: Any) -> dict[str, Any]:
    """Return a trace's nodes that hold data, and its factors."""
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample"
        and node["is_observed"]
        and not is_deterministic(node)
        and not site_is_subsample(node)
    }


def value_dims(node: Any) -> list[Any]:
    """Return the names of the dimensions of a node's value; None where there is none."""
    shape = tuple(torch.as_tensor(node["value"]).shape)
    if is_deterministic(node) and node["fn"].event_dim >= len(shape):
        return plate_dims(node, shape)  # its event_dim was left to Pyro, which takes them all
    return site_dims(node)


def named(name: str, dims: list[Any]) -> list[str]:
    """Fill in ArviZ' own names, ``<variable>_dim_<axis>``, where there is none."""
    return [dim or f"{name}_dim_{axis}" for axis, dim in enumerate(dims)]


def trace_once(run: Run, replay: Replay) -> Any:
    """Return the program's trace at one draw, and refuse what cannot be replayed.

    Raises
    ------
    CapabilityError
        If plates are subsampled, or parameters are not trained.
    """
    known = set(pyro.get_param_store().keys())
    with torch.no_grad(), pyro.poutine.trace() as tracer, replay:
        run()
    trace = tracer.trace
    for name, node in trace.nodes.items():
        if node["type"] == "param" and name not in known and _PARAM + name not in replay.values:
            raise CapabilityError(
                f"The program uses the parameter `{name}`, which is neither in group "
                f"`{PARAMETERS}` nor in Pyro's parameter store. Train it first, or pass the "
                "result that holds it."
            )
        for frame in node.get("cond_indep_stack", ()):
            if frame.full_size not in (None, frame.size):
                raise CapabilityError(
                    f"Plate `{frame.name}` takes {frame.size} of {frame.full_size} at random, so "
                    "every run is about other data. Call the program without subsampling."
                )
    return trace


def over_draws(
    one: Callable[[Tensors], Tensors],
    draws: Mapping[str, NDArray[Any]],
    count: int,
    size: int,
    dtype: torch.dtype,
) -> dict[str, NDArray[Any]]:
    """Apply a function of one draw to all of them, several at once where torch can.

    Parameters
    ----------
    one : callable
        Takes one draw, returns tensors of always the same shapes; draws no random numbers.
    draws : mapping of str to array
        Shape (chain * draw, ...).
    count, size : int
        Draws in all, and at a time.
    dtype : torch.dtype
        What the function computes in; sets how well both ways must agree.

    Returns
    -------
    dict of str to numpy.ndarray
        Shape (chain * draw, ...).
    """
    rows = {name: torch.as_tensor(values) for name, values in draws.items()}
    rows[_ROW] = torch.arange(count)
    first = one({name: values[0] for name, values in rows.items()})
    out = {n: np.empty((count, *v.shape), as_numpy(v).dtype) for n, v in first.items()}
    several = _batched(one, rows, dtype) if size > 1 and count > 1 else None
    step = size if several else 1
    for start in range(0, count, step):
        stop = min(start + step, count)
        if several:
            part = several({name: values[start:stop] for name, values in rows.items()})
        else:
            part = one({name: values[start] for name, values in rows.items()})
        for name, values in part.items():
            out[name][start:stop] = as_numpy(values)
    return out


def _batched(
    one: Callable[[Tensors], Tensors], rows: Tensors, dtype: torch.dtype
) -> Callable[[Tensors], Tensors] | None:
    """Return the function over several draws, if it is the same function."""

    def several(block: Tensors) -> Tensors:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about speed
            found: Tensors = torch.func.vmap(one)(block)
        return found

    ends = {name: values[[0, -1]] for name, values in rows.items()}
    try:
        both = several(ends)
    except Exception as error:  # any program may hold what cannot be batched
        log.info("The program runs draw by draw, and slower: %s", error)
        return None
    for row in range(2):
        for name, exact in one({n: values[row] for n, values in ends.items()}).items():
            scale = (
                _AGREE[dtype] * (1 + exact.abs().nan_to_num(posinf=0).max())
                if len(exact.ravel())
                else 1.0
            )
            if not torch.allclose(both[name][row], exact, 0, float(scale), equal_nan=True):
                log.info("The program runs draw by draw, and slower: it depends on values.")
                return None
    return several


def draws_at_once(chunk: int | str, trace: Any) -> int:
    """Return how many draws to hold in memory at a time.

    Raises
    ------
    SettingError
        If ``chunk`` is neither a positive integer nor ``"auto"``.
    """
    if chunk == "auto":
        numbers = sum(
            torch.as_tensor(node["value"]).numel() + math.prod(node["fn"].batch_shape)
            for node in trace.nodes.values()
            if node["type"] == "sample" and not site_is_subsample(node)
        )
        return int(np.clip(_AT_ONCE // max(numbers, 1), 1, _MOST_AT_ONCE))
    if isinstance(chunk, bool) or not isinstance(chunk, int | np.integer) or chunk < 1:
        raise SettingError(
            f"`chunk` must be a number of draws or 'auto'; got {chunk!r}. Pass e.g. chunk=100."
        )
    return int(chunk)
