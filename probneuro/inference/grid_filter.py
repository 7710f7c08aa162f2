"""Exact filtering of one scalar trajectory on a grid: evidence and posterior draws."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import InferenceError
from probneuro.core.gibbs import ChainLaw, WindowObservation
from probneuro.core.lattice import Lattice, add_rows
from probneuro.inference.grid_kernels import DEAD, OUTSIDE, SHARP, TAIL, backward, forward, no_extra
from probneuro.inference.quadrature import ORDER, add_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MAX_NODES = 1 << 18
# Nodes per standard deviation of the first state, at least: likelihoods have a width too.
_COARSEST = 8.0
# Nodes per standard deviation of a filtered density, at least: without bounds, and with them. A
# sum over a Gaussian is then right to 0.2 %, and bounds are met to 0.001 nats a window; the rough
# filter's bounds to a tenth.
_NARROWEST = (0.6, 1.5)
_NARROWEST_ROUGH = (0.6, 0.5)
# Windows to tabulate at a time when the filter leaves what was tabulated.
_AHEAD = 12
# Share of a range visited before to tabulate beyond it on either side.
_SLACK = 0.15


class _Grid(NamedTuple):
    """Equispaced states with the weights that integrate over them, and the filter's workspace."""

    origin: float
    spacing: float
    quadrature: Floats
    density: Floats
    low: Integers
    high: Integers
    looked: Integers
    log_normaliser: Floats

    @property
    def nodes(self) -> Floats:
        """The states."""
        return self.origin + self.spacing * np.arange(self.quadrature.size, dtype=np.float64)


