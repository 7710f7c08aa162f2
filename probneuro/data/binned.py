"""Spike counts in bins, grouped into windows: what the models of spikes take."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.data import checks

_TOLERANCE = 1e-6  # of a bin: 1 ns at 1 ms, far above float rounding, far below any clock


def bin_index(times: ArrayLike, start: float, bin_width: float) -> NDArray[np.int64]:
    """Return the bin of every time, with times on a border in the later bin.

    Plain division puts 0.3 s into bin 299 of 1 ms, because 0.3 / 0.001 is 299.99999999999994.
    Times within a millionth of a bin of a border count as on it.

    Parameters
    ----------
    times : array_like
        Seconds, any shape.
    start : float
        Left border of bin 0 in seconds.
    bin_width : float
        Seconds.

    Returns
    -------
    numpy.ndarray
        int64, the shape of `times`.

    Examples
    --------
    >>> bin_index([0.299, 0.2999, 0.3, 0.3001], start=0.0, bin_width=0.001)
    array([299, 299, 300, 300])
    """
    position = (np.asarray(times, dtype=np.float64) - start) / bin_width
    return np.floor(position + _TOLERANCE).astype(np.int64)


@final
@dataclass(frozen=True, init=False, repr=False, eq=False)
class BinnedSpikes:
    """Spike counts of several neurons in bins, in whole windows.

    Parameters
    ----------
    counts : array_like
        Shape (time, neuron), whole numbers, zero or more; several spikes in one bin stay
        several. What does not fill a window at the end is cut.
    bin_width : float
        Seconds.
    bins_per_window : int
        Bins in a window; weights of plastic models change from window to window.
    start : float
        Left border of the first bin in seconds.
    units : sequence of str, optional
        Names; "0", "1", ... by default.
    observed : array_like, optional
        Shape (time,), False inside gaps, where counts must be 0; all True by default.
    stimulus : array_like, optional
        Shape (time, channel) or (time,), in the stimulus' own unit.
    channels : sequence of str, optional
        Names of the stimulus channels; "0", "1", ... by default.
    trimmed : float
        Seconds that were cut from the end before these counts were made.

    Attributes
    ----------
    counts : numpy.ndarray
        int32, C-contiguous, read-only.
    trimmed : float
        Seconds cut from the end in all.

    Raises
    ------
    DataError
        If counts are no counts, shapes disagree, or there is less than one window.
    SettingError
        If the bins make no sense.

    Examples
    --------
    >>> counts = [[0, 1], [2, 0], [0, 0], [1, 1], [1, 0]]
    >>> binned = BinnedSpikes(counts, bin_width=0.5, bins_per_window=2)
    >>> binned
    BinnedSpikes: 2 neurons, 2 windows of 1 s (2 bins of 500 ms), 0 to 2 s, 5 spikes, 0.5 s trimmed
    >>> binned.window_counts()
    array([[2, 1],
           [1, 1]])
    """

    counts: NDArray[np.int32]
    bin_width: float
    bins_per_window: int
    start: float
    units: tuple[str, ...]
    observed: NDArray[np.bool_]
    stimulus: NDArray[np.float64] | None
    channels: tuple[str, ...]
    trimmed: float

    def __init__(
        self,
        counts: ArrayLike,
        *,
        bin_width: float = 1e-3,
        bins_per_window: int = 1000,
        start: float = 0.0,
        units: Sequence[object] | None = None,
        observed: ArrayLike | None = None,
        stimulus: ArrayLike | None = None,
        channels: Sequence[object] | None = None,
        trimmed: float = 0.0,
    ) -> None:
        table = _as_counts(counts)
        width = checks.check_positive("bin_width", bin_width, "Pass seconds, such as 0.001.")
        per_window = _as_bins_per_window(bins_per_window)
        num_bins, num_neurons = table.shape
        names = tuple(str(u) for u in (range(num_neurons) if units is None else units))
        checks.check_units(names, num_neurons)
        kept = num_bins - num_bins % per_window
        if kept == 0:
            raise DataError(
                f"`counts` must fill at least one window; got {checks.number(num_bins * width)} s "
                f"and a window of {checks.number(per_window * width)} s. Pass a shorter window."
            )
        seen = _as_observed(observed, num_bins)
        if table[~seen].any():
            raise DataError(
                f"`counts` must be 0 where `observed` is False; got {int(table[~seen].sum())} "
                "spikes inside gaps. Set them to 0, or mark those bins as observed."
            )
        drive, labels = _as_stimulus(stimulus, channels, num_bins, kept)
        fields: dict[str, Any] = {
            "counts": _frozen(table[:kept]),
            "bin_width": width,
            "bins_per_window": per_window,
            "start": float(start),
            "units": names,
            "observed": _frozen(seen[:kept]),
            "stimulus": drive,
            "channels": labels,
            "trimmed": float(trimmed) + (num_bins - kept) * width,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def num_bins(self) -> int:
        """Number of bins."""
        return int(self.counts.shape[0])

    @property
    def num_neurons(self) -> int:
        """Number of neurons."""
        return int(self.counts.shape[1])

    @property
    def num_windows(self) -> int:
        """Number of windows."""
        return self.num_bins // self.bins_per_window

    @property
    def window(self) -> float:
        """Length of a window in seconds."""
        return self.bins_per_window * self.bin_width

    @property
    def duration(self) -> float:
        """Length in seconds, gaps included."""
        return self.num_bins * self.bin_width

    @property
    def stop(self) -> float:
        """Right border of the last bin in seconds."""
        return self.start + self.duration

    @property
    def window_starts(self) -> NDArray[np.float64]:
        """Left borders of the windows in seconds, shape (window,)."""
        starts = self.start + np.arange(self.num_windows) * self.window
        return np.asarray(starts, dtype=np.float64)

    @property
    def rates(self) -> NDArray[np.float64]:
        """Mean rates over the observed time in Hz, shape (neuron,)."""
        seconds = max(int(self.observed.sum()), 1) * self.bin_width
        totals = self.counts.sum(axis=0).astype(np.float64)
        return np.asarray(totals / seconds, dtype=np.float64)

    def window_counts(self) -> NDArray[np.int64]:
        """Return the spikes in every window.

        Returns
        -------
        numpy.ndarray
            int64, shape (window, neuron).
        """
        shape = (self.num_windows, self.bins_per_window, self.num_neurons)
        return self.counts.reshape(shape).sum(axis=1, dtype=np.int64)

    def _part(self, first: int, last: int, trimmed: float) -> "BinnedSpikes":
        """Return windows first to last (exclusive)."""
        bins = slice(first * self.bins_per_window, last * self.bins_per_window)
        return BinnedSpikes(
            self.counts[bins],
            bin_width=self.bin_width,
            bins_per_window=self.bins_per_window,
            start=self.start + first * self.window,
            units=self.units,
            observed=self.observed[bins],
            stimulus=None if self.stimulus is None else self.stimulus[bins],
            channels=self.channels or None,
            trimmed=trimmed,
        )

    def head(self, num_windows: int) -> "BinnedSpikes":
        """Return the first windows.

        Parameters
        ----------
        num_windows : int
            From 1 to the number there is.

        Returns
        -------
        BinnedSpikes

        Raises
        ------
        SettingError
            If there are fewer windows, or none is asked for.

        Examples
        --------
        >>> BinnedSpikes([[1], [0], [2]], bin_width=1.0, bins_per_window=1).head(2).counts.sum()
        np.int64(1)
        """
        if not 1 <= num_windows <= self.num_windows:
            raise SettingError(
                f"`num_windows` must lie between 1 and {self.num_windows}; got {num_windows}. "
                "Pass a number in this range."
            )
        return self._part(0, int(num_windows), trimmed=0.0)

    def split(self, held_out: float) -> tuple["BinnedSpikes", "BinnedSpikes"]:
        """Return the counts without their last windows, and those windows.

        Parameters
        ----------
        held_out : float
            Seconds to hold out at the end, rounded up to whole windows.

        Returns
        -------
        train, held_out : BinnedSpikes

        Raises
        ------
        SettingError
            If `held_out` is not positive, or leaves no window to train on.

        Examples
        --------
        >>> train, test = BinnedSpikes([[1], [0], [2]], bin_width=1.0, bins_per_window=1).split(1.0)
        >>> train.num_windows, test.start
        (2, 2.0)
        """
        seconds = checks.check_held_out(held_out, self.duration)
        windows = max(1, -int(bin_index(-seconds, 0.0, self.window)))  # rounded up
        cut = self.num_windows - windows
        if cut < 1:
            raise SettingError(
                f"`held_out` must leave a window to train on; got {checks.number(seconds)} s of "
                f"{checks.number(self.duration)} s in windows of {checks.number(self.window)} s. "
                "Pass a smaller value, or bin with a shorter window."
            )
        return self._part(0, cut, 0.0), self._part(cut, self.num_windows, self.trimmed)

    def check_fittable(self, min_spikes: int = 2) -> None:
        """Raise if a neuron has too few spikes to be fitted.

        Parameters
        ----------
        min_spikes : int
            The fewest that pass.

        Raises
        ------
        DataError
            Naming the neurons, and how to leave them out.
        """
        totals = self.counts.sum(axis=0)
        counts = {name: int(total) for name, total in zip(self.units, totals, strict=True)}
        checks.check_enough_spikes(counts, min_spikes)

    def hash(self) -> str:
        """Return the sha256 of all contents, in hexadecimal."""
        digest = hashlib.sha256(b"probneuro.BinnedSpikes.1")
        head = repr((self.counts.shape, self.bin_width, self.bins_per_window, self.start))
        digest.update(head.encode())
        digest.update("\0".join((*self.units, "", *self.channels)).encode())
        digest.update(self.counts.astype("<i4").tobytes())
        digest.update(np.packbits(self.observed).tobytes())
        if self.stimulus is not None:
            digest.update(self.stimulus.astype("<f8").tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BinnedSpikes) and self.hash() == other.hash()

    def __hash__(self) -> int:
        return int(self.hash()[:15], 16)

    def __repr__(self) -> str:
        plural = "" if self.num_neurons == 1 else "s"
        windows = "" if self.num_windows == 1 else "s"
        text = (
            f"BinnedSpikes: {self.num_neurons} neuron{plural}, {self.num_windows} window{windows} "
            f"of {checks.number(self.window)} s ({self.bins_per_window} bins of "
            f"{checks.number(1e3 * self.bin_width)} ms), {checks.number(self.start)} to "
            f"{checks.number(self.stop)} s, {int(self.counts.sum())} spikes"
        )
        hidden = int((~self.observed).sum()) * self.bin_width
        text += f", {checks.number(hidden)} s in gaps" if hidden else ""
        text += f", {len(self.channels)} stimulus channels" if self.channels else ""
        return text + (f", {checks.number(self.trimmed)} s trimmed" if self.trimmed > 1e-9 else "")


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous read-only copy."""
    copy = np.array(array, order="C")
    copy.setflags(write=False)
    return copy


