"""Particle filters and smoothers of any state-space model, vectorised over particles."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from probneuro.core.device import as_numpy
from probneuro.core.errors import InferenceError, SettingError
from probneuro.inference.particle_filter import (
    ParticleHistory,
    Resampling,
    multinomial,
    systematic,
)
from probneuro.inference.particle_kernels import normalise, place
from probneuro.inference.state_space_steps import BoundModel, torch_stream

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LARGEST_TABLE = 2_000_000
_HELD_LEAST = 2


def run_filter(
    bound: BoundModel,
    num_particles: int,
    rng: np.random.Generator,
    *,
    threshold: float = 0.5,
    resample: Resampling = systematic,
) -> ParticleHistory:
    r"""Filter a trajectory: draw, weigh, and resample where few particles carry the weight.

    .. math::

        w_t^i = W_{t-1}^i \, \frac{p(x_t^i \mid x_{t-1}^{a_t^i})\, p(y_t \mid x_t^i)}
        {q(x_t^i \mid x_{t-1}^{a_t^i}, y_t)}, \qquad
        \hat Z = \prod_t \sum_i w_t^i, \qquad \mathrm E[\hat Z] = p(y)

    with the weights :math:`W_{t-1}` made equal by resampling.

    Parameters
    ----------
    bound : BoundModel
        The model at its parameters and data.
    num_particles : int
        Number of particles.
    rng : numpy.random.Generator
        Source of randomness.
    threshold : float
        Resample when the effective number of particles falls below this share of them; 1 or
        more for always.
    resample : callable
        :func:`~probneuro.inference.particle_filter.systematic` or ``multinomial``.

    Returns
    -------
    ParticleHistory
        Particles of shape (time, particle, ...), weights, ancestors and evidence.

    Raises
    ------
    InferenceError
        If all particles die.

    Notes
    -----
    Source: Gordon, Salmond and Smith (1993); Doucet, Godsill and Andrieu (2000).
    """
    length, equal = bound.length, 1.0 / num_particles
    weights = np.empty((length, num_particles))
    ancestors = np.tile(np.arange(num_particles), (length, 1))
    increments = np.empty(length)
    every: list[NDArray[Any]] = []
    states: torch.Tensor | None = None
    with torch_stream(rng, bound.device):
        for t in range(length):
            carried = np.zeros(num_particles)
            if t and states is not None:
                if weights[t - 1] @ weights[t - 1] * threshold * num_particles > 1.0:
                    place(weights[t - 1], resample(num_particles, rng), ancestors[t])
                    states = states[torch.as_tensor(ancestors[t])]
                else:
                    with np.errstate(divide="ignore"):
                        carried = np.log(weights[t - 1] / equal)
            states, log_weights = bound.advance(states, t, num_particles)
            increments[t] = _weigh(log_weights + carried, weights[t], t)
            every.append(as_numpy(states))
    return ParticleHistory(np.stack(every), weights, ancestors, increments)


def run_conditional_filter(
    bound: BoundModel,
    path: NDArray[np.generic],
    num_particles: int,
    rng: np.random.Generator,
    *,
    ancestor_sampling: bool = True,
) -> ParticleHistory:
    r"""Run a filter whose last particle is held on a given path, at every time.

    With ancestor sampling the held particle draws its ancestor from

    .. math:: P(a_t = i) \propto W_{t-1}^i\, p(x'_t \mid x_{t-1}^i).

    Drawing a path from the result by its final weight leaves the posterior of the path
    invariant, for any number of particles from two on.

    Parameters
    ----------
    bound : BoundModel
        The model at its parameters and data.
    path : ndarray
        The path x', shape (time, ...).
    num_particles : int
        Number of particles, the held one included.
    rng : numpy.random.Generator
        Source of randomness.
    ancestor_sampling : bool
        Whether the held particle draws its ancestor anew.

    Returns
    -------
    ParticleHistory
        As of :func:`run_filter`.

    Raises
    ------
    InferenceError
        If all particles die.
    SettingError
        If there are fewer than two particles.

    Notes
    -----
    Source: Lindsten, Jordan and Schoen (2012), Algorithm 3. Resampling is multinomial and
    done at every step: see :func:`~probneuro.inference.pgas.conditional_filter` for why
    systematic resampling would be wrong here.
    """
    if num_particles < _HELD_LEAST:
        raise SettingError(
            f"`num_particles` must be at least 2; got {num_particles}. Pass e.g. 100."
        )
    length, free = bound.length, num_particles - 1
    weights, increments = np.empty((length, num_particles)), np.empty(length)
    ancestors = np.full((length, num_particles), free, dtype=np.int64)
    held = torch.as_tensor(path, device=bound.device)
    every: list[NDArray[Any]] = []
    parents: torch.Tensor | None = None
    with torch_stream(rng, bound.device):
        for t in range(length):
            if t:
                before = torch.as_tensor(every[-1])
                place(weights[t - 1], multinomial(free, rng), ancestors[t, :free])
                if ancestor_sampling:
                    with np.errstate(divide="ignore"):
                        log_before = np.log(weights[t - 1])
                    log_before += bound.step_density(before, held[t : t + 1], t)[0]
                    ancestors[t, free] = _pick(log_before, rng)
                parents = before[torch.as_tensor(ancestors[t])]
            fresh, log_weights = bound.advance(parents, t, num_particles, held[t])
            every.append(as_numpy(fresh))
            increments[t] = _weigh(log_weights, weights[t], t)
    return ParticleHistory(np.stack(every), weights, ancestors, increments)


def _weigh(log_weights: Floats, out: Floats, t: int) -> float:
    """Write normalised weights; return the logarithm of their mean, or say that all died."""
    increment = normalise(log_weights, out)
    if not np.isfinite(increment):
        kind = "NaN" if np.isnan(log_weights).any() else f"{log_weights.max()}"
        raise InferenceError(
            f"All {log_weights.size} particles died at time step {t}: the largest of their log "
            f"weights is {kind}. Check that `observe` gives the observation there a positive "
            "density for some states, or use more particles"
        )
    return float(increment)


def _pick(log_weights: Floats, rng: np.random.Generator) -> int:
    weights, index = np.empty_like(log_weights), np.empty(1, dtype=np.int64)
    if not np.isfinite(normalise(log_weights, weights)):
        raise InferenceError(
            "No particle leads to the path that the filter is conditioned on: every step into "
            "it has density zero. Check that `transition` reaches wherever it draws"
        )
    place(weights, rng.random(1), index)
    return int(index[0])


def backward_paths(
    bound: BoundModel, history: ParticleHistory, num_paths: int, rng: np.random.Generator
) -> NDArray[np.generic]:
    r"""Draw paths backwards through a filter's particles.

    .. math::

        P(b_T = i) = W_T^i, \qquad
        P(b_t = i \mid b_{t+1}) \propto W_t^i \, p(x_{t+1}^{b_{t+1}} \mid x_t^i)

    Unlike the genealogy, whose early states descend from a few particles, every path picks
    anew among all particles of every time.

    Parameters
    ----------
    bound : BoundModel
        The model that was filtered.
    history : ParticleHistory
        What its filter gave.
    num_paths : int
        Number of paths.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray
        Independent given the filter, shape (path, time, ...).

    Notes
    -----
    Source: Godsill, Doucet and West (2004). Costs num_paths times num_particles densities a
    time step.
    """
    length, size = history.weights.shape
    index = np.empty(num_paths, dtype=np.int64)
    place(history.weights[-1], rng.random(num_paths), index)
    shape = (num_paths, length, *history.states.shape[2:])
    paths = np.empty(shape, dtype=history.states.dtype)
    paths[:, -1] = history.states[-1, index]
    rows = max(1, _LARGEST_TABLE // size)
    with torch_stream(rng, bound.device), np.errstate(divide="ignore"):
        for t in range(length - 2, -1, -1):
            states, log_weights = torch.as_tensor(history.states[t]), np.log(history.weights[t])
            for first in range(0, num_paths, rows):
                part = slice(first, first + rows)
                following = torch.as_tensor(paths[part, t + 1])
                table = log_weights + bound.step_density(states, following, t + 1)
                paths[part, t] = history.states[t, _pick_rows(table, rng)]
    return paths


def _pick_rows(log_weights: Floats, rng: np.random.Generator) -> Integers:
    """Draw a column of each row by its weight."""
    best = log_weights.max(1, keepdims=True)
    if not np.isfinite(best).all():
        raise InferenceError(
            "No particle leads to a state that was drawn: every step into it has density zero or "
            "NaN. Check that `transition` reaches wherever `propose` draws"
        )
    weights = np.exp(log_weights - best)
    cumulative = weights.cumsum(1)
    target = rng.random((len(weights), 1)) * cumulative[:, -1:]
    index: Integers = (cumulative <= target).sum(1)
    return index


def genealogy(history: ParticleHistory) -> NDArray[np.generic]:
    """Return the surviving paths, shape (particle, time, ...), weighted by the last weights.

    Parameters
    ----------
    history : ParticleHistory
        What a filter gave.
    """
    length, size = history.weights.shape
    index = np.arange(size)
    rows = []
    for t in range(length - 1, -1, -1):
        rows.append(history.states[t, index])
        index = history.ancestors[t, index]
    return np.stack(rows[::-1], axis=1)


def filtered_mean(history: ParticleHistory) -> Floats:
    """Return the mean of every state given the data up to its time, shape (time, ...)."""
    mean: Floats = np.einsum("tn,tn...->t...", history.weights, history.states.astype(np.float64))
    return mean
