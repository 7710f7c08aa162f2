"""Public checks: conformance of models and rules, and statistical asserts."""

from probneuro.testing.calibration import rank_scores, sbc
from probneuro.testing.gibbs import check_gibbs_target
from probneuro.testing.learning_rules import check_learning_rule
from probneuro.testing.state_space import check_state_space_model

__all__ = [
    "check_gibbs_target",
    "check_learning_rule",
    "check_state_space_model",
    "rank_scores",
    "sbc",
]
