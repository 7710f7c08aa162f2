"""Data: containers, the checks at their border, readers and packaged recordings."""

from probneuro.data.binned import BinnedSpikes
from probneuro.data.continuous import Continuous
from probneuro.data.examples import example_names, example_truth, load_example
from probneuro.data.latent_trials import LatentTrials
from probneuro.data.readers import (
    NeuralMetrics,
    from_neo,
    from_pynapple,
    join_wells,
    read_neural_metrics,
    read_spikes,
    read_wells,
)
from probneuro.data.session_spikes import read_nwb_session, session_from_spikes
from probneuro.data.signal_filters import band_pass, band_power, notch
from probneuro.data.spike_trains import SpikeTrains
from probneuro.data.stim_files import read_continuous, read_stim_trials
from probneuro.data.stim_sessions import Sessions, StimSession, read_sessions
from probneuro.data.stim_trials import StimTrials
from probneuro.data.usable import UsableCriteria, usable_electrodes
from probneuro.data.well_splits import grouped_split, leave_one_group_out
from probneuro.data.wells import Wells, WellSpikes

__all__ = [
    "BinnedSpikes",
    "Continuous",
    "LatentTrials",
    "NeuralMetrics",
    "Sessions",
    "SpikeTrains",
    "StimSession",
    "StimTrials",
    "UsableCriteria",
    "WellSpikes",
    "Wells",
    "band_pass",
    "band_power",
    "example_names",
    "example_truth",
    "from_neo",
    "from_pynapple",
    "grouped_split",
    "join_wells",
    "leave_one_group_out",
    "load_example",
    "notch",
    "read_continuous",
    "read_neural_metrics",
    "read_nwb_session",
    "read_sessions",
    "read_spikes",
    "read_stim_trials",
    "read_wells",
    "session_from_spikes",
    "usable_electrodes",
]
