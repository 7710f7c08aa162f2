"""Spike data: containers, the checks at their border, readers and packaged recordings."""

from probneuro.data.binned import BinnedSpikes
from probneuro.data.examples import example_names, example_truth, load_example
from probneuro.data.readers import from_neo, from_pynapple, read_spikes
from probneuro.data.spike_trains import SpikeTrains

__all__ = [
    "BinnedSpikes",
    "SpikeTrains",
    "example_names",
    "example_truth",
    "from_neo",
    "from_pynapple",
    "load_example",
    "read_spikes",
]
