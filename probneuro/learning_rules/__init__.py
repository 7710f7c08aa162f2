"""Learning rules: how synaptic weights follow the spikes on both sides."""

from probneuro.learning_rules.additive import Additive
from probneuro.learning_rules.bounded import AdditiveBounded
from probneuro.learning_rules.lag_bumps import LagBumps
from probneuro.learning_rules.multiplicative import Multiplicative
from probneuro.learning_rules.oja import Oja
from probneuro.learning_rules.pair_curve import HasCurveBasis, HasPairCurve
from probneuro.learning_rules.pair_kernel import PairKernel
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.random_walk import RandomWalk
from probneuro.learning_rules.rule import BoundedRule, LearningRule, UnboundedRule
from probneuro.learning_rules.static import Static
from probneuro.learning_rules.triplet import Triplet

RULES: dict[str, type[LearningRule]] = {
    rule.name: rule
    for rule in (
        Static,
        RandomWalk,
        Additive,
        AdditiveBounded,
        Multiplicative,
        Triplet,
        PairKernel,
        Oja,
    )
}

__all__ = [
    "RULES",
    "Additive",
    "AdditiveBounded",
    "BoundedRule",
    "HasCurveBasis",
    "HasPairCurve",
    "LagBumps",
    "LearningRule",
    "Multiplicative",
    "Oja",
    "PairKernel",
    "RandomWalk",
    "SpikePairs",
    "Static",
    "Triplet",
    "UnboundedRule",
]
