"""Spike data: containers, the checks at their border, readers and packaged recordings."""

from probneuro.data.binned import BinnedSpikes
from probneuro.data.examples import example_names, example_truth, load_example
from probneuro.data.readers import (
    NeuralMetrics,
    from_neo,
    from_pynapple,
    join_wells,
    read_neural_metrics,
    read_spikes,
    read_wells,
)
from probneuro.data.spike_trains import SpikeTrains
from probneuro.data.well_splits import grouped_split, leave_one_group_out
from probneuro.data.wells import Wells, WellSpikes

__all__ = [
    "BinnedSpikes",
    "NeuralMetrics",
    "SpikeTrains",
    "WellSpikes",
    "Wells",
    "example_names",
    "example_truth",
    "from_neo",
    "from_pynapple",
    "grouped_split",
    "join_wells",
    "leave_one_group_out",
    "load_example",
    "read_neural_metrics",
    "read_spikes",
    "read_wells",
]
