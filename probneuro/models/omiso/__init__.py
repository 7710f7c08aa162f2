"""Adaptive, state-dependent stimulation from aligned latent states."""

from probneuro.models.omiso.factor_analysis import FactorAnalysis

__all__ = ["FactorAnalysis"]
