"""Learning rules: how synaptic weights follow the spikes on both sides."""

from probneuro.learning_rules.additive import Additive
from probneuro.learning_rules.bounded import AdditiveBounded
from probneuro.learning_rules.multiplicative import Multiplicative
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import BoundedRule, LearningRule, UnboundedRule
from probneuro.learning_rules.static import Static

RULES: dict[str, type[LearningRule]] = {
    rule.name: rule for rule in (Static, Additive, AdditiveBounded, Multiplicative)
}

__all__ = [
    "RULES",
    "Additive",
    "AdditiveBounded",
    "BoundedRule",
    "LearningRule",
    "Multiplicative",
    "SpikePairs",
    "Static",
    "UnboundedRule",
]
