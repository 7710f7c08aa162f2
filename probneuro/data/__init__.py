"""Data: containers, the checks at their border, readers and packaged recordings."""

from probneuro.data.binned import BinnedSpikes
from probneuro.data.continuous import Continuous
from probneuro.data.examples import example_names, example_truth, load_example
from probneuro.data.readers import from_neo, from_pynapple, read_spikes
from probneuro.data.signal_filters import band_pass, band_power, notch
from probneuro.data.spike_trains import SpikeTrains
from probneuro.data.stim_files import read_continuous, read_stim_trials
from probneuro.data.stim_trials import StimTrials

__all__ = [
    "BinnedSpikes",
    "Continuous",
    "SpikeTrains",
    "StimTrials",
    "band_pass",
    "band_power",
    "example_names",
    "example_truth",
    "from_neo",
    "from_pynapple",
    "load_example",
    "notch",
    "read_continuous",
    "read_spikes",
    "read_stim_trials",
]
