"""Slice sampling along learnt directions."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.errors import InferenceError
from probneuro.inference.adaptation import Schedule, add_moment, start_moments

Floats = NDArray[np.float64]

LogDensity = Callable[[Floats], float]

_MAX_DOUBLINGS = 10
_MAX_SHRINKS = 100
_FIRST_WIDTH = 0.5
# Of the length of a direction, in differences that tell the curvature.
_DIFFERENCE = 0.05
# Points over which the curvature is averaged, the later ones once there are more.
_REMEMBERED = 10
# Directions that are flatter than this share of the steepest are taken for so.
_FLATTEST = 1e-5


def start_slice(size: int) -> Arrays:
    """Return the state of a sampler: its directions (columns, scaled) and their moments."""
    return {"directions": _FIRST_WIDTH * np.eye(size), **start_moments(size, dense=True)}


def slice_along(
    log_density: LogDensity,
    position: Floats,
    value: float,
    direction: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, float]:
    """Draw the position along a line, by stepping out and shrinking (Neal 2003, Fig. 3 and 5).

    Parameters
    ----------
    log_density : callable
        Position to log density.
    position : ndarray
        Where the chain is.
    value : float
        Log density there.
    direction : ndarray
        The line; its length is the first width of the bracket.
    rng : numpy.random.Generator
        The chain's stream.

    Returns
    -------
    tuple
        The new position and its log density.

    Raises
    ------
    InferenceError
        If the log density at the position is not finite.
    """
    if not np.isfinite(value):
        raise InferenceError(
            f"Slice sampling started where the log density is {value}. "
            "Check the priors' scales against the data."
        )
    level = value - rng.exponential()
    left = -rng.random()
    right = left + 1.0
    left_steps = rng.integers(0, _MAX_DOUBLINGS)
    right_steps = _MAX_DOUBLINGS - 1 - left_steps
    while left_steps > 0 and log_density(position + left * direction) > level:
        left, left_steps = left - 1.0, left_steps - 1
    while right_steps > 0 and log_density(position + right * direction) > level:
        right, right_steps = right + 1.0, right_steps - 1
    for _ in range(_MAX_SHRINKS):
        shift = rng.uniform(left, right)
        proposal = position + shift * direction
        proposed = log_density(proposal)
        if proposed > level:
            return proposal, proposed
        left, right = (shift, right) if shift < 0 else (left, shift)
    return position, value


def slice_sweep(
    log_density: LogDensity,
    position: Floats,
    value: float,
    state: Arrays,
    rng: np.random.Generator,
) -> tuple[Floats, float]:
    """Draw along every direction once, in random order: a reversible move.

    Directions are the principal axes of the draws of a warm-up window, each as long as three
    standard deviations, so that strongly dependent parameters move together (Tibbits et al.
    2014).

    Returns
    -------
    tuple
        The new position and its log density.
    """
    for direction in rng.permutation(state["directions"].T):
        position, value = slice_along(log_density, position, value, direction, rng)
    return position, value


def learn_directions(state: Arrays, position: Floats, iteration: int, plan: Schedule) -> Arrays:
    """Return the state with a warm-up draw learnt from, and the axes renewed when it is time."""
    if plan.start <= iteration < plan.stop:
        state = add_moment(state, position)
    if iteration in plan.ends and int(state["count"]) > 2 * position.size:
        covariance = state["spread"] / (float(state["count"]) - 1.0)
        size, axes = np.linalg.eigh(covariance)
        lengths = 3.0 * np.sqrt(np.clip(size, 1e-8, None))
        state = {"directions": axes * lengths, **start_moments(position.size, dense=True)}
    return state


def curved_directions(state: Arrays, log_density: LogDensity, position: Floats) -> Arrays:
    r"""Return the state with its axes renewed by the curvature there and at earlier points.

    .. math:: \overline{-\nabla^2 \log \pi} = V \Lambda V^\top, \qquad
              d_i = 3\, \lambda_i^{-1/2} v_i

    Where draws are too dependent to tell their covariance, second differences of the log density
    tell it at once; a point costs n (n + 1) + 1 evaluations.
    """
    size = position.size
    steps = np.diag(_DIFFERENCE * np.sqrt((state["directions"] ** 2).sum(axis=1)))
    middle = log_density(position)
    ahead, behind = (
        np.array([log_density(position + sign * step) for step in steps]) for sign in (1, -1)
    )
    bent = np.diag(2.0 * middle - ahead - behind)
    for i in range(size):
        for j in range(i):
            both = steps[i] + steps[j]
            pair = log_density(position + both) + log_density(position - both) + 2.0 * middle
            bent[i, j] = bent[j, i] = (
                ahead[i] + ahead[j] + behind[i] + behind[j] - pair
            ) / 2.0  # fmt: skip
    length = np.diag(steps)
    bent = bent / np.outer(length, length)
    if not np.isfinite(bent).all():
        return state
    seen = int(state.get("bent", np.array(0)))
    mean = state.get("curvature", np.zeros_like(bent))
    mean = mean + (bent - mean) / min(seen + 1, _REMEMBERED)
    eigenvalue, axes = np.linalg.eigh(mean)
    steepest = eigenvalue[-1]
    kept = {**state, "bent": np.array(seen + 1), "curvature": mean}
    if steepest <= 0.0:
        return kept
    return {
        **kept,
        "directions": axes * 3.0 / np.sqrt(np.maximum(eigenvalue, _FLATTEST * steepest)),
    }
