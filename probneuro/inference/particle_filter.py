"""Bootstrap particle filter of one scalar trajectory: evidence and posterior draws."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from probneuro.core.errors import CapabilityError, InferenceError, SettingError
from probneuro.core.gibbs import ChainLaw, WindowObservation
from probneuro.inference.particle_kernels import ancestor, normalise, place, truncation

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Resampling = Callable[[int, np.random.Generator], Floats]
"""How many particles and a stream, to their positions on the cumulative weights, in [0, 1)."""


def multinomial(size: int, rng: np.random.Generator) -> Floats:
    """Return independent positions: each particle draws its ancestor by weight, alone.

    Examples
    --------
    >>> multinomial(3, np.random.default_rng(0)).shape
    (3,)
    """
    return rng.random(size)


def systematic(size: int, rng: np.random.Generator) -> Floats:
    """Return equispaced positions with one shared shift: offspring are size * weight, rounded.

    Examples
    --------
    >>> systematic(2, np.random.default_rng(0)).round(3)
    array([0.318, 0.818])
    """
    positions: Floats = (np.arange(size) + rng.random()) / size
    return positions


@dataclass(frozen=True)
class ParticleHistory:
    r"""All particles of a filter, with the genealogy that joins them into paths.

    Parameters
    ----------
    states : ndarray
        Particles, shape (window, particle), or (window, particle, ...) where a state is more
        than a number.
    weights : ndarray
        Normalised weights, shape (window, particle).
    ancestors : ndarray of int
        Which particle of the window before each one descends from, shape (window, particle);
        the first row is not used.
    increments : ndarray
        Logarithm of each window's mean weight, shape (window,); their sum estimates the log
        evidence, and the exponential of the sum is an unbiased estimate of the evidence.
    """

    states: Floats
    weights: Floats
    ancestors: Integers
    increments: Floats

    @property
    def log_evidence(self) -> float:
        """Logarithm of the evidence estimate."""
        return float(self.increments.sum())

    @property
    def effective_sizes(self) -> Floats:
        """Effective number of particles before each resampling, shape (window,)."""
        sizes: Floats = 1.0 / np.einsum("kn,kn->k", self.weights, self.weights)
        return sizes

    def draw_path(self, rng: np.random.Generator) -> Floats:
        """Draw one of the surviving paths by its final weight, shape (window, ...)."""
        windows = self.states.shape[0]
        path = np.empty((windows, *self.states.shape[2:]), dtype=self.states.dtype)
        last = np.empty(1, dtype=np.int64)
        place(self.weights[-1], rng.random(1), last)
        index = int(last[0])
        for k in range(windows - 1, -1, -1):
            path[k] = self.states[k, index]
            index = int(self.ancestors[k, index])
        return path


class ParticleSystem:
    """The particles of a filter, moved and weighed window by window.

    Parameters
    ----------
    law : ChainLaw
        The trajectory's prior law; its noise must not be zero.
    observation : WindowObservation
        Log likelihood of each window.
    num_particles : int
        Particles in each window.

    Raises
    ------
    CapabilityError
        If the law is that of a constant trajectory.
    SettingError
        If there are no particles.
    """

    def __init__(self, law: ChainLaw, observation: WindowObservation, num_particles: int) -> None:
        check_filter(law, num_particles, least=1)
        shape = (observation.num_windows, num_particles)
        self._law, self._observation = law, observation
        self._states, self._weights, self._log_weights = (np.empty(shape) for _ in range(3))
        self._ancestors = np.zeros(shape, dtype=np.int64)
        self._increments = np.empty(shape[0])
        self._mean = self._mass = np.empty(0)

    def start(self, states: Floats) -> None:
        """Place the first window's particles."""
        self._states[0] = states

    def move(self, window: int, positions: Floats, rng: np.random.Generator) -> None:
        """Draw ancestors of a window's first particles, and a step from each.

        ``positions`` on the cumulative weights, one for each particle that moves.
        """
        law, moving = self._law, slice(0, positions.size)
        ancestors = self._ancestors[window, moving]
        place(self._weights[window - 1], positions, ancestors)
        self._mean = mean = law.mean(self._states[window - 1], window - 1)
        if law.bounds is None:
            deviates = rng.standard_normal(positions.size)
            self._states[window, moving] = mean[ancestors] + law.noise * deviates
            return
        below, self._mass = np.empty_like(mean), np.empty_like(mean)
        truncation(mean, law.noise, *law.bounds, below, self._mass)
        quantiles = below[ancestors] + rng.random(positions.size) * self._mass[ancestors]
        states = mean[ancestors] + law.noise * ndtri(quantiles)
        states.clip(*law.bounds, out=self._states[window, moving])

    def hold(self, window: int, state: float, position: float | None) -> None:
        """Put a window's last particle on a state, after the others have moved.

        Its ancestor is the last particle, or drawn by weight times step density at a
        ``position`` in [0, 1).
        """
        self._states[window, -1] = state
        self._ancestors[window, -1] = self._states.shape[1] - 1
        if position is not None:
            self._ancestors[window, -1] = ancestor(
                self._log_weights[window - 1], self._mean, self._law.noise, self._mass, state,
                position,
            )  # fmt: skip

    def weigh(self, window: int) -> None:
        """Weigh a window's particles.

        Raises
        ------
        InferenceError
            If no particle has a finite likelihood.
        """
        log_weights = self._observation.at(window, self._states[window])
        increment = normalise(log_weights, self._weights[window])
        if not np.isfinite(increment):
            raise InferenceError(
                f"All {log_weights.size} particles died in window {window}: the largest of their "
                f"log likelihoods is {increment}. Check the data for impossible spikes, or use "
                "more particles."
            )
        self._log_weights[window], self._increments[window] = log_weights, increment

    def history(self) -> ParticleHistory:
        """Return all particles with their weights and ancestors."""
        return ParticleHistory(self._states, self._weights, self._ancestors, self._increments)


