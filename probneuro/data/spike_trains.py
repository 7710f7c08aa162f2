"""Spike times of simultaneously recorded units, with what was observed and what was not."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError, unknown_name
from probneuro.data import checks
from probneuro.data.binned import BinnedSpikes, bin_index
from probneuro.data.files import write_spikes
from probneuro.data.inputs import named_trains, recording_interval, scaled, scaled_pairs
from probneuro.data.time_units import seconds_per_unit


@final
@dataclass(frozen=True, init=False, repr=False, eq=False)
class SpikeTrains:
    """Spike times of several units over one recording.

    Parameters
    ----------
    times : mapping of name to array_like, or sequence of array_like
        Spike times of every unit, sorted, each of shape (spike,).
    units : sequence of str, optional
        Names, where `times` is a sequence; "0", "1", ... by default.
    start, stop : float, optional
        The recording interval, in the same `unit` as the times. By default the recording starts
        at 0 (or at the whole second before the first spike, if that comes later than 60 s: the
        clock then did not start with the recording) and stops at the first whole second after
        the last spike.
    epochs : sequence of (float, float), optional
        The observed intervals, in the same `unit`; the rest of the recording is a gap. By
        default all of it was observed.
    unit : {"s", "ms", "us", "samples"}
        Unit of time of everything above; "samples" needs `sampling_rate`.
    sampling_rate : float, optional
        Samples per second.
    source : str
        Where the data came from; shown, but no part of the content.
    unit_check : bool
        Whether to refuse rates that only a wrong `unit` explains.
    allow_duplicates : bool
        Whether to accept a unit of which more than 1 % of the times are identical.

    Attributes
    ----------
    times : tuple of numpy.ndarray
        Read-only float64 seconds, one array a unit, in the order of `units`.

    Raises
    ------
    DataError
        If times are not finite, not sorted, or outside the recording or the epochs.
    SettingError
        If the interval or the unit of time makes no sense.

    Examples
    --------
    >>> spikes = SpikeTrains({"a": [0.1, 0.5, 1.2], "b": [0.7, 1.9]})
    >>> spikes
    SpikeTrains: 2 units, 5 spikes, 0 to 2 s
      a: 3 spikes, 1.50 Hz
      b: 2 spikes, 1.00 Hz
    >>> spikes["b"]
    array([0.7, 1.9])
    """

    times: tuple[NDArray[np.float64], ...]
    units: tuple[str, ...]
    start: float
    stop: float
    epochs: tuple[tuple[float, float], ...]
    source: str

    def __init__(
        self,
        times: Mapping[Any, ArrayLike] | Sequence[ArrayLike],
        *,
        units: Sequence[object] | None = None,
        start: float | None = None,
        stop: float | None = None,
        epochs: Iterable[Sequence[float]] | None = None,
        unit: str = "s",
        sampling_rate: float | None = None,
        source: str = "",
        unit_check: bool = True,
        allow_duplicates: bool = False,
    ) -> None:
        names, raw = named_trains(times, units)
        factor = seconds_per_unit(unit, sampling_rate)
        trains = tuple(scaled(values, factor) for values in raw)
        for name, train in zip(names, trains, strict=True):
            checks.check_finite(name, train)
            checks.check_increasing(name, train)
            if not allow_duplicates:
                checks.check_duplicates(name, train)
        if unit_check:
            checks.check_time_unit(trains, unit, factor)
        begin, end = recording_interval(trains, start, stop, factor)
        for name, train in zip(names, trains, strict=True):
            checks.check_inside(name, train, begin, end)
        observed: checks.Epochs = ((begin, end),)
        if epochs is not None:
            observed = checks.check_epochs(scaled_pairs(epochs, factor), begin, end)
            for name, train in zip(names, trains, strict=True):
                checks.check_observed(name, train, observed)
        for train in trains:
            train.setflags(write=False)
        self._set(times=trains, units=names, start=begin, stop=end, epochs=observed, source=source)

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _replace(self, **fields: Any) -> "SpikeTrains":
        """Return a copy with some fields changed; they have been checked."""
        new = object.__new__(SpikeTrains)
        new._set(**{**self.__dict__, **fields})
        return new

    @property
    def num_units(self) -> int:
        """Number of units."""
        return len(self.units)

    @property
    def duration(self) -> float:
        """Length of the recording in seconds, gaps included."""
        return self.stop - self.start

    @property
    def observed_duration(self) -> float:
        """Observed time in seconds, gaps left out."""
        return sum(end - begin for begin, end in self.epochs)

    @property
    def counts(self) -> dict[str, int]:
        """Number of spikes of every unit."""
        return {name: train.size for name, train in zip(self.units, self.times, strict=True)}

    def __getitem__(self, unit: str) -> NDArray[np.float64]:
        """Return one unit's times in seconds, shape (spike,), read-only."""
        if str(unit) not in self.units:
            raise unknown_name("unit", str(unit), self.units)
        return self.times[self.units.index(str(unit))]

    def select(self, units: Sequence[object]) -> "SpikeTrains":
        """Return the recording with these units only, in this order.

        Parameters
        ----------
        units : sequence of str
            Names of units.

        Returns
        -------
        SpikeTrains
            Over the same interval.

        Raises
        ------
        SettingError
            If a name is unknown.
        DataError
            If no unit is left, or one is named twice.

        Examples
        --------
        >>> SpikeTrains({"a": [0.1, 0.2], "b": [0.3], "c": [0.4]}).select(["c", "a"]).units
        ('c', 'a')
        """
        names = tuple(str(u) for u in ([units] if isinstance(units, str) else units))
        checks.check_units(names, len(names))
        return self._replace(units=names, times=tuple(self[name] for name in names))

    def restrict(self, start: float, stop: float) -> "SpikeTrains":
        """Return the part between two times; the clock stays the same.

        Parameters
        ----------
        start, stop : float
            Seconds, both within the recording. A spike at `stop` belongs to the next part,
            unless `stop` is the end of the recording.

        Returns
        -------
        SpikeTrains
            Units without spikes in the part are kept.

        Raises
        ------
        SettingError
            If the part is empty or leaves the recording.
        DataError
            If nothing was observed in it.

        Examples
        --------
        >>> SpikeTrains([[0.1, 0.5, 1.5]]).restrict(0.5, 2.0)["0"]
        array([0.5, 1.5])
        """
        checks.check_interval(start, stop)
        if start < self.start or stop > self.stop:
            raise SettingError(
                f"`restrict` must stay within the recording, {checks.number(self.start)} to "
                f"{checks.number(self.stop)} s; got {checks.number(start)} to "
                f"{checks.number(stop)} s. Pass times inside it."
            )
        clipped = [(max(a, start), min(b, stop)) for a, b in self.epochs]
        epochs = tuple((float(a), float(b)) for a, b in clipped if b > a)
        if not epochs:
            raise DataError(
                f"`epochs` has no observed time between {checks.number(start)} and "
                f"{checks.number(stop)} s: all of it is a gap. Choose another part."
            )
        past = np.nextafter(stop, np.inf) if stop == self.stop else stop
        parts = []
        for train in self.times:
            first, last = np.searchsorted(train, [start, past])
            parts.append(train[first:last])
        return self._replace(
            times=tuple(parts), start=float(start), stop=float(stop), epochs=epochs
        )

    def split(self, held_out: float) -> tuple["SpikeTrains", "SpikeTrains"]:
        """Return the recording without its last seconds, and those seconds.

        Parameters
        ----------
        held_out : float
            Seconds to hold out at the end.

        Returns
        -------
        train, held_out : SpikeTrains

        Raises
        ------
        SettingError
            If `held_out` is not positive, or as long as the recording.

        Examples
        --------
        >>> train, test = SpikeTrains([[0.1, 0.5, 1.5]]).split(held_out=1.0)
        >>> train["0"], test["0"]
        (array([0.1, 0.5]), array([1.5]))
        """
        cut = self.stop - checks.check_held_out(held_out, self.duration)
        return self.restrict(self.start, cut), self.restrict(cut, self.stop)

    def bin(
        self,
        bin_width: float = 1e-3,
        window: float = 1.0,
        *,
        stimulus: ArrayLike | None = None,
        channels: Sequence[str] | None = None,
        min_spikes: int = 2,
    ) -> BinnedSpikes:
        """Count spikes in bins, in whole windows from the start of the recording.

        A spike on the border of two bins belongs to the later one, whatever the rounding of
        binary fractions. Bins that a gap covers in part are unobserved, and spikes in them are
        left out.

        Parameters
        ----------
        bin_width : float
            Seconds.
        window : float
            Seconds; a multiple of `bin_width`. What does not fill a window at the end is cut,
            and told by `trimmed` of the result.
        stimulus : array_like, optional
            Shape (time, channel) or (time,): one row a bin of the recording.
        channels : sequence of str, optional
            Names of the stimulus channels.
        min_spikes : int
            The fewest spikes a unit must have; 0 for a held-out piece.

        Returns
        -------
        BinnedSpikes
            Counts with dims (time, neuron).

        Raises
        ------
        SettingError
            If the bins do not fill a window.
        DataError
            If the recording is shorter than a window, a unit has too few spikes, or the
            stimulus does not fit.

        Examples
        --------
        >>> binned = SpikeTrains([[0.1, 0.3, 1.5]]).bin(bin_width=0.1, window=1.0)
        >>> binned.counts[:, 0].nonzero()[0]
        array([ 1,  3, 15])
        """
        bins_per_window = checks.check_window(bin_width, window)
        checks.check_enough_spikes(self.counts, min_spikes)
        num_bins = int(bin_index(self.stop, self.start, bin_width))
        counts = np.zeros((num_bins, self.num_units), dtype=np.int32)
        for column, train in enumerate(self.times):
            index = bin_index(train, self.start, bin_width)
            if train.size and train[-1] == self.stop:
                index = np.where(train == self.stop, num_bins - 1, index)
            counts[:, column] = np.bincount(index[index < num_bins], minlength=num_bins)
        observed = self._observed(num_bins, bin_width)
        counts[~observed] = 0
        return BinnedSpikes(
            counts,
            bin_width=bin_width,
            bins_per_window=bins_per_window,
            start=self.start,
            units=self.units,
            observed=observed,
            stimulus=stimulus,
            channels=channels,
            trimmed=max(0.0, self.duration - num_bins * bin_width),
        )

    def _observed(self, num_bins: int, bin_width: float) -> NDArray[np.bool_]:
        """Return which bins lie wholly within an epoch, shape (time,)."""
        observed = np.zeros(num_bins, dtype=bool)
        for begin, end in self.epochs:
            first = -int(bin_index(-begin, -self.start, bin_width))  # rounded up
            observed[first : int(bin_index(end, self.start, bin_width))] = True
        return observed

    def summary(self) -> pd.DataFrame:
        """Return one row a unit: spikes, rate and regularity.

        Returns
        -------
        pandas.DataFrame
            Columns: unit, spikes, rate (Hz, over the observed time), median_interval (s),
            short_share (share of intervals below 1 ms) and cv (standard deviation of the
            intervals over their mean); intervals across a gap are left out.

        Examples
        --------
        >>> SpikeTrains({"a": [0.0, 0.5, 1.0, 1.5]}).summary()["rate"].tolist()
        [2.0]
        """
        rows = []
        for name, train in zip(self.units, self.times, strict=True):
            parts = [train[(train >= a) & (train <= b)] for a, b in self.epochs]
            intervals = np.concatenate([np.diff(part) for part in parts])
            some = intervals.size > 0
            rows.append(
                {
                    "unit": name,
                    "spikes": train.size,
                    "rate": train.size / self.observed_duration,
                    "median_interval": float(np.median(intervals)) if some else np.nan,
                    "short_share": float(np.mean(intervals < 1e-3)) if some else np.nan,
                    "cv": float(intervals.std() / intervals.mean())
                    if some and intervals.mean() > 0
                    else np.nan,
                }
            )
        return pd.DataFrame(rows)

    def save(self, path: str | Path) -> Path:
        """Write the recording to ``.npz`` or netCDF (``.nc``), whole or not at all.

        Parameters
        ----------
        path : str or Path
            Where to write; `read_spikes` reads it back.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        SettingError
            If the suffix is neither.
        """
        return write_spikes(self, Path(path))

    def hash(self) -> str:
        """Return the sha256 of times, names, interval and epochs, in hexadecimal."""
        digest = hashlib.sha256(b"probneuro.SpikeTrains.1")
        digest.update("\0".join(self.units).encode())
        digest.update(np.array([self.start, self.stop], dtype="<f8").tobytes())
        digest.update(np.array(self.epochs, dtype="<f8").tobytes())
        for train in self.times:
            digest.update(np.int64(train.size).astype("<i8").tobytes())
            digest.update(train.astype("<f8").tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpikeTrains) and self.hash() == other.hash()

    def __hash__(self) -> int:
        return int(self.hash()[:15], 16)

    def __repr__(self) -> str:
        total = sum(train.size for train in self.times)
        plural = "" if self.num_units == 1 else "s"
        head = f"SpikeTrains: {self.num_units} unit{plural}, {total} spikes, "
        head += f"{checks.number(self.start)} to {checks.number(self.stop)} s"
        gap = self.duration - self.observed_duration
        head += f", {checks.number(gap)} s of it in gaps" if gap > 1e-9 else ""
        head += f", from {self.source}" if self.source else ""
        lines = [
            f"  {name}: {train.size} spikes, {train.size / self.observed_duration:.2f} Hz"
            for name, train in zip(self.units[:8], self.times, strict=False)
        ]
        if self.num_units > 8:
            lines.append(f"  ... and {self.num_units - 8} more")
        return "\n".join([head, *lines])
