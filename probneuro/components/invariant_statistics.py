"""What can be said of a recording whatever its beginning and the order of its electrodes."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.data.wells import Wells

Floats = NDArray[np.float64]

_ACTIVE: Final = 5 / 60
"""Spikes per second from which an electrode counts as active, as in Axion's metrics."""
_SPREAD: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_TAIL: Final = (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_EIGENVALUES: Final = 6
_BANDS: Final = 12
_FLOOR: Final = 1e-6
_TINY: Final = 1e-9


def invariant_statistics(wells: Wells, *, longest_lag: int | None = None) -> Floats:
    """Return statistics that no shift in time and no permutation of electrodes changes.

    Of each active electrode: log rate, Fano factor, share of empty bins, quantiles of its counts,
    autocorrelation and variance of the logs of its counts. Of each pair of active electrodes: their
    correlation at lags 0 to 2. Of each of these the mean, spread and five quantiles over
    electrodes or pairs. Of the electrodes together: quantiles of their summed counts and of the
    share that fires, autocorrelation and log power by band of frequencies, the first eigenvalues
    of their correlations, quantiles of their log rates.

    Parameters
    ----------
    wells : Wells
        The recordings.
    longest_lag : int, optional
        In bins, at most a quarter of the recording; an eighth of it by default. Recordings of
        several lengths have the same statistics if this is the same.

    Returns
    -------
    numpy.ndarray
        Shape (recording, statistic).

    Raises
    ------
    DataError
        If a recording has fewer than 4 bins.
    SettingError
        If the lag does not fit the recording.

    Notes
    -----
    Shifts are cyclic. An electrode is active from 5 spikes a minute; where none is, what is
    said of active electrodes is 0.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson(1.0, (2, 4, 64))
    >>> moved = np.roll(counts[:, [3, 1, 0, 2]], 5, axis=-1)
    >>> one, two = (invariant_statistics(Wells(c, 0.5)) for c in (counts, moved))
    >>> bool(np.allclose(one, two))
    True
    """
    if wells.num_bins < 4:
        raise DataError(
            f"`wells` has recordings of {wells.num_bins} bins; their statistics need 4 or more. "
            "Read longer recordings, or bin finer."
        )
    longest = max(1, wells.num_bins // 8) if longest_lag is None else longest_lag
    if not 1 <= longest <= wells.num_bins // 4:
        raise SettingError(
            f"`longest_lag` must be 1 to {wells.num_bins // 4}, a quarter of the bins; got "
            f"{longest}. Choose a shorter one, or bin finer."
        )
    lags = np.unique(np.geomspace(1, longest, 10).round().astype(np.int64))
    counts = wells.counts.astype(np.float64)
    rates = counts.mean(2) / wells.bin_width
    active = rates >= _ACTIVE
    logs = np.log1p(counts)
    spread = logs.var(2)
    by_electrode = np.concatenate(
        [_of_electrodes(counts, rates, spread), _circular(logs, lags)], axis=2
    )
    correlations = _correlations(logs, min(2, longest))
    first, second = np.triu_indices(counts.shape[1], 1)
    return np.concatenate(
        [
            _summary(by_electrode, active),
            _summary(correlations[:, :, first, second].transpose(0, 2, 1),
                     active[:, first] & active[:, second]),
            _eigenvalues(correlations[:, 0]),
            _together(counts, lags, longest),
            active.mean(1, keepdims=True),
            np.quantile(np.log1p(rates), np.linspace(0, 1, 9), axis=1).T,
        ], axis=1,
    )  # fmt: skip


def _summary(values: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Return mean, spread and quantiles over the second axis of what is inside, 0 if nothing is.

    Values of shape (recording, member, statistic) become (recording, 7 statistics).
    """
    count = inside.sum(1)
    weight = inside[:, :, None] / np.maximum(count, 1)[:, None, None]
    mean = (values * weight).sum(1)
    sd = np.sqrt(((values - mean[:, None]) ** 2 * weight).sum(1))
    # What is outside is sorted to the end, so that the first `count` places are those inside.
    ordered = np.sort(np.where(inside[:, :, None], values, np.inf), axis=1)
    parts = [mean, sd]
    for level in _SPREAD:
        place = level * np.maximum(count - 1, 0)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        below, above = (_taken(ordered, at) for at in (low, high))
        parts.append(
            np.where(count[:, None] > 0, below + (place - low)[:, None] * (above - below), 0.0)
        )
    return np.concatenate(parts, axis=1)


def _taken(ordered: Floats, at: NDArray[np.int64]) -> Floats:
    if not ordered.shape[1]:
        return np.zeros((len(ordered), ordered.shape[2]))
    found = np.take_along_axis(ordered, at[:, None, None], axis=1)[:, 0]
    return np.where(np.isfinite(found), found, 0.0)


def _of_electrodes(counts: Floats, rates: Floats, spread: Floats) -> Floats:
    """Return what is said of each electrode by itself, shape (recording, electrode, statistic)."""
    mean = counts.mean(2)
    fano = np.log1p(counts.var(2) / np.maximum(mean, _TINY))
    tails = np.log1p(np.quantile(counts, _TAIL, axis=2))
    return np.stack(
        [np.log1p(rates), fano, (counts == 0).mean(2), np.log(spread + _TINY), *tails], 2
    )


def _circular(values: Floats, lags: NDArray[np.int64]) -> Floats:
    """Return the autocorrelation along the last axis at these lags, lags last."""
    centred = values - values.mean(-1, keepdims=True)
    power = np.abs(np.fft.rfft(centred)) ** 2
    full = np.fft.irfft(power, n=values.shape[-1])
    return np.asarray(full[..., lags] / (full[..., :1] + _TINY))


def _correlations(logs: Floats, longest: int) -> Floats:
    """Return correlations of electrodes, the mean of both signs of each lag from 0.

    Shape (recording, lag, electrode, electrode).
    """
    centred = logs - logs.mean(2, keepdims=True)
    scaled = centred / np.sqrt((centred**2).sum(2, keepdims=True) + _TINY)
    parts = []
    for lag in range(longest + 1):
        one = scaled @ np.roll(scaled, lag, axis=2).transpose(0, 2, 1)
        parts.append(0.5 * (one + one.transpose(0, 2, 1)))
    return np.stack(parts, axis=1)


def _eigenvalues(correlations: Floats) -> Floats:
    found = np.linalg.eigvalsh(correlations)[:, ::-1][:, :_EIGENVALUES]
    return np.pad(found, ((0, 0), (0, _EIGENVALUES - found.shape[1])))


def _together(counts: Floats, lags: NDArray[np.int64], longest: int) -> Floats:
    """Return what is said of all electrodes together, shape (recording, statistic)."""
    total = counts.sum(1)
    logs = np.log1p(total)
    return np.concatenate(
        [
            np.log1p(np.quantile(total, _LEVELS, axis=1)).T,
            np.quantile((counts > 0).mean(1), _LEVELS[1:], axis=1).T,
            _circular(logs, lags),
            _log_power(logs, longest),
            np.log(logs.var(1, keepdims=True) + _TINY),
        ], axis=1,
    )  # fmt: skip


def _log_power(values: Floats, longest: int) -> Floats:
    """Return the mean log power in bands of growing width, bands last.

    Bands begin at whole multiples of 1 / (4 longest), so that each holds a frequency of every
    recording long enough.
    """
    power = np.abs(np.fft.rfft(values - values.mean(-1, keepdims=True))) ** 2 / values.shape[-1]
    logs = np.log(power + _FLOOR)
    multiple = np.fft.rfftfreq(values.shape[-1]) * 4 * longest
    edges = np.unique(np.geomspace(1, 2 * longest, 1 + _BANDS).round())
    bands = zip(edges[:-1], np.r_[edges[1:-1], np.inf], strict=True)
    inside = [(multiple >= low - _TINY) & (multiple < high - _TINY) for low, high in bands]
    return np.stack([logs[..., band].mean(-1) for band in inside], axis=-1)
