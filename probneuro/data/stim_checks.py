"""What is asked of stimulation trials at the border, and what is said when they do not comply."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError

Floats = NDArray[np.float64]

SHORTEST_RUNWAY: Final = 2
"""Samples; a single one holds no slope, and the model would be a constant and a scaling."""

LONGEST_PART: Final = 10.0
"""Seconds; a longer runway, latency, horizon or stride is taken for one in milliseconds."""

SLOWEST_RATE: Final = 50.0
"""Hz; below it a sampling rate is taken for one in kHz."""


def as_signal(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return a signal as a fresh floating array of shape (trial, channel, time).

    Raises
    ------
    DataError
        If it has another number of axes, is empty, infinite, or wholly missing.
    """
    array = np.array(values)
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"`{name}` must be numbers; got dtype {array.dtype}. Pass a float array of shape "
            "(trial, channel, time)."
        )
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(
            f"`{name}` must have shape (trial, channel, time) and not be empty; got "
            f"{array.shape}. One channel alone still needs its axis: values[:, None, :]."
        )
    finite = np.isfinite(array)
    if np.isinf(array).any():
        raise DataError(
            f"`{name}` holds infinite samples ({int(np.isinf(array).sum())} of {array.size}). "
            "Write NaN where a sample is missing."
        )
    if not finite.any():
        raise DataError(f"`{name}` holds nothing but NaN. Check how it was exported.")
    return array


def check_sampling_rate(sampling_rate: float) -> float:
    """Return the sampling rate in Hz.

    Raises
    ------
    SettingError
        If it is not positive, or so low that it must be in kHz.
    """
    try:
        rate = float(sampling_rate)
    except (TypeError, ValueError):
        raise SettingError(
            f"`sampling_rate` must be a number; got {sampling_rate!r}. Pass samples per second, "
            "such as 1000."
        ) from None
    if not np.isfinite(rate) or rate <= 0:
        raise SettingError(
            f"`sampling_rate` must be positive; got {sampling_rate!r}. Pass samples per second."
        )
    if rate < SLOWEST_RATE:
        raise SettingError(
            f"`sampling_rate` is {rate:g} Hz, too slow for stimulation trials. If it is in kHz, "
            f"pass {rate * 1e3:g}."
        )
    return rate