def _as_counts(counts: ArrayLike) -> NDArray[np.int32]:
    """Return counts as int32 of shape (time, neuron)."""
    table = np.asarray(counts)
    if table.ndim != 2 or 0 in table.shape:
        raise DataError(
            f"`counts` must have shape (time, neuron); got {table.shape}. Pass one column a neuron."
        )
    if table.dtype.kind not in "biuf" or not np.isfinite(table).all():
        raise DataError("`counts` must be finite numbers. Pass whole numbers of spikes, 0 or more.")
    whole = table.astype(np.int32)
    wrong = np.argwhere((table < 0) | (whole != table))
    if wrong.size:
        time, neuron = wrong[0]
        raise DataError(
            f"`counts` must be whole numbers, 0 or more; bin {time} of neuron {neuron} is "
            f"{table[time, neuron]}. Pass spikes per bin, not rates."
        )
    return whole


def _as_bins_per_window(value: Any) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < 1:
        raise SettingError(
            f"`bins_per_window` must be a whole number above 0; got {value!r}. Pass for example "
            "1000."
        )
    return int(value)


def _as_observed(observed: ArrayLike | None, num_bins: int) -> NDArray[np.bool_]:
    """Return which bins were observed, shape (time,)."""
    if observed is None:
        return np.ones(num_bins, dtype=bool)
    mask = np.asarray(observed, dtype=bool)
    if mask.shape != (num_bins,):
        raise DataError(
            f"`observed` must have one value a bin, {num_bins}; got shape {mask.shape}. Pass a "
            "flat list of that length."
        )
    if not mask.any():
        raise DataError("`observed` is False everywhere: nothing was observed. Check the epochs.")
    return mask


