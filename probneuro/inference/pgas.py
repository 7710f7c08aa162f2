"""Conditional particle filters of one scalar trajectory: particle Gibbs, ancestor sampling."""

import numpy as np
from numpy.typing import NDArray

from probneuro.core.gibbs import ChainLaw, WindowObservation
from probneuro.inference.particle_filter import (
    ParticleHistory,
    ParticleSystem,
    check_filter,
    multinomial,
)

Floats = NDArray[np.float64]


def conditional_filter(
    law: ChainLaw,
    observation: WindowObservation,
    path: Floats,
    num_particles: int,
    rng: np.random.Generator,
    *,
    ancestor_sampling: bool,
) -> ParticleHistory:
    r"""Run a filter in which the last particle of every window is held on a given path.

    With ancestor sampling the held particle takes its ancestor from

    .. math:: P(a_k = i) \propto w_{k-1}^i\, p(x'_k \mid x_{k-1}^i),

    whose step density holds the truncation's normaliser where the law has bounds: it depends
    on the ancestor. Without ancestor sampling the held particle descends from itself, and the
    evidence estimate is distributed as that of the unconditional multinomial filter is, given
    that the path it drew is this one.

    Parameters
    ----------
    law : ChainLaw
        The trajectory's prior law; its noise must not be zero.
    observation : WindowObservation
        Log likelihood of each window.
    path : ndarray
        The path x', shape (window,).
    num_particles : int
        Number of particles, the held one included.
    rng : numpy.random.Generator
        Source of randomness.
    ancestor_sampling : bool
        Whether the held particle draws its ancestor anew.

    Returns
    -------
    ParticleHistory
        Particles, weights, ancestors and evidence; the path is the last particle's.

    Raises
    ------
    CapabilityError
        If the law is that of a constant trajectory.
    InferenceError
        If all particles die.
    SettingError
        If there are fewer than two particles.

    Notes
    -----
    Resampling is multinomial. Its ancestors are independent, so given that one particle
    descends from the path the others are drawn as ever. Systematic resampling shares one
    uniform among all ancestors: given the held one's, that uniform has another law and the
    held particle another place (Andrieu, Doucet and Holenstein 2010, section 4.1), and
    drawing the others as ever would leave the wrong distribution invariant.
    """
    check_filter(law, num_particles, least=2)
    system = ParticleSystem(law, observation, num_particles)
    free = num_particles - 1
    system.start(np.append(law.initial(rng, free), path[0]))
    system.weigh(0)
    for k in range(1, observation.num_windows):
        system.move(k, multinomial(free, rng), rng)
        system.hold(k, path[k], rng.random() if ancestor_sampling else None)
        system.weigh(k)
    return system.history()


def pgas_step(
    law: ChainLaw,
    observation: WindowObservation,
    path: Floats,
    num_particles: int,
    rng: np.random.Generator,
) -> Floats:
    """Move a path once by particle Gibbs with ancestor sampling, shape (window,).

    The posterior of the path is invariant for any number of particles from two on; more of
    them only make consecutive paths less alike.

    Parameters
    ----------
    law : ChainLaw
        The trajectory's prior law; its noise must not be zero.
    observation : WindowObservation
        Log likelihood of each window.
    path : ndarray
        Where the chain is, shape (window,); it must have a positive density.
    num_particles : int
        Number of particles, the path included.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray
        The new path.

    Notes
    -----
    Source: Lindsten, Jordan and Schoen (2012), Algorithm 3, with the bootstrap proposal.
    """
    history = conditional_filter(law, observation, path, num_particles, rng, ancestor_sampling=True)
    return history.draw_path(rng)
