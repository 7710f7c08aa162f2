"""What is asked of spikes at the border, and what is said when they do not comply."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.data.time_units import check_time_unit as check_time_unit

Epochs = tuple[tuple[float, float], ...]
"""Observed intervals as (start, stop) pairs in seconds."""

MAX_DUPLICATE_SHARE = 0.01
"""More identical times than this share of a unit's spikes points at a merged or rounded list."""


def number(value: float) -> str:
    """Return a time as it stands in a message, without float noise.

    Examples
    --------
    >>> number(0.1 + 0.2), number(4396.9975), number(12)
    ('0.3', '4396.9975', '12')
    """
    return f"{float(value):.9g}"


def _is_boolean_train(values: NDArray[np.float64]) -> bool:
    """Whether the numbers are zeros and ones: a binned train where times are asked for."""
    return values.size > 10 and bool(np.isin(values, (0.0, 1.0)).all())


def as_times(unit: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return one unit's spike times as a fresh one-dimensional float64 array.

    Parameters
    ----------
    unit : str
        Name of the unit, for the message.
    values : array_like
        The times, in any unit of time; a single column or row is accepted.

    Returns
    -------
    numpy.ndarray
        A copy, shape (spike,).

    Raises
    ------
    DataError
        If they are not numbers, have two real dimensions, or are a train of zeros and ones.
    """
    try:
        array: NDArray[np.float64] = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"`spikes` of unit {unit} must be numbers; got {type(values).__name__} that does not "
            "convert to float. Pass one flat list of spike times a unit."
        ) from None
    if array.ndim > 1 and max(array.shape) != array.size:
        raise DataError(
            f"`spikes` of unit {unit} must be a flat list of times; got shape {array.shape}. "
            "For spike counts in bins use BinnedSpikes(counts, bin_width=...)."
        )
    array = array.reshape(-1)
    if _is_boolean_train(array):
        raise DataError(
            f"`spikes` of unit {unit} holds only zeros and ones; this looks like a binned train, "
            "not times. Use BinnedSpikes(counts, bin_width=...)."
        )
    return array


def check_units(units: Sequence[str], num_trains: int) -> None:
    """Raise unless there are units, each with its own name.

    Parameters
    ----------
    units : sequence of str
        The names.
    num_trains : int
        How many spike trains came with them.

    Raises
    ------
    DataError
        With no units, a repeated name, or a count of names that differs from the trains.
    """
    if num_trains == 0:
        raise DataError("`times` holds no units at all; got 0. Pass at least one spike train.")
    if len(units) != num_trains:
        raise DataError(
            f"`units` must name every spike train; got {len(units)} names for {num_trains} trains. "
            "Pass one name a train."
        )
    seen: set[str] = set()
    for name in units:
        if name in seen:
            raise DataError(
                f"`units` must be unique; '{name}' stands there twice. Rename one, or merge the "
                "two trains."
            )
        seen.add(name)


def check_finite(unit: str, times: NDArray[np.float64]) -> None:
    """Raise if a spike time is NaN or infinite.

    Raises
    ------
    DataError
        Naming the unit, the first such index and how many there are.
    """
    bad = np.flatnonzero(~np.isfinite(times))
    if bad.size:
        raise DataError(
            f"`spikes` of unit {unit} must be finite; index {bad[0]} is {times[bad[0]]} "
            f"({bad.size} such values). Remove them before passing the times."
        )


def _is_restart(times: NDArray[np.float64], drops: NDArray[np.intp]) -> bool:
    """Whether a few large jumps back part the list into sorted pieces, as sessions do."""
    span = float(np.ptp(times))
    fall = times[drops] - times[drops + 1]
    pieces = np.diff(drops + 1, prepend=0, append=times.size)
    few = drops.size <= 20 and int(pieces.min()) >= 10
    return few and bool((fall > 0.5 * span).all())


def check_increasing(unit: str, times: NDArray[np.float64]) -> None:
    """Raise if spike times go back, in words of their own where sessions seem to be mixed.

    Raises
    ------
    DataError
        Naming the unit, the index and the two values.
    """
    drops = np.flatnonzero(np.diff(times) < 0)
    if not drops.size:
        return
    first = int(drops[0])
    before, after = number(times[first]), number(times[first + 1])
    if _is_restart(times, drops):
        raise DataError(
            f"`spikes` of unit {unit} starts again at index {first + 1}, from {before} s back to "
            f"{after} s: {drops.size + 1} sessions seem to be joined in one list. Pass the "
            "sessions separately, or shift their times so that they follow each other."
        )
    raise DataError(
        f"`spikes` of unit {unit} must increase; index {first + 1} goes from {before} s to "
        f"{after} s. Sort it, or pass the sessions separately."
    )


def check_duplicates(unit: str, times: NDArray[np.float64]) -> None:
    """Raise if more than 1 % of a unit's times (and more than one) repeat the one before.

    A neuron cannot spike twice at one time, but a coarse clock can say so now and then; such
    spikes are kept and count twice in their bin.

    Raises
    ------
    DataError
        Naming the unit, the share and the first index.
    """
    repeats = np.flatnonzero(np.diff(times) == 0)
    if repeats.size > max(1.0, MAX_DUPLICATE_SHARE * times.size):
        first = int(repeats[0]) + 1
        raise DataError(
            f"`spikes` of unit {unit} holds {repeats.size} identical times "
            f"({100 * repeats.size / times.size:.1f} %), the first at index {first} "
            f"({number(times[first])} s). Was a train stored twice, or rounded? Drop the copies, "
            "or pass allow_duplicates=True."
        )


def check_interval(start: float, stop: float) -> None:
    """Raise unless the recording interval is finite and has a length.

    Raises
    ------
    SettingError
        If either end is not finite, or `stop` is not after `start`.
    """
    if not (np.isfinite(start) and np.isfinite(stop)):
        raise SettingError(
            f"`start` and `stop` must be finite; got {start} and {stop}. Pass them as numbers."
        )
    if stop <= start:
        raise SettingError(
            f"`stop` must come after `start`; got start={number(start)} s and "
            f"stop={number(stop)} s. Swap them, or leave them out."
        )


def check_inside(unit: str, times: NDArray[np.float64], start: float, stop: float) -> None:
    """Raise if spikes are negative or lie outside the recording interval.

    Raises
    ------
    DataError
        Naming the unit, the first such spike and how many there are.
    """
    if not times.size:
        return
    if times[0] < 0 <= start:
        raise DataError(
            f"`spikes` of unit {unit} holds negative times; index 0 is {number(times[0])} s. "
            f"Subtract the start of the recording, or pass start={np.floor(times[0]):g} if time "
            "zero lies within it."
        )
    outside = np.flatnonzero((times < start) | (times > stop))
    if outside.size:
        raise DataError(
            f"`spikes` of unit {unit} must lie within the recording, {number(start)} to "
            f"{number(stop)} s; index {outside[0]} is at {number(times[outside[0]])} s "
            f"({outside.size} such spikes). Correct `start` and `stop`, or cut the spikes."
        )


def check_epochs(epochs: Iterable[Sequence[float]], start: float, stop: float) -> Epochs:
    """Return the observed intervals as floats once they are sorted, apart and inside.

    Parameters
    ----------
    epochs : iterable of (float, float)
        Observed intervals in seconds.
    start, stop : float
        The recording interval in seconds.

    Returns
    -------
    tuple of (float, float)
        The same intervals.

    Raises
    ------
    DataError
        If one is empty, reversed, overlaps the next, is out of order or leaves the recording.
    """
    try:
        pairs = [(float(begin), float(end)) for begin, end in epochs]
    except (TypeError, ValueError):
        raise DataError(
            "`epochs` must be pairs of numbers. Pass for example epochs=[(0, 60), (70, 90)]."
        ) from None
    if not pairs:
        raise DataError(
            "`epochs` is empty: nothing was observed. Pass one interval, or leave it out."
        )
    for k, (begin, end) in enumerate(pairs):
        shown = f"({number(begin)}, {number(end)})"
        if not end > begin:
            raise DataError(f"`epochs` {k} must end after it starts; got {shown} s. Correct it.")
        if begin < start or end > stop:
            raise DataError(
                f"`epochs` {k} leaves the recording, {number(start)} to {number(stop)} s; got "
                f"{shown} s. Correct it, or widen `start` and `stop`."
            )
    for k in range(1, len(pairs)):
        (a, b), (c, d) = pairs[k - 1], pairs[k]
        shown = f"({number(a)}, {number(b)}) then ({number(c)}, {number(d)}) s"
        if c < a:
            raise DataError(f"`epochs` must be in order of time; got {shown}. Sort them.")
        if c < b:
            raise DataError(f"`epochs` must not overlap; got {shown}. Merge them.")
    return tuple(pairs)


def check_observed(unit: str, times: NDArray[np.float64], epochs: Epochs) -> None:
    """Raise if spikes fall into a gap between the observed intervals.

    Raises
    ------
    DataError
        Naming the unit, the first such spike and how many there are.
    """
    inside = np.zeros(times.size, dtype=bool)
    for begin, end in epochs:
        inside |= (times >= begin) & (times <= end)
    outside = np.flatnonzero(~inside)
    if outside.size:
        raise DataError(
            f"`spikes` of unit {unit} must lie within `epochs`, the observed time; index "
            f"{outside[0]} at {number(times[outside[0]])} s lies in a gap ({outside.size} such "
            "spikes). Widen the epochs, or cut the spikes."
        )


def check_enough_spikes(counts: Mapping[str, int], minimum: int = 2) -> None:
    """Raise if a unit has too few spikes to be fitted.

    Parameters
    ----------
    counts : mapping of str to int
        Spikes of every unit.
    minimum : int
        The fewest that pass.

    Raises
    ------
    DataError
        Naming the units, and how to leave them out.
    """
    few = [name for name, spikes in counts.items() if spikes < minimum]
    if not few:
        return
    names = ", ".join(few[:8]) + (", ..." if len(few) > 8 else "")
    if len(few) == 1:
        spikes = counts[few[0]]
        amount = {0: "no spikes", 1: "one spike"}.get(spikes, f"{spikes} spikes")
        said = f"Unit {names} has {amount} and cannot be fitted. Leave it out"
    else:
        said = (
            f"Units {names} have fewer than {minimum} spikes and cannot be fitted. Leave them out"
        )
    raise DataError(
        f"{said} with spikes.select([...]), or pass min_spikes=0 to bin a held-out piece."
    )


def check_positive(name: str, value: Any, hint: str) -> float:
    """Return a setting as a float once it is a finite number above zero.

    Parameters
    ----------
    name : str
        The setting's name.
    value : object
        What was given.
    hint : str
        What to pass instead, the last sentence of the message.

    Returns
    -------
    float
        The value.

    Raises
    ------
    SettingError
        If it is no number, not finite, or not above zero.
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = float("nan")
    if not (np.isfinite(result) and result > 0):
        raise SettingError(f"`{name}` must be a positive number; got {value!r}. {hint}")
    return result


def check_window(bin_width: float, window: float) -> int:
    """Return the number of bins in a window.

    Parameters
    ----------
    bin_width, window : float
        Both in seconds.

    Returns
    -------
    int
        Bins per window.

    Raises
    ------
    SettingError
        If either is not positive, or the bins do not fill the window.

    Examples
    --------
    >>> check_window(0.001, 1.0)
    1000
    """
    bin_width = check_positive("bin_width", bin_width, "Pass seconds, for example bin_width=0.001.")
    window = check_positive("window", window, "Pass seconds, for example window=1.0.")
    ratio = window / bin_width
    bins = round(ratio)
    if bins < 1 or abs(ratio - bins) > 1e-6 * max(ratio, 1.0):
        near = max(bins, 1) * bin_width
        raise SettingError(
            f"`bin_width` must divide `window`; got bin_width={number(bin_width)} s and "
            f"window={number(window)} s. Pass for example window={number(near)}."
        )
    return bins


def check_held_out(held_out: Any, duration: float) -> float:
    """Return the held-out length in seconds once it leaves something to train on.

    Raises
    ------
    SettingError
        If it is not positive, or as long as the data.
    """
    seconds = check_positive("held_out", held_out, "Pass seconds, for example held_out=10.0.")
    if seconds >= duration:
        raise SettingError(
            f"`held_out` must be shorter than the data; got {number(seconds)} s of "
            f"{number(duration)} s. Pass a smaller value."
        )
    return seconds
