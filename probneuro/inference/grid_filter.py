"""Exact filtering of one scalar trajectory on a grid: evidence and posterior draws."""

import math

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import InferenceError
from probneuro.core.gibbs import ChainLaw, WindowObservation
from probneuro.inference.grid_kernels import DEAD, HOPELESS, OUTSIDE, backward, forward, no_extra
from probneuro.inference.quadrature import ORDER, add_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# A normal density beyond this many standard deviations is left out: 2e-16 of it.
_TAIL = 8.3
_MAX_NODES = 1 << 18
# Nodes per standard deviation of the first state, at least: likelihoods have a width too.
_COARSEST = 8.0
# Windows to fill at a time when the filter leaves what was filled.
_AHEAD = 12


class _Grid:
    """Equispaced states, the windows' log likelihood on them, and the filter's workspace."""

    def __init__(self, origin: float, spacing: float, nodes: int, windows: int) -> None:
        self.origin, self.spacing = origin, spacing
        self.log_likelihood = np.zeros((windows, nodes))
        self.filled_low = np.zeros(windows, dtype=np.int64)
        self.filled_high = np.zeros(windows, dtype=np.int64)
        self.density = np.zeros((windows, nodes))
        self.low = np.zeros(windows, dtype=np.int64)
        self.high = np.zeros(windows, dtype=np.int64)
        self.log_normaliser = np.zeros(windows)
        self.quadrature = np.full(nodes, spacing)

    @property
    def nodes(self) -> Floats:
        """The states."""
        return self.origin + self.spacing * np.arange(self.density.shape[1], dtype=np.float64)

    def fill(self, observation: WindowObservation, low: Integers, high: Integers) -> None:
        """Fill the likelihood over at least these ranges of nodes."""
        wider = (low < self.filled_low) | (high > self.filled_high)
        wanted = wider & (high > low)
        known = wanted & (self.filled_high > self.filled_low)
        low = np.where(known, np.minimum(low, self.filled_low), low)
        high = np.where(known, np.maximum(high, self.filled_high), high)
        start, stop = np.where(wanted, low, 0), np.where(wanted, high, 0)
        observation.fill(self.origin, self.spacing, start, stop, self.log_likelihood)
        self.filled_low = np.where(wanted, low, self.filled_low)
        self.filled_high = np.where(wanted, high, self.filled_high)

    def adopt(self, finer: "_Grid") -> None:
        """Copy the likelihoods of a finer grid whose nodes hold this one's, if it is one."""
        stride = round(self.spacing / finer.spacing)
        shift = (self.origin - finer.origin) / finer.spacing
        if stride < 2 or abs(shift - round(shift)) > 1e-6:
            return
        first = np.maximum(-(-(finer.filled_low - round(shift)) // stride), 0)
        last = np.minimum(-(-(finer.filled_high - round(shift)) // stride), self.quadrature.size)
        for k in np.flatnonzero((last > first) & (self.filled_high == 0)):
            columns = np.arange(first[k], last[k])
            row = finer.log_likelihood[k, round(shift) + stride * columns]
            self.log_likelihood[k, first[k] : last[k]] = row
            self.filled_low[k], self.filled_high[k] = first[k], last[k]


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
        Nodes per standard deviation of a step, at least.
    offset : float
        Shift of an unbounded grid in units of its spacing, in [0, 1): drawn anew for each
        sweep, it makes draws continuous.
    around : ndarray or None
        A trajectory near which likelihoods are worth evaluating first, zero if None; it
        changes no result.

    near : ndarray or None
        How far below and above it to evaluate first, shape (2, window), say what
        :meth:`visited_from` gave for a similar trajectory; it changes no result either.

    Attributes
    ----------
    upper_bound : float
        Sum over windows of the largest log likelihood any state can have.

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
        self._grids: dict[tuple[float, ...], _Grid] = {}
        self._reach = 2.0 * _TAIL
        self._visited = None if near is None else self._around + near
        self._passed: Floats | None = None
        self._anchor = 0.0
        bounds = observation.upper_bounds()
        self._remaining = bounds.sum() - np.cumsum(bounds)
        self.upper_bound = float(bounds.sum())

    def log_evidence(self, law: ChainLaw, floor: float = -math.inf) -> float:
        """Return the log likelihood of all windows with the trajectory integrated out.

        Stops early, and returns minus infinity, once the evidence is sure to be below
        ``floor``.

        Raises
        ------
        InferenceError
            If no state has a finite likelihood, or the grid would grow without bound.
        """
        if law.noise == 0.0:
            return self._constant(law)[1]
        grid = self._filter(law, floor)
        return -math.inf if grid is None else float(grid.log_normaliser.sum())

    def window_log_evidence(self, law: ChainLaw) -> Floats:
        """Return log p(window k | windows before it), shape (window,), for a moving state."""
        return self._whole(law).log_normaliser.copy()

    def sample(self, law: ChainLaw, rng: np.random.Generator) -> Floats:
        """Draw one trajectory from its posterior, shape (window,)."""
        windows = self._observation.num_windows
        if law.noise == 0.0:
            nodes, _, weights = self._constant(law)
            cumulative = np.cumsum(weights)
            index = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
            return np.full(windows, nodes[min(index, nodes.size - 1)])
        grid = self._whole(law)
        path = np.empty(windows, dtype=np.int64)
        lower, upper = law.bounds or (-np.inf, np.inf)
        backward(
            rng.random(windows), grid.origin, grid.spacing, grid.quadrature, law.intercept,
            law.slope, self._extra(law, grid), law.noise, law.bounds is not None, lower, upper,
            grid.density, grid.low, grid.high, path,
        )  # fmt: skip
        states = grid.origin + grid.spacing * path.astype(np.float64)
        return states if law.bounds is None else _off_the_bounds(states, path, grid, rng)

    def _whole(self, law: ChainLaw) -> _Grid:
        grid = self._filter(law, -math.inf)
        if grid is None:
            raise InferenceError("The evidence of a trajectory is not a number.")
        return grid

    def _filter(self, law: ChainLaw, floor: float) -> _Grid | None:
        """Run the forward pass, widening the grid and filling likelihoods as it asks."""
        windows = self._observation.num_windows
        while True:
            grid = self._grid(law)
            bounded = law.bounds is not None
            lower, upper = law.bounds or (-np.inf, np.inf)
            initial, extra = self._initial(law, grid), self._extra(law, grid)
            window, ready = 0, False
            while True:
                window = forward(
                    window, ready, grid.origin, grid.spacing, grid.log_likelihood,
                    grid.filled_low, grid.filled_high, grid.quadrature, initial, law.intercept,
                    law.slope, extra, law.noise, bounded, lower, upper, grid.density, grid.low,
                    grid.high, grid.log_normaliser, self._remaining, floor,
                )  # fmt: skip
                if window == windows:
                    self._remember(grid)
                    return grid
                if window == HOPELESS:
                    return None
                if window == DEAD:
                    raise InferenceError(
                        "No state of the trajectory has a finite likelihood. Check the data "
                        "for impossible spikes, or use a larger weight scale."
                    )
                if window == OUTSIDE:
                    break
                self._fill_from(grid, window)
                ready = True
            self._reach *= 1.5

    def _fill_from(self, grid: _Grid, window: int) -> None:
        """Fill a window's likelihood where it is needed, and later ones' where it will be."""
        nodes = grid.density.shape[1]
        nodes = grid.density.shape[1]
        low = np.zeros_like(grid.filled_low)
        high = np.zeros_like(grid.filled_high)
        low[window], high[window] = grid.low[window], grid.high[window]
        # Later windows will most likely be needed as far from the reference as this one, or
        # where an earlier pass on another grid needed them.
        centre = np.rint((self._around - grid.origin) / grid.spacing).astype(np.int64)
        half = round(0.75 * self._reach / _TAIL / grid.spacing)
        near, far = (-half, half) if window == 0 else (low[window], high[window])
        shift = 0 if window == 0 else centre[window]
        pad = max(16, (far - near) // 5)
        ahead = slice(window + 1, None if window == 0 else window + _AHEAD)
        low[ahead] = (centre + near - shift - pad)[ahead]
        high[ahead] = (centre + far - shift + pad)[ahead]
        if window == 0 and self._visited is not None:
            visited = np.rint((self._visited - grid.origin) / grid.spacing).astype(np.int64)
            slack = np.maximum(16, (visited[1] - visited[0]) // 5)
            low[1:], high[1:] = (visited[0] - slack)[1:], (visited[1] + slack)[1:]
        if window:
            low[window], high[window] = near - pad, far + pad
        low, high = np.clip(low, 0, nodes), np.clip(high, 0, nodes)
        grid.fill(self._observation, low, high)

    def visited_from(self, path: Floats) -> Floats:
        """Return how far below and above a path passes went, shape (2, window)."""
        visited = np.zeros((2, path.size)) if self._passed is None else self._passed - path
        return np.array([np.minimum(visited[0], 0.0), np.maximum(visited[1], 0.0)])

    def _remember(self, grid: _Grid) -> None:
        """Note the states that a pass visited, for grids yet to be filled."""
        last = grid.origin + grid.spacing * np.array([grid.low, grid.high])
        visited = last.copy()
        if self._visited is not None:
            visited[0] = np.minimum(visited[0], self._visited[0])
            visited[1] = np.maximum(visited[1], self._visited[1])
        self._visited = visited
        self._passed = (
            last
            if self._passed is None
            else np.array(
                [np.minimum(last[0], self._passed[0]), np.maximum(last[1], self._passed[1])]
            )
        )

    def _grid(self, law: ChainLaw) -> _Grid:
        if law.bounds is None:
            # Spacings are powers of two of one that suits the first noise asked for, and their
            # nodes are nested: a coarser grid takes its likelihoods from a finer one.
            if self._anchor == 0.0:
                self._anchor = law.noise / (1.2 * self._resolution)
            widest = min(law.noise / self._resolution, law.initial_scale / _COARSEST)
            level = math.ceil(math.log2(self._anchor / widest))
            spacing = self._anchor * 2.0**-level
            nodes = 2 * math.ceil(self._reach * law.initial_scale / spacing) + 1
            origin = self._offset * self._anchor - 0.5 * (nodes - 1) * spacing
        else:
            lower, upper = law.bounds
            cells = math.ceil(self._bounded_resolution * (upper - lower) / law.noise)
            nodes = max(4 * ORDER, 16 * math.ceil(cells / 16)) + 1
            spacing, origin = (upper - lower) / (nodes - 1), lower
        if nodes > _MAX_NODES:
            raise InferenceError(
                f"The grid of states would need {nodes} nodes: step noise {law.noise:.3g} is too "
                "small for the range of weights. Use a prior that keeps the noise larger."
            )
        key = (origin, spacing, nodes)
        if key not in self._grids:
            grid = _Grid(origin, spacing, nodes, self._observation.num_windows)
            if law.bounds is not None:
                grid.quadrature[:] = 0.0
                add_interval(grid.quadrature, 0.0, nodes - 1.0, 0, nodes - 1)
                grid.quadrature *= spacing
            else:
                for finer in self._grids.values():
                    grid.adopt(finer)
            self._grids = {key: grid, **dict(list(self._grids.items())[:3])}
        return self._grids[key]

    def _initial(self, law: ChainLaw, grid: _Grid) -> Floats:
        if law.bounds is not None:
            return np.full(grid.density.shape[1], 1.0 / (law.bounds[1] - law.bounds[0]))
        z = grid.nodes / law.initial_scale
        density = np.exp(-0.5 * z * z) / (law.initial_scale * math.sqrt(2.0 * math.pi))
        return np.where(np.abs(z) < _TAIL, density, 0.0)

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
            if value[0] > best - 40.0 and nodes[0] > -_TAIL * scale:
                low -= 0.5 * (high - low)
            elif value[-1] > best - 40.0 and nodes[-1] < _TAIL * scale:
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
        windows = self._observation.num_windows
        low = np.zeros(windows, dtype=np.int64)
        table = np.empty((windows, nodes.size))
        self._observation.fill(nodes[0], spacing, low, np.full_like(low, nodes.size), table)
        z = nodes / scale
        prior = -0.5 * z * z - math.log(scale * math.sqrt(2.0 * math.pi))
        total: Floats = table.sum(axis=0) + prior
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
