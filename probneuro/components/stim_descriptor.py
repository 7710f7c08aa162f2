"""Stimulation descriptors: what a network is told of the pulses at every sample."""

import numpy as np
from numpy.typing import NDArray

from probneuro.data import StimTrials

Floats = NDArray[np.float64]


def descriptors(trials: StimTrials, patterns: Floats | None = None) -> Floats:
    r"""Return a clock and the pulses over the response, for every pulse pattern.

    The clock goes from 0 at the trial's start to 1 at its end. A pulse has a column that is 1 at
    its onset; an onset between two samples is shared by both, so that the descriptor changes
    smoothly with timing. Amplitudes take the place of the 1; each further site has columns of its
    own.

    Parameters
    ----------
    trials : StimTrials
        For clock, rate, and which descriptors there are.
    patterns : ndarray, optional
        Other pulse patterns than theirs, shape (pattern, pulse descriptor).

    Returns
    -------
    ndarray
        Shape (pattern, horizon, column).

    Notes
    -----
    Source: Bryan et al. (2025), section 6.2.1; onsets between samples, amplitudes and sites are
    ours.

    Examples
    --------
    >>> trials = StimTrials(np.ones((3, 1, 8)), sampling_rate=1000, runway=2, pulses=[0.004])
    >>> descriptors(trials)[0].T.round(2).tolist()
    [[0.25, 0.38, 0.5, 0.62, 0.75, 0.88], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
    """
    rows = trials.patterns if patterns is None else np.asarray(patterns, dtype=np.float64)
    number = trials.pulses.shape[1]
    onsets = rows[:, :number]
    amplitude = np.ones_like(onsets)
    rest = rows[:, number:]
    if trials.amplitude is not None:
        amplitude, rest = rest[:, :number], rest[:, number:]
    sites = np.unique(trials.site[np.isfinite(trials.site)]) if trials.site is not None else [None]
    samples = np.arange(trials.runway, trials.runway + trials.horizon)
    clock = samples / trials.values.shape[2]
    place = onsets[:, None, :] * trials.sampling_rate
    near = np.maximum(0.0, 1 - np.abs(samples[:, None] - place))
    marks = np.where(np.isfinite(place), near, 0.0) * np.nan_to_num(amplitude)[:, None, :]
    parts = [np.broadcast_to(clock[:, None], (len(rows), len(samples), 1))]
    for site in sites:
        here = np.ones_like(onsets) if site is None else (rest == site).astype(np.float64)
        parts.append(marks * here[:, None, :])
    return np.concatenate(parts, axis=2)
