"""Compiled maps between trajectories and innovations that have seen the data."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.normal import normal_quantile, normal_share

Floats = NDArray[np.float64]

# Precisions below this share of that of the first state say nothing.
_LEAST = 1e-6
# Drift that turns states round, or nearly forgets them, sends no message back.
_LEAST_GROWTH = 1e-3
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _messages(
    intercept: Floats, slope: Floats, noise: float, bounded: bool, lower: float, upper: float,
    least: float, centre: Floats, precision: Floats,
) -> None:  # fmt: skip
    """Turn what each window's data say about its state into what all later ones say, in place."""
    precision[-1] = max(precision[-1], least)
    for k in range(centre.size - 1, -1, -1):
        if k + 1 < centre.size:
            growth = 1.0 + slope[k]
            told = 0.0
            if growth > _LEAST_GROWTH:
                told = growth * growth / (noise * noise + 1.0 / precision[k + 1])
            own = max(precision[k], least)
            if told > 0.0:
                seen = (centre[k + 1] - intercept[k]) / growth
                centre[k] = (own * centre[k] + told * seen) / (own + told)
            precision[k] = own + told
        if bounded:
            centre[k] = min(max(centre[k], lower), upper)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _score(
    state: float, mean: float, noise: float, bounded: bool, lower: float, upper: float
) -> float:
    """Return the standard normal score of a state, by the lesser of its tails."""
    z = (state - mean) / noise
    if not bounded:
        return z
    low, high = (lower - mean) / noise, (upper - mean) / noise
    below = normal_share(z) - normal_share(low)
    above = normal_share(-z) - normal_share(-high)
    mass = normal_share(high) - normal_share(low)
    return normal_quantile(below / mass) if below < above else -normal_quantile(above / mass)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _state(
    score: float, mean: float, noise: float, bounded: bool, lower: float, upper: float
) -> float:
    """Return the state of a score: the inverse of ``_score``."""
    if not bounded:
        return mean + noise * score
    low, high = (lower - mean) / noise, (upper - mean) / noise
    mass = normal_share(high) - normal_share(low)
    if score < 0.0:
        z = normal_quantile(normal_share(low) + normal_share(score) * mass)
    else:
        z = -normal_quantile(normal_share(-high) + normal_share(-score) * mass)
    return min(max(mean + noise * z, lower), upper)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _log_density(
    state: float, mean: float, noise: float, bounded: bool, lower: float, upper: float
) -> float:
    """Return the log density of a state, but for the constant of a normal."""
    z = (state - mean) / noise
    value = -0.5 * z * z - math.log(noise)
    if bounded:
        mass = normal_share((upper - mean) / noise) - normal_share((lower - mean) / noise)
        value -= math.log(mass)
    return value


@nb.njit(cache=True, nogil=True, error_model="numpy")
def carry(
    intercept: Floats, slope: Floats, noise: float, scale: float, bounded: bool, lower: float,
    upper: float, centre: Floats, precision: Floats, states: Floats, scores: Floats,
    forward: bool,
) -> float:  # fmt: skip
    """Write the states of some scores, or the scores of some states; return a log weight.

    The weight is the density of the states under their law over that under the guided law
    whose scores these are. ``centre`` and ``precision`` are overwritten.
    """
    least = _LEAST / (scale * scale)
    if bounded:
        least = _LEAST / ((upper - lower) * (upper - lower))
    _messages(intercept, slope, noise, bounded, lower, upper, least, centre, precision)
    weight = 0.0
    for k in range(states.size):
        mean, spread = 0.0, scale
        if k > 0:
            mean, spread = states[k - 1] * (1.0 + slope[k - 1]) + intercept[k - 1], noise
            if bounded:
                mean = min(max(mean, lower), upper)
        law = 1.0 / (spread * spread)
        if bounded and k == 0:
            law = 0.0  # uniform
        guided = (law * mean + precision[k] * centre[k]) / (law + precision[k])
        width = 1.0 / math.sqrt(law + precision[k])
        if forward:
            states[k] = _state(scores[k], guided, width, bounded, lower, upper)
        else:
            scores[k] = _score(states[k], guided, width, bounded, lower, upper)
        weight -= _log_density(states[k], guided, width, bounded, lower, upper)
        if bounded and k == 0:
            weight += _HALF_LOG_2PI - math.log(upper - lower)
        else:
            weight += _log_density(states[k], mean, spread, bounded, lower, upper)
    return weight
