"""What the model makes of trials: z-scored runways, and how responses leave their last sample."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import DataError
from probneuro.data import StimTrials

Floats = NDArray[np.float64]

_SAME_RATE = 1e-4
"""Relative difference of sampling rates that time stamps of one amplifier may give."""

FEWEST_TRIALS = 10
"""A channel with fewer complete trials counts as dead."""


@final
@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What is kept of the training trials to treat later ones alike.

    Parameters
    ----------
    scale : ndarray
        Standard deviation of each channel over trials and time, in the signal's unit; 1 for dead
        ones. Shape (channel,).
    alive : ndarray
        Whether each channel has signal, shape (channel,).
    feature_mean : ndarray
        Mean runway under each pulse pattern in units of `scale`, shape (pattern, feature).
    patterns : ndarray
        Pulse patterns as in `StimTrials.patterns`, shape (pattern, pulse descriptor).
    level : ndarray
        Mean of each channel's runways in the signal's unit, shape (channel,).
    carried : bool
        Whether forecasts start from the runway's last sample; if not, from `level`.
    channels : tuple of str or None
        Names of the channels; None where a file does not tell, and then they are not compared.
    sampling_rate : float or None
        Samples per second (Hz); None as for the names.
    signal_unit : str or None
        Unit of the signal; None as for the names.
    state_dependent : bool
        Whether runways are looked at; if not, their features are 0, as under sham runways.
    """

    scale: Floats
    alive: NDArray[np.bool_]
    feature_mean: Floats
    patterns: Floats
    level: Floats
    carried: bool = True
    channels: tuple[str, ...] | None = None
    sampling_rate: float | None = None
    signal_unit: str | None = None
    state_dependent: bool = True

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it by the names that a result has."""
        known = {
            "channel_name": None if self.channels is None else np.array(self.channels, np.str_),
            "sampling_rate": self.sampling_rate,
            "signal_unit": self.signal_unit,
        }
        told = {name: np.asarray(value) for name, value in known.items() if value is not None}
        return {
            "channel_scale": self.scale,
            "channel_alive": self.alive.astype(np.int8),
            "feature_mean": self.feature_mean,
            "pulse_pattern": self.patterns,
            "channel_level": self.level,
            "carried": np.asarray(self.carried, dtype=np.int8),
            "state_dependent": np.asarray(self.state_dependent, dtype=np.int8),
            **told,
        }

    @classmethod
    def from_arrays(cls, found: Mapping[str, NDArray[Any]]) -> "Scaling":
        """Return what `arrays` told, or as much of it as an older file holds."""
        names = found["channel_name"].tolist() if "channel_name" in found else None
        return cls(
            scale=found["channel_scale"], alive=found["channel_alive"].astype(bool),
            feature_mean=found["feature_mean"], patterns=found["pulse_pattern"],
            level=found["channel_level"], carried=bool(found["carried"]),
            channels=None if names is None else tuple(str(name) for name in names),
            sampling_rate=float(found["sampling_rate"]) if "sampling_rate" in found else None,
            signal_unit=str(found["signal_unit"]) if "signal_unit" in found else None,
            state_dependent=bool(found.get("state_dependent", True)),
        )  # fmt: skip

    def start(self, runways: NDArray[np.floating]) -> Floats:
        """Return where forecasts start, shape (trial, channel, 1), in the signal's unit."""
        last = np.asarray(runways[:, :, -1:], dtype=np.float64)
        return last if self.carried else np.broadcast_to(self.level[:, None], last.shape)

    @property
    def runway(self) -> int:
        """Samples of the runway."""
        return self.feature_mean.shape[1] // self.scale.size

    def features(self, runways: NDArray[np.floating], pattern: NDArray[np.int64]) -> Floats:
        """Return standardised runways; a missing sample stands at its mean.

        Parameters
        ----------
        runways : ndarray
            Shape (trial, channel, runway).
        pattern : ndarray
            Row of `patterns` of each trial, shape (trial,).

        Returns
        -------
        ndarray
            Shape (trial, feature), channel by channel.
        """
        if not self.state_dependent:
            return np.zeros((len(runways), self.feature_mean.shape[1]))
        scaled = _flat_features(runways, self.scale) - self.feature_mean[pattern]
        scaled[np.isnan(scaled)] = 0.0
        scaled.reshape(len(scaled), self.scale.size, -1)[:, ~self.alive] = 0.0
        return scaled

    def pattern_index(self, patterns: Floats) -> NDArray[np.int64]:
        """Return which of our pulse patterns each of others is.

        Parameters
        ----------
        patterns : ndarray
            Shape (pattern, pulse descriptor).

        Raises
        ------
        DataError
            If one was not among the training trials.
        """
        found = np.empty(len(patterns), dtype=np.int64)
        for row, wanted in enumerate(patterns):
            same = [
                known.shape == wanted.shape and np.allclose(known, wanted, 0, 1e-9, equal_nan=True)
                for known in self.patterns
            ]
            if not any(same):
                raise DataError(
                    f"`trials` hold the pulse pattern {_shown(wanted)}, which was not trained on: "
                    f"{'; '.join(_shown(p) for p in self.patterns)}. Train on it too, or use the "
                    "generator of bases (probneuro.models.tbfm.VariableProjection)."
                )
            found[row] = same.index(True)
        return found