def as_events(values: ArrayLike) -> Floats:
    """Return times of events, shape (event,).

    Raises
    ------
    DataError
        If they are no numbers, or not one an event.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "fiu"):
        raise DataError(
            f"`events` must be times in seconds, shape (event,); got dtype {array.dtype}, shape "
            f"{array.shape}. Pass one number an event, or none."
        )
    return array.astype(np.float64)


def check_start(start: float) -> float:
    """Return the time of the first sample.

    Raises
    ------
    SettingError
        If it is no finite number.
    """
    if not isinstance(start, int | float | np.number) or not np.isfinite(start):
        raise SettingError(f"`start` must be a finite time in seconds; got {start!r}. Pass e.g. 0.")
    return float(start)


def as_pulse_times(values: ArrayLike) -> Floats:
    """Return onsets on the recording's clock, shape (trial, pulse).

    Raises
    ------
    DataError
        If the shape is another.
    """
    given = np.asarray(values, dtype=np.float64)
    times = given[:, None] if given.ndim == 1 else given
    if times.ndim != 2 or not times.size:
        raise DataError(
            f"`pulse_times` must have shape (trial,) or (trial, pulse); got {given.shape}."
            " Pass one row a trial."
        )
    return times


def check_seconds(**lengths: float) -> None:
    """Refuse times that are as long as if they were in milliseconds.

    Raises
    ------
    SettingError
        Says which.
    """
    for name, value in lengths.items():
        if value >= LONGEST_PART:
            raise SettingError(
                f"`{name}` is {value:g} s, and trials are far shorter. If it is in "
                f"milliseconds, pass {value * 1e-3:g}."
            )


def check_alone(
    pulses: NDArray[np.int64], first: NDArray[np.int64], length: int, fits: NDArray[np.bool_]
) -> None:
    """Refuse windows that hold pulses of other trials.

    Parameters
    ----------
    pulses : ndarray
        Samples of the pulses, shape (trial, pulse); -1 where a trial has fewer.
    first : ndarray
        First samples of the windows, shape (trial,).
    length : int
        Samples of a window.
    fits : ndarray
        Which windows are cut, shape (trial,).

    Raises
    ------
    DataError
        Says how many, and which is the first.
    """
    own = np.sort(pulses, axis=1)
    inside = (own >= first[:, None]) & (own < first[:, None] + length) & (own >= 0)
    inside[:, 1:] &= own[:, 1:] != own[:, :-1]
    every = np.unique(pulses[pulses >= 0])
    held = np.searchsorted(every, first + length) - np.searchsorted(every, first)
    more = np.flatnonzero(fits & (held > inside.sum(1)))
    if more.size:
        row = int(more[0])
        raise DataError(
            f"`pulse_times` leave pulses in windows of other trials: {more.size} of "
            f"{int(fits.sum())} windows, first that of trial {row}, which holds {held[row]} pulses "
            f"and has {int(inside[row].sum())}. Give pulses of one trial in one row, leave these "
            "trials out, or cut shorter windows."
        )


def check_runway(runway: int, num_samples: int) -> None:
    """Refuse a runway that is too short, or leaves no response.

    Raises
    ------
    SettingError
        If it is no whole number of samples in that range.
    """
    whole = isinstance(runway, int | np.integer) and not isinstance(runway, bool)
    if not whole:
        raise SettingError(
            f"`runway` must be a whole number of samples; got {runway!r}. For seconds, pass "
            "round(seconds * sampling_rate)."
        )
    if runway < SHORTEST_RUNWAY:
        raise SettingError(
            f"`runway` must be at least {SHORTEST_RUNWAY} samples; got {runway}. The paper takes "
            "20 ms, which is 20 samples at 1 kHz."
        )
    if runway >= num_samples:
        raise SettingError(
            f"`runway` of {runway} samples leaves no response: trials have {num_samples} samples. "
            "Cut longer trials, or pass a shorter runway."
        )


def as_descriptor(
    name: str, values: ArrayLike, num_trials: int, like: Floats | None = None
) -> Floats:
    """Return a number a pulse, shape (trial, pulse), repeated where all trials are alike.

    Raises
    ------
    DataError
        If the shape is neither, or another than that of the pulses.
    """
    array: Floats = np.array(values, dtype=np.float64)
    if array.ndim == 0:
        array = array.reshape(1)
    if array.ndim == 1:
        array = np.tile(array, (num_trials, 1))
    if array.ndim != 2 or array.shape[0] != num_trials or array.shape[1] == 0:
        raise DataError(
            f"`{name}` must have shape (trial, pulse) = ({num_trials}, ...), or (pulse,) for all "
            f"trials; got {np.shape(values)}. Give one row a trial."
        )
    if like is not None and array.shape != like.shape:
        raise DataError(
            f"`{name}` must have the shape of `pulses`, {like.shape}; got {array.shape}. Give "
            "one number a pulse."
        )
    return array


def check_pulses(onsets: Floats, earliest: float, latest: float) -> None:
    """Refuse pulses outside the response, and onsets that look like milliseconds.

    Parameters
    ----------
    onsets : ndarray
        Seconds from the start of the trial, shape (trial, pulse).
    earliest, latest : float
        Start and end of the response in seconds.

    Raises
    ------
    DataError
        Names the trial and the onset.
    """
    # An onset on the border must not fall off it by rounding.
    slack = 1e-9
    outside = (onsets < earliest - slack) | (onsets >= latest - slack)
    if not outside.any():
        return
    trial, pulse = (int(i) for i in np.argwhere(outside)[0])
    onset = onsets[trial, pulse]
    given = onsets[np.isfinite(onsets)]
    in_ms = ((given * 1e-3 >= earliest - slack) & (given * 1e-3 < latest - slack)).all()
    cure = (
        "These look like milliseconds: divide by 1000."
        if in_ms
        else "Cut the windows so that every pulse falls into the response, after the runway."
    )
    raise DataError(
        f"`pulses` must lie in the response, {earliest:g} to {latest:g} s after the start of the "
        f"trial; trial {trial} has one at {onset:g} s. {cure}"
    )


def check_channels(names: Sequence[str], number: int) -> None:
    """Refuse names that are too few, too many, or given twice.

    Raises
    ------
    DataError
        Says which.
    """
    if len(names) != number or not number:
        raise DataError(
            f"`channels` must name each of the {number} channels; got {len(names)} names. Give "
            "one a channel."
        )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise DataError(f"`channels` names {', '.join(twice)} more than once. Rename one of them.")


def as_trial_times(values: ArrayLike, num_trials: int) -> Floats:
    """Return the start of every trial on the session's clock.

    Raises
    ------
    DataError
        If there is not one a trial, or they do not increase.
    """
    times: Floats = np.array(values, dtype=np.float64)
    if times.shape != (num_trials,) or not np.isfinite(times).all():
        raise DataError(
            f"`trial_times` must be one finite time in seconds a trial, shape ({num_trials},); got "
            f"shape {times.shape}. Leave it out where the clock is not known."
        )
    back = np.flatnonzero(np.diff(times) <= 0)
    if back.size:
        where = int(back[0])
        raise DataError(
            f"`trial_times` must increase; trial {where + 1} goes from {times[where]:g} s to "
            f"{times[where + 1]:g} s. Sort the trials, or pass the sessions separately."
        )
    times.setflags(write=False)
    return times


def check_alike(resting: NDArray[Any], values: NDArray[Any]) -> None:
    """Refuse resting trials of other channels or another length.

    Raises
    ------
    DataError
        Says both shapes.
    """
    if resting.shape[1:] != values.shape[1:]:
        raise DataError(
            f"`resting` must have the channels and samples of `values`, (..., {values.shape[1]}, "
            f"{values.shape[2]}); got {resting.shape}. Cut both with the same window."
        )


def check_some(number: int) -> None:
    """Refuse an empty choice of trials.

    Raises
    ------
    DataError
        If there is none.
    """
    if number == 0:
        raise DataError("`trials` chooses none of the trials. Pass at least one.")


def count_of(name: str, size: int | float, total: int) -> int:
    """Return a number of trials that was given as a number or as a share below 1.

    Raises
    ------
    SettingError
        If it is not within 1 and all trials but one.
    """
    count = round(size * total) if 0 < size < 1 else int(size)
    if not 1 <= count < total:
        raise SettingError(
            f"`{name}` must leave trials on both sides: between 1 and {total - 1} of {total}, or a "
            f"share between 0 and 1; got {size!r}. Pass e.g. {name}=0.5."
        )
    return count
