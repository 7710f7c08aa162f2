"""Forecasts at the speed of memory: numpy alone, everything folded, nothing allocated.

All of them take one runway at a time and write into arrays of their own, which the next call
overwrites: copy what is to be kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.models.tbfm.closed_form import Fit
from probneuro.models.tbfm.forecast import Forecaster

Numbers = NDArray[Any]
Precision = type[np.floating[Any]]

SINGLE: Final = np.float32
"""Half the bytes of a double, and forecasts wait for bytes."""


@final
class FullForecast:
    """The whole forecast of every channel.

    Parameters
    ----------
    fit : Fit
        The fit.
    pattern : int
        Pulse pattern that is planned.
    dtype : type
        Of the arithmetic.
    """

    def __init__(self, fit: Fit, pattern: int, dtype: Precision = SINGLE) -> None:
        self._map, self._shift = _folded(fit, pattern, dtype)
        self._level = _level(fit, dtype)
        channels, self._width = len(fit.weight), fit.scaling.runway
        self._shape = (channels, self._width)
        # A last basis of ones carries the last sample, so that one product does it all.
        ones = np.ones((1, fit.bases.shape[1]))
        self._bases = np.ascontiguousarray(np.concatenate([fit.bases, ones]), dtype=dtype)
        self._path = np.zeros((channels, len(self._bases)), dtype=dtype)
        self._weights = np.zeros(channels * len(fit.bases), dtype=dtype)
        self._square = self._weights.reshape(channels, -1)
        self._out = np.zeros((channels, fit.bases.shape[1]), dtype=dtype)
        self._dtype = dtype

    def __call__(self, runway: Numbers) -> Numbers:
        """Return the forecast.

        Parameters
        ----------
        runway : ndarray
            Shape (channel, runway), in the signal's unit.

        Returns
        -------
        ndarray
            Shape (channel, horizon), overwritten by the next call.
        """
        values = _one(runway, self._shape, self._dtype)
        np.dot(self._map, values.reshape(-1), out=self._weights)
        np.add(self._weights, self._shift, out=self._weights)
        self._path[:, :-1] = self._square
        self._path[:, -1] = values[:, -1] if self._level is None else self._level
        return np.dot(self._path, self._bases, out=self._out)


@final
class LowRankForecast:
    """The forecast through a few combinations of the runway, those that matter most.

    Parameters
    ----------
    fit : Fit
        The fit.
    pattern : int
        Pulse pattern that is planned.
    rank : int
        Combinations.
    dtype : type
        Of the arithmetic.

    Attributes
    ----------
    lost : float
        Share of the forecasts' variance over training trials that the rank leaves out.
    """

    def __init__(self, fit: Fit, pattern: int, rank: int, dtype: Precision = SINGLE) -> None:
        full, shift = _folded(fit, pattern, np.float64)
        _check_rank(rank, min(full.shape))
        self._level = _level(fit, dtype)
        channels, bases = len(fit.weight), len(fit.bases)
        units = np.repeat(fit.scaling.scale, fit.scaling.runway)
        # Runways are not alike in all directions: the best rank is that of map times their spread.
        values, vectors = np.linalg.eigh(fit.gram / fit.counts.sum())
        root = np.sqrt(np.maximum(values, values[-1] * 1e-12))
        left, sizes, right = np.linalg.svd((full * units) @ (vectors * root), full_matrices=False)
        self.lost = float((sizes[rank:] ** 2).sum() / max(float((sizes**2).sum()), 1e-300))
        down = (right[:rank] / root) @ vectors.T / units
        up = left[:, :rank] * sizes[:rank]
        centre = units * fit.scaling.feature_mean[pattern]
        shift = shift + full @ centre - up @ (down @ centre)
        self._down = np.ascontiguousarray(down, dtype=dtype)
        self._up = np.ascontiguousarray(up, dtype=dtype)
        self._shift = shift.astype(dtype)
        self._few = np.zeros(rank, dtype=dtype)
        self._shape, self._dtype = (channels, fit.scaling.runway), dtype
        ones = np.ones((1, fit.bases.shape[1]))
        self._bases = np.ascontiguousarray(np.concatenate([fit.bases, ones]), dtype=dtype)
        self._path = np.zeros((channels, bases + 1), dtype=dtype)
        self._weights = np.zeros(channels * bases, dtype=dtype)
        self._square = self._weights.reshape(channels, -1)
        self._out = np.zeros((channels, fit.bases.shape[1]), dtype=dtype)

    def __call__(self, runway: Numbers) -> Numbers:
        """Return the forecast; see `FullForecast.__call__`."""
        values = _one(runway, self._shape, self._dtype)
        np.dot(self._down, values.reshape(-1), out=self._few)
        np.dot(self._up, self._few, out=self._weights)
        np.add(self._weights, self._shift, out=self._weights)
        self._path[:, :-1] = self._square
        self._path[:, -1] = values[:, -1] if self._level is None else self._level
        return np.dot(self._path, self._bases, out=self._out)


@final
class StreamingForecast:
    """The forecast at every sample: only the newest sample is left to multiply when it comes.

    Call `push` with every sample and `forecast` when it is wanted. What the older samples add is
    made up by `prepare`, in the pause before the next sample; `push` does it where nobody did.

    Parameters
    ----------
    fit : Fit
        The fit.
    pattern : int
        Pulse pattern that is planned.
    dtype : type
        Of the arithmetic.
    """

    def __init__(self, fit: Fit, pattern: int, dtype: Precision = SINGLE) -> None:
        full, self._shift = _folded(fit, pattern, dtype)
        self._level = _level(fit, dtype)
        channels, width, bases = len(fit.weight), fit.scaling.runway, len(fit.bases)
        cube = full.reshape(-1, channels, width)
        self._newest = np.ascontiguousarray(cube[:, :, -1])
        # Lag by lag, so that the older samples are one block of the ring buffer.
        older = cube[:, :, :-1].transpose(0, 2, 1).reshape(len(full), -1)
        self._older = np.ascontiguousarray(older)
        self._recent = np.zeros((width, channels), dtype=dtype)
        self._pending = np.zeros(len(full), dtype=dtype)
        self._weights = np.zeros(len(full), dtype=dtype)
        self._square = self._weights.reshape(channels, bases)
        ones = np.ones((1, fit.bases.shape[1]))
        self._bases = np.ascontiguousarray(np.concatenate([fit.bases, ones]), dtype=dtype)
        self._path = np.zeros((channels, bases + 1), dtype=dtype)
        self._out = np.zeros((channels, fit.bases.shape[1]), dtype=dtype)
        self._seen, self._prepared = 0, False

    def push(self, sample: Numbers) -> None:
        """Take the newest sample.

        Parameters
        ----------
        sample : ndarray
            Shape (channel,), in the signal's unit.

        Raises
        ------
        DataError
            If it has another shape.
        """
        if sample.shape != self._path.shape[:1]:
            raise DataError(
                f"`sample` must hold one number a channel, shape {self._path.shape[:1]}; got "
                f"{sample.shape}. Push one sample at a time."
            )
        if not self._prepared:
            self.prepare()
        self._recent[-1] = sample
        np.dot(self._newest, self._recent[-1], out=self._weights)
        np.add(self._weights, self._pending, out=self._weights)
        self._seen += 1
        self._prepared = False

    def forecast(self) -> Numbers:
        """Return the forecast from the samples pushed so far.

        Returns
        -------
        ndarray
            Shape (channel, horizon), overwritten by the next call.

        Raises
        ------
        DataError
            If fewer samples than a runway were pushed.
        """
        if self._seen < len(self._recent):
            raise DataError(
                f"`push` was called {self._seen} times, and a runway has {len(self._recent)} "
                "samples. Push more samples before the first forecast."
            )
        self._path[:, :-1] = self._square
        last = self._recent[-1] if not self._prepared else self._recent[-2]
        self._path[:, -1] = last if self._level is None else self._level
        return np.dot(self._path, self._bases, out=self._out)

    def prepare(self) -> None:
        """Make up what the samples so far add to the next forecast; call it while idle."""
        if self._prepared:
            return
        self._recent[:-1] = self._recent[1:]
        np.dot(self._older, self._recent[:-1].reshape(-1), out=self._pending)
        np.add(self._pending, self._shift, out=self._pending)
        self._prepared = True


@final
class FunctionalForecast:
    """Some linear functions of the forecast, such as two channels at one time, and nothing else.

    Parameters
    ----------
    fit : Fit
        The fit.
    pattern : int
        Pulse pattern that is planned.
    functions : ndarray
        Weights of each function on the response, shape (function, channel, horizon).
    dtype : type
        Of the arithmetic.

    Attributes
    ----------
    scale : ndarray
        Standard deviation of each function's noise, the channels taken as independent.
    """

    def __init__(
        self, fit: Fit, pattern: int, functions: Numbers, dtype: Precision = SINGLE
    ) -> None:
        wanted = (len(fit.weight), fit.bases.shape[1])
        if functions.ndim != 3 or functions.shape[1:] != wanted:
            raise DataError(
                f"`functions` must have shape (function, {wanted[0]}, {wanted[1]}), that is "
                f"(function, channel, horizon); got {functions.shape}. Give one weight a sample."
            )
        full, shift = _folded(fit, pattern, np.float64)
        along = (functions @ fit.bases.T).reshape(len(functions), -1)
        table = (along @ full).reshape(len(functions), wanted[0], -1)
        whole = functions.sum(2)
        if fit.scaling.carried:
            table[:, :, -1] += whole
        self._table = np.ascontiguousarray(table.reshape(len(functions), -1), dtype=dtype)
        start = 0.0 if fit.scaling.carried else whole @ fit.scaling.level
        self._shift = (along @ shift + start).astype(dtype)
        self._out = np.zeros(len(functions), dtype=dtype)
        self._shape, self._dtype = (wanted[0], fit.scaling.runway), dtype
        scaled = functions * fit.scaling.scale[:, None]
        self.scale = np.sqrt(np.einsum("fct,cts,fcs->f", scaled, fit.noise, scaled, optimize=True))

    def __call__(self, runway: Numbers) -> Numbers:
        """Return the functions' values, shape (function,), overwritten by the next call.

        Parameters
        ----------
        runway : ndarray
            Shape (channel, runway), in the signal's unit.
        """
        values = _one(runway, self._shape, self._dtype)
        np.dot(self._table, values.reshape(-1), out=self._out)
        return np.add(self._out, self._shift, out=self._out)


@final
@dataclass(frozen=True, kw_only=True)
class Compiled:
    """All fast forms of one fit.

    Parameters
    ----------
    full, low_rank, streaming : FullForecast, LowRankForecast or None, StreamingForecast
        Of the whole response.
    functional : FunctionalForecast or None
        Of some functions of it.
    """

    full: FullForecast
    low_rank: LowRankForecast | None
    streaming: StreamingForecast
    functional: FunctionalForecast | None


def compile_forecast(
    forecaster: Forecaster,
    *,
    pattern: int = 0,
    rank: int | None = None,
    functions: ArrayLike | None = None,
    targets: Mapping[str, float] | None = None,
    dtype: Precision = SINGLE,
) -> Compiled:
    """Fold a fit into plain arrays, for forecasts within microseconds.

    Parameters
    ----------
    forecaster : Forecaster
        The fit.
    pattern : int
        Pulse pattern that is planned: one compiled forecast each.
    rank : int, optional
        Rank of the low-rank form; without it there is none.
    functions : array_like, optional
        Weights on the response, shape (function, channel, horizon).
    targets : mapping of str to float, optional
        Instead of `functions`: one value a channel named, at a time in seconds after the runway.
    dtype : type
        ``numpy.float32``, or ``numpy.float64``.

    Returns
    -------
    Compiled

    Raises
    ------
    SettingError
        If the rank or the type is out of range, or a target unknown.
    DataError
        If the functions' shape does not fit.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.models.tbfm import TBFM
    >>> from probneuro.simulators.stim_lfp import simulate_ou
    >>> trials = simulate_ou(100, 2, seed=1).trials
    >>> result = infer(TBFM(), trials, draws=2, chains=1, seed=1, progress=False)
    >>> fast = compile_forecast(Forecaster.from_result(result), targets={"1": 0.02})
    >>> runway = trials.runways[0]
    >>> bool(abs(fast.full(runway)[1, 19] - fast.functional(runway)[0]) < 1e-5)
    True
    """
    if dtype not in (np.float32, np.float64):
        raise SettingError(f"`dtype` must be numpy.float32 or numpy.float64; got {dtype!r}.")
    fit = forecaster.fit
    if not 0 <= pattern < len(fit.counts):
        raise SettingError(
            f"`pattern` must be one of the {len(fit.counts)} pulse patterns trained on, from 0; "
            f"got {pattern!r}. See `fit.scaling.patterns`."
        )
    wanted = _target_functions(forecaster, targets) if targets is not None else functions
    functional = None
    if wanted is not None:
        functional = FunctionalForecast(fit, pattern, np.asarray(wanted, dtype=np.float64), dtype)
    return Compiled(
        full=FullForecast(fit, pattern, dtype),
        low_rank=None if rank is None else LowRankForecast(fit, pattern, rank, dtype),
        streaming=StreamingForecast(fit, pattern, dtype),
        functional=functional,
    )


def _target_functions(forecaster: Forecaster, targets: Mapping[str, float]) -> Numbers:
    """Return functions that pick one sample of one channel each."""
    times, channels = forecaster.horizon_times, forecaster.channels
    functions = np.zeros((len(targets), len(channels), len(times)))
    half = 0.5 * times[0]
    for row, (channel, time) in enumerate(targets.items()):
        if channel not in channels or not times[0] - half <= time <= times[-1] + half:
            raise SettingError(
                f"`targets` asks for channel '{channel}' at {time:g} s; known are channels "
                f"{', '.join(channels)} from {times[0]:g} to {times[-1]:g} s after the runway. "
                "Pass one of those."
            )
        functions[row, channels.index(channel), int(np.abs(times - time).argmin())] = 1.0
    return functions


def _folded(fit: Fit, pattern: int, dtype: Precision) -> tuple[Numbers, Numbers]:
    """Return the map from a raw runway to basis weights in the signal's unit, and its shift."""
    units = np.repeat(fit.scaling.scale, fit.scaling.runway)
    channels, size, bases = fit.weight.shape
    weight = fit.weight.transpose(0, 2, 1) * fit.scaling.scale[:, None, None]
    table = weight.reshape(channels * bases, size)
    shift = fit.intercept[:, pattern] * fit.scaling.scale[:, None]
    moved = shift.reshape(-1) - table @ fit.scaling.feature_mean[pattern]
    return np.ascontiguousarray(table / units, dtype=dtype), moved.astype(dtype)


def _level(fit: Fit, dtype: Precision) -> Numbers | None:
    """Return where forecasts start, or None where that is the last sample."""
    return None if fit.scaling.carried else fit.scaling.level.astype(dtype)


def _one(runway: Numbers, shape: tuple[int, int], dtype: Precision) -> Numbers:
    if runway.shape != shape:
        raise DataError(
            f"`runway` must have shape {shape}, that is (channel, runway); got {runway.shape}. "
            "Pass one runway at a time."
        )
    return np.ascontiguousarray(runway, dtype=dtype)


def _check_rank(rank: int, largest: int) -> None:
    if not 1 <= rank <= largest:
        raise SettingError(
            f"`rank` must lie between 1 and {largest}; got {rank!r}. The largest loses nothing."
        )
