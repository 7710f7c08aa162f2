"""R-hat and effective sample size of many variables at once."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

Floats = NDArray[np.float64]

_BATCH: Final = 256
"""Series handled together: some tens of megabytes at usual lengths."""


def measure(draws: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Return rank-normalised split R-hat and bulk effective sample size.

    After Vehtari, Gelman, Simpson, Carpenter & Buerkner 2021, as in ArviZ, which takes each
    variable on its own and so some hundred times longer over a result with thousands.

    Parameters
    ----------
    draws : numpy.ndarray
        Shape (chain, draw, ...), at least four draws.

    Returns
    -------
    rhat, ess : numpy.ndarray
        Shape (...); NaN where a variable never moves.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(4, 500, 2))
    >>> rhat, ess = measure(x)
    >>> bool((rhat < 1.01).all()), bool((ess > 1500).all())
    (True, True)
    """
    chains, length = draws.shape[:2]
    series = np.moveaxis(draws.reshape(chains, length, -1), -1, 0)
    rhat, ess = np.full(len(series), np.nan), np.full(len(series), np.nan)
    for start in range(0, len(series), _BATCH):
        batch = series[start : start + _BATCH].astype(np.float64)
        moves = batch.max((1, 2)) > batch.min((1, 2))
        places = start + np.flatnonzero(moves)
        if len(places):
            rhat[places], ess[places] = _measure(_split(batch[moves]))
    return rhat.reshape(draws.shape[2:]), ess.reshape(draws.shape[2:])


def _split(series: Floats) -> Floats:
    half = series.shape[2] // 2
    return np.concatenate([series[:, :, :half], series[:, :, -half:]], axis=1)


def _measure(halves: Floats) -> tuple[Floats, Floats]:
    scores = _normal_scores(halves)
    centre = np.median(halves, axis=(1, 2), keepdims=True)
    folded = _normal_scores(np.abs(halves - centre))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.fmax(_rhat(scores), _rhat(folded)), _ess(scores)


def _normal_scores(halves: Floats) -> Floats:
    """Blom's scores of the ranks over all chains."""
    flat = halves.reshape(len(halves), -1)
    ranks = rankdata(flat, method="average", axis=1)
    scores: Floats = ndtri((ranks - 3 / 8) / (flat.shape[1] + 1 / 4))
    return scores.reshape(halves.shape)


def _rhat(halves: Floats) -> Floats:
    length = halves.shape[2]
    within = halves.var(2, ddof=1).mean(1)
    between = halves.mean(2).var(1, ddof=1)
    ratio: Floats = np.sqrt((between + (length - 1) / length * within) / within)
    return ratio


def _ess(halves: Floats) -> Floats:
    """Geyer's initial monotone sequence on the chains' mean autocovariance, as Stan has it."""
    _, chains, length = halves.shape
    centred = halves - halves.mean(2, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * length, axis=2)
    covariance = np.fft.irfft((spectrum * spectrum.conj()).real.mean(1), axis=1)
    covariance = covariance[:, :length] / length
    within = covariance[:, :1] * length / (length - 1)
    total = covariance[:, :1] + halves.mean(2).var(1, ddof=1)[:, None]
    correlation = 1 - (within - covariance) / total
    correlation[:, 0] = 1.0
    stop = max((length - 3) // 2, 0)  # the last pair that ArviZ looks at
    even = correlation[:, 0::2][:, : stop + 1]
    pairs = even + correlation[:, 1::2][:, : stop + 1]
    pairs[:, -1] = -1.0  # an end even where the sum never turns negative
    last = np.argmax(pairs < 0, axis=1)
    inside = np.arange(pairs.shape[1]) < last[:, None]
    edge = np.take_along_axis(even, last[:, None], axis=1)[:, 0]
    time = 2 * np.where(inside, np.minimum.accumulate(pairs, axis=1), 0).sum(1) - 1
    time = time + np.maximum(edge, 0)
    size = chains * length
    effective: Floats = size / np.maximum(time, 1 / np.log10(size))
    return effective
