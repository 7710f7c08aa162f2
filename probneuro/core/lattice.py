"""Functions of one variable, tabulated at equispaced points and interpolated between them."""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Points to the left and right of a cell's own left end that its polynomial passes through.
_LEFT, _RIGHT = 2, 3
_POINTS = _LEFT + 1 + _RIGHT
BELOW, ABOVE = _LEFT + 1, _RIGHT + 2
"""Points to tabulate below floor(x / step), and from it on, to interpolate at x and to know
how well: one more on either side than the polynomial passes through."""
# Largest |prod(u - nodes)| / 6! over the middle cell, doubled for kinks of a sharp softplus.
_SIXTH_ERROR = 2.0 * 0.5**2 * 1.5**2 * 2.5**2 / 720.0


class Lattice(NamedTuple):
    """Rows of values at ``step * (origin + column)``, each known over its own range.

    Parameters
    ----------
    step : float
        Distance of the points.
    origin : int
        Point of the first column, in steps.
    low, high : ndarray
        Points each row is known at, from low up to high - 1, in steps; shape (row,).
    values : ndarray
        Shape (row, column); what is outside a row's range means nothing.
    """

    step: float
    origin: int
    low: Integers
    high: Integers
    values: Floats


def _monomials() -> Floats:
    """Return the Lagrange polynomials of the points -2..3 by rising power, (point, power)."""
    points = list(range(-_LEFT, _RIGHT + 1))
    out = np.zeros((len(points), len(points)))
    for m, point in enumerate(points):
        polynomial = np.polynomial.Polynomial.fromroots([q for q in points if q != point])
        out[m] = (polynomial / polynomial(point)).coef
    return out


_MONOMIALS = _monomials()


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def interpolate(row: Floats, first: int, step: float, states: Floats, out: Floats) -> None:
    """Write the values at some states, by the fifth-degree polynomial of the six nearest points.

    ``first`` is the point of ``row[0]`` in steps.
    """
    coefficients = np.empty(_POINTS)
    last = -1
    for i in range(states.size):
        position = states[i] / step - first
        j = min(max(int(np.floor(position)), _LEFT), row.size - _RIGHT - 1)
        if j != last:
            _cell(row, j, coefficients)
            last = j
        u = position - j
        value = coefficients[_POINTS - 1]
        for p in range(_POINTS - 2, -1, -1):
            value = value * u + coefficients[p]
        out[i] = value


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _cell(row: Floats, j: int, coefficients: Floats) -> None:
    for p in range(_POINTS):
        coefficients[p] = 0.0
    for m in range(_POINTS):
        value = row[j - _LEFT + m]
        for p in range(_POINTS):
            coefficients[p] += _MONOMIALS[m, p] * value


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def interpolate_nodes(
    row: Floats, first: int, step: float, start: float, spacing: float, out: Floats
) -> None:
    """Write the values at equispaced states ``start + spacing i``, as :func:`interpolate`."""
    c = np.empty(_POINTS)
    origin, stride = start / step - first, spacing / step
    i = 0
    while i < out.size:
        j = min(max(int(np.floor(origin + i * stride)), _LEFT), row.size - _RIGHT - 1)
        _cell(row, j, c)
        end = out.size
        if j < row.size - _RIGHT - 1:
            end = min(max(int(np.ceil((j + 1 - origin) / stride)), i + 1), out.size)
        for m in range(i, end):
            u = origin + m * stride - j
            out[m] = c[0] + u * (c[1] + u * (c[2] + u * (c[3] + u * (c[4] + u * c[5]))))
        i = end


@nb.njit(cache=True, nogil=True, error_model="numpy")
def add_rows(table: Lattice, start: float, spacing: float, out: Floats) -> None:
    """Add every row's values at equispaced states."""
    values = np.empty(out.size)
    for k in range(table.values.shape[0]):
        row = table.values[k, table.low[k] - table.origin : table.high[k] - table.origin]
        interpolate_nodes(row, table.low[k], table.step, start, spacing, values)
        out += values


@nb.njit(cache=True, nogil=True, error_model="numpy")
def covers(low: int, high: int, step: float, lowest: float, highest: float) -> bool:
    """Say whether a row known from low to high - 1 can be interpolated between two states."""
    return low + _LEFT <= np.floor(lowest / step) and np.floor(highest / step) + _RIGHT < high


@nb.njit(cache=True, nogil=True, error_model="numpy")
def interpolation_error(row: Floats, many: float) -> float:
    """Return the largest error of interpolation, from the sixth differences.

    Where values are below ``-many`` the error counts as a share of them: such states are
    hundreds of nats from any that matter. Values beyond 1e100 do not count.
    """
    worst = 0.0
    for i in range(3, row.size - 3):
        if abs(row[i]) > 1e100:
            continue
        outer = row[i - 3] + row[i + 3] - 6.0 * (row[i - 2] + row[i + 2])
        sixth = outer + 15.0 * (row[i - 1] + row[i + 1]) - 20.0 * row[i]
        worst = max(worst, abs(sixth) / max(1.0, -row[i] / many))
    return _SIXTH_ERROR * worst
