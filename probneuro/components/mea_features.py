"""Classical features of multi-electrode counts that no shift and no relabelling by G changes.

The baselines that a learned embedding has to beat.
"""

import numpy as np
from numpy.typing import NDArray

from probneuro.components.neural_metrics import MetricSettings, metrics_table
from probneuro.components.shifts import ElectrodeGroup
from probneuro.core.errors import DataError, SettingError
from probneuro.data.wells import Wells, WellSpikes

Floats = NDArray[np.float64]


def firing_rates(wells: Wells) -> Floats:
    """Return the rate of each electrode in Hz, shape (recording, electrode): not invariant."""
    return np.asarray(wells.counts.mean(-1) / wells.bin_width, dtype=np.float64)


def _spectra(wells: Wells, *, centred: bool = True) -> NDArray[np.complex128]:
    mean = wells.counts.mean(-1, keepdims=True) if centred else 0.0
    return np.asarray(np.fft.rfft(wells.counts - mean, axis=-1))


def _check_lags(num_lags: int, wells: Wells) -> None:
    if not 1 <= num_lags <= wells.num_bins // 2:
        raise SettingError(
            f"`num_lags` must be 1 to {wells.num_bins // 2}, half the bins; got {num_lags}. Choose "
            "fewer."
        )


def autocorrelation(wells: Wells, *, num_lags: int = 50, centred: bool = True) -> Floats:
    """Return the circular autocovariance, averaged over electrodes, at lags 0 to ``num_lags`` - 1.

    Parameters
    ----------
    wells : Wells
        The recordings.
    num_lags : int
        Lags in bins, at most half the recording.
    centred : bool
        Whether each electrode's mean count is taken away first.

    Returns
    -------
    numpy.ndarray
        Shape (recording, lag).

    Examples
    --------
    >>> autocorrelation(Wells(np.ones((1, 2, 8)), 0.5), num_lags=2)
    array([[0., 0.]])
    """
    _check_lags(num_lags, wells)
    power = np.abs(_spectra(wells, centred=centred)) ** 2
    full = np.fft.irfft(power.mean(1), n=wells.num_bins, axis=-1) / wells.num_bins
    return np.asarray(full[:, :num_lags])


def orbit_cross_correlation(
    wells: Wells, group: ElectrodeGroup, *, num_lags: int = 25, centred: bool = True
) -> Floats:
    """Return cross-covariances of electrode pairs, averaged over each orbit of pairs under G.

    Both signs of the lag are averaged. Neither a shift nor a permutation of G changes them.

    Parameters
    ----------
    wells : Wells
        The recordings.
    group : ElectrodeGroup
        The permutations.
    num_lags : int
        Lags in bins.
    centred : bool
        Whether each electrode's mean count is taken away first.

    Returns
    -------
    numpy.ndarray
        Shape (recording, orbit * lag).
    """
    _check_lags(num_lags, wells)
    if wells.counts.shape[1] != group.num_electrodes:
        raise DataError(
            f"`wells` has {wells.counts.shape[1]} electrodes, the group permutes "
            f"{group.num_electrodes}. Build the group for these electrodes."
        )
    spectra = _spectra(wells, centred=centred)
    parts = []
    for orbit in pair_orbits(group):
        cross = np.mean([np.real(spectra[:, a].conj() * spectra[:, b]) for a, b in orbit], axis=0)
        # The real part of a cross-spectrum is the spectrum of the mean over both signs.
        full = np.fft.irfft(cross, n=wells.num_bins, axis=-1) / wells.num_bins
        parts.append(full[:, :num_lags])
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(wells), 0))


def pair_orbits(group: ElectrodeGroup) -> list[list[tuple[int, int]]]:
    """Return the unordered pairs of electrodes, grouped into orbits of the permutations.

    Examples
    --------
    >>> from probneuro.components.shifts import mirror_flips_323
    >>> len(pair_orbits(mirror_flips_323()))
    10
    """
    num = group.num_electrodes
    left = {(a, b) for a in range(num) for b in range(a + 1, num)}
    found = []
    for pair in sorted(left):
        if pair in left:
            images = {tuple(sorted((p[pair[0]], p[pair[1]]))) for p in group.permutations}
            orbit = sorted((int(a), int(b)) for a, b in images)
            left -= set(orbit)
            found.append(orbit)
    return found


def power_spectrum(wells: Wells) -> Floats:
    """Return the log power spectrum averaged over electrodes, shape (recording, frequency)."""
    power = (np.abs(_spectra(wells)) ** 2).mean(1)[:, 1:] / wells.num_bins
    return np.asarray(np.log(power + 1e-6))


def cross_spectrum(wells: Wells) -> Floats:
    """Return the real cross-spectrum averaged over pairs of electrodes, over the mean power.

    Shape (recording, frequency), each value at most 1: how far electrodes go together at a
    frequency.
    """
    spectra = _spectra(wells)[..., 1:]
    num = spectra.shape[1]
    power = (np.abs(spectra) ** 2).mean(1)
    together = (np.abs(spectra.sum(1)) ** 2 - num * power) / max(num * (num - 1), 1)
    return np.asarray(together / (power + 1e-12))


def correlation_features(
    wells: Wells, group: ElectrodeGroup, *, num_lags: int = 50, centred: bool = True
) -> Floats:
    """Return mean rate, autocorrelation and orbit cross-correlation side by side.

    With ``centred=False`` products of counts are kept whole. They hold the squared rate too, and
    tell the kinds of the synthetic recordings apart better.
    """
    rate = firing_rates(wells)
    rate_and_spread = np.stack([rate.mean(1), rate.std(1)], axis=1)
    own = autocorrelation(wells, num_lags=num_lags, centred=centred)
    lags = max(1, num_lags // 5)
    across = orbit_cross_correlation(wells, group, num_lags=lags, centred=centred)
    return np.hstack([rate_and_spread, own, across])


def burst_metrics(wells: Wells | WellSpikes, *, settings: MetricSettings | None = None) -> Floats:
    """Return the 44 metrics, blanks filled with 0 and marked by a column of their own.

    Parameters
    ----------
    wells : Wells or WellSpikes
        Recordings. For counts in wide bins pass thresholds that suit the bins, as
        `metrics_of_bins` makes them.
    settings : MetricSettings, optional
        The thresholds.

    Returns
    -------
    numpy.ndarray
        Shape (recording, 44 and as many marks as metrics that are ever blank).
    """
    table = metrics_table(wells, settings=settings).to_numpy(dtype=np.float64)
    blank = np.isnan(table)
    sometimes = blank.any(0) & ~blank.all(0)
    return np.hstack([np.nan_to_num(table), blank[:, sometimes].astype(np.float64)])


def metrics_of_bins(bin_width: float) -> MetricSettings:
    """Return thresholds for counts in wide bins: a burst is a run of filled bins.

    Axion's 100 ms mean nothing where a bin is longer. The interval is one and a half bins.

    Examples
    --------
    >>> metrics_of_bins(0.5).max_interval
    0.75
    """
    interval = 1.5 * bin_width
    return MetricSettings(
        max_interval=interval, min_spikes=3, network_interval=0.5 * bin_width, network_spikes=5
    )
