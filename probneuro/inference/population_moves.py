"""Hamiltonian moves of many particles at a time, on the scales of their own ensemble."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from probneuro.inference.target import Floats
from probneuro.inference.tempering import TemperedDensity

TARGET_ACCEPT: Final = 0.8
"""Between the optimum of long paths, 0.65 (Beskos et al. 2013), and NUTS' default."""
_PATH: Final = 0.5 * np.pi
"""A quarter of a whitened normal's period: the end does not depend on the start."""
_JITTER: Final = 0.2
_MOST_LEAPFROGS: Final = 32
_SHORT_SHARE: Final = 0.25
_SHORTEST: Final = 0.1
_TAIL: Final = 0.02
_STUCK: Final = 0.05
"""A particle that accepts less often than this stays where it is."""
_STUCK_SHARE: Final = 0.005
_LARGEST_CHANGE: Final = 3.0
_TINY: Final = 1e-300


@dataclass(frozen=True)
class Particles:
    """Particles and their log densities at one temperature.

    Parameters
    ----------
    positions, gradient : numpy.ndarray
        Shape (particle, dimension).
    log_prior, log_likelihood : numpy.ndarray
        Shape (particle,).
    """

    positions: Floats
    log_prior: Floats
    log_likelihood: Floats
    gradient: Floats


def particles_at(density: TemperedDensity, positions: Floats, temperature: float) -> Particles:
    """Return particles at positions, shape (particle, dimension)."""
    found = density.at(positions, temperature)
    return Particles(positions, found.log_prior, found.log_likelihood, found.gradient)


def ensemble_root(positions: Floats) -> Floats:
    """Return a root of the ensemble's covariance, its tails cut so that no outlier rules.

    Parameters
    ----------
    positions : numpy.ndarray
        Shape (particle, dimension).

    Returns
    -------
    numpy.ndarray
        Lower triangular, shape (dimension, dimension).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(4000, 2)) * [1.0, 10.0]
    >>> ensemble_root(x).diagonal().round()
    array([ 1., 10.])
    """
    count, size = positions.shape
    low, high = np.quantile(positions, [_TAIL, 1 - _TAIL], axis=0)
    covariance = np.atleast_2d(np.cov(np.clip(positions, low, high), rowvar=False))
    own = np.diag(covariance) + _TINY
    # Towards the diagonal, as far as the particles are too few to tell correlations.
    weight = size / (size + count)
    covariance = (1 - weight) * covariance + weight * np.diag(own)
    root: Floats = np.linalg.cholesky(covariance)
    return root


def hamiltonian_sweep(
    density: TemperedDensity,
    particles: Particles,
    temperature: float,
    root: Floats,
    step_size: float,
    rng: np.random.Generator,
) -> tuple[Particles, Floats]:
    r"""Move every particle once by Hamiltonian Monte Carlo.

    Positions are :math:`u = R z` with R the root, so that leapfrog steps in z have the
    ensemble's scales; most paths are about a quarter of a period long. A quarter of the paths,
    chosen anew, take steps up to ten times shorter: particles in a narrow place, which hardly
    ever accept the others, leave it by those, and no evidence is lost there.

    Parameters
    ----------
    density : TemperedDensity
        Prior and likelihood.
    particles : Particles
        Evaluated at this temperature.
    temperature : float
        The likelihood's exponent, in (0, 1].
    root : numpy.ndarray
        Shape (dimension, dimension).
    step_size : float
        Of a leapfrog step, in whitened space.
    rng : numpy.random.Generator
        The run's stream.

    Returns
    -------
    tuple
        The particles, and each one's chance of acceptance, shape (particle,).
    """
    count, size = particles.positions.shape
    steps = int(np.clip(round(_PATH / step_size), 1, _MOST_LEAPFROGS))
    step = step_size * rng.uniform(1 - _JITTER, 1 + _JITTER, (count, 1))
    short = rng.uniform(size=(count, 1)) < _SHORT_SHARE
    step = np.where(short, step * _SHORTEST ** rng.uniform(size=(count, 1)), step)
    momentum = rng.normal(size=(count, size))
    before = _energy(particles, momentum, temperature)
    moved = particles
    with np.errstate(over="ignore", invalid="ignore"):
        momentum = momentum + 0.5 * step * (moved.gradient @ root)
        for k in range(steps):
            positions = moved.positions + (step * momentum) @ root.T
            moved = particles_at(density, positions, temperature)
            last = k == steps - 1
            momentum = momentum + (0.5 if last else 1.0) * step * (moved.gradient @ root)
        change = before - _energy(moved, momentum, temperature)
    change = np.where(np.isnan(change), -np.inf, change)
    accepted = np.log(rng.uniform(size=count)) < change
    return _chosen(accepted, moved, particles), np.exp(np.minimum(change, 0.0))


def tuned_step_size(step_size: float, acceptance: Floats) -> float:
    r"""Return the step size that would have met the target acceptance, and leave none stuck.

    On a normal the mean acceptance is :math:`2 \Phi(-c\,\epsilon^2)` (Beskos et al. 2013), which
    one measurement inverts. Where a few particles sit in a narrow place, that mean is blind to
    them, and evidence is lost there without a sign; so the steps shrink until at most one
    particle in two hundred hardly ever moves.

    Parameters
    ----------
    step_size : float
        Of the last sweep.
    acceptance : numpy.ndarray
        Chances of acceptance in the last sweep, shape (particle,).

    Returns
    -------
    float
        At most three times larger or smaller.

    Examples
    --------
    >>> round(tuned_step_size(0.5, np.full(1000, 0.4)), 3)
    0.274
    >>> round(tuned_step_size(0.5, np.r_[np.zeros(40), np.full(960, 0.9)]), 3)
    0.25
    """
    seen = ndtri(0.5 * np.clip(acceptance.mean(), 0.001, 0.999))
    factor = np.sqrt(ndtri(0.5 * TARGET_ACCEPT) / seen)
    stuck = float((acceptance < _STUCK).mean())
    # A cube root, since the share of the stuck grows faster than the step.
    factor = min(factor, np.cbrt(_STUCK_SHARE / max(stuck, 1e-9)))
    return float(step_size * np.clip(factor, 1 / _LARGEST_CHANGE, _LARGEST_CHANGE))


def ranks(particles: Particles) -> Floats:
    """Return standardised ranks of coordinates and likelihood, shape (particle, 1 + dimension)."""
    columns = np.column_stack([particles.log_likelihood, particles.positions])
    ranked = rankdata(columns, axis=0)
    ranked -= ranked.mean(0)
    spread = np.sqrt((ranked**2).sum(0))
    standard: Floats = np.divide(ranked, spread, out=np.zeros_like(ranked), where=spread > 0)
    return standard


def rank_correlation(start: Floats, particles: Particles) -> float:
    """Return the largest rank correlation of any coordinate, or the likelihood, with its start."""
    return float(np.abs((start * ranks(particles)).sum(0)).max())


def _energy(particles: Particles, momentum: Floats, temperature: float) -> Floats:
    value = particles.log_prior + temperature * particles.log_likelihood
    energy: Floats = 0.5 * (momentum**2).sum(1) - value
    return energy


def _chosen(accepted: np.ndarray, moved: Particles, stayed: Particles) -> Particles:
    rows = accepted[:, None]
    return Particles(
        np.where(rows, moved.positions, stayed.positions),
        np.where(accepted, moved.log_prior, stayed.log_prior),
        np.where(accepted, moved.log_likelihood, stayed.log_likelihood),
        np.where(rows, moved.gradient, stayed.gradient),
    )
