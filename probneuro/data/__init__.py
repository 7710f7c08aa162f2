"""Spike data: containers, the checks at their border, readers and packaged recordings."""

from probneuro.data.binned import BinnedSpikes
from probneuro.data.examples import example_names, example_truth, load_example
from probneuro.data.latent_trials import LatentTrials
from probneuro.data.readers import from_neo, from_pynapple, read_spikes
from probneuro.data.spike_trains import SpikeTrains
from probneuro.data.stim_sessions import Sessions, StimSession, read_sessions
from probneuro.data.usable import UsableCriteria, usable_electrodes

__all__ = [
    "BinnedSpikes",
    "LatentTrials",
    "Sessions",
    "SpikeTrains",
    "StimSession",
    "UsableCriteria",
    "example_names",
    "example_truth",
    "from_neo",
    "from_pynapple",
    "load_example",
    "read_sessions",
    "read_spikes",
    "usable_electrodes",
]
