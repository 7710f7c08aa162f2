"""Forecasts of a fitted model, with intervals, and how often those hold."""

from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from probneuro.core import names
from probneuro.core.errors import DataError, SettingError
from probneuro.data import StimTrials
from probneuro.models.tbfm.closed_form import LEVELS, Fit
from probneuro.models.tbfm.design import check_channels, check_horizon
from probneuro.models.tbfm.posterior import fit_from_result

Floats = NDArray[np.float64]
Method = Literal["posterior", "leave_one_out"]

METHODS: Final = ("posterior", "leave_one_out")
_BLOCK: Final = 256


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Forecaster:
    """Forecasts of the response from the runway, and how far off they may be.

    Parameters
    ----------
    fit : Fit
        The fit.
    channels : tuple of str
        Names of its channels.
    horizon_times : ndarray
        Seconds from the runway's end, shape (horizon,).

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.models.tbfm import TBFM
    >>> from probneuro.simulators.stim_lfp import simulate_ou
    >>> train, test = simulate_ou(300, 2, seed=1).split(200)
    >>> result = infer(TBFM(), train.trials, draws=10, chains=1, seed=1, progress=False)
    >>> forecast = Forecaster.from_result(result).forecast(test.trials)
    >>> forecast.shape
    (100, 2, 164)
    """

    fit: Fit
    channels: tuple[str, ...]
    horizon_times: Floats

    @classmethod
    def from_result(cls, result: xr.DataTree) -> "Forecaster":
        """Return the forecaster of a result, as it was or read back from a file.

        Parameters
        ----------
        result : xarray.DataTree
            What ``infer(TBFM(), trials)`` returned, or `probneuro.load` read.

        Raises
        ------
        DataError
            If it holds no such fit.
        """
        fit = fit_from_result(result)
        found = result[names.PARAMETERS].to_dataset()
        channels = tuple(str(c) for c in found[names.CHANNEL].values)
        times = np.asarray(found[names.HORIZON].values, dtype=np.float64)
        return cls(fit=fit, channels=channels, horizon_times=times)

    @property
    def runway(self) -> int:
        """Samples of the runway."""
        return self.fit.scaling.runway

    def forecast(self, trials: StimTrials) -> Floats:
        """Return the expected response of every trial.

        Parameters
        ----------
        trials : StimTrials
            Of the channels, the runway and the pulse patterns that were trained on. Only runways
            and pulses are looked at.

        Returns
        -------
        ndarray
            Shape (trial, channel, horizon), in the signal's unit. A channel whose last sample is
            missing is forecast as NaN; missing samples before it stand at their mean.

        Raises
        ------
        DataError
            If channels, the runway, the sampling rate, the unit or pulse patterns differ from the
            training's.
        """
        pattern = self.patterns_of(trials)
        return self.forecast_runways(trials.runways, pattern)

    def forecast_runways(self, runways: ArrayLike, pattern: Any = 0) -> Floats:
        """Return the expected response to runways under a pulse pattern.

        Parameters
        ----------
        runways : array_like
            Shape (trial, channel, runway).
        pattern : int or array_like of int
            Which of the training's pulse patterns; see `Fit.scaling`.

        Returns
        -------
        ndarray
            Shape (trial, channel, horizon).

        Raises
        ------
        DataError
            If the shape or the pattern does not fit.
        """
        values = self._checked(runways)
        index = self._pattern_index(pattern, len(values))
        path = self._path(self.fit.scaling.features(values, index), index)
        moved: Floats = self.fit.scaling.start(values) + self.fit.scaling.scale[:, None] * (
            path @ self.fit.bases
        )
        return moved

    def patterns_of(self, trials: StimTrials) -> NDArray[np.int64]:
        """Return each trial's row among the training's pulse patterns."""
        check_channels(trials, self.fit.scaling)
        return self.fit.scaling.pattern_index(trials.patterns)[trials.pattern_of_trial]

    def spread(self, runways: ArrayLike, pattern: Any = 0) -> Floats:
        r"""Return how much wider than the noise a forecast's error is, as a variance: 1 + h.

        .. math:: h_c(x) = \tilde x^\top (X^\top X + D_c)^{-1} \tilde x + 1 / n_k

        Parameters
        ----------
        runways : array_like
            Shape (trial, channel, runway).
        pattern : int or array_like of int
            Pulse pattern.

        Returns
        -------
        ndarray
            h, shape (trial, channel).
        """
        values = self._checked(runways)
        index = self._pattern_index(pattern, len(values))
        features = self.fit.scaling.features(values, index)
        ridge = self.fit.ridge()
        found = [
            ridge.spread(features[first : first + _BLOCK], self.fit.own, self.fit.cross)
            for first in range(0, len(features), _BLOCK)
        ]
        known: Floats = np.concatenate(found) + 1 / self.fit.counts[index][:, None]
        return known

    def intervals(
        self, trials: StimTrials, *, level: float = 0.9, method: Method = "posterior"
    ) -> xr.DataTree:
        r"""Return forecasts with intervals, and how often the responses lie within.

        .. math:: \hat y \pm z\, s_c \sqrt{\Sigma_{c,tt} + h_c(x)\, (B^\top \Psi_c B)_{tt}},
                  \qquad \Psi_c = B \Sigma_c B^\top

        from the posterior; or the forecast plus quantiles of the leave-one-out errors, which need
        not be normal, nor lie about zero.

        Parameters
        ----------
        trials : StimTrials
            What to forecast; their responses are used for the coverage alone.
        level : float
            Share of responses that should lie within; at most 0.99 from leave-one-out errors, of
            which no quantiles beyond are kept.
        method : {"posterior", "leave_one_out"}
            Where intervals come from.

        Returns
        -------
        xarray.DataTree
            Group ``interval_<method>`` with `response`, `mean`, `lower` and `upper`, dims (trial,
            channel, horizon), and `coverage` (channel, horizon) of the responses that are known.

        Raises
        ------
        SettingError
            If the level is not within 0 and 1, too high for the method, or the method unknown.
        DataError
            If trials do not fit, or have another horizon than was trained on; see `forecast`.
        """
        _check_intervals(level, method)
        check_horizon(trials, self.fit.bases.shape[1])
        mean = self.forecast(trials)
        spread = self.spread(trials.runways, self.patterns_of(trials))
        lower, upper = (self._bound(q, spread, method) for q in (0.5 - level / 2, 0.5 + level / 2))
        scale = self.fit.scaling.scale[:, None]
        dims = (names.TRIAL, names.CHANNEL, names.HORIZON)
        found = xr.Dataset(
            {
                "response": (dims, np.asarray(trials.response, dtype=np.float64)),
                "mean": (dims, mean),
                "lower": (dims, mean + scale * lower),
                "upper": (dims, mean + scale * upper),
            },
            coords={
                names.TRIAL: trials.trial_times,
                names.CHANNEL: list(self.channels),
                names.HORIZON: self.horizon_times,
            },
            attrs={"level": level, "method": method},
        )
        found["coverage"] = (dims[1:], coverage(trials.response, found.lower, found.upper))
        return xr.DataTree.from_dict({f"interval_{method}": found})

    def draw(
        self, runways: ArrayLike, pattern: Any = 0, *, draws: int, rng: np.random.Generator
    ) -> Floats:
        """Return draws from the posterior predictive distribution of whole responses.

        Parameters
        ----------
        runways : array_like
            Shape (trial, channel, runway).
        pattern : int or array_like of int
            Pulse pattern.
        draws : int
            Draws a trial.
        rng : numpy.random.Generator
            Random stream.

        Returns
        -------
        ndarray
            Shape (draw, trial, channel, horizon). Channels are independent given the runway.
        """
        mean = self.forecast_runways(runways, pattern)
        spread = self.spread(runways, pattern)
        found = np.empty((draws, *mean.shape))
        for channel in range(mean.shape[1]):
            along = np.linalg.cholesky(self.fit.basis_noise()[channel])
            size = (draws, len(mean), len(along))
            weights = np.sqrt(spread[:, channel])[:, None] * (rng.normal(size=size) @ along.T)
            lower = np.linalg.cholesky(self.fit.noise[channel])
            noise = rng.normal(size=(draws, len(mean), len(lower))) @ lower.T
            found[:, :, channel] = self.fit.scaling.scale[channel] * (
                weights @ self.fit.bases + noise
            )
        return found + mean

    def scale(self, spread: Floats) -> Floats:
        """Return the predictive standard deviation in units of the channels' scale.

        Parameters
        ----------
        spread : ndarray
            As `spread` returns it, shape (trial, channel).

        Returns
        -------
        ndarray
            Shape (trial, channel, horizon).
        """
        noise = np.diagonal(self.fit.noise, axis1=1, axis2=2)
        along = np.einsum(
            "bt,cbk,kt->ct", self.fit.bases, self.fit.basis_noise(), self.fit.bases, optimize=True
        )
        found: Floats = np.sqrt(noise + spread[:, :, None] * along)
        return found

    def _bound(self, probability: float, spread: Floats, method: str) -> Floats:
        """Return a quantile of the error in units of the channels' scale."""
        if method == "posterior":
            return float(norm.ppf(probability)) * self.scale(spread)
        # Quantiles are straight lines between the kept ones, on the normal distribution's axis; a
        # level at the outermost may lie beyond by rounding.
        places = norm.ppf(LEVELS)
        wanted = float(np.clip(norm.ppf(probability), places[0], places[-1]))
        right = int(np.clip(np.searchsorted(places, wanted), 1, len(places) - 1))
        share = (wanted - places[right - 1]) / (places[right] - places[right - 1])
        kept = self.fit.quantiles
        quantile = kept[right - 1] * (1 - share) + kept[right] * share
        # Only the part along the bases grows with the state's own uncertainty.
        ratio = self.scale(spread) / self.scale(np.zeros_like(spread[:1]))
        bound: Floats = quantile * ratio
        return bound

    def _path(self, features: Floats, index: NDArray[np.int64]) -> Floats:
        """Return basis weights, shape (trial, channel, basis)."""
        channels, size, bases = self.fit.weight.shape
        flat = self.fit.weight.transpose(1, 0, 2).reshape(size, -1)
        path = (features @ flat).reshape(-1, channels, bases)
        return path + self.fit.intercept[:, index].transpose(1, 0, 2)

    def _checked(self, runways: ArrayLike) -> NDArray[Any]:
        values = np.asarray(runways)
        wanted = (len(self.channels), self.runway)
        if values.ndim != 3 or values.shape[1:] != wanted:
            raise DataError(
                f"`runways` must have shape (trial, {wanted[0]}, {wanted[1]}), that is (trial, "
                f"channel, runway); got {values.shape}. One trial alone still needs its axis: "
                "runway[None]."
            )
        return values.astype(np.float64, copy=False)

    def _pattern_index(self, pattern: Any, count: int) -> NDArray[np.int64]:
        index = np.broadcast_to(np.asarray(pattern, dtype=np.int64), (count,))
        number = len(self.fit.counts)
        if ((index < 0) | (index >= number)).any():
            raise DataError(
                f"`pattern` must be one of the {number} pulse patterns trained on, from 0; got "
                f"{sorted(set(index.tolist()))}. See `fit.scaling.patterns`."
            )
        return index


def _check_intervals(level: float, method: str) -> None:
    if not 0 < level < 1:
        raise SettingError(f"`level` must lie between 0 and 1; got {level!r}. Pass e.g. 0.9.")
    if method not in METHODS:
        raise SettingError(
            f"`method` must be one of {', '.join(METHODS)}; got {method!r}. Choose one."
        )
    widest = LEVELS[-1] - LEVELS[0]
    if method == "leave_one_out" and level > widest + 1e-9:
        raise SettingError(
            f"`level` must be at most {widest:g} from leave-one-out errors, of which no quantiles "
            f"beyond are kept; got {level!r}. Lower it, or ask for method='posterior'."
        )


def coverage(response: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> Floats:
    """Return the share of known responses within intervals, shape (channel, horizon).

    Parameters
    ----------
    response, lower, upper : array_like
        Shape (trial, channel, horizon).

    Returns
    -------
    ndarray
        NaN where none is known.
    """
    values, low, high = (np.asarray(part, dtype=np.float64) for part in (response, lower, upper))
    known = np.isfinite(values) & np.isfinite(low)
    within = known & (values >= low) & (values <= high)
    count = known.sum(0)
    found: Floats = np.where(count > 0, within.sum(0) / np.maximum(count, 1), np.nan)
    return found