class GridFilter:
    r"""Filter, evidence and posterior draws of one trajectory, by quadrature on a grid.

    .. math::

        \log p(y_{1:K}) = \sum_k \log \int L_k(x_k)\, p(x_k \mid y_{<k})\, \mathrm dx_k

    The states are equispaced, so the integral over a Gaussian step converges faster than any
    power of the spacing; bounds and the kink that clipping puts into a mean are met by
    eighth-order weights. Only states that hold probability are visited, and the likelihood is
    evaluated only there.

    Parameters
    ----------
    observation : WindowObservation
        Log likelihood of each window as a function of the state.
    resolution : float
        Nodes per standard deviation of a step, at least. Where the likelihood is sharper, the
        grid is made finer.
    offset : float
        Shift of an unbounded grid in units of its spacing, in [0, 1): drawn anew for each
        sweep, it makes draws continuous.
    around : ndarray or None
        A trajectory near which likelihoods are worth evaluating first, zero if None; it
        changes no result.

    near : ndarray or None
        How far below and above it to evaluate first, shape (2, window), say what
        :meth:`visited_from` gave for a similar trajectory; it changes no result either.

    Notes
    -----
    The evidence is that of the trajectories the grid holds: where data push a trajectory tens
    of standard deviations off its law, in evidence thousands of nats below the best, the
    dropped tails would matter and the value is only a bound in kind.

    Draws lie on the nodes (bounds: drawn within the end nodes' own cells). Their moments are
    as exact as the quadrature; only their values are discrete, to within sigma / resolution.
    """

    def __init__(
        self,
        observation: WindowObservation,
        *,
        resolution: float = 1.5,
        bounded_resolution: float = 5.0,
        offset: float = 0.0,
        around: Floats | None = None,
        near: Floats | None = None,
    ) -> None:
        self._observation = observation
        self._resolution, self._bounded_resolution = resolution, bounded_resolution
        self._offset = offset
        self._around = np.zeros(observation.num_windows) if around is None else around
        self._reach, self._finer = 2.0, 1.0
        self._narrowest = _NARROWEST
        self._visited: Floats | None = None
        none = np.zeros(self._around.size, dtype=np.int64)
        self._table = Lattice(1.0, 0, none, none, np.empty((0, 0)))
        if near is not None:
            lowest, highest = self._around + near
            slack = np.maximum(_SLACK * (highest - lowest), 1e-3)
            self._table = observation.lattice(lowest - slack, highest + slack)
        self._passes: list[tuple[ChainLaw, _Grid]] = []

    def coarser(self, bounded_resolution: float) -> "GridFilter":
        """Return a filter of the same windows with fewer nodes between bounds, right to a few %."""
        rough = GridFilter(
            self._observation, resolution=self._resolution, bounded_resolution=bounded_resolution,
            around=self._around,
        )  # fmt: skip
        rough._narrowest = _NARROWEST_ROUGH
        return rough

    def log_evidence(self, law: ChainLaw) -> float:
        """Return the log likelihood of all windows with the trajectory integrated out.

        Raises
        ------
        InferenceError
            If no state has a finite likelihood, or the grid would grow without bound.
        """
        if law.noise == 0.0:
            return self._constant(law)[1]
        return float(self._filter(law).log_normaliser.sum())

    def window_log_evidence(self, law: ChainLaw) -> Floats:
        """Return log p(window k | windows before it), shape (window,), for a moving state."""
        return self._filter(law).log_normaliser.copy()

    def sample(self, law: ChainLaw, rng: np.random.Generator) -> Floats:
        """Draw one trajectory from its posterior, shape (window,)."""
        windows = self._observation.num_windows
        if law.noise == 0.0:
            nodes, _, weights = self._constant(law)
            cumulative = np.cumsum(weights)
            index = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
            return np.full(windows, nodes[min(index, nodes.size - 1)])
        grid = self._filter(law)
        path = np.empty(windows, dtype=np.int64)
        lower, upper = law.bounds or (-np.inf, np.inf)
        backward(
            rng.random(windows), grid.origin, grid.spacing, grid.quadrature, law.intercept,
            law.slope, self._extra(law, grid), law.noise, law.bounds is not None, lower, upper,
            grid.density, grid.low, grid.high, path,
        )  # fmt: skip
        states = grid.origin + grid.spacing * path.astype(np.float64)
        return states if law.bounds is None else _off_the_bounds(states, path, grid, rng)

    def _filter(self, law: ChainLaw) -> _Grid:
        """Return the forward pass under a law; the last two laws' passes are kept."""
        for known, grid in self._passes:
            if known is law:
                return grid
        if not self._table.values.size:
            self._table = self._first_table(law)
        grid = self._grid(law)
        while (ended := self._run(law, grid)) != self._observation.num_windows:
            # What one law asked for, the next will most likely ask for too.
            if ended == OUTSIDE:
                self._reach *= 1.5
            else:
                self._finer *= 2.0
            grid = self._grid(law)
        self._remember(grid)
        self._passes = [(law, grid), *self._passes[:1]]
        return grid

    def _run(self, law: ChainLaw, grid: _Grid) -> int:
        """Run the forward pass, widening the table as it asks.

        Returns the number of windows, or OUTSIDE or SHARP where the grid did not hold it.
        """
        lower, upper = law.bounds or (-np.inf, np.inf)
        extra, window = self._extra(law, grid), 0
        while window < self._observation.num_windows:
            window = forward(
                window, self._table, grid.origin, grid.spacing, grid.quadrature,
                law.initial_scale, law.intercept, law.slope, extra, law.noise,
                law.bounds is not None, lower, upper, grid.density, grid.low, grid.high,
                grid.looked, grid.log_normaliser, self._narrowest[law.bounds is not None],
            )  # fmt: skip
            if window in (OUTSIDE, SHARP):
                return window
            if window == DEAD:
                raise InferenceError(
                    "No state of the trajectory has a finite likelihood. Check the data "
                    "for impossible spikes, or use a larger weight scale."
                )
            if window < self._observation.num_windows:
                self._table = self._extended(grid, window)
        return window

    def _first_table(self, law: ChainLaw) -> Lattice:
        """Tabulate windows where they will most likely be needed."""
        half = np.full(self._around.size, 1.5 * law.initial_scale)
        half[0] = TAIL * law.initial_scale
        centre = np.where(np.arange(half.size) == 0, 0.0, self._around)
        low, high = centre - half, centre + half
        if law.bounds is not None:
            low, high = np.maximum(low, law.bounds[0]), np.minimum(high, law.bounds[1])
        return self._observation.lattice(low, high)

    def _extended(self, grid: _Grid, window: int) -> Lattice:
        """Tabulate a window where it is needed, and the next ones as far from the reference."""
        low = grid.origin + grid.spacing * grid.low[window]
        high = grid.origin + grid.spacing * grid.high[window]
        lowest = np.full(self._around.size, np.inf)
        highest = np.full(self._around.size, -np.inf)
        lowest[window], highest[window] = low, high
        if window > 0:
            slack, ahead = _SLACK * (high - low), slice(window, window + _AHEAD)
            shift = self._around[ahead] - self._around[window]
            lowest[ahead], highest[ahead] = shift + low - slack, shift + high + slack
        return self._observation.lattice(lowest, highest)

    def visited_from(self, path: Floats) -> Floats:
        """Return how far below and above a path passes went, shape (2, window)."""
        visited = np.zeros((2, path.size)) if self._visited is None else self._visited - path
        return np.array([np.minimum(visited[0], 0.0), np.maximum(visited[1], 0.0)])

    def _remember(self, grid: _Grid) -> None:
        """Note the states that a pass looked at."""
        low, high = grid.origin + grid.spacing * grid.looked
        if self._visited is not None:
            low = np.minimum(low, self._visited[0])
            high = np.maximum(high, self._visited[1])
        self._visited = np.array([low, high])

    def _grid(self, law: ChainLaw) -> _Grid:
        """Return the grid that suits a law."""
        if law.bounds is None:
            spacing = min(law.noise / self._resolution, law.initial_scale / _COARSEST)
            spacing /= self._finer
            half = math.ceil(self._reach * TAIL * law.initial_scale / spacing)
            nodes, origin = 2 * half + 1, (self._offset - half) * spacing
        else:
            lower, upper = law.bounds
            resolution = self._finer * self._bounded_resolution
            cells = math.ceil(resolution * (upper - lower) / law.noise)
            nodes = max(4 * ORDER, 16 * math.ceil(cells / 16)) + 1
            spacing, origin = (upper - lower) / (nodes - 1), lower
        if nodes > _MAX_NODES:
            raise InferenceError(
                f"The grid of states would need {nodes} nodes: step noise {law.noise:.3g} is too "
                "small for the range of weights, or the spikes of a window tell its state too "
                "well. Use a prior that keeps the noise larger, or shorter windows."
            )
        windows = self._observation.num_windows
        quadrature = np.full(nodes, spacing)
        if law.bounds is not None:
            quadrature[:] = 0.0
            add_interval(quadrature, 0.0, nodes - 1.0, 0, nodes - 1)
            quadrature *= spacing
        low, high = np.zeros((2, windows), dtype=np.int64)
        looked = np.zeros((2, windows), dtype=np.int64)
        density = np.empty((windows, nodes))
        return _Grid(origin, spacing, quadrature, density, low, high, looked, np.zeros(windows))

    def _extra(self, law: ChainLaw, grid: _Grid) -> Floats:
        if law.drift is None:
            return no_extra()
        return np.ascontiguousarray(law.drift(grid.nodes).T)

    def _constant(self, law: ChainLaw) -> tuple[Floats, float, Floats]:
        """Return states, log evidence and weights of a trajectory that never changes."""
        scale = law.initial_scale
        centre = float(self._around[0])
        low, high = centre - 0.5 * scale, centre + 0.5 * scale
        spacing = scale / 32.0
        while True:
            first, last = math.floor(low / spacing), math.ceil(high / spacing)
            nodes = spacing * np.arange(first, last + 1, dtype=np.float64)
            value = self._constant_density(nodes, spacing, scale)
            best = value.max()
            if value[0] > best - 40.0 and nodes[0] > -TAIL * scale:
                low -= 0.5 * (high - low)
            elif value[-1] > best - 40.0 and nodes[-1] < TAIL * scale:
                high += 0.5 * (high - low)
            elif (value > best - 40.0).sum() < 40 and spacing > 1e-6 * scale:
                inside = np.flatnonzero(value > best - 40.0)
                low, high = nodes[inside[0]] - spacing, nodes[inside[-1]] + spacing
                spacing = (high - low) / 64.0
            else:
                break
        nodes = nodes + spacing * (self._offset - 0.5)
        value = self._constant_density(nodes, spacing, scale)
        weights = np.exp(value - value.max())
        return nodes, float(np.log(weights.sum() * spacing) + value.max()), weights

    def _constant_density(self, nodes: Floats, spacing: float, scale: float) -> Floats:
        every = np.ones(self._observation.num_windows)
        table = self._observation.lattice(nodes[0] * every, nodes[-1] * every)
        z = nodes / scale
        total: Floats = -0.5 * z * z - math.log(scale * math.sqrt(2.0 * math.pi))
        add_rows(table, nodes[0], spacing, total)
        return total


def _off_the_bounds(
    states: Floats, path: Integers, grid: _Grid, rng: np.random.Generator
) -> Floats:
    """Move draws on an end node to a point of the node's own cell, inside the bounds."""
    jitter = rng.random(states.size)
    last = grid.density.shape[1] - 1
    first_cell, last_cell = grid.quadrature[0], grid.quadrature[last]
    states = np.where(path == 0, states + jitter * first_cell, states)
    return np.where(path == last, states - jitter * last_cell, states)