def _as_stimulus(
    stimulus: ArrayLike | None, channels: Sequence[object] | None, num_bins: int, kept: int
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Return the stimulus as (time, channel), trimmed as the counts are, and channel names."""
    if stimulus is None:
        if channels:
            raise SettingError(
                "`channels` names stimulus channels, but there is no `stimulus`. Pass it too."
            )
        return None, ()
    drive = np.asarray(stimulus, dtype=np.float64)
    drive = drive[:, None] if drive.ndim == 1 else drive
    if drive.ndim != 2 or drive.shape[0] not in (num_bins, kept):
        raise DataError(
            f"`stimulus` must have one row a bin, {num_bins}; got shape {drive.shape}. Resample "
            "it to the bins."
        )
    if not np.isfinite(drive).all():
        raise DataError(
            f"`stimulus` must be finite; row {np.argwhere(~np.isfinite(drive))[0][0]} is not. "
            "Fill or cut it."
        )
    names = tuple(str(c) for c in (range(drive.shape[1]) if channels is None else channels))
    if len(names) != drive.shape[1] or len(set(names)) != len(names):
        raise DataError(
            f"`channels` must name every stimulus channel once; got {list(names)} for "
            f"{drive.shape[1]} channels. Pass as many different names."
        )
    return _frozen(drive[:kept]), names
