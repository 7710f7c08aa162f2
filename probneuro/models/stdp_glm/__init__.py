"""Sparse time-varying GLM with plastic synapses."""

from probneuro.models.stdp_glm.networks import (
    Candidates,
    DistanceDependent,
    ErdosRenyi,
    FullyConnected,
    Network,
    PerClass,
    PerSynapse,
    Shared,
    Sharing,
    StochasticBlock,
)
from probneuro.models.stdp_glm.program import STDPGLM

__all__ = [
    "STDPGLM",
    "Candidates",
    "DistanceDependent",
    "ErdosRenyi",
    "FullyConnected",
    "Network",
    "PerClass",
    "PerSynapse",
    "Shared",
    "Sharing",
    "StochasticBlock",
]
