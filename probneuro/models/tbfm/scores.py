"""How good forecasts are: R2 by horizon, of mean responses, and of responses by state."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError

Floats = NDArray[np.float64]

STATES = 9
"""Bins of equal size of the state at the runway's end; Bryan et al. (2025), section 4.3."""


def r2_by_channel(response: ArrayLike, forecast: ArrayLike) -> Floats:
    r"""Return each channel's share of variance that is forecast.

    .. math:: R^2_c = 1 - \frac{\sum_{n,t} (y_{nct} - \hat y_{nct})^2}
                               {\sum_{n,t} (y_{nct} - \bar y_c)^2}

    Parameters
    ----------
    response, forecast : array_like
        Shape (trial, channel, horizon). Samples that either lacks are left out.

    Returns
    -------
    ndarray
        Shape (channel,); NaN for a channel that nothing is known of, or that never changes.

    Raises
    ------
    DataError
        If the shapes differ.

    Examples
    --------
    >>> truth = np.arange(8.0).reshape(2, 1, 4)
    >>> r2_by_channel(truth, truth), r2_by_channel(truth, np.full((2, 1, 4), 3.5))
    (array([1.]), array([0.]))
    """
    values, guess = _pair(response, forecast)
    known = np.isfinite(values) & np.isfinite(guess)
    count = known.sum((0, 2))
    mean = np.where(known, values, 0.0).sum((0, 2)) / np.maximum(count, 1)
    missed = np.where(known, values - guess, 0.0)
    spread = np.where(known, values - mean[:, None], 0.0)
    total = (spread**2).sum((0, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(total > 0, 1 - (missed**2).sum((0, 2)) / total, np.nan)
    return found


def r2(response: ArrayLike, forecast: ArrayLike) -> float:
    """Return the mean over channels of `r2_by_channel`.

    Parameters
    ----------
    response, forecast : array_like
        Shape (trial, channel, horizon).

    Returns
    -------
    float
    """
    each = r2_by_channel(response, forecast)
    return float(_mean(each, np.isfinite(each)))


def r2_by_horizon(response: ArrayLike, forecast: ArrayLike) -> Floats:
    """Return R2 of forecasts that stop after 1, 2, ... samples, shape (horizon,).

    Parameters
    ----------
    response, forecast : array_like
        Shape (trial, channel, horizon). Samples that either lacks are left out.

    Returns
    -------
    ndarray
        Its last entry is `r2`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth, guess = rng.normal(size=(2, 20, 3, 5))
    >>> bool(np.isclose(r2_by_horizon(truth, guess)[-1], r2(truth, guess)))
    True
    """
    values, guess = _pair(response, forecast)
    known = np.isfinite(values) & np.isfinite(guess)
    # About each channel's mean, so that squares do not drown what is left of them.
    values, guess = np.where(known, values, 0.0), np.where(known, guess, 0.0)
    level = values.sum((0, 2)) / np.maximum(known.sum((0, 2)), 1)
    off = np.where(known, values - level[:, None], 0.0)
    count, total, squares, missed = (
        part.sum(0).cumsum(1) for part in (known, off, off**2, (values - guess) ** 2)
    )
    spread = squares - total**2 / np.maximum(count, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(spread > 0, 1 - missed / spread, np.nan)
    return _mean(each, np.isfinite(each))


def mean_r2(response: ArrayLike, forecast: ArrayLike) -> float:
    """Return R2 of the mean forecast against the mean response, averaged over channels.

    Parameters
    ----------
    response, forecast : array_like
        Shape (trial, channel, horizon).

    Returns
    -------
    float
    """
    values, guess = _pair(response, forecast)
    known = np.isfinite(values) & np.isfinite(guess)
    return r2(*(_mean(part, known)[None] for part in (values, guess)))


def by_state(
    response: ArrayLike, forecast: ArrayLike, state: ArrayLike, bins: int = STATES
) -> tuple[Floats, Floats]:
    """Return mean responses and mean forecasts of trials that began in like states.

    Parameters
    ----------
    response, forecast : array_like
        Shape (trial, channel, horizon).
    state : array_like
        Signal at the runway's end, shape (trial, channel).
    bins : int
        States, of equally many trials, for each channel by its own signal.

    Returns
    -------
    response, forecast : ndarray
        Shape (state, channel, horizon), of the trials in which the channel lacks nothing; NaN
        for a channel that has fewer such trials than there are states.

    Raises
    ------
    DataError
        If there are fewer trials than bins.
    """
    values, guess = _pair(response, forecast)
    states = np.asarray(state, dtype=np.float64)
    if len(values) < bins:
        raise DataError(
            f"`response` has {len(values)} trials, fewer than the {bins} states. Pass fewer `bins`."
        )
    found = np.full((2, bins, *values.shape[1:]), np.nan)
    for channel in range(values.shape[1]):
        known = np.isfinite(values[:, channel] + guess[:, channel]).all(1)
        kept = np.flatnonzero(known & np.isfinite(states[:, channel]))
        if kept.size < bins:
            continue
        order = kept[np.argsort(states[kept, channel], kind="stable")]
        for number, rows in enumerate(np.array_split(order, bins)):
            found[0, number, channel] = values[rows, channel].mean(0)
            found[1, number, channel] = guess[rows, channel].mean(0)
    return found[0], found[1]


def state_dependent_r2(
    response: ArrayLike, forecast: ArrayLike, state: ArrayLike, bins: int = STATES
) -> float:
    """Return R2 of mean forecasts against mean responses over states, averaged over channels.

    Parameters
    ----------
    response, forecast : array_like
        Shape (trial, channel, horizon).
    state : array_like
        Signal at the runway's end, shape (trial, channel).
    bins : int
        States of equally many trials.

    Returns
    -------
    float
    """
    return r2(*by_state(response, forecast, state, bins))


def _mean(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Return means along the first axis of what is known, NaN where nothing is."""
    total, count = np.where(known, values, 0.0).sum(0), known.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _pair(response: ArrayLike, forecast: ArrayLike) -> tuple[Floats, Floats]:
    values = np.asarray(response, dtype=np.float64)
    guess = np.asarray(forecast, dtype=np.float64)
    if values.shape != guess.shape or values.ndim != 3:
        raise DataError(
            f"`forecast` must have the response's shape (trial, channel, horizon), {values.shape}; "
            f"got {guess.shape}. Forecast the same trials."
        )
    return values, guess
