"""A continuous recording of several channels, and the trials that are cut from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.core.rng import generator
from probneuro.data import stim_checks as checks
from probneuro.data.stim_trials import StimTrials

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Continuous:
    """Signals of several channels on one clock.

    Parameters
    ----------
    signal : ndarray
        Shape (channel, time). NaN where a sample is missing.
    sampling_rate : float
        Samples per second (Hz).
    channels : tuple of str
        Names.
    signal_unit : str
        Unit of the signal.
    events : ndarray
        Times of events that the file holds, in seconds on the recording's clock.
    start : float
        Time of the first sample on the recording's clock, in seconds.
    source : str
        Where the data came from.

    Raises
    ------
    DataError
        If the signal is not (channel, time), names do not fit, or events are no times.
    SettingError
        If the sampling rate or the start makes no sense.

    Examples
    --------
    >>> ramp = Continuous(signal=np.arange(1000.0)[None], sampling_rate=1000, channels=("a",))
    >>> ramp.cut([0.5], runway=0.02, latency=0.02, horizon=0.1).values[0, 0, [0, 40]]
    array([460., 500.])
    """

    signal: NDArray[Any]
    sampling_rate: float
    channels: tuple[str, ...]
    signal_unit: str = "uV"
    events: Any = ()
    source: str = ""
    start: float = 0.0

    def __post_init__(self) -> None:
        if np.ndim(self.signal) != 2:
            raise DataError(
                f"`signal` must have shape (channel, time); got {np.shape(self.signal)}. One "
                "channel alone still needs its axis: signal[None, :]."
            )
        object.__setattr__(self, "signal", checks.as_signal("signal", [self.signal])[0])
        rate = checks.check_sampling_rate(self.sampling_rate)
        object.__setattr__(self, "sampling_rate", rate)
        object.__setattr__(self, "events", checks.as_events(self.events))
        object.__setattr__(self, "start", checks.check_start(self.start))
        checks.check_channels(self.channels, len(self.signal))

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.signal.shape[1] / self.sampling_rate

    def __repr__(self) -> str:
        return (
            f"Continuous: {len(self.channels)} channels, {self.duration:g} s at "
            f"{self.sampling_rate:g} Hz, {len(self.events)} events"
        )

    def with_signal(self, signal: NDArray[Any]) -> "Continuous":
        """Return the recording with another signal of the same channels, such as a filtered one."""
        return replace(self, signal=signal)

    def select(self, channels: Sequence[str]) -> "Continuous":
        """Return the recording with these channels only, in this order.

        Raises
        ------
        DataError
            If a name is unknown.
        """
        lost = [name for name in channels if name not in self.channels]
        if lost:
            raise DataError(
                f"`channels` {', '.join(lost)} are not in the recording. It holds: "
                f"{', '.join(self.channels)}."
            )
        index = [self.channels.index(name) for name in channels]
        return replace(self, signal=self.signal[index], channels=tuple(channels))

    def cut(
        self,
        pulse_times: ArrayLike,
        *,
        runway: float = 0.020,
        latency: float = 0.020,
        horizon: float = 0.164,
        resting: ArrayLike | None = None,
        num_resting: int = 1000,
        seed: int = 0,
    ) -> StimTrials:
        """Cut one trial a pulse, or a pair of pulses, out of the recording.

        Parameters
        ----------
        pulse_times : array_like
            Seconds on the recording's clock, shape (trial,), or (trial, pulse) with the first
            pulse first; NaN where a trial has fewer.
        runway : float
            Seconds that a forecast may look at.
        latency : float
            Seconds from the end of the runway to the first pulse: the loop's latency.
        horizon : float
            Seconds of the response, from the end of the runway on.
        resting : array_like, optional
            Intervals without stimulation in seconds on the recording's clock, shape (interval, 2),
            to crop at random.
        num_resting : int
            Crops from them.
        seed : int
            Seed of the crops.

        Returns
        -------
        StimTrials
            Windows that leave the recording at either end are left out; onsets are rounded to
            the nearest sample.

        Raises
        ------
        DataError
            If no window lies within the recording, pulses look like milliseconds, a window holds
            pulses that are none of its trial's, or a resting interval holds a pulse.
        SettingError
            If the latency is longer than the horizon, or times look like milliseconds.
        """
        times = checks.as_pulse_times(pulse_times) - self.start
        checks.check_seconds(runway=runway, latency=latency, horizon=horizon)
        if not 0 <= latency < horizon:
            raise SettingError(
                f"`latency` must be at least 0 and shorter than `horizon` of {horizon:g} s; got "
                f"{latency:g} s. The paper takes 0.020 of 0.164."
            )
        first = self._samples(times[:, 0] - latency - runway)
        length, before = self._samples(runway + horizon), int(self._samples(runway))
        fits = (first >= 0) & (first + length <= self.signal.shape[1])
        self._check_inside(times[:, 0], fits)
        checks.check_alone(self._samples_of(times), first, int(length), fits)
        start = first[fits] / self.sampling_rate
        windows = None
        if resting is not None:
            self._check_rest(resting, times)
            windows = self._windows(self._crops(resting, int(length), num_resting, seed), length)
        return StimTrials(
            self._windows(first[fits], length),
            sampling_rate=self.sampling_rate,
            runway=before,
            # To the nearest sample: onsets off the grid would make every trial its own pattern.
            pulses=np.rint((times[fits] - start[:, None]) * self.sampling_rate)
            / self.sampling_rate,
            channels=self.channels,
            trial_times=start + self.start,
            resting=windows,
            signal_unit=self.signal_unit,
            source=self.source,
        )

    def slide(self, *, stride: float, runway: float = 0.020, horizon: float = 0.164) -> StimTrials:
        """Cut windows at a stride from a recording without stimulation, to forecast it.

        Parameters
        ----------
        stride : float
            Seconds from the start of a window to that of the next. Windows overlap where it is
            shorter than runway and horizon; `StimTrials.split` keeps the parts apart.
        runway, horizon : float
            Seconds.

        Returns
        -------
        StimTrials
            Without pulses.

        Raises
        ------
        SettingError
            If the stride is shorter than a sample, or the recording shorter than a window.
        """
        checks.check_seconds(stride=stride, runway=runway, horizon=horizon)
        step, length = int(self._samples(stride)), int(self._samples(runway + horizon))
        if step < 1 or length > self.signal.shape[1]:
            raise SettingError(
                f"`stride` of {stride:g} s and a window of {runway + horizon:g} s cut nothing out "
                f"of {self.duration:g} s at {self.sampling_rate:g} Hz. Pass seconds, the stride at "
                "least one sample, the window no longer than the recording."
            )
        first = np.arange(0, self.signal.shape[1] - length + 1, step)
        return StimTrials(
            self._windows(first, length),
            sampling_rate=self.sampling_rate,
            runway=int(self._samples(runway)),
            pulses=[np.nan],
            channels=self.channels,
            trial_times=first / self.sampling_rate + self.start,
            signal_unit=self.signal_unit,
            source=self.source,
        )

    def _samples(self, seconds: Any) -> Any:
        """Return seconds in samples, rounded to the nearest."""
        return np.rint(np.asarray(seconds) * self.sampling_rate).astype(np.int64)

    def _samples_of(self, times: Floats) -> NDArray[np.int64]:
        """Return the samples of pulses, -1 where there is none."""
        return self._samples(np.where(np.isfinite(times), times, -1.0 / self.sampling_rate))

    def _check_rest(self, resting: ArrayLike, times: Floats) -> None:
        """Refuse resting intervals with a pulse within."""
        pulses = np.sort(times[np.isfinite(times)])
        for begin, end in np.asarray(resting, dtype=np.float64).reshape(-1, 2) - self.start:
            inside = pulses[(pulses >= begin) & (pulses < end)]
            if inside.size:
                raise DataError(
                    f"`resting` must be intervals without stimulation; {begin + self.start:g} to "
                    f"{end + self.start:g} s holds {inside.size} of the pulses, the first at "
                    f"{inside[0] + self.start:g} s. End the interval before it."
                )

    def _windows(self, first: Any, length: Any) -> NDArray[Any]:
        """Return windows of a length from their first samples on, (window, channel, time)."""
        index = np.asarray(first)[:, None] + np.arange(int(length))
        return np.moveaxis(self.signal[:, index], 0, 1)

    def _check_inside(self, pulses: Floats, fits: NDArray[np.bool_]) -> None:
        """Refuse pulses of which none leaves a window within the recording."""
        if fits.any():
            return
        low, high = (float(f(pulses)) for f in (np.nanmin, np.nanmax))
        since = f" from {self.start:g} s on" if self.start else ""
        in_ms = low * 1e-3 >= 0 and high * 1e-3 <= self.duration and high > self.duration
        cure = "These look like milliseconds: divide by 1000." if in_ms else "Check the clock."
        raise DataError(
            f"`pulse_times` leave no window within the recording of {self.duration:g} s{since}: "
            f"they run from {low + self.start:g} to {high + self.start:g} s. {cure}"
        )

    def _crops(self, resting: ArrayLike, length: int, number: int, seed: int) -> NDArray[np.int64]:
        """Return first samples of random windows inside the intervals."""
        intervals = np.asarray(resting, dtype=np.float64).reshape(-1, 2) - self.start
        starts = [
            np.arange(max(a, 0), min(b, self.signal.shape[1]) - length + 1)
            for a, b in self._samples(intervals)
        ]
        possible = np.concatenate(starts)
        if not possible.size:
            raise DataError(
                f"`resting` has no interval as long as a trial, {length / self.sampling_rate:g} s, "
                "within the recording. Pass longer ones, in seconds."
            )
        rng = generator(seed, "resting")
        return np.sort(rng.choice(possible, size=min(number, possible.size), replace=False))
