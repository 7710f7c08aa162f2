"""Roll-AE: embeddings of multi-well recordings that no shift and no mirror flip changes."""

from probneuro.models.roll_ae.contrastive import ContrastiveEncoder
from probneuro.models.roll_ae.descent import Training
from probneuro.models.roll_ae.networks import Sizes
from probneuro.models.roll_ae.orbit_marginal import OrbitMarginal
from probneuro.models.roll_ae.program import RollAE
from probneuro.models.roll_ae.standard import StandardAE
from probneuro.models.roll_ae.statistics_encoder import StatisticsEncoder
from probneuro.models.roll_ae.training import embed, fit

__all__ = [
    "ContrastiveEncoder",
    "OrbitMarginal",
    "RollAE",
    "Sizes",
    "StandardAE",
    "StatisticsEncoder",
    "Training",
    "embed",
    "fit",
]
