"""Metrics by py-mea-axion and elephant, for neural_metrics.py, which runs this with its own Python.

Reads wells of spike times from a JSON file and prints the metrics, by the names of Axion's exports.
What py-mea-axion leaves out (spreads, the range of network burst durations) is taken here from the
bursts that it finds.
"""

import json
import sys

import numpy as np
import quantities as pq
from elephant.spike_train_correlation import spike_time_tiling_coefficient
from elephant.statistics import cv, isi
from neo import SpikeTrain
from py_mea_axion.burst.detection import detect_bursts
from py_mea_axion.burst.metrics import well_burst_metrics
from py_mea_axion.network.detection import detect_network_bursts_combined_isi
from py_mea_axion.network.metrics import network_burst_metrics
from py_mea_axion.spike.metrics import summarise_well

OF_BURSTS = {
    "Burst Duration - {} (sec)": "burst_duration_avg",
    "Number of Spikes per Burst - {}": "n_spikes_per_burst_avg",
    "Mean ISI within Burst - {} (sec)": "mean_isi_within_burst_avg",
    "Median ISI within Burst - {} (sec)": "median_isi_within_burst_avg",
    "Median/Mean ISI within Burst - {}": "median_mean_isi_ratio_burst_avg",
    "Inter-Burst Interval - {} (sec)": "ibi_avg",
    "Burst Frequency - {} (Hz)": "burst_freq_avg",
    "IBI Coefficient of Variation - {}": "ibi_cv_avg",
    "Burst Percentage - {}": "burst_pct_avg",
}
OF_NETWORK = {
    "Network Burst Duration - {} (sec)": "network_burst_duration_avg",
    "Number of Spikes per Network Burst - {}": "n_spikes_per_nb_avg",
    "Mean ISI within Network Burst - {} (sec)": "mean_isi_within_nb_avg",
    "Median ISI within Network Burst - {} (sec)": "median_isi_within_nb_avg",
    "Median/Mean ISI within Network Burst - {}": "median_mean_isi_ratio_nb_avg",
    "Number of Elecs Participating in Burst - {}": "n_elecs_per_nb_avg",
    "Number of Spikes per Network Burst per Channel - {}": "n_spikes_per_nb_per_channel_avg",
}
ALONE = {
    "Number of Network Bursts": "n_network_bursts",
    "Network Burst Frequency": "network_burst_freq",
    "Network Burst Percentage": "network_burst_pct",
    "Network IBI Coefficient of Variation": "network_ibi_cv",
}
INTERVAL = 0.1 * (1.0 + 1e-9)
"""Seconds. py-mea-axion takes intervals below its limit, Axion and we up to it; spikes come by a
clock, so that many intervals are exactly 100 ms."""


def spread(values) -> float:
    known = np.asarray([v for v in values if np.isfinite(v)])
    return float(np.std(known, ddof=1)) if known.size > 1 else float("nan")


def activity(trains: dict, duration: float, num_electrodes: int) -> dict[str, float]:
    table = summarise_well(trains, duration, "A1", 5.0 / 60.0 * (1.0 - 1e-12))
    # Without enough spikes py-mea-axion says 0 where elephant and an export say nothing.
    variations = [float(cv(isi(t), ddof=1)) for t in trains.values() if len(t) > 2]
    active = table[table["is_active"]]
    return {
        "Number of Spikes": float(table["n_spikes"].sum()),
        "Mean Firing Rate (Hz)": float(table["mfr_hz"].sum() / num_electrodes),
        "ISI Coefficient of Variation - Avg": float(np.mean(variations)) if variations else np.nan,
        "Number of Active Electrodes": float(len(active)),
        "Weighted Mean Firing Rate (Hz)": float(active["mfr_hz"].mean()),
    }


def electrode_bursts(trains: dict, duration: float) -> dict[str, float]:
    bursts = {e: detect_bursts(t, max_isi_s=INTERVAL) for e, t in trains.items()}
    told = well_burst_metrics(bursts, duration, trains)
    found = {"Number of Bursts": told["n_bursts"],
             "Number of Bursting Electrodes": told["n_bursting_electrodes"]}  # fmt: skip
    alone = [well_burst_metrics({e: b}, duration, {e: trains[e]}) for e, b in bursts.items()]
    for name, key in OF_BURSTS.items():
        found[name.format("Avg")] = told[key]
        found[name.format("Std")] = spread([one[key] for one in alone])
    # It leaves electrodes without a burst out of this spread; their share is 0, as Axion has it.
    percentages = np.nan_to_num([one["burst_pct_avg"] for one in alone])
    found["Burst Percentage - Avg"] = float(percentages.mean())
    found["Burst Percentage - Std"] = spread(percentages)
    return found


def network_bursts(trains: dict, duration: float, num_electrodes: int) -> dict[str, float]:
    fired = len(trains)
    # Its share is of electrodes that fired; Axion's, and ours, of all.
    share = 0.35 * num_electrodes / max(fired, 1)
    bursts = detect_network_bursts_combined_isi(
        trains, duration, max_isi_s=INTERVAL, participation_threshold=share
    )
    told = network_burst_metrics(bursts, trains, duration)
    found = {name: told[key] for name, key in ALONE.items()}
    alone = [network_burst_metrics([b], trains, duration) for b in bursts]
    for name, key in OF_NETWORK.items():
        found[name.format("Avg")] = told[key]
        found[name.format("Std")] = spread([one[key] for one in alone])
    lengths = [b.duration for b in bursts]
    found["Network Normalized Duration IQR"] = (
        float(np.subtract(*np.percentile(lengths, [75, 25])) / np.median(lengths))
        if lengths
        else np.nan
    )
    return found


def synchrony(trains: dict, start: float, stop: float) -> float:
    kept = [SpikeTrain(t * pq.s, t_start=start * pq.s, t_stop=stop * pq.s) for t in trains.values()]
    pairs = [(a, b) for k, a in enumerate(kept) for b in kept[k + 1 :]]
    values = [float(spike_time_tiling_coefficient(a, b, dt=0.02 * pq.s)) for a, b in pairs]
    return float(np.mean(values)) if values else float("nan")


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        wells = json.load(file)
    rows = []
    for well in wells:
        trains = {e: np.asarray(t) for e, t in well["trains"].items() if t}
        length, num = well["duration"], well["num_electrodes"]
        row = activity(trains, length, num) | electrode_bursts(trains, length)
        row |= network_bursts(trains, length, num)
        if well["with_synchrony"]:
            stop = well["start"] + length
            row["Mean Spike Time Tiling Coefficient"] = synchrony(trains, well["start"], stop)
        rows.append({name: float(value) for name, value in row.items()})
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
