"""Public checks: conformance of models and rules, and statistical asserts."""

from probneuro.testing.calibration import rank_scores, sbc
from probneuro.testing.geweke import geweke as geweke
from probneuro.testing.gibbs import check_gibbs_target
from probneuro.testing.learning_rules import check_learning_rule
from probneuro.testing.state_space import check_state_space_model
from probneuro.testing.stats import check_scores

__all__ = [
    "check_gibbs_target",
    "check_learning_rule",
    "check_scores",
    "check_state_space_model",
    "geweke",
    "rank_scores",
    "sbc",
]
