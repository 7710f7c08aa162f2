"""Figures of results. Each takes a DataTree, or several by rule name, and returns a Figure."""

from probneuro.plots.chains import trace_rank
from probneuro.plots.curves import has_curve, impulse_responses, learning_rule_curve
from probneuro.plots.gallery import comparison_figures, result_figures, save_figures
from probneuro.plots.held_out import held_out_comparison
from probneuro.plots.matrices import connectivity
from probneuro.plots.trajectories import weight_trajectories

__all__ = [
    "comparison_figures",
    "connectivity",
    "has_curve",
    "held_out_comparison",
    "impulse_responses",
    "learning_rule_curve",
    "result_figures",
    "save_figures",
    "trace_rank",
    "weight_trajectories",
]
