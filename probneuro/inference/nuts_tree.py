"""The tree of one NUTS transition, grown leaf by leaf without recursion.

A half tree is a stack of whole subtrees: a new leaf goes on top, and as long as the two topmost are
of one size they are joined. That makes the joins of the recursive algorithm (Hoffman & Gelman
2014, algorithm 6), in its order; between two leaves nothing but the arrays here has to be kept.

Vectors are rows of one array, numbers the entries of another, so that a call has few arguments.
"""

from typing import Any, Final

import numba as nb
import numpy as np

from probneuro.core.engine import Floats

# Rows: the moving point, the two ends of the tree, its momentum and draw, then the stack.
POSITION, _MOMENTUM, _GRADIENT, _VELOCITY = range(4)
_LEFT, _RIGHT = 4, 8  # each with the rows of a point, in that order
_SUM = 12
DRAW: Final = 13  # its position, momentum and gradient
_STACK: Final = 16
_BEGIN_MOMENTUM, _BEGIN_VELOCITY, _END_MOMENTUM, _END_VELOCITY, _TOTAL, _DRAWN = range(6)
_STACK_ROWS: Final = 8

START_ENERGY, STEP, _LEAVES, DEPTH, STEPS, ACCEPTANCE, DIVERGING, _WEIGHT, VALUE = range(9)
_STACK_NUMBERS: Final = 9
_LOG_WEIGHT, _VALUE, _PER_ENTRY = range(3)

GOES_ON, DOUBLED, ENDED = range(3)
"""After a leaf: the half wants more of them, or is joined to the tree, or nothing more is."""


def new_tree(size: int, max_depth: int) -> tuple[Floats, Floats]:
    """Return empty vectors and numbers for a tree of at most so many doublings."""
    vectors = np.empty((_STACK + _STACK_ROWS * (max_depth + 1), size))
    return vectors, np.zeros(_STACK_NUMBERS + _PER_ENTRY * (max_depth + 1))


@nb.njit(cache=True)
def plant(
    vectors: Floats,
    numbers: Floats,
    position: Floats,
    momentum: Floats,
    gradient: Floats,
    velocity: Floats,
    value: float,
    energy: float,
) -> None:
    """Make the tree of the starting point alone."""
    for edge in (_LEFT, _RIGHT):
        vectors[edge + POSITION] = position
        vectors[edge + _MOMENTUM] = momentum
        vectors[edge + _GRADIENT] = gradient
        vectors[edge + _VELOCITY] = velocity
    vectors[_SUM] = momentum
    vectors[DRAW] = position
    vectors[DRAW + 1] = momentum
    vectors[DRAW + 2] = gradient
    numbers[VALUE] = value
    numbers[START_ENERGY] = energy


@nb.njit(cache=True)
def _leave(vectors: Floats, step: float, metric: Floats) -> None:
    """Kick the moving point by half a step and let it drift to the next position."""
    momentum, velocity = vectors[_MOMENTUM], vectors[_VELOCITY]
    momentum += 0.5 * step * vectors[_GRADIENT]
    _set_velocity(metric, momentum, velocity)
    vectors[POSITION] += step * velocity


@nb.njit(cache=True)
def _set_velocity(metric: Floats, momentum: Floats, out: Floats) -> None:
    if metric.shape[0] == 1:
        out[:] = metric[0] * momentum
        return
    out[:] = 0.0
    for i in range(momentum.size):
        out += metric[i] * momentum[i]


@nb.njit(cache=True)
def set_off(vectors: Floats, numbers: Floats, metric: Floats, step: float) -> None:
    """Begin a half at one end of the tree, the left one where the step is negative."""
    edge = _RIGHT if step > 0.0 else _LEFT
    for row in range(4):
        vectors[row] = vectors[edge + row]
    numbers[STEP] = step
    numbers[_LEAVES] = 0.0
    _leave(vectors, step, metric)


@nb.njit(cache=True)
def _log_sum(a: float, b: float) -> float:
    high = max(a, b)
    return high if np.isinf(high) else high + np.log1p(np.exp(min(a, b) - high))


@nb.njit(cache=True)
def _turns_back(
    left_sum: Floats,
    right_sum: Floats,
    begin: Floats,
    end: Floats,
    seam: tuple[Floats, Floats, Floats, Floats],
) -> bool:
    """Whether an end moves back along the summed momentum (Betancourt 2017, appendix A.4.2).

    As in Stan: across the joint tree, and across the seam from either side. The seam is the
    momentum and velocity of the left tree's end, then those of the right one's begin.
    """
    left_momentum, left_velocity, right_momentum, right_velocity = seam
    dots = np.zeros(6)
    for i in range(begin.size):
        both = left_sum[i] + right_sum[i]
        into_right = left_sum[i] + right_momentum[i]
        into_left = right_sum[i] + left_momentum[i]
        dots[0] += begin[i] * both
        dots[1] += end[i] * both
        dots[2] += begin[i] * into_right
        dots[3] += right_velocity[i] * into_right
        dots[4] += left_velocity[i] * into_left
        dots[5] += end[i] * into_left
    return not bool(np.all(dots > 0.0))


@nb.njit(cache=True)
def _push(vectors: Floats, numbers: Floats, entry: int, value: float, log_weight: float) -> None:
    base = _STACK + _STACK_ROWS * entry
    vectors[base + _BEGIN_MOMENTUM] = vectors[_MOMENTUM]
    vectors[base + _BEGIN_VELOCITY] = vectors[_VELOCITY]
    vectors[base + _END_MOMENTUM] = vectors[_MOMENTUM]
    vectors[base + _END_VELOCITY] = vectors[_VELOCITY]
    vectors[base + _TOTAL] = vectors[_MOMENTUM]
    for row in range(3):
        vectors[base + _DRAWN + row] = vectors[POSITION + row]
    at = _STACK_NUMBERS + _PER_ENTRY * entry
    numbers[at + _LOG_WEIGHT] = log_weight
    numbers[at + _VALUE] = value


