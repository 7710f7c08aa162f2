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
from probneuro.plots.embeddings import (
    accuracy_bars,
    aligned_reconstruction,
    confusion_matrices,
    embedding_map,
    training_losses,
    treatment_tree,
)
from probneuro.plots.gallery import comparison_figures, result_figures, save_figures
from probneuro.plots.held_out import held_out_comparison
from probneuro.plots.matrices import connectivity
from probneuro.plots.power import power_curves
from probneuro.plots.predictive import predictive_statistics
from probneuro.plots.recovery import recovery_dots
from probneuro.plots.solutions import (
    entropy_course,
    feature_check,
    solution_figures,
    solution_pairs,
    voltage_traces,
)
from probneuro.plots.stimulation import (
    controller_roc,
    forecast_bands,
    forecast_scores,
    latency_histogram,
    state_responses,
    temporal_bases,
)
from probneuro.plots.stimulation_states import (
    error_over_trials,
    latent_trajectories,
    suitability_maps,
)
from probneuro.plots.trajectories import weight_trajectories

__all__ = [
    "accuracy_bars",
    "aligned_reconstruction",
    "comparison_figures",
    "confusion_matrices",
    "connectivity",
    "controller_roc",
    "detection_figures",
    "embedding_map",
    "entropy_course",
    "error_over_trials",
    "feature_check",
    "forecast_bands",
    "forecast_scores",
    "has_curve",
    "held_out_comparison",
    "impulse_responses",
    "latency_histogram",
    "latent_trajectories",
    "learning_rule_curve",
    "power_curves",
    "precision_recall_curves",
    "predictive_statistics",
    "recovery_dots",
    "reliability_curves",
    "result_figures",
    "roc_curves",
    "save_figures",
    "score_matrices",
    "solution_figures",
    "solution_pairs",
    "state_responses",
    "suitability_maps",
    "temporal_bases",
    "trace_rank",
    "training_losses",
    "treatment_tree",
    "voltage_traces",
    "weight_trajectories",
]
