"""All metrics of a well, with the conventions of Axion's exports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probneuro.components.neural_metrics.bursts import Burst, bursts_of_train, network_bursts
from probneuro.components.neural_metrics.names import METRIC_NAMES
from probneuro.components.neural_metrics.synchrony import synchrony
from probneuro.core.errors import DataError, SettingError
from probneuro.data.wells import Wells, WellSpikes

Floats = NDArray[np.float64]
_NAN: Final = float("nan")


@final
@dataclass(frozen=True, kw_only=True)
class MetricSettings:
    """The thresholds, by default those printed in Axion's exports.

    Parameters
    ----------
    active_rate : float
        Fewest spikes a minute of an active electrode.
    max_interval, min_spikes
        Of an electrode burst: seconds, spikes.
    network_interval, network_spikes, network_share
        Of a network burst: seconds, spikes, share of electrodes.
    synchrony_window : float
        Seconds.
    """

    active_rate: float = 5.0
    max_interval: float = 0.1
    min_spikes: int = 5
    network_interval: float = 0.1
    network_spikes: int = 50
    network_share: float = 0.35
    synchrony_window: float = 0.02

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise SettingError(
                    f"`{name}` must be positive; got {value!r}. Its default is "
                    f"{getattr(MetricSettings, name)}."
                )


def _mean(values: Sequence[float] | Floats) -> float:
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else _NAN


def _std(values: Sequence[float] | Floats, *, single: float = _NAN) -> float:
    """Return the standard deviation (ddof 1), and ``single`` where only one value is known."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if known.size == 1:
        return single
    return float(known.std(ddof=1)) if known.size else _NAN


