"""Sparse time-varying GLM with plastic synapses."""

from probneuro.models.stdp_glm.networks import (
    Candidates,
    ErdosRenyi,
    FullyConnected,
    Network,
    PerSynapse,
    Shared,
    Sharing,
)
from probneuro.models.stdp_glm.program import STDPGLM

__all__ = [
    "STDPGLM",
    "Candidates",
    "ErdosRenyi",
    "FullyConnected",
    "Network",
    "PerSynapse",
    "Shared",
    "Sharing",
]
