"""What a model shows a Gibbs sampler: its full conditionals, block by block."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from probneuro.core.engine import Arrays
from probneuro.core.lattice import Lattice, interpolate

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class WindowObservation(ABC):
    """Log likelihood of each window as a function of a scalar latent state."""

    num_windows: int

    @abstractmethod
    def lattice(self, lowest: Floats, highest: Floats) -> Lattice:
        """Return a table of every window's log likelihood, good between two states a window.

        Windows whose lowest state exceeds the highest are not needed. Rows must be good enough
        to interpolate; see :func:`probneuro.core.lattice.interpolate`.
        """

    @property
    @abstractmethod
    def sketch_step(self) -> float:
        """Distance of the states that a sketch is made of."""

    @abstractmethod
    def sketch(self, low: Integers, high: Integers) -> Lattice:
        """Return every window's log likelihood at ``sketch_step * i``, low[k] <= i < high[k].

        Windows without such states are not needed. It steers proposals; no result depends on
        how good it is.
        """

    def at(self, window: int, states: Floats) -> Floats:
        """Return one window's log likelihood at some states, shape (state,)."""
        lowest, highest = np.full(self.num_windows, np.inf), np.full(self.num_windows, -np.inf)
        lowest[window], highest[window] = states.min(), states.max()
        table, out = self.lattice(lowest, highest), np.empty(states.size)
        low, high = table.low[window], table.high[window]
        row = table.values[window, low - table.origin : high - table.origin]
        interpolate(row, low, table.step, states, out)
        return out


