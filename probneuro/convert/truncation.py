"""Where time runs in a program's observations, and its arguments cut off at some time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from probneuro.convert.log_density import point_names
from probneuro.convert.replay import observed_sites
from probneuro.core.errors import CapabilityError, SettingError, unknown_name
from probneuro.core.names import TIME
from probneuro.core.state_space import Series
from probneuro.inference.enumeration import log_prob

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Truncate = Callable[[tuple[Any, ...], int], tuple[Any, ...]]


@dataclass(frozen=True)
class Timeline:
    """What a program observes, in order of time.

    Parameters
    ----------
    dim : str
        The dimension of the observations along which time runs.
    names : dict of str to list of str
        Names of the dimensions of each observed site's log density.
    counts, totals : numpy.ndarray
        Number and sum of the values observed at each time, shape (time,).
    """

    dim: str
    names: Mapping[str, list[str]]
    counts: NDArray[np.int64]
    totals: NDArray[np.float64]

    @property
    def length(self) -> int:
        """Number of times."""
        return len(self.counts)

    @property
    def timeless(self) -> list[str]:
        """Observed sites without time."""
        return [name for name, dims in self.names.items() if self.dim not in dims]


def read_timeline(trace: Any, dim: str | None, given: Mapping[str, list[str]]) -> Timeline:
    """Find the dimension along which time runs.

    Parameters
    ----------
    trace : pyro.poutine.Trace
        Of the program called with its data.
    dim : str or None
        Its name; None for ``"time"``, or else the one that all observations have outermost.
    given : mapping of str to list of str
        Names that the model or the user gave to the observations' dimensions.

    Raises
    ------
    CapabilityError
        If the program observes nothing.
    SettingError
        If no dimension is called that, or it cannot be told which one is time.
    """
    observed = observed_sites(trace)
    if not observed:
        raise CapabilityError(
            "The program observes nothing when called like this. Pass the data, as in the fit."
        )
    names = {n: point_names(node, log_prob(node), given.get(n)) for n, node in observed.items()}
    chosen = _time_dim(names, dim)
    rows = [
        _along_time(node, names[n].index(chosen), len(names[n]))
        for n, node in observed.items()
        if chosen in names[n]
    ]
    lengths = {row.shape[0] for row in rows}
    if len(lengths) > 1:
        raise SettingError(
            f"Observations have lengths {sorted(lengths)} along `{chosen}`. Give plates of "
            "different lengths different names, and name that of time with `dim=`."
        )
    counts = sum(np.isfinite(row).sum(1) for row in rows)
    totals = sum(np.nansum(row, axis=1) for row in rows)
    return Timeline(chosen, names, np.asarray(counts), np.asarray(totals))


def _time_dim(names: Mapping[str, list[str]], dim: str | None) -> str:
    known = {d for dims in names.values() for d in dims}
    if dim is not None:
        if dim not in known:
            raise unknown_name("dimension of the observations in `dim`", dim, known)
        return dim
    if TIME in known:
        return TIME
    outermost = {dims[0] if dims else "" for dims in names.values()}
    if len(outermost) == 1 and (only := outermost.pop()):
        return only
    raise SettingError(
        f"It cannot be told along which of the dimensions {', '.join(sorted(known)) or '(none)'} "
        "of the observations time runs. Call its plate `time`, or pass `dim=`."
    )


def _along_time(node: Any, axis: int, batch: int) -> NDArray[np.float64]:
    """Return observed values with time first and all else flat; factors as their densities."""
    shape = tuple(log_prob(node).shape)
    value = torch.as_tensor(node["value"]).detach()
    if value.dim() < batch or not value.numel():
        value = torch.zeros(shape)  # a factor holds no data
    elif tuple(value.shape[:batch]) != shape:
        value = value.expand(*shape, *value.shape[batch:])
    return value.movedim(axis, 0).reshape(shape[axis], -1).double().numpy()


def cut(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    stop: int,
    *,
    truncate: Truncate | None,
    dim: str,
    length: int,
) -> Arguments:
    """Return a program's arguments with the data before a time only.

    Parameters
    ----------
    args, kwargs
        The arguments.
    stop : int
        The first time that is left out.
    truncate : callable or None
        Takes the positional arguments and ``stop``, and returns them cut; None to cut every
        array, tensor, list and `Series` whose first axis has the data's length, and
        labelled arrays along the dimension's name, in containers too.
    dim : str
        The dimension's name.
    length : int
        The data's length.

    Raises
    ------
    SettingError
        If nothing is there to cut, or ``truncate`` returns no arguments.

    Examples
    --------
    >>> cut((torch.ones(3), 2.0), {}, 2, truncate=None, dim="time", length=3)
    ((tensor([1., 1.]), 2.0), {})
    """
    if truncate is not None:
        found = truncate(args, stop)
        if not isinstance(found, tuple) or len(found) != len(args):
            raise SettingError(
                f"`truncate` returned {type(found).__name__}; it must return a tuple of the "
                f"program's {len(args)} arguments. Write e.g. `lambda args, stop: "
                "(args[0][:stop],)`."
            )
        return found, dict(kwargs)
    short = tuple(_cut(value, stop, dim, length) for value in args)
    named = {name: _cut(value, stop, dim, length) for name, value in kwargs.items()}
    before, after = [*args, *kwargs.values()], [*short, *named.values()]
    if all(old is new for old, new in zip(before, after, strict=True)):
        raise SettingError(
            f"None of the program's arguments has {length} rows, the length of `{dim}`, so it is "
            "not known how to cut them. Pass `truncate=`, a function of the arguments and the "
            "first time that is left out, which returns the arguments cut."
        )
    return short, named


def _cut(value: Any, stop: int, dim: str, length: int) -> Any:
    if isinstance(value, Series) and value.length == length:
        inputs = None if value.inputs is None else value.inputs[:stop]
        return Series(value.values[:stop], inputs, value.time[:stop])
    if isinstance(value, xr.DataArray | xr.Dataset):
        return value.isel({dim: slice(stop)}) if dim in value.dims else value
    if isinstance(value, torch.Tensor | np.ndarray):
        return value[:stop] if value.ndim and value.shape[0] == length else value
    if isinstance(value, list) and len(value) == length:
        return value[:stop]
    if type(value) is dict:
        inner = {key: _cut(item, stop, dim, length) for key, item in value.items()}
        return value if all(inner[key] is value[key] for key in value) else inner
    if type(value) is tuple:
        items = tuple(_cut(item, stop, dim, length) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value
