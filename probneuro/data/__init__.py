"""Spike data: containers, the checks at their border, readers and a packaged recording."""

from probneuro.data.binned import BinnedSpikes
from probneuro.data.spike_trains import SpikeTrains

__all__ = ["BinnedSpikes", "SpikeTrains"]