def check_filter(law: ChainLaw, num_particles: int, least: int) -> None:
    """Refuse a law or a number of particles that a filter cannot treat.

    Raises
    ------
    CapabilityError
        If the trajectory is constant.
    SettingError
        If there are too few particles.
    """
    if law.noise == 0.0:
        raise CapabilityError(
            "`law.noise` is 0: a trajectory that never changes leaves a particle filter nothing "
            "to resample. Use GridFilter, which is exact for it."
        )
    if num_particles < least:
        raise SettingError(
            f"`num_particles` must be at least {least}; got {num_particles}. Pass e.g. 100."
        )


def filter_chain(
    law: ChainLaw,
    observation: WindowObservation,
    num_particles: int,
    rng: np.random.Generator,
    *,
    resample: Resampling = systematic,
) -> ParticleHistory:
    r"""Filter a trajectory with particles moved by the prior law.

    .. math::

        x_k^i \sim p(x_k \mid x_{k-1}^{a_k^i}), \qquad
        \hat Z = \prod_k \frac1N \sum_i L_k(x_k^i), \qquad \mathrm E[\hat Z] = Z

    Particles are resampled before every step. ``systematic`` resampling makes the evidence
    estimate less noisy; ``multinomial`` is the scheme whose conditional form is
    :func:`~probneuro.inference.pgas.conditional_filter`, so a Metropolis step that uses both
    must ask for it here.

    Parameters
    ----------
    law : ChainLaw
        The trajectory's prior law; its noise must not be zero.
    observation : WindowObservation
        Log likelihood of each window.
    num_particles : int
        Number of particles.
    rng : numpy.random.Generator
        Source of randomness.
    resample : callable
        :func:`systematic` or :func:`multinomial`.

    Returns
    -------
    ParticleHistory
        Particles, weights, ancestors and evidence.

    Raises
    ------
    CapabilityError
        If the law is that of a constant trajectory.
    InferenceError
        If all particles die.
    SettingError
        If there are no particles.

    Notes
    -----
    Source: Gordon, Salmond and Smith (1993). The estimate of the evidence is unbiased; its
    logarithm is biased downwards by half the logarithm's variance.
    """
    system = ParticleSystem(law, observation, num_particles)
    system.start(law.initial(rng, num_particles))
    system.weigh(0)
    for k in range(1, observation.num_windows):
        system.move(k, resample(num_particles, rng), rng)
        system.weigh(k)
    return system.history()
