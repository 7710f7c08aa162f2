"""The 44 metrics of Axion's Neural Metric Tool, and synchrony, from spike times."""

from probneuro.components.neural_metrics.bursts import Burst, bursts_of_train, network_bursts
from probneuro.components.neural_metrics.names import (
    ACTIVITY,
    ELECTRODE_BURST,
    METRIC_NAMES,
    NETWORK_BURST,
)
from probneuro.components.neural_metrics.synchrony import spike_time_tiling, synchrony
from probneuro.components.neural_metrics.table import (
    MetricSettings,
    metrics_table,
    spikes_of_counts,
    well_metrics,
)

__all__ = [
    "ACTIVITY",
    "ELECTRODE_BURST",
    "METRIC_NAMES",
    "NETWORK_BURST",
    "Burst",
    "MetricSettings",
    "bursts_of_train",
    "metrics_table",
    "network_bursts",
    "spike_time_tiling",
    "spikes_of_counts",
    "synchrony",
    "well_metrics",
]
