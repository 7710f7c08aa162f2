"""Readers of spike times: one file a format, one function for all."""

from probneuro.data.readers.dispatch import read_spikes
from probneuro.data.readers.objects import from_neo, from_pynapple

__all__ = ["from_neo", "from_pynapple", "read_spikes"]
