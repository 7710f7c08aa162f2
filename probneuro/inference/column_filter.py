"""Particle filters whose particles are vectors: trajectories that move together."""

import numpy as np
from numpy.typing import NDArray

from probneuro.core.columns import ColumnLaw, ColumnObservation
from probneuro.core.errors import InferenceError
from probneuro.inference.particle_filter import ParticleHistory
from probneuro.inference.particle_kernels import normalise, place

Floats = NDArray[np.float64]


def filter_column(
    law: ColumnLaw,
    observation: ColumnObservation,
    num_particles: int,
    rng: np.random.Generator,
    *,
    paths: Floats | None = None,
    ancestor_sampling: bool = False,
) -> ParticleHistory:
    r"""Filter a column of trajectories with particles moved by the prior law.

    .. math::

        x_k^i \sim p(x_k \mid x_{k-1}^{a_k^i}), \qquad
        \hat Z = \prod_k \frac1N \sum_i L_k(x_k^i), \qquad \mathrm E[\hat Z] = Z

    where x is the vector of all states. With ``paths`` the last particle is held on them, with or
    without ancestor sampling; see :func:`probneuro.inference.pgas.conditional_filter`.

    Parameters
    ----------
    law : ColumnLaw
        Prior law of the trajectories.
    observation : ColumnObservation
        Log likelihood of each window.
    num_particles : int
        Number of particles, a held one included.
    rng : numpy.random.Generator
        Source of randomness.
    paths : ndarray, optional
        Trajectories to hold the last particle on, shape (chain, window).
    ancestor_sampling : bool
        Whether the held particle draws its ancestors anew.

    Returns
    -------
    ParticleHistory
        Particles (window, particle, chain), weights, ancestors and evidence.

    Raises
    ------
    InferenceError
        If all particles die.

    Notes
    -----
    Source: Lindsten, Jordan and Schoen (2012), Algorithm 3; resampling is multinomial, which a
    conditional filter needs. The number of particles must grow with that of the chains: the
    proposal does not look at the data.
    """
    windows, chains = observation.num_windows, law.noise.size
    states = np.empty((windows, num_particles, chains))
    log_weights, weights = np.empty((2, windows, num_particles))
    ancestors = np.zeros((windows, num_particles), dtype=np.int64)
    increments = np.empty(windows)
    states[0] = law.initial(rng, num_particles)
    for k in range(windows):
        if k > 0:
            place(weights[k - 1], rng.random(num_particles), ancestors[k])
            mean = law.mean(states[k - 1], k - 1)
            noise = law.noise * rng.standard_normal((num_particles, chains))
            states[k] = mean[ancestors[k]] + noise
        if paths is not None:
            states[k, -1] = paths[:, k]
            ancestors[k, -1] = num_particles - 1
        if paths is not None and ancestor_sampling and k > 0:
            gap = (paths[:, k] - mean) / law.noise
            ancestors[k, -1] = _drawn(log_weights[k - 1] - 0.5 * (gap * gap).sum(axis=1), rng)
        log_weights[k] = observation.at(k, states[k])
        increments[k] = normalise(log_weights[k], weights[k])
        if not np.isfinite(increments[k]):
            raise InferenceError(
                f"All {num_particles} particles died in window {k}: the largest of their log "
                f"likelihoods is {increments[k]}. Check the data for impossible spikes, or use "
                "more particles."
            )
    return ParticleHistory(states, weights, ancestors, increments)


def _drawn(log_weights: Floats, rng: np.random.Generator) -> int:
    """Return an index drawn by its weight."""
    weights, index = np.empty_like(log_weights), np.empty(1, dtype=np.int64)
    normalise(log_weights, weights)
    place(weights, rng.random(1), index)
    return int(index[0])
