"""Adaptive, state-dependent stimulation from aligned latent states."""

from probneuro.models.omiso.bilinear import BilinearResponse
from probneuro.models.omiso.cache import batch_prediction, member_predictions, response_cache
from probneuro.models.omiso.factor_analysis import FactorAnalysis
from probneuro.models.omiso.latents import (
    LatentSpace,
    align_sessions,
    aligned,
    latent_space,
    latent_trials,
)
from probneuro.models.omiso.networks import PatternCNN, StateLSTM, StateMLP
from probneuro.models.omiso.response import ResponseModel

__all__ = [
    "BilinearResponse",
    "FactorAnalysis",
    "LatentSpace",
    "PatternCNN",
    "ResponseModel",
    "StateLSTM",
    "StateMLP",
    "align_sessions",
    "aligned",
    "batch_prediction",
    "latent_space",
    "latent_trials",
    "member_predictions",
    "response_cache",
]
