"""Densities on boxes and simplices that can be sampled, evaluated and trained."""

from probneuro.components.flows.autoregressive import AutoregressiveSpline
from probneuro.components.flows.coupling import AffineCoupling
from probneuro.components.flows.support import Box, Simplex, Support

__all__ = ["AffineCoupling", "AutoregressiveSpline", "Box", "Simplex", "Support"]
