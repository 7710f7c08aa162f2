"""Trials of stimulation: what was recorded before and after, and what pulses were given."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import SettingError, unknown_name
from probneuro.data import stim_checks as checks

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, init=False, repr=False, eq=False)
class StimTrials:
    r"""Signals of several channels, cut into trials around stimulation pulses.

    A trial is a runway, from which a response is forecast, and the response:

    .. math:: \underbrace{x_{c,1} \dots x_{c,r}}_{\text{runway}}\;
              \underbrace{y_{c,1} \dots y_{c,T}}_{\text{response}}

    Parameters
    ----------
    values : array_like
        Signal, shape (trial, channel, time), in `signal_unit`. NaN where a sample is missing.
    sampling_rate : float
        Samples per second (Hz).
    runway : int
        Samples of each trial that are the runway.
    pulses : array_like
        Onsets of the pulses in seconds from the start of the trial, shape (trial, pulse), or
        (pulse,) where all trials are alike; NaN where a trial has fewer. They fall into the
        response.
    channels : sequence of str, optional
        Names; "0", "1", ... by default.
    amplitude, site : array_like, optional
        Further descriptors of each pulse, of the shape of `pulses`.
    trial_times : array_like, optional
        Start of every trial on the session's clock in seconds, increasing; by default one trial
        follows the other.
    resting : array_like, optional
        Trials without stimulation, shape (resting trial, channel, time).
    signal_unit : str
        Unit of the signal, shown on figures.
    source : str
        Where the data came from; shown, but no part of the content.

    Raises
    ------
    DataError
        If shapes do not fit, nothing was recorded, pulses lie outside the response, or trial
        times do not increase.
    SettingError
        If the sampling rate or the runway makes no sense.

    Notes
    -----
    Source of the layout: Bryan et al. (2025), section 3.2: 184 ms at 1 kHz, of which 20 ms are
    the runway, and the first pulse 40 ms into the trial.

    Examples
    --------
    >>> trials = StimTrials(np.zeros((5, 2, 40)) + np.arange(40.0), sampling_rate=1000, runway=10,
    ...                     pulses=[0.02])
    >>> trials
    StimTrials: 5 trials, 2 channels, runway 10 ms, response 30 ms at 1000 Hz, 1 pulse pattern
    >>> trials.response.shape
    (5, 2, 30)
    """

    values: NDArray[Any]
    sampling_rate: float
    runway: int
    pulses: Floats
    channels: tuple[str, ...]
    amplitude: Floats | None
    site: Floats | None
    trial_times: Floats
    resting: NDArray[Any] | None
    signal_unit: str
    source: str

    def __init__(
        self,
        values: ArrayLike,
        *,
        sampling_rate: float,
        runway: int,
        pulses: ArrayLike,
        channels: Sequence[object] | None = None,
        amplitude: ArrayLike | None = None,
        site: ArrayLike | None = None,
        trial_times: ArrayLike | None = None,
        resting: ArrayLike | None = None,
        signal_unit: str = "uV",
        source: str = "",
    ) -> None:
        signal = checks.as_signal("values", values)
        num_trials, num_channels, num_samples = signal.shape
        rate = checks.check_sampling_rate(sampling_rate)
        checks.check_runway(runway, num_samples)
        onsets = checks.as_descriptor("pulses", pulses, num_trials)
        checks.check_pulses(onsets, runway / rate, num_samples / rate)
        names = tuple(str(c) for c in (range(num_channels) if channels is None else channels))
        checks.check_channels(names, num_channels)
        extra = {"amplitude": amplitude, "site": site}
        described = {
            name: None if given is None else checks.as_descriptor(name, given, num_trials, onsets)
            for name, given in extra.items()
        }
        starts = np.arange(num_trials) * num_samples / rate if trial_times is None else trial_times
        rest = None
        if resting is not None:
            rest = checks.as_signal("resting", resting)
            checks.check_alike(rest, signal)
        for array in (signal, onsets, *described.values(), rest):
            if array is not None:
                array.setflags(write=False)
        self._set(
            values=signal, sampling_rate=rate, runway=int(runway), pulses=onsets, channels=names,
            trial_times=checks.as_trial_times(starts, num_trials), resting=rest,
            signal_unit=signal_unit, source=source, **described,
        )  # fmt: skip

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _replace(self, **fields: Any) -> "StimTrials":
        """Return a copy with some fields changed; they have been checked."""
        new = object.__new__(StimTrials)
        new._set(**{**self.__dict__, **fields})
        return new

    @property
    def num_trials(self) -> int:
        """Number of trials."""
        return int(self.values.shape[0])

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return int(self.values.shape[1])

    @property
    def horizon(self) -> int:
        """Samples of the response."""
        return int(self.values.shape[2]) - self.runway

    @property
    def horizon_times(self) -> Floats:
        """Seconds from the last sample of the runway to each sample of the response."""
        return np.arange(1, self.horizon + 1) / self.sampling_rate

    @property
    def runways(self) -> NDArray[Any]:
        """Signal before the forecast, shape (trial, channel, runway)."""
        return self.values[:, :, : self.runway]

    @property
    def response(self) -> NDArray[Any]:
        """Signal to forecast, shape (trial, channel, horizon)."""
        return self.values[:, :, self.runway :]

    @property
    def patterns(self) -> Floats:
        """The different pulse patterns, shape (pattern, pulse descriptor), sorted.

        Columns are onsets in seconds, then amplitudes and sites where there are any.
        """
        return self._patterns()[0]

    @property
    def pattern_of_trial(self) -> NDArray[np.int64]:
        """Row of `patterns` of each trial, shape (trial,)."""
        return self._patterns()[1]

    def _patterns(self) -> tuple[Floats, NDArray[np.int64]]:
        parts = [p for p in (self.pulses, self.amplitude, self.site) if p is not None]
        described = np.concatenate(parts, axis=1)
        # Unique takes each NaN for another value, and float noise for another onset.
        filled = np.where(np.isnan(described), np.inf, np.round(described, 9))
        found, inverse = np.unique(filled, axis=0, return_inverse=True)
        return np.where(np.isinf(found), np.nan, found), inverse.reshape(-1).astype(np.int64)

    def __len__(self) -> int:
        return self.num_trials

    def __repr__(self) -> str:
        patterns, scale = len(self.patterns), 1e3 / self.sampling_rate
        rest = "" if self.resting is None else f", {len(self.resting)} resting trials"
        return (
            f"StimTrials: {self.num_trials} trials, {self.num_channels} channels, runway "
            f"{self.runway * scale:g} ms, response {self.horizon * scale:g} ms at "
            f"{self.sampling_rate:g} Hz, {patterns} pulse pattern{'s' * (patterns != 1)}{rest}"
        )

    def select(self, channels: Sequence[object]) -> "StimTrials":
        """Return the trials with these channels only, in this order.

        Parameters
        ----------
        channels : sequence of str
            Names of channels.

        Raises
        ------
        SettingError
            If a name is unknown.
        DataError
            If none is left, or one is named twice.
        """
        names = tuple(str(c) for c in ([channels] if isinstance(channels, str) else channels))
        for name in names:
            if name not in self.channels:
                raise unknown_name("channel", name, self.channels)
        checks.check_channels(names, len(names))
        index = [self.channels.index(name) for name in names]
        rest = None if self.resting is None else self.resting[:, index]
        return self._replace(values=self.values[:, index], channels=names, resting=rest)

    def take(self, trials: Any) -> "StimTrials":
        """Return some of the trials.

        Parameters
        ----------
        trials : slice or array_like of int or bool
            Which ones, in any form that numpy's indexing takes, in the session's order.

        Raises
        ------
        DataError
            If none is left, or one is taken twice or after a later one.
        """
        # One trial alone keeps its axis.
        rows = trials if isinstance(trials, slice) or np.ndim(trials) else np.atleast_1d(trials)
        parts: dict[str, Any] = {
            name: None if (found := getattr(self, name)) is None else found[rows]
            for name in ("values", "pulses", "amplitude", "site", "trial_times")
        }
        checks.check_some(len(parts["values"]))
        parts["trial_times"] = checks.as_trial_times(
            parts["trial_times"], len(parts["trial_times"])
        )
        return self._replace(**parts)

    def split(self, train: int | float, test: int | float | None = None) -> "tuple[Any, Any]":
        """Return the first trials of the session, and its last: never shuffled, none in both.

        Parameters
        ----------
        train : int or float
            Trials to train on, from the start: a number, or a share of all where below 1.
        test : int or float, optional
            Trials to test on, at the end; all others by default.

        Returns
        -------
        train, test : StimTrials
            Trials that overlap in time with the training part are left out of the test part.

        Raises
        ------
        SettingError
            If either part is empty, or they share trials.

        Notes
        -----
        Sessions drift, and a controller trained early is used late: Bryan et al. (2025), section
        3.4, train on the first 5,000 pulse pairs and test on the last 2,500.
        """
        total = self.num_trials
        first = checks.count_of("train", train, total)
        last = total - first if test is None else checks.count_of("test", test, total)
        if first + last > total:
            raise SettingError(
                f"`train` and `test` share trials: {first} and {last} of {total}. Ask for fewer, "
                "or the test would be on trials that were trained on."
            )
        early, late = self.take(slice(0, first)), slice(total - last, total)
        # Windows cut from one recording may overlap; times are compared at half a sample.
        length = (self.values.shape[2] - 0.5) / self.sampling_rate
        clear = self.trial_times[late] >= early.trial_times[-1] + length
        if not clear.any():
            raise SettingError(
                f"`test` has no trial that starts after the training part ends: {last} trials. "
                "Train on fewer trials."
            )
        return early, self.take(np.arange(total)[late][clear])

    def save(self, path: str | Path) -> Path:
        """Write the trials to ``.npz`` or netCDF (``.nc``), whole or not at all.

        Parameters
        ----------
        path : str or Path
            Where to write; `read_stim_trials` reads it back.

        Raises
        ------
        SettingError
            If the suffix is neither.
        DataError
            If the folder does not exist.
        """
        from probneuro.data.stim_files import write_stim_trials

        return write_stim_trials(self, Path(path))

    def hash(self) -> str:
        """Return the sha256 of everything but the source, in hexadecimal."""
        digest = hashlib.sha256(b"probneuro.StimTrials.1")
        named = (*self.channels, self.signal_unit, f"{self.sampling_rate!r}", f"{self.runway}")
        digest.update("\0".join(named).encode())
        for name in ("values", "pulses", "amplitude", "site", "trial_times", "resting"):
            array = getattr(self, name)
            if array is not None:
                digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
