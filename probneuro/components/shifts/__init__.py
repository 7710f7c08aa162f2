"""Cyclic shifts in time times permutations of electrodes: orbits of recordings, exactly, by FFT."""

from probneuro.components.shifts.electrode_group import (
    ElectrodeGroup,
    grid_symmetries,
    group_of_electrodes,
    layout_323,
    mirror_flips_323,
    no_permutation,
    symmetries_of_positions,
)
from probneuro.components.shifts.likelihood import (
    BernoulliCounts,
    GaussianValues,
    NegativeBinomialCounts,
    OrbitLikelihood,
    PoissonCounts,
)
from probneuro.components.shifts.marginal import (
    group_log_likelihood,
    group_log_likelihoods,
    group_log_posterior,
)
from probneuro.components.shifts.orbit import (
    act,
    align,
    orbit_inner_products,
    orbit_loss,
    orbit_mean_loss,
    whole_orbit,
)

__all__ = [
    "BernoulliCounts",
    "ElectrodeGroup",
    "GaussianValues",
    "NegativeBinomialCounts",
    "OrbitLikelihood",
    "PoissonCounts",
    "act",
    "align",
    "grid_symmetries",
    "group_log_likelihood",
    "group_log_likelihoods",
    "group_log_posterior",
    "group_of_electrodes",
    "layout_323",
    "mirror_flips_323",
    "no_permutation",
    "orbit_inner_products",
    "orbit_loss",
    "orbit_mean_loss",
    "symmetries_of_positions",
    "whole_orbit",
]
