"""The forms in which users hand over spike times, brought into one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.data import checks

FAR_FROM_ZERO = 60.0
"""Seconds; a first spike later than this says that the clock did not start with the recording."""


def named_trains(
    times: Mapping[Any, ArrayLike] | Sequence[ArrayLike], units: Sequence[object] | None
) -> tuple[tuple[str, ...], list[NDArray[np.float64]]]:
    """Return names and raw trains in order."""
    if isinstance(times, Mapping):
        if units is not None:
            raise SettingError(
                "`units` names the trains of a sequence; got a mapping, which names its own. "
                "Leave `units` out, or use select(units)."
            )
        units, values = list(times.keys()), list(times.values())
    else:
        values = _listed(times)
        units = range(len(values)) if units is None else units
    names = tuple(str(name) for name in units)
    checks.check_units(names, len(values))
    return names, [checks.as_times(n, v) for n, v in zip(names, values, strict=True)]


def _listed(times: Any) -> list[ArrayLike]:
    """Return a sequence of trains as a list, refusing one flat train."""
    try:
        values = list(times)
    except TypeError:
        raise DataError(
            f"`times` must hold one spike train a unit; got {type(times).__name__}. Pass "
            "{'name': times} or [times]."
        ) from None
    if values and all(np.ndim(value) == 0 for value in values):
        raise DataError(
            "`times` must hold one spike train a unit; got one flat list of "
            f"{len(values)} numbers. "
            "Pass {'name': times} or [times]."
        )
    return values


def scaled(values: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return times in seconds."""
    return values if factor == 1.0 else values * factor


def scaled_pairs(epochs: Iterable[Sequence[float]], factor: float) -> list[Any]:
    """Return epochs in seconds; what is no pair of numbers is left for the check to name."""
    try:
        return [tuple(float(edge) * factor for edge in pair) for pair in epochs]
    except (TypeError, ValueError):
        return [None]


def recording_interval(
    trains: Sequence[NDArray[np.float64]],
    start: float | None,
    stop: float | None,
    factor: float,
) -> tuple[float, float]:
    """Return the recording interval in seconds, with the defaults of the class."""
    active = [train for train in trains if train.size]
    if not active and stop is None:
        raise DataError(
            "`times` holds no spikes at all, so the recording has no end. Pass spikes, or `stop`."
        )
    begin = 0.0 if start is None else float(start) * factor
    if start is None and active:
        first = min(float(train[0]) for train in active)
        begin = float(np.floor(first)) if first > FAR_FROM_ZERO else 0.0
    if stop is None:
        end = float(np.floor(max(float(train[-1]) for train in active)) + 1.0)
    else:
        end = float(stop) * factor
    checks.check_interval(begin, end)
    return begin, end