@nb.njit(cache=True)
def _join_top(vectors: Floats, numbers: Floats, entry: int, chance: float) -> bool:
    """Join an entry of the stack with the one on it; return whether it goes on."""
    left, right = _STACK + _STACK_ROWS * entry, _STACK + _STACK_ROWS * (entry + 1)
    at, above = _STACK_NUMBERS + _PER_ENTRY * entry, _STACK_NUMBERS + _PER_ENTRY * (entry + 1)
    seam = (
        vectors[left + _END_MOMENTUM],
        vectors[left + _END_VELOCITY],
        vectors[right + _BEGIN_MOMENTUM],
        vectors[right + _BEGIN_VELOCITY],
    )
    begin, end = vectors[left + _BEGIN_VELOCITY], vectors[right + _END_VELOCITY]
    if _turns_back(vectors[left + _TOTAL], vectors[right + _TOTAL], begin, end, seam):
        return False
    log_weight = _log_sum(numbers[at + _LOG_WEIGHT], numbers[above + _LOG_WEIGHT])
    if np.log(chance) < numbers[above + _LOG_WEIGHT] - log_weight:
        for row in range(3):
            vectors[left + _DRAWN + row] = vectors[right + _DRAWN + row]
        numbers[at + _VALUE] = numbers[above + _VALUE]
    numbers[at + _LOG_WEIGHT] = log_weight
    vectors[left + _END_MOMENTUM] = vectors[right + _END_MOMENTUM]
    vectors[left + _END_VELOCITY] = vectors[right + _END_VELOCITY]
    vectors[left + _TOTAL] += vectors[right + _TOTAL]
    return True


@nb.njit(cache=True)
def _join_half(vectors: Floats, numbers: Floats, chance: float) -> bool:
    """Join the fresh half with the tree, whether it goes on or not; return which."""
    fresh, at = _STACK, _STACK_NUMBERS
    forward = numbers[STEP] > 0.0
    near = _RIGHT if forward else _LEFT
    far = _LEFT if forward else _RIGHT
    # In the order of travel, the tree comes first in either direction.
    seam = (
        vectors[near + _MOMENTUM],
        vectors[near + _VELOCITY],
        vectors[fresh + _BEGIN_MOMENTUM],
        vectors[fresh + _BEGIN_VELOCITY],
    )
    begin, end = vectors[far + _VELOCITY], vectors[fresh + _END_VELOCITY]
    back = _turns_back(vectors[_SUM], vectors[fresh + _TOTAL], begin, end, seam)
    # Biased progressive sampling: the new half is taken whenever it weighs more.
    if np.log(chance) < numbers[at + _LOG_WEIGHT] - numbers[_WEIGHT]:
        for row in range(3):
            vectors[DRAW + row] = vectors[fresh + _DRAWN + row]
        numbers[VALUE] = numbers[at + _VALUE]
    numbers[_WEIGHT] = _log_sum(numbers[_WEIGHT], numbers[at + _LOG_WEIGHT])
    vectors[_SUM] += vectors[fresh + _TOTAL]
    for row in range(4):
        vectors[near + row] = vectors[row]
    numbers[DEPTH] += 1.0
    return not back


@nb.njit(cache=True)
def add_leaf(
    vectors: Floats,
    numbers: Floats,
    metric: Floats,
    value: float,
    gradient: Floats,
    chances: Floats,
    divergence: float,
) -> int:
    """End the step that the moving point is at, and join what can be joined.

    Parameters
    ----------
    vectors, numbers : numpy.ndarray
        The tree.
    metric : numpy.ndarray
        Inverse metric, shape (1, size) or (size, size).
    value : float
        Log density at the moving point.
    gradient : numpy.ndarray
        Its gradient.
    chances : numpy.ndarray
        A uniform number for every join of this half.
    divergence : float
        Energy error from which the trajectory ends.

    Returns
    -------
    int
        One of `GOES_ON`, `DOUBLED` and `ENDED`.
    """
    step = numbers[STEP]
    momentum, velocity = vectors[_MOMENTUM], vectors[_VELOCITY]
    vectors[_GRADIENT] = gradient
    momentum += 0.5 * step * gradient
    _set_velocity(metric, momentum, velocity)
    energy = 0.5 * np.sum(momentum * velocity) - value
    change = numbers[START_ENERGY] - energy if np.isfinite(energy) else -np.inf
    numbers[STEPS] += 1.0
    numbers[ACCEPTANCE] += np.exp(min(0.0, change))
    if change < -divergence:
        numbers[DIVERGING] = 1.0
        return ENDED
    leaf = int(numbers[_LEAVES])
    numbers[_LEAVES] += 1.0
    entry, joined, rest = 0, 0, leaf
    while rest:
        entry += rest & 1
        joined += rest >> 1
        rest >>= 1
    # Leaves before this one made `joined` joins, and left `entry` subtrees on the stack.
    _push(vectors, numbers, entry, value, change)
    rest = leaf
    while rest & 1:
        entry -= 1
        if not _join_top(vectors, numbers, entry, chances[joined]):
            return ENDED
        joined += 1
        rest >>= 1
    if leaf + 1 < chances.size:
        _leave(vectors, step, metric)
        return GOES_ON
    return DOUBLED if _join_half(vectors, numbers, chances[-1]) else ENDED


def metric_rows(inverse_metric: Floats) -> Floats:
    """Return an inverse metric as `add_leaf` takes it."""
    rows: Any = np.atleast_2d(inverse_metric)
    return np.ascontiguousarray(rows, dtype=np.float64)