@final
@dataclass(frozen=True, kw_only=True)
class Design:
    """Features and targets of some trials.

    Parameters
    ----------
    features : ndarray
        Standardised runways, shape (trial, feature).
    targets : ndarray
        Responses less where forecasts start, in units of the channels' scale; 0 where missing.
        Shape (trial, channel, horizon).
    observed : ndarray
        Whether a trial's response is complete, shape (trial, channel).
    pattern : ndarray
        Pulse pattern of each trial, shape (trial,).
    start : ndarray
        Start of each trial in seconds, shape (trial,).
    duration : float
        Length of a trial in seconds.
    scaling : Scaling
        How they were scaled.
    """

    features: Floats
    targets: Floats
    observed: NDArray[np.bool_]
    pattern: NDArray[np.int64]
    start: Floats
    duration: float
    scaling: Scaling

    @property
    def regressors(self) -> Floats:
        """Which pattern a trial is of, then its features: shape (trial, regressor)."""
        marks = np.eye(len(self.scaling.patterns))[self.pattern]
        return np.concatenate([marks, self.features], axis=1)

    def part(self, trials: Any) -> "Design":
        """Return some of the trials, their features centred as they are."""
        names = ("features", "targets", "observed", "pattern", "start")
        return replace(self, **{name: getattr(self, name)[trials] for name in names})


def scaling_of(
    trials: StimTrials, *, carried: bool = True, state_dependent: bool = True
) -> Scaling:
    """Return scales and means of training trials.

    Parameters
    ----------
    trials : StimTrials
        What to train on.
    carried, state_dependent : bool
        As `Scaling` takes them.

    Returns
    -------
    Scaling

    Raises
    ------
    DataError
        If all channels are dead, or the trials too few.
    """
    if trials.num_trials < FEWEST_TRIALS:
        raise DataError(
            f"`trials` must be at least {FEWEST_TRIALS} to fit; got {trials.num_trials}. The paper "
            "needs about 5,000."
        )
    values = trials.values
    observed = _observed(trials)
    alive = np.zeros(trials.num_channels, dtype=bool)
    scale = np.ones(trials.num_channels)
    for channel in range(trials.num_channels):
        if observed[:, channel].sum() < FEWEST_TRIALS:
            continue
        signal = values[:, channel].astype(np.float64)
        spread = float(np.nanstd(signal))
        # A channel stuck at one value has rounding noise at most.
        alive[channel] = spread > 1e-9 * max(1e-300, float(np.nanmax(np.abs(signal))))
        scale[channel] = spread if alive[channel] else 1.0
    if not alive.any():
        raise DataError("`trials` hold no live channel: all are constant or missing. Check them.")
    flat = _flat_features(trials.runways, scale)
    patterns, index = trials.patterns, trials.pattern_of_trial
    mean = np.stack([_mean_where_known(flat[index == k]) for k in range(len(patterns))])
    level = _mean_where_known(flat).reshape(len(scale), -1).mean(1) * scale
    return Scaling(
        scale=scale, alive=alive, feature_mean=mean, patterns=patterns, level=level,
        carried=carried, channels=trials.channels, sampling_rate=trials.sampling_rate,
        signal_unit=trials.signal_unit, state_dependent=state_dependent,
    )  # fmt: skip


