"""Trajectories that move together: the law of a column of them, and what a sampler asks for."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ColumnLaw:
    r"""The prior law of several scalar trajectories, each of which may depend on all.

    .. math::

        x_0 \sim \mathcal N(0, s^2 I), \qquad
        x_{k+1} \sim \mathcal N(x_k + d_k(x_k), \mathrm{diag}(\sigma^2))

    Parameters
    ----------
    noise : ndarray
        Standard deviation of each chain's step, shape (chain,).
    initial_scale : float
        Standard deviation s of the first states.
    num_windows : int
        Number of states.
    drift : callable
        States of shape (..., chain, window) and the slice of windows they stand for, to their
        drift, of the same shape.

    Examples
    --------
    >>> law = ColumnLaw(np.ones(2), 1.0, 3, lambda states, _: 0.1 * states[..., ::-1, :])
    >>> law.mean(np.array([[1.0, 2.0]]), 0)
    array([[1.2, 2.1]])
    """

    noise: Floats
    initial_scale: float
    num_windows: int
    drift: Callable[[Floats, slice], Floats]

    def mean(self, states: Floats, window: int) -> Floats:
        """Return the mean of the next states before noise, shape (particle, chain)."""
        own = states[..., None]
        mean: Floats = (own + self.drift(own, slice(window, window + 1)))[..., 0]
        return mean

    def log_density(self, paths: Floats) -> float:
        """Return the log density of trajectories, shape (chain, window)."""
        first, steps = paths[:, 0] / self.initial_scale, self.innovations(paths)
        total = -0.5 * float((first**2).sum() + (steps**2).sum())
        total -= steps.shape[1] * float(np.log(self.noise).sum())
        total -= first.size * math.log(self.initial_scale)
        return total - 0.5 * paths.size * math.log(2.0 * math.pi)

    def innovations(self, paths: Floats) -> Floats:
        """Return the standardised noise of every step, shape (chain, window - 1)."""
        past = paths[:, :-1]
        mean = past + self.drift(past, slice(0, self.num_windows - 1))
        steps: Floats = (paths[:, 1:] - mean) / self.noise[:, None]
        return steps

    def paths(self, first: Floats, innovations: Floats) -> Floats:
        """Return the trajectories that start at given states and have given innovations."""
        paths = np.empty((first.size, self.num_windows))
        paths[:, 0] = first
        for k in range(self.num_windows - 1):
            mean = self.mean(paths[None, :, k], k)[0]
            paths[:, k + 1] = mean + self.noise * innovations[:, k]
        return paths

    def initial(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw first states, shape (particle, chain)."""
        return self.initial_scale * rng.standard_normal((size, self.noise.size))

    def step(self, states: Floats, window: int, rng: np.random.Generator) -> Floats:
        """Draw the states of window + 1 given those of a window, shape (particle, chain)."""
        return self.mean(states, window) + self.noise * rng.standard_normal(states.shape)

    def sample(self, rng: np.random.Generator) -> Floats:
        """Draw trajectories, shape (chain, window)."""
        shape = self.noise.size, self.num_windows - 1
        return self.paths(self.initial(rng, 1)[0], rng.standard_normal(shape))


class ColumnObservation(ABC):
    """Log likelihood of each window as a function of several states."""

    num_windows: int

    @abstractmethod
    def at(self, window: int, states: Floats) -> Floats:
        """Return one window's log likelihood, shape (particle,), at states (particle, chain)."""

    @abstractmethod
    def along(self, paths: Floats) -> float:
        """Return the log likelihood of all windows at trajectories, shape (chain, window)."""


class HasColumns(ABC):
    """The capability of conditionals to move all trajectories of a block at once.

    Trajectories that are switched off follow those that are on, and act on none: a sampler
    leaves them out, and :meth:`set_column` draws them anew.
    """

    @abstractmethod
    def members(self, block: int) -> Integers:
        """Return a block's chains, by index."""

    @abstractmethod
    def switch_log_odds(self, block: int) -> Floats:
        """Return the prior log odds of each member's switch; infinite where it is always on."""

    @abstractmethod
    def column_law(
        self, block: int, on: Bools, group: int = 0, parameters: Mapping[str, float] | None = None
    ) -> ColumnLaw:
        """Return the law of the members that are on.

        Parameters are those of the point but, if given, of one group.
        """

    @abstractmethod
    def absent_log_density(self, block: int) -> float:
        """Return the log density of the trajectories that are off, given those that are on."""

    @abstractmethod
    def column_observation(self, block: int, on: Bools) -> ColumnObservation:
        """Return the likelihood of the members that are on, with the others off."""

    @abstractmethod
    def set_column(self, block: int, on: Bools, paths: Floats, rng: np.random.Generator) -> None:
        """Move a block's switches and the trajectories that are on; draw the others."""