@dataclass(frozen=True)
class ChainLaw:
    r"""The prior law of one scalar trajectory.

    .. math::

        x_0 \sim \mathcal N(0, s^2) \text{ or } \mathrm U(a, b), \qquad
        x_{k+1} \sim \mathcal N(m_k(x_k), \sigma^2) \text{ or }
        \mathrm{TN}(\mathrm{clip}(m_k(x_k)), \sigma^2; a, b)

    with :math:`m_k(x) = x + \mathrm{intercept}_k + \mathrm{slope}_k x`, or the general
    ``mean`` where the drift is not affine. ``noise == 0`` is a constant trajectory.

    Parameters
    ----------
    noise : float
        Standard deviation of a step.
    initial_scale : float
        Standard deviation s of the first state where there are no bounds.
    bounds : tuple of float or None
        (a, b), or None.
    intercept, slope : ndarray
        Affine drift, shape (window - 1,).
    drift : callable or None
        General drift, states of shape (state,) to shape (state, window - 1).
    """

    noise: float
    initial_scale: float
    bounds: tuple[float, float] | None
    intercept: Floats
    slope: Floats
    drift: Any = None

    @property
    def num_windows(self) -> int:
        """Number of states."""
        return self.intercept.size + 1

    def mean(self, states: Floats, window: int) -> Floats:
        """Return the mean of the next state before noise, clipped to the bounds."""
        if self.drift is None:
            mean = states * (1.0 + self.slope[window]) + self.intercept[window]
        else:
            mean = states + self.drift(states)[:, window]
        return mean if self.bounds is None else np.clip(mean, *self.bounds)

    def path_mean(self, path: Floats) -> Floats:
        """Return the means of states 1, 2, ... along a path, before noise, clipped."""
        if self.drift is None:
            mean = path[:-1] * (1.0 + self.slope) + self.intercept
        else:
            mean = path[:-1] + np.diagonal(self.drift(path[:-1]))
        return mean if self.bounds is None else np.clip(mean, *self.bounds)

    def log_density(self, path: Floats) -> float:
        """Return the log density of a path, shape (window,); of its first state if constant."""
        if self.noise == 0.0:
            return float(_log_normal(path[0], 0.0, self.initial_scale))
        mean = self.path_mean(path)
        steps = _log_normal(path[1:], mean, self.noise)
        if self.bounds is None:
            return float(_log_normal(path[0], 0.0, self.initial_scale) + steps.sum())
        low, high = self.bounds
        if path.min() < low or path.max() > high:
            return -np.inf
        mass = ndtr((high - mean) / self.noise) - ndtr((low - mean) / self.noise)
        return float((steps - np.log(mass)).sum() - np.log(high - low))

    def initial(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw first states."""
        if self.bounds is None:
            return self.initial_scale * rng.standard_normal(size)
        return rng.uniform(*self.bounds, size)

    def step(self, states: Floats, window: int, rng: np.random.Generator) -> Floats:
        """Draw the states of window + 1 given those of a window."""
        mean = self.mean(states, window)
        if self.bounds is None:
            return mean + self.noise * rng.standard_normal(states.size)
        low, high = (ndtr((bound - mean) / self.noise) for bound in self.bounds)
        draw = mean + self.noise * ndtri(low + rng.random(states.size) * (high - low))
        return np.clip(draw, *self.bounds)

    def sample(self, windows: int, rng: np.random.Generator) -> Floats:
        """Draw a path from the law, shape (window,)."""
        path = np.empty(windows)
        path[:1] = self.initial(rng, 1)
        if self.bounds is None and self.drift is None and not self.slope.any():
            path[1:] = self.intercept + self.noise * rng.standard_normal(windows - 1)
            return np.cumsum(path)
        for k in range(windows - 1):
            path[k + 1] = path[k] if self.noise == 0.0 else self.step(path[k : k + 1], k, rng)[0]
        return path


def _log_normal(x: Floats | float, mean: Floats | float, scale: float) -> Any:
    z = (x - mean) / scale
    return -0.5 * z * z - np.log(scale * np.sqrt(2.0 * np.pi))


class SmoothConditional(ABC):
    """The conditional of a real vector, with its gradient."""

    @abstractmethod
    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        """Return the log density (up to a constant) and its gradient."""


@dataclass(frozen=True)
class SwitchedChain:
    """A trajectory that acts on the data only while its switch is on.

    Parameters
    ----------
    index : int
        Which of the model's chains it is.
    log_prior_odds : float
        Prior log odds of the switch being on; infinite where it always is.
    null_log_likelihood : float
        Log likelihood of all windows with the switch off.
    observation : WindowObservation
        Log likelihood of each window with the switch on.
    """

    index: int
    log_prior_odds: float
    null_log_likelihood: float
    observation: WindowObservation


class TrajectoryLikelihood(ABC):
    """The log likelihood of several trajectories at once, up to a constant."""

    @abstractmethod
    def __call__(self, paths: Floats) -> float:
        """Return the log likelihood along some trajectories, shape (chain, window)."""

    @abstractmethod
    def slope_and_information(self, paths: Floats) -> tuple[Floats, Floats]:
        """Return the slope in each state, and about how much data tell of it, (chain, window).

        The information is that of a Gaussian approximation, not negative; it steers moves, and
        no result depends on how good it is.
        """


class Conditionals(ABC):
    """A model's conditionals at one point; setters move the point.

    A sampler makes one with :meth:`GibbsTarget.at`, walks through the blocks and reads
    ``values`` at the end.
    """

    values: Arrays

    @abstractmethod
    def smooth(self, block: int) -> SmoothConditional:
        """Return the conditional of one real vector, the rest held."""

    @abstractmethod
    def smooth_position(self, block: int) -> Floats:
        """Return where that vector is."""

    @abstractmethod
    def set_smooth(self, block: int, position: Floats, rng: np.random.Generator | None) -> None:
        """Move the vector; entries that the data do not reach are drawn from their prior.

        Without a stream they too go where the position says.
        """

    @abstractmethod
    def chain(self, index: int) -> SwitchedChain:
        """Return one trajectory's conditional, every other held."""

    @abstractmethod
    def set_chain(self, index: int, chain: "SwitchedChain | None", on: bool, path: Floats) -> None:
        """Move one trajectory and its switch; ``chain`` is what :meth:`chain` gave, if asked."""

    @abstractmethod
    def trajectory_likelihood(self, indices: Sequence[int]) -> TrajectoryLikelihood:
        """Return the log likelihood of some trajectories that are switched on, all else held."""

    @abstractmethod
    def law(self, index: int, parameters: Mapping[str, float]) -> ChainLaw:
        """Return the prior law of a trajectory under some parameters."""

    def laws(self, indices: Sequence[int], parameters: Mapping[str, float]) -> dict[int, ChainLaw]:
        """Return the prior laws of some trajectories of one group under some parameters."""
        return {index: self.law(index, parameters) for index in indices}

    @abstractmethod
    def set_parameters(self, group: int, parameters: Mapping[str, float]) -> None:
        """Move the parameters of a group."""

    @abstractmethod
    def log_density(self) -> float:
        """Return the joint log density at the point, equal to the Pyro trace's."""


class GibbsTarget(ABC):
    """A model bound to data, as a Gibbs sampler sees it.

    Given the parameters, blocks are independent: each holds one real vector and some chains,
    and no two share a likelihood. Conditionals of different blocks may be asked for and set
    from different threads at once.

    Attributes
    ----------
    smooth_sizes : sequence of int
        Size of each block's real vector.
    parameter_sizes : sequence of int
        How many of its entries, from the first on, are parameters; those after them move the
        block's trajectories.
    block_of_chain : sequence of int
        The block that each chain belongs to.
    groups : sequence of sequence of int
        The chains that share parameters, by group.
    coupled : bool
        Whether the law of a trajectory depends on others of its block. Conditionals are then
        :class:`probneuro.core.columns.HasColumns`, and have no law of one chain.
    """

    coupled: bool = False

    smooth_sizes: Sequence[int]
    parameter_sizes: Sequence[int]
    block_of_chain: Sequence[int]
    groups: Sequence[Sequence[int]]

    @abstractmethod
    def parameter_priors(self) -> Mapping[str, Any]:
        """Return the prior of each parameter of a group: log_density, sample, positive."""

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Arrays:
        """Return a point to start from."""

    @abstractmethod
    def at(self, values: Arrays) -> Conditionals:
        """Return the conditionals at a point; the point passed in is not changed."""

    @abstractmethod
    def draw(self, values: Arrays) -> Arrays:
        """Return what the posterior records of a point."""


class HasGibbs(ABC):
    """The capability of a model to be run by a Gibbs engine."""

    @abstractmethod
    def gibbs(self, data: Any) -> GibbsTarget:
        """Bind the model to data."""
