"""Sparse time-varying GLM with plastic synapses."""

from probneuro.components.short_term import ShortTermPlasticity
from probneuro.models.stdp_glm.networks import (
    Candidates,
    DalesLaw,
    DistanceDependent,
    ErdosRenyi,
    FullyConnected,
    InputsTo,
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
    "ShortTermPlasticity",
    "StochasticBlock",
]
