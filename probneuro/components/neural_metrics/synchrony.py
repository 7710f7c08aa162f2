"""How much electrodes fire together, whatever their rates."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError

Floats = NDArray[np.float64]


def _tiled(times: Floats, window: float, start: float, stop: float) -> float:
    """Return the share of the recording that lies within the window of a spike."""
    begin = np.maximum(times - window, start)
    end = np.minimum(times + window, stop)
    # Overlaps count once: each interval starts where the one before ended, if that was later.
    begin[1:] = np.maximum(begin[1:], end[:-1])
    return float(np.maximum(end - begin, 0.0).sum() / (stop - start))


def _near(times: Floats, others: Floats, window: float) -> float:
    """Return the share of spikes with a spike of the other train within the window."""
    reach = window * (1.0 + 1e-9)
    first = np.searchsorted(others, times - reach, side="left")
    after = np.searchsorted(others, times + reach, side="right")
    return float((after > first).mean())


def spike_time_tiling(
    first: Any, second: Any, *, start: float, stop: float, window: float = 0.02
) -> float:
    """Return the spike time tiling coefficient of two trains, in [-1, 1].

    .. math:: \\frac{P_A - T_B}{2 (1 - P_A T_B)} + \\frac{P_B - T_A}{2 (1 - P_B T_A)}

    P is the share of one train's spikes near the other's, T the share of time near its own.

    Parameters
    ----------
    first, second : array_like
        Spike times in seconds, sorted.
    start, stop : float
        The recorded interval in seconds.
    window : float
        Seconds; 20 ms is Axion's synchrony window.

    Returns
    -------
    float
        NaN if a train is empty.

    Raises
    ------
    SettingError
        If the window or the interval is not positive.

    References
    ----------
    Cutts, Eglen (2014), Detecting pairwise correlations in spike trains: an objective comparison
    of methods and application to the study of retinal waves. J. Neurosci. 34:14288.

    Examples
    --------
    >>> spike_time_tiling([1.0, 2.0], [1.0, 2.0], start=0.0, stop=10.0)
    1.0
    """
    if not (window > 0 and stop > start):
        raise SettingError(
            f"`window` and `stop` - `start` must be positive; got {window!r} and "
            f"{stop - start!r}. Give seconds."
        )
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not (a.size and b.size):
        return float("nan")
    tiled_a, tiled_b = _tiled(a, window, start, stop), _tiled(b, window, start, stop)
    halves = [(_near(a, b, window), tiled_b), (_near(b, a, window), tiled_a)]
    return float(np.mean([1.0 if p * t == 1.0 else (p - t) / (1.0 - p * t) for p, t in halves]))


def synchrony(
    trains: Mapping[str, Any], *, start: float, stop: float, window: float = 0.02
) -> float:
    """Return the mean spike time tiling coefficient over pairs of electrodes that fired.

    Returns
    -------
    float
        NaN with fewer than two such electrodes.
    """
    fired = [np.asarray(t, dtype=np.float64) for t in trains.values() if len(t)]
    pairs = [
        spike_time_tiling(a, b, start=start, stop=stop, window=window)
        for a, b in combinations(fired, 2)
    ]
    return float(np.mean(pairs)) if pairs else float("nan")
