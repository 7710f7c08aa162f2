"""The pyloric circuit of the stomatogastric ganglion: three cells, seven synapses."""

from probneuro.simulators.stg.circuit import (
    BOUNDS,
    CELLS,
    CONDUCTANCES,
    CRAB,
    CRAB_LIKE,
    PARAMETERS,
    REFERENCE,
    SYNAPSES,
    Circuit,
    pyloric_behaviour,
)
from probneuro.simulators.stg.rhythm import Rhythm, rhythm_of

__all__ = [
    "BOUNDS",
    "CELLS",
    "CONDUCTANCES",
    "CRAB",
    "CRAB_LIKE",
    "PARAMETERS",
    "REFERENCE",
    "SYNAPSES",
    "Circuit",
    "Rhythm",
    "pyloric_behaviour",
    "rhythm_of",
]
