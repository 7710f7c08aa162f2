"""Weights that integrate a smooth function on equispaced nodes between any two positions."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

ORDER = 8
"""Nodes of the local polynomial; its error falls with the eighth power of the spacing."""


def _antiderivatives() -> NDArray[np.float64]:
    """Return the antiderivative of each Lagrange polynomial on 0..ORDER-1, by rising power."""
    out = np.zeros((ORDER, ORDER + 1))
    for m in range(ORDER):
        others = [q for q in range(ORDER) if q != m]
        polynomial = np.polynomial.Polynomial.fromroots(others)
        out[m] = (polynomial / polynomial(m)).integ().coef
    return out


_ANTIDERIVATIVES = _antiderivatives()
_ENDS = np.array([[ORDER // 2 - 1], [ORDER // 2]]) ** np.arange(ORDER + 1.0)
_MIDDLE_CELL: NDArray[np.float64] = _ANTIDERIVATIVES @ (_ENDS[1] - _ENDS[0])


@nb.njit(cache=True, nogil=True)
def add_interval(
    weights: NDArray[np.float64], left: float, right: float, first: int, last: int
) -> None:
    r"""Add the weights of :math:`\int_{left}^{right}`, positions in units of the spacing.

    Every cell is integrated through the polynomial of the nearest ``ORDER`` nodes among
    first..last, so the integrand may have an edge at either end but none inside.
    """
    cell = int(np.floor(left))
    while cell < right:
        a, b = max(left, float(cell)), min(right, cell + 1.0)
        base = min(max(cell - ORDER // 2 + 1, first), last - ORDER + 1)
        if b - a == 1.0 and base == cell - ORDER // 2 + 1:
            for m in range(ORDER):
                weights[base + m] += _MIDDLE_CELL[m]
            cell += 1
            continue
        u, v = a - base, b - base
        for m in range(ORDER):
            total, pu, pv = 0.0, u, v
            for power in range(1, ORDER + 1):
                total += _ANTIDERIVATIVES[m, power] * (pv - pu)
                pu *= u
                pv *= v
            weights[base + m] += total
        cell += 1