def _variation(intervals: Floats) -> float:
    """Return sd (ddof 1) over mean, NaN for fewer than two intervals or all of 0."""
    if intervals.size < 2:
        return _NAN
    return _ratio(float(intervals.std(ddof=1)), float(intervals.mean()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else _NAN


def _of_electrode(bursts: list[Burst], num_spikes: int, duration: float) -> dict[str, float]:
    """Return the burst metrics of one electrode that has spikes."""
    starts = np.array([b.start for b in bursts])
    between = np.diff(starts)
    share = 100.0 * sum(b.num_spikes for b in bursts) / num_spikes
    return {
        "Burst Duration (sec)": _mean([b.duration for b in bursts]),
        "Number of Spikes per Burst": _mean([b.num_spikes for b in bursts]),
        "Mean ISI within Burst (sec)": _mean([b.intervals.mean() for b in bursts]),
        "Median ISI within Burst (sec)": _mean([float(np.median(b.intervals)) for b in bursts]),
        "Median/Mean ISI within Burst": _mean(
            [_ratio(float(np.median(b.intervals)), float(b.intervals.mean())) for b in bursts]
        ),
        "Inter-Burst Interval (sec)": _mean(between),
        "Burst Frequency (Hz)": len(bursts) / duration if bursts else _NAN,
        "IBI Coefficient of Variation": _variation(between),
        "Burst Percentage": share,
    }


_ZERO_IF_SINGLE: Final = ("Inter-Burst Interval (sec)", "IBI Coefficient of Variation")
"""Axion's exports write 0 for these spreads over a single electrode, and leave others blank."""


def _electrode_part(
    trains: Mapping[str, Floats], duration: float, s: MetricSettings
) -> dict[str, float]:
    per_electrode, counts = [], []
    for times in trains.values():
        if times.size:
            found = bursts_of_train(times, max_interval=s.max_interval, min_spikes=s.min_spikes)
            counts.append(len(found))
            per_electrode.append(_of_electrode(found, times.size, duration))
    values: dict[str, float] = {
        "Number of Bursts": float(sum(counts)),
        "Number of Bursting Electrodes": float(sum(c > 0 for c in counts)),
    }
    for name in _of_electrode([], 1, 1.0):
        column = [row[name] for row in per_electrode]
        stem, _, unit = name.partition(" (")
        tail = f" ({unit}" if unit else ""
        values[f"{stem} - Avg{tail}"] = _mean(column)
        single = 0.0 if name in _ZERO_IF_SINGLE else _NAN
        values[f"{stem} - Std{tail}"] = _std(column, single=single)
    return values


def _network_part(
    trains: Mapping[str, Floats], num: int, duration: float, s: MetricSettings
) -> dict[str, float]:
    bursts = network_bursts(
        trains, num, max_interval=s.network_interval, min_spikes=s.network_spikes,
        min_share=s.network_share,
    )  # fmt: skip
    columns: dict[str, list[float]] = {
        "Network Burst Duration{} (sec)": [b.duration for b in bursts],
        "Number of Spikes per Network Burst{}": [b.num_spikes for b in bursts],
        "Mean ISI within Network Burst{} (sec)": [b.intervals.mean() for b in bursts],
        "Median ISI within Network Burst{} (sec)": [float(np.median(b.intervals)) for b in bursts],
        "Median/Mean ISI within Network Burst{}": [
            _ratio(float(np.median(b.intervals)), float(b.intervals.mean())) for b in bursts
        ],
        "Number of Elecs Participating in Burst{}": [b.num_electrodes for b in bursts],
        "Number of Spikes per Network Burst per Channel{}": [
            b.num_spikes / b.num_electrodes for b in bursts
        ],
    }
    values: dict[str, float] = {
        "Number of Network Bursts": float(len(bursts)),
        "Network Burst Frequency": len(bursts) / duration if bursts else _NAN,
    }
    for name, column in columns.items():
        values[name.format(" - Avg")] = _mean(column)
        values[name.format(" - Std")] = _std(column)
    total = sum(t.size for t in trains.values())
    inside = sum(b.num_spikes for b in bursts)
    values["Network Burst Percentage"] = 100.0 * inside / total if bursts else _NAN
    values["Network IBI Coefficient of Variation"] = _variation(np.diff([b.start for b in bursts]))
    lengths = [b.duration for b in bursts]
    values["Network Normalized Duration IQR"] = (
        _ratio(float(np.subtract(*np.percentile(lengths, [75, 25]))), float(np.median(lengths)))
        if lengths
        else _NAN
    )
    return values


def well_metrics(
    trains: Mapping[str, Any],
    *,
    duration: float,
    num_electrodes: int,
    settings: MetricSettings | None = None,
) -> dict[str, float]:
    """Return the 44 metrics of one well by their export names; NaN where an export is blank.

    Parameters
    ----------
    trains : mapping of str to array_like
        Spike times in seconds by electrode, sorted; silent electrodes may be left out.
    duration : float
        Seconds recorded.
    num_electrodes : int
        Electrodes of the well, silent ones included: the mean rate and the share of electrodes in
        a network burst are over all of them.
    settings : MetricSettings, optional
        The thresholds.

    Returns
    -------
    dict of str to float

    Raises
    ------
    DataError
        If a time is not finite.
    SettingError
        If the duration is not positive, or there are fewer electrodes than trains.

    Notes
    -----
    Conventions, each read off an export: an ``- Avg`` is the mean over electrodes (or network
    bursts) of each one's own mean, a ``- Std`` their standard deviation (ddof 1), not a mean of
    standard deviations; an **inter-burst interval runs from start to start**; the burst percentage
    is over all electrodes with spikes, not only bursting ones; the weighted rate and nothing else
    is over active electrodes; median over mean is taken in each burst and then averaged. A
    variation coefficient needs two intervals.

    References
    ----------
    Axion BioSystems, AxIS Navigator and Neural Metric Tool exports; Dey et al. (2025), Fig. 6a.

    Examples
    --------
    >>> found = well_metrics({"11": [0, 0.1, 0.2, 0.3, 0.4]}, duration=10.0, num_electrodes=16)
    >>> found["Number of Bursts"], round(found["Burst Duration - Avg (sec)"], 3), len(found)
    (1.0, 0.4, 44)
    """
    s = settings or MetricSettings()
    known = {e: np.sort(np.asarray(t, dtype=np.float64)) for e, t in trains.items()}
    _check_well(known, duration, num_electrodes)
    sizes = np.array([t.size for t in known.values()], dtype=np.float64)
    rates = sizes / duration
    active = rates * 60.0 >= s.active_rate * (1.0 - 1e-12)
    values: dict[str, float] = {
        "Number of Spikes": float(sizes.sum()),
        "Mean Firing Rate (Hz)": float(sizes.sum() / duration / num_electrodes),
        "ISI Coefficient of Variation - Avg": _mean(
            [_variation(np.diff(t)) for t in known.values()]
        ),
        "Number of Active Electrodes": float(active.sum()),
        "Weighted Mean Firing Rate (Hz)": _mean(rates[active]),
    }
    values |= _electrode_part(known, duration, s)
    values |= _network_part(known, num_electrodes, duration, s)
    return {name: values[name] for name in METRIC_NAMES}


def _check_well(trains: Mapping[str, Floats], duration: float, num_electrodes: int) -> None:
    if not (np.isfinite(duration) and duration > 0):
        raise SettingError(f"`duration` must be positive seconds; got {duration!r}. Correct it.")
    if num_electrodes < max(1, len(trains)):
        raise SettingError(
            f"`num_electrodes` must be {max(1, len(trains))} or more, the trains given; got "
            f"{num_electrodes}. Count silent electrodes too."
        )
    for name, times in trains.items():
        if not np.isfinite(times).all():
            raise DataError(
                f"`trains` of electrode {name} must be finite; got NaN or infinity. Delete those "
                "spikes."
            )


def spikes_of_counts(wells: Wells) -> WellSpikes:
    """Return spike times that have the given counts, spread evenly inside each bin.

    For metrics of recordings of which only counts are left. What lasts less than a bin, such as
    intervals and bursts, is then of the bins, not of the cells.
    """
    recordings = []
    for counts in wells.counts.astype(np.int64):
        well = {}
        for name, row in zip(wells.electrodes, counts, strict=True):
            bins = np.repeat(np.arange(row.size), row)
            ends = np.cumsum(row)
            rank = np.arange(bins.size) - (ends - row)[bins]
            well[name] = (bins + (rank + 0.5) / np.maximum(row[bins], 1)) * wells.bin_width
        recordings.append(well)
    return WellSpikes(
        recordings, wells.duration, electrodes=wells.electrodes, labels=wells.labels,
        source=wells.source,
    )  # fmt: skip


def metrics_table(
    wells: WellSpikes | Wells,
    *,
    settings: MetricSettings | None = None,
    with_synchrony: bool = False,
) -> pd.DataFrame:
    """Return the metrics of every recording, one row a recording, one column a metric.

    Parameters
    ----------
    wells : WellSpikes or Wells
        Spike times; counts go through `spikes_of_counts`.
    settings : MetricSettings, optional
        The thresholds.
    with_synchrony : bool
        Whether to add ``Mean Spike Time Tiling Coefficient``, which is ours, not Axion's.

    Returns
    -------
    pandas.DataFrame

    Examples
    --------
    >>> spikes = WellSpikes([{"11": [0.1, 0.7]}], 1.0, electrodes=["11", "12"])
    >>> metrics_table(spikes)["Mean Firing Rate (Hz)"].tolist()
    [1.0]
    """
    s = settings or MetricSettings()
    spikes = spikes_of_counts(wells) if isinstance(wells, Wells) else wells
    rows = []
    for well in spikes.times:
        num = len(spikes.electrodes)
        row = well_metrics(well, duration=spikes.duration, num_electrodes=num, settings=s)
        if with_synchrony:
            row["Mean Spike Time Tiling Coefficient"] = synchrony(
                well, start=spikes.start, stop=spikes.start + spikes.duration,
                window=s.synchrony_window,
            )  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)
