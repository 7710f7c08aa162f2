"""Figures of results. Each takes a DataTree, or several by rule name, and returns a Figure."""

from probneuro.plots.chains import trace_rank
from probneuro.plots.curves import has_curve, impulse_responses, learning_rule_curve
from probneuro.plots.detection import (
    detection_figures,
    precision_recall_curves,
    reliability_curves,
    roc_curves,
    score_matrices,
)
from probneuro.plots.gallery import comparison_figures, result_figures, save_figures
from probneuro.plots.held_out import held_out_comparison
from probneuro.plots.matrices import connectivity
from probneuro.plots.predictive import predictive_statistics
from probneuro.plots.recovery import recovery_dots
from probneuro.plots.stimulation_states import (
    error_over_trials,
    latent_trajectories,
    suitability_maps,
)
from probneuro.plots.trajectories import weight_trajectories

__all__ = [
    "comparison_figures",
    "connectivity",
    "detection_figures",
    "error_over_trials",
    "has_curve",
    "held_out_comparison",
    "impulse_responses",
    "latent_trajectories",
    "learning_rule_curve",
    "precision_recall_curves",
    "predictive_statistics",
    "recovery_dots",
    "reliability_curves",
    "result_figures",
    "roc_curves",
    "save_figures",
    "score_matrices",
    "suitability_maps",
    "trace_rank",
    "weight_trajectories",
]
