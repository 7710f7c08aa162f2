"""Which synapses may exist, how likely each is, and which share a rule's parameters."""

from probneuro.models.stdp_glm.networks.dale import DalesLaw
from probneuro.models.stdp_glm.networks.graphs import (
    Candidates,
    ErdosRenyi,
    FullyConnected,
    InputsTo,
    Network,
)
from probneuro.models.stdp_glm.networks.sharing import PerClass, PerSynapse, Shared, Sharing
from probneuro.models.stdp_glm.networks.structured import DistanceDependent, StochasticBlock

__all__ = [
    "Candidates",
    "DalesLaw",
    "DistanceDependent",
    "ErdosRenyi",
    "FullyConnected",
    "InputsTo",
    "Network",
    "PerClass",
    "PerSynapse",
    "Shared",
    "Sharing",
    "StochasticBlock",
]
