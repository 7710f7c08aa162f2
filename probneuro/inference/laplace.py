"""Laplace's approximation to the evidence of one scalar trajectory: microseconds, not exact."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.gibbs import ChainLaw, WindowObservation
from probneuro.core.lattice import Lattice

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Newton rounds under an affine drift, and linearisations of a general one.
_ROUNDS, _LINEARISATIONS = 300, 12
_CONVERGED = 1e-10
# Longest step of the path anywhere, in points of the sketch: curvature is known only nearby.
_LARGEST_MOVE = 4.0
# Points of the sketch on either side of a path: drawn at first, and needed in the end.
_DRAWN, _NEEDED = 40, 3
# Farther from zero than this many points the likelihood is continued by a straight line.
_FARTHEST = 640


class LaplaceEvidence:
    r"""The evidence of a trajectory from a Gaussian about its most probable path.

    .. math::

        \log p(y) \approx \log p(\hat x) + \sum_k L_k(\hat x_k)
        + \tfrac K2 \log 2\pi - \tfrac12 \log\det H(\hat x)

    with the likelihoods a cubic spline through :meth:`WindowObservation.sketch`, and the
    bounds of a law left out. It is a function of law and data alone, so that a move which
    leaves it invariant can be corrected exactly by one evaluation of the true evidence.

    Parameters
    ----------
    observation : WindowObservation
        Log likelihood of each window as a function of the state.
    around : ndarray or None
        Where to start looking for the most probable path, zero if None; it changes no result.

    Examples
    --------
    >>> from probneuro.testing.chains import GaussianWindows, kalman_smoother
    >>> windows = GaussianWindows(np.array([0.3, 0.8, 0.2]), 0.4)
    >>> law = ChainLaw(0.3, 1.0, None, np.zeros(2), np.zeros(2))
    >>> exact = kalman_smoother(law, windows).log_evidence
    >>> bool(abs(LaplaceEvidence(windows).log_evidence(law) - exact) < 1e-6)
    True
    """

    def __init__(self, observation: WindowObservation, around: Floats | None = None) -> None:
        self._observation = observation
        self._around = np.zeros(observation.num_windows) if around is None else around
        none = np.zeros(observation.num_windows, dtype=np.int64)
        self._table = Lattice(1.0, 0, none, none, np.empty((none.size, 0)))
        self._draw(self._around)

    def log_evidence(self, law: ChainLaw) -> float:
        """Return the approximate log evidence; minus infinity where the path diverges."""
        while True:
            path = self._around.copy()
            value = self._climb(law, path)
            if not math.isfinite(value) or _holds(self._table, path):
                return value
            self._draw(path)

    def _climb(self, law: ChainLaw, path: Floats) -> float:
        """Move a path to the most probable one; return the log evidence about it."""
        scale = law.initial_scale if law.bounds is None else np.inf
        value = -math.log(law.bounds[1] - law.bounds[0]) if law.bounds is not None else 0.0
        if law.drift is None:
            return value + climb(
                self._table, path, law.intercept, law.slope, law.noise, scale, _ROUNDS
            )
        for _ in range(_LINEARISATIONS):
            intercept, slope = _linearised(law, path)
            found = climb(self._table, path, intercept, slope, law.noise, scale, 1)
        return value + found

    def _draw(self, path: Floats) -> None:
        """Sketch about a path where it leaves the sketch."""
        known, step = self._table, self._observation.sketch_step
        place = np.clip(path / step, -_FARTHEST, _FARTHEST)
        low = np.floor(place).astype(np.int64) - _DRAWN
        high = np.ceil(place).astype(np.int64) + _DRAWN + 1
        drawn = known.high > known.low
        leaves = (low + _DRAWN - _NEEDED < known.low) | (high - _DRAWN + _NEEDED > known.high)
        low = np.where(leaves, np.where(drawn, np.minimum(low, known.low), low), 0)
        high = np.where(leaves, np.where(drawn, np.maximum(high, known.high), high), 0)
        self._table = _merged(known, self._observation.sketch(low, high))


def _linearised(law: ChainLaw, path: Floats) -> tuple[Floats, Floats]:
    """Return the affine drift that agrees with a general one along a path."""
    states, step = path[:-1], 1e-4 * law.initial_scale
    here, above = (np.diagonal(law.drift(states + shift)) for shift in (0.0, step))
    slope: Floats = (above - here) / step
    return here - slope * states, slope


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _holds(table: Lattice, path: Floats) -> bool:
    """Say whether the sketch is wide enough for a path."""
    for k in range(path.size):
        place = min(max(path[k] / table.step, -_FARTHEST), _FARTHEST)
        if np.floor(place) - _NEEDED < table.low[k]:
            return False
        if np.ceil(place) + _NEEDED + 1 > table.high[k]:
            return False
    return True


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _merged(known: Lattice, sketch: Lattice) -> Lattice:
    """Return the known coefficients with rows that are sketched anew in place of the old ones.

    The coefficients of a cubic B-spline near the values: it is accurate to fourth order, and
    its second derivative interpolates second differences, so that concave data give a concave
    spline.
    """
    # Loops: numba takes seconds to compile numpy's broadcasting of whole arrays.
    low, high = known.low.copy(), known.high.copy()
    origin, end = low[0], high[0]
    for k in range(low.size):
        if sketch.high[k] > sketch.low[k]:
            low[k], high[k] = sketch.low[k], sketch.high[k]
        origin, end = (low[k], high[k]) if k == 0 else (min(origin, low[k]), max(end, high[k]))
    out = np.zeros((low.size, end - origin))
    for k in range(low.size):
        fresh = sketch.high[k] > sketch.low[k]
        source, start = (sketch.values, sketch.origin) if fresh else (known.values, known.origin)
        row = out[k, low[k] - origin : high[k] - origin]
        for i in range(row.size):
            row[i] = source[k, low[k] - start + i]
        if not fresh:
            continue
        left = row[0]
        for i in range(1, row.size - 1):
            here = row[i]
            row[i] = here - (left - 2.0 * here + row[i + 1]) / 6.0
            left = here
    return Lattice(sketch.step, origin, low, high, out)


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _spline(row: Floats, position: float, step: float) -> tuple[float, float, float]:
    """Return a cubic B-spline's value and derivatives, a straight line beyond its ends."""
    j = min(max(math.floor(position), 1), row.size - 3)
    u = min(max(position - j, 0.0), 1.0)
    a, b, c, d = row[j - 1], row[j], row[j + 1], row[j + 2]
    first, second = a - 2.0 * b + c, b - 2.0 * c + d
    bend = (1.0 - u) * first + u * second
    slope = 0.5 * (c - a) + u * first + 0.5 * u * u * (second - first)
    value = b + first / 6.0 + u * (0.5 * (c - a) + u * (0.5 * first + u * (second - first) / 6.0))
    beyond = position - j - u
    if beyond != 0.0:
        return value + beyond * slope, slope / step, 0.0
    return value, slope / step, bend / (step * step)


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _expand(
    table: Lattice, path: Floats, intercept: Floats, slope: Floats, noise: float, start: float,
    gradient: Floats, diagonal: Floats, off: Floats,
) -> float:  # fmt: skip
    """Return the log density of path and data up to constants; write its gradient and the
    tridiagonal of its negative second derivative."""
    windows, precision = path.size, 1.0 / (noise * noise)
    total = -0.5 * start * path[0] ** 2
    gradient[0], diagonal[0] = -start * path[0], start
    for k in range(windows):
        row = table.values[k, table.low[k] - table.origin : table.high[k] - table.origin]
        value, rise, bend = _spline(row, path[k] / table.step - table.low[k], table.step)
        total += value
        if k + 1 < windows:
            growth = 1.0 + slope[k]
            gap = path[k + 1] - growth * path[k] - intercept[k]
            total -= 0.5 * precision * gap * gap
            gradient[k] += precision * growth * gap
            diagonal[k] += precision * growth * growth
            gradient[k + 1], diagonal[k + 1] = -precision * gap, precision
            off[k] = -precision * growth
        gradient[k] += rise
        diagonal[k] -= min(bend, 0.0)
    return total


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _eliminate(gradient: Floats, diagonal: Floats, off: Floats) -> float:
    """Solve forwards, in place; what is left on the diagonal multiplies to the determinant."""
    determinant = math.log(diagonal[0])
    for k in range(1, diagonal.size):
        share = off[k - 1] / diagonal[k - 1]
        diagonal[k] -= share * off[k - 1]
        gradient[k] -= share * gradient[k - 1]
        determinant += math.log(diagonal[k])
    return determinant


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def climb(
    table: Lattice, path: Floats, intercept: Floats, slope: Floats, noise: float, scale: float,
    rounds: int,
) -> float:  # fmt: skip
    """Move a path towards the most probable one by Newton's method; return the evidence there.

    The path is changed in place. An infinite scale stands for a flat first state.
    """
    windows, start = path.size, 1.0 / (scale * scale)
    gradient, diagonal, off = np.empty(windows), np.empty(windows), np.empty(windows)
    total = determinant = 0.0
    for left in range(rounds, -1, -1):
        total = _expand(table, path, intercept, slope, noise, start, gradient, diagonal, off)
        if not math.isfinite(total):
            return -np.inf
        determinant = _eliminate(gradient, diagonal, off)
        if left == 0:
            break
        move, largest = 0.0, 0.0
        for k in range(windows - 1, -1, -1):
            move = (gradient[k] - (off[k] * move if k + 1 < windows else 0.0)) / diagonal[k]
            gradient[k] = move
            largest = max(largest, abs(move))
        if largest < _CONVERGED:
            break
        path += min(1.0, _LARGEST_MOVE * table.step / largest) * gradient
    found = total - 0.5 * determinant - (windows - 1) * math.log(noise)
    found += -math.log(scale) if start > 0.0 else 0.5 * math.log(2.0 * math.pi)
    return found if math.isfinite(found) else -np.inf
