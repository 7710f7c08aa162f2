"""What spike trains look like: rates, intervals and correlograms, as arrays to compare."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core import names
from probneuro.core.errors import SettingError
from probneuro.data import BinnedSpikes

Floats = NDArray[np.float64]

ISI = "isi"


def spike_statistics(
    spikes: BinnedSpikes,
    pairs: Sequence[tuple[int, int]] = (),
    *,
    max_lag: float = 0.05,
    max_isi: float = 0.2,
    num_isi: int = 40,
) -> xr.Dataset:
    r"""Return rates, interval densities, autocorrelograms and cross-correlograms of a recording.

    .. math::

        c_{mn}[d] = \frac{\sum_t s_{t,m} s_{t+d,n}}{\Delta \sum_t s_{t,m}}

    the rate of n in Hz at d bins after a spike of m, for positive and negative d.

    Parameters
    ----------
    spikes : BinnedSpikes
        The recording; bins that were not observed hold no spikes.
    pairs : sequence of (pre, post)
        Neurons of which to take cross-correlograms, by index.
    max_lag : float
        Longest lag, in s.
    max_isi : float
        Longest interval told apart, in s; longer ones count as this long.
    num_isi : int
        Bins of intervals.

    Returns
    -------
    xarray.Dataset
        ``rate`` (neuron) in Hz; ``isi_density`` (neuron, isi), the share of a neuron's intervals
        in each bin; ``autocorrelogram`` (neuron, lag) in Hz, lags above zero; and
        ``crosscorrelogram`` (synapse, lag) in Hz, all lags.

    Raises
    ------
    SettingError
        If the longest lag is below one bin, or as long as the recording.

    Examples
    --------
    >>> spikes = BinnedSpikes(np.tile([[1, 0], [0, 1], [0, 0], [0, 0]], (250, 1)))
    >>> found = spike_statistics(spikes, [(0, 1)], max_lag=0.004)
    >>> found["crosscorrelogram"].sel(pair_lag=0.001, method="nearest").values
    array([1000.])
    """
    width, counts = spikes.bin_width, np.asarray(spikes.counts)
    lags = round(max_lag / width)
    if not 1 <= lags < len(counts):
        raise SettingError(
            f"`max_lag` must be at least one bin ({width:g} s) and shorter than the recording; "
            f"got {max_lag!r}. Pass e.g. 0.05."
        )
    total = np.maximum(counts.sum(axis=0), 1)
    ends = np.linspace(0.0, max_isi, num_isi + 1)
    own = [_share_of_intervals(column, width, ends) for column in counts.T]
    forward = _correlations(counts, lags)
    auto = np.array([forward[:, n, n] / (total[n] * width) for n in range(counts.shape[1])])
    units, lag = list(spikes.units), width * np.arange(1, lags + 1)
    found = xr.Dataset(
        {
            "rate": (names.NEURON, counts.sum(axis=0) / (width * np.sum(spikes.observed))),
            "isi_density": ((names.NEURON, ISI), np.array(own)),
            "autocorrelogram": ((names.NEURON, "lag"), auto),
        },
        {names.NEURON: units, ISI: (ends[1:] + ends[:-1]) / 2, "lag": lag},
    )
    if not pairs:
        return found
    cross = []
    for m, n in pairs:
        same = np.array([counts[:, m] @ counts[:, n]], dtype=np.float64)
        sides = (forward[::-1, n, m], same, forward[:, m, n])
        cross.append(np.concatenate(sides) / (total[m] * width))
    labels = [f"{units[m]}->{units[n]}" for m, n in pairs]
    both = np.concatenate([-lag[::-1], [0.0], lag])
    return found.assign_coords({names.SYNAPSE: labels, names.PAIR_LAG: both}).assign(
        crosscorrelogram=((names.SYNAPSE, names.PAIR_LAG), np.array(cross))
    )


def _correlations(counts: NDArray[np.int32], lags: int) -> Floats:
    """Return sums of products over time at every lag, shape (lag, earlier, later)."""
    exact = counts.astype(np.float64)
    return np.array([exact[:-d].T @ exact[d:] for d in range(1, lags + 1)])


def _share_of_intervals(column: NDArray[np.int32], width: float, ends: Floats) -> Floats:
    """Return the share of intervals in each bin, zero where there are none."""
    times = np.repeat(np.arange(column.size), column)
    intervals = np.minimum(width * np.diff(times), ends[-1] - width)
    # Intervals are whole bins: half a bin off, none falls on an end.
    found = np.histogram(intervals, ends - 0.5 * width)[0]
    share: Floats = found / max(1, found.sum())
    return share
