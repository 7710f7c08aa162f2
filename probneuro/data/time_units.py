"""Units of time at the border: how they convert to seconds, and when they look wrong."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import DataError, SettingError, unknown_name

_FACTORS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_USUAL_SAMPLING_RATE: Final = 30_000.0  # Hz, the most common of extracellular systems
_USUAL_SHORT_INTERVAL: Final = 4e-3  # s, a typical shortest interval of a sorted unit

FEWEST_SPIKES: Final = 40
"""Below this many spikes in all, nothing is said about the unit of time."""

SLOWEST_RATE: Final = 0.1
"""Hz; slower units, nearly all of them and for hours, are not believed."""

FASTEST_RATE: Final = 500.0
"""Hz; no neuron keeps up a higher rate."""

LONG_RECORDING: Final = 3600.0
"""Seconds; the slow check speaks only of recordings longer than this."""


def seconds_per_unit(unit: str, sampling_rate: float | None = None) -> float:
    """Return how many seconds one unit of time lasts.

    Parameters
    ----------
    unit : {"s", "ms", "us", "samples"}
        The unit of time.
    sampling_rate : float, optional
        Samples per second, for ``unit="samples"`` only.

    Returns
    -------
    float
        Seconds per unit.

    Raises
    ------
    SettingError
        If the unit is unknown, or the sampling rate is missing, out of range or out of place.

    Examples
    --------
    >>> seconds_per_unit("ms")
    0.001
    >>> seconds_per_unit("samples", sampling_rate=20_000)
    5e-05
    """
    if unit == "samples":
        if sampling_rate is None:
            raise SettingError(
                "`sampling_rate` is missing; unit='samples' needs it. Pass it in Hz, for example "
                "sampling_rate=30000."
            )
        if not (np.isfinite(sampling_rate) and sampling_rate > 0):
            raise SettingError(
                f"`sampling_rate` must be a positive number; got {sampling_rate!r}. Pass it in Hz."
            )
        return 1.0 / float(sampling_rate)
    if unit not in _FACTORS:
        raise unknown_name("unit", unit, [*_FACTORS, "samples"])
    if sampling_rate is not None:
        raise SettingError(
            f"`sampling_rate` goes with unit='samples'; got unit='{unit}'. Leave it out, or pass "
            "unit='samples'."
        )
    return _FACTORS[unit]


def _best_unit(short_interval: float, integers: bool) -> str:
    """Return the unit under which the raw shortest interval is closest to a real neuron's."""
    candidates = dict(_FACTORS)
    if integers:
        candidates["samples"] = 1.0 / _USUAL_SAMPLING_RATE
    distance = {
        name: abs(np.log(short_interval * factor / _USUAL_SHORT_INTERVAL))
        for name, factor in candidates.items()
    }
    return min(distance, key=lambda name: distance[name])


def check_time_unit(trains: Sequence[NDArray[np.float64]], unit: str, factor: float) -> None:
    """Raise if rates and intervals show that the times were given in another unit.

    Milliseconds taken for seconds show as hours of recording in which nearly every unit fires
    below 0.1 Hz and no interval is short; seconds taken for milliseconds as rates above 500 Hz.
    Real neurons do neither. Nothing is said of fewer than 40 spikes.

    Parameters
    ----------
    trains : sequence of numpy.ndarray
        Times of every unit in seconds, each sorted.
    unit : str
        The unit they were given in.
    factor : float
        Seconds per that unit.

    Raises
    ------
    DataError
        Telling which `unit` fits, and how to switch the check off.
    """
    active = [times for times in trains if times.size > 1]
    if sum(times.size for times in active) < FEWEST_SPIKES:
        return
    span = max(t[-1] for t in active) - min(t[0] for t in active)
    if span <= 0:
        return
    rates = np.array([times.size / span for times in active])
    intervals = np.concatenate([np.diff(times) for times in active])
    intervals = intervals[intervals > 0]
    if not intervals.size:
        return
    short = float(np.quantile(intervals, 0.02))
    slow = span > LONG_RECORDING and np.mean(rates < SLOWEST_RATE) >= 0.9 and short > 0.3
    fast = float(np.median(rates)) > FASTEST_RATE
    if not (slow or fast):
        return
    raw = np.concatenate([times[:200] for times in active]) / factor
    best = _best_unit(short / factor, bool(np.allclose(raw, np.rint(raw), atol=1e-6)))
    shape = f"{span / 3600:.3g} h" if slow else f"{span:.3g} s"
    advice = "unit='samples', sampling_rate=30000" if best == "samples" else f"unit='{best}'"
    fits = f"Pass {advice}" if best != unit else "Check the unit of the times"
    raise DataError(
        f"`unit` looks wrong: read as unit='{unit}', the recording lasts {shape} and the median "
        f"rate is {float(np.median(rates)):.3g} Hz. {fits}, or unit_check=False if this is right."
    )
