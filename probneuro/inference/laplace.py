"""Laplace's approximation to the evidence of one scalar trajectory: microseconds, not exact."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.gibbs import ChainLaw, WindowObservation
from probneuro.core.lattice import Lattice

Floats = NDArray[np.float64]

_ROUNDS = 12
_CONVERGED = 1e-10
# Longest step of the path anywhere, in cells of the sketch: curvature is known only nearby.
_LARGEST_MOVE = 4.0


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

    Examples
    --------
    >>> from probneuro.testing.chains import GaussianWindows, kalman_smoother
    >>> windows = GaussianWindows(np.array([0.3, 0.8, 0.2]), 0.4)
    >>> law = ChainLaw(0.3, 1.0, None, np.zeros(2), np.zeros(2))
    >>> exact = kalman_smoother(law, windows).log_evidence
    >>> bool(abs(LaplaceEvidence(windows).log_evidence(law) - exact) < 1e-6)
    True
    """

    def __init__(self, observation: WindowObservation) -> None:
        table = observation.sketch()
        # The B-spline quasi-interpolant: fourth-order accurate, and its second derivative
        # interpolates second differences, so that concave data give a concave spline.
        bend = np.zeros_like(table.values)
        bend[:, 1:-1] = np.diff(table.values, 2, axis=1)
        self._table: Lattice = table._replace(values=table.values - bend / 6.0)

    def log_evidence(self, law: ChainLaw) -> float:
        """Return the approximate log evidence; minus infinity where the path diverges."""
        path = np.zeros(self._table.values.shape[0])
        if law.bounds is not None:
            path += 0.5 * (law.bounds[0] + law.bounds[1])
        scale = law.initial_scale if law.bounds is None else np.inf
        value = -math.log(law.bounds[1] - law.bounds[0]) if law.bounds is not None else 0.0
        if law.drift is None:
            return value + climb(
                self._table, path, law.intercept, law.slope, law.noise, scale, _ROUNDS
            )
        for _ in range(_ROUNDS):
            intercept, slope = _linearised(law, path)
            found = climb(self._table, path, intercept, slope, law.noise, scale, 1)
        return value + found


def _linearised(law: ChainLaw, path: Floats) -> tuple[Floats, Floats]:
    """Return the affine drift that agrees with a general one along a path."""
    states, step = path[:-1], 1e-4 * law.initial_scale
    here, above = (np.diagonal(law.drift(states + shift)) for shift in (0.0, step))
    slope: Floats = (above - here) / step
    return here - slope * states, slope


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
        position = path[k] / table.step - table.origin
        value, rise, bend = _spline(table.values[k], position, table.step)
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