def design_of(trials: StimTrials, scaling: Scaling) -> Design:
    """Return features and targets of trials.

    Parameters
    ----------
    trials : StimTrials
        Of the channels that were trained on.
    scaling : Scaling
        From the training trials.

    Returns
    -------
    Design

    Raises
    ------
    DataError
        If a pulse pattern is unknown, or channels, the runway, the sampling rate or the unit
        differ from the training's.
    """
    check_channels(trials, scaling)
    pattern = scaling.pattern_index(trials.patterns)[trials.pattern_of_trial]
    targets = (trials.response - scaling.start(trials.runways)) / scaling.scale[:, None]
    observed = _observed(trials) & scaling.alive
    targets = targets.astype(np.float64, copy=False)
    targets[~observed] = 0.0
    return Design(
        features=scaling.features(trials.runways, pattern),
        targets=targets,
        observed=observed,
        pattern=pattern,
        start=trials.trial_times,
        duration=trials.values.shape[2] / trials.sampling_rate,
        scaling=scaling,
    )


def check_channels(trials: StimTrials, scaling: Scaling) -> None:
    """Refuse trials whose signals are not those that were trained on.

    Raises
    ------
    DataError
        If the names or the order of channels, the runway, the sampling rate or the unit differ.
    """
    check_shape(trials.num_channels, trials.runway, scaling)
    wanted = scaling.channels
    if wanted is not None and trials.channels != wanted:
        first = next(i for i, name in enumerate(wanted) if trials.channels[i] != name)
        raise DataError(
            f"`trials` must have the channels that were trained on, in their order; channel {first}"
            f" is '{trials.channels[first]}', and was '{wanted[first]}'. Select them by name: "
            f"trials.select({list(wanted) if len(wanted) < 9 else 'names'})."
        )
    rate = scaling.sampling_rate
    if rate is not None and abs(trials.sampling_rate - rate) > _SAME_RATE * rate:
        raise DataError(
            f"`trials` must be sampled at the {rate:g} Hz that were trained on; got "
            f"{trials.sampling_rate:g} Hz. Resample them, or train on trials of this rate."
        )
    if scaling.signal_unit is not None and _plain(trials.signal_unit) != _plain(
        scaling.signal_unit
    ):
        raise DataError(
            f"`trials` must be in the unit that was trained on, '{scaling.signal_unit}'; got "
            f"'{trials.signal_unit}'. Convert the values, and pass the unit as `signal_unit`."
        )


def check_horizon(trials: StimTrials, horizon: int) -> None:
    """Refuse responses of another length than was trained on.

    Raises
    ------
    DataError
        Says both.
    """
    if trials.horizon != horizon:
        raise DataError(
            f"`trials` must have the horizon of {horizon} samples that was trained on; got "
            f"{trials.horizon}. Cut the same windows."
        )


def check_shape(num_channels: int, runway: int, scaling: Scaling) -> None:
    """Refuse another number of channels, or another runway, than were trained on.

    Raises
    ------
    DataError
        Says both.
    """
    if (num_channels, runway) != (scaling.scale.size, scaling.runway):
        raise DataError(
            f"`trials` must have the {scaling.scale.size} channels and the runway of "
            f"{scaling.runway} samples that were trained on; got {num_channels} channels and "
            f"{runway} samples. Select the same channels, and cut the same windows."
        )


def _observed(trials: StimTrials) -> NDArray[np.bool_]:
    """Return where the response and the sample before it are complete, (trial, channel)."""
    complete: NDArray[np.bool_] = np.isfinite(trials.values[:, :, trials.runway - 1 :]).all(axis=2)
    return complete


def _flat_features(runways: NDArray[np.floating], scale: Floats) -> Floats:
    flat: Floats = (runways / scale[:, None]).reshape(len(runways), -1)
    return flat.astype(np.float64, copy=False)


def _mean_where_known(values: Floats) -> Floats:
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(0)
    mean: Floats = total / np.maximum(known.sum(0), 1)
    return mean


def _plain(unit: str) -> str:
    """Return a unit with its micro sign, of which Unicode has two, as the letter u."""
    return unit.replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")


def _shown(pattern: Floats) -> str:
    return "(" + ", ".join(f"{value:g}" for value in pattern) + ")"
