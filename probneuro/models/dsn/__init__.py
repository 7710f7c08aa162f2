"""Degenerate solution networks: maximum-entropy distributions of a simulator's parameters."""

from probneuro.data.behaviour import Behaviour
from probneuro.models.dsn.analysis import (
    Directions,
    compare_behaviours,
    conditional,
    directions,
    predictive_check,
)
from probneuro.models.dsn.program import DSN, CouplingSize, SplineSize

__all__ = [
    "DSN",
    "Behaviour",
    "CouplingSize",
    "Directions",
    "SplineSize",
    "compare_behaviours",
    "conditional",
    "directions",
    "predictive_check",
]
