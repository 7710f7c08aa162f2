"""Readers of spike times: one file a format, one function for all."""

from probneuro.data.readers.dispatch import read_spikes
from probneuro.data.readers.neural_metrics import NeuralMetrics, read_neural_metrics
from probneuro.data.readers.objects import from_neo, from_pynapple
from probneuro.data.readers.wells import join_wells, read_wells

__all__ = [
    "NeuralMetrics",
    "from_neo",
    "from_pynapple",
    "join_wells",
    "read_neural_metrics",
    "read_spikes",
    "read_wells",
]
