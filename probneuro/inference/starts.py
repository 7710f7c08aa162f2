"""Where chains start: at random, where the density is finite."""

from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import InferenceError

Floats = NDArray[np.float64]
Start = TypeVar("Start")

_TRIES: Final = 100
_RADIUS: Final = 2.0
"""Of the cube around zero in unconstrained space, as Stan has it."""


def free_place(size: int, rng: np.random.Generator) -> Floats:
    """Return a random place in unconstrained space, shape (size,)."""
    return rng.uniform(-_RADIUS, _RADIUS, size)


def start_of_finite_density(
    draw: Callable[[], Start], log_density: Callable[[Start], float]
) -> Start:
    """Return the first of many random starts that has a finite density.

    Parameters
    ----------
    draw : callable
        Draws a start.
    log_density : callable
        Its log density.

    Raises
    ------
    InferenceError
        If none has.

    Examples
    --------
    >>> starts = iter([-1.0, 2.0])
    >>> start_of_finite_density(lambda: next(starts), lambda x: 0.0 if x > 0 else -np.inf)
    2.0
    """
    for _ in range(_TRIES):
        start = draw()
        if np.isfinite(log_density(start)):
            return start
    raise InferenceError(
        f"No start of finite density was found in {_TRIES} tries. Check the data for "
        "values that the program cannot produce."
    )
