"""Simulate, filter, smooth and forecast any state-space model at given parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from probneuro.core.device import as_numpy, resolve_device
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.rng import generator, resolve_seed
from probneuro.core.state_path import ObservedPath, StatePath
from probneuro.core.state_space import Series, StateSpaceModel
from probneuro.inference.particle_filter import ParticleHistory
from probneuro.inference.particle_kernels import place
from probneuro.inference.state_space_filter import backward_paths, run_filter
from probneuro.inference.state_space_steps import (
    BoundModel,
    bind_parameters,
    series_on,
    torch_stream,
)

Floats = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Simulation:
    """What a model drew.

    Parameters
    ----------
    parameters : dict of numpy.ndarray
        Values of the global sites.
    states : numpy.ndarray
        The trajectory, shape (time, ...).
    series : Series
        The observations, and the inputs that were given.
    """

    parameters: dict[str, NDArray[Any]]
    states: NDArray[Any]
    series: Series


def simulate(
    model: StateSpaceModel,
    params: Mapping[str, Any] | None,
    length: int,
    *,
    seed: int | None = None,
    inputs: Any = None,
    device: Any = None,
) -> Simulation:
    """Draw a trajectory and its observations.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    params : mapping or None
        Values of the global sites, by name; None to draw them from their prior.
    length : int
        Number of time steps.
    seed : int or None
        Same seed, same numbers; None for a fresh one.
    inputs : array_like or None
        Inputs of each step, shape (time, ...).
    device : str, torch.device or None
        Where it computes; None for the CPU.

    Returns
    -------
    Simulation
        Parameters, trajectory and data.

    Raises
    ------
    SettingError
        If the length is below 1, or the parameters do not fit.

    Examples
    --------
    >>> from probneuro.testing.state_space import LinearGaussian
    >>> simulate(LinearGaussian(), {"decay": 0.9, "noise": 0.5}, 20, seed=1).states.shape
    (20, 2)
    """
    if length < 1:
        raise SettingError(f"`length` must be 1 or more; got {length!r}. Pass e.g. 100.")
    where = resolve_device(device)
    columns = series_on(where, Series(np.zeros(length), inputs)).inputs
    with torch_stream(generator(resolve_seed(seed), "simulate"), where):
        bound, values = bind_parameters(model, params)
        path = StatePath(model, bound, length, columns).sample()
        observed = ObservedPath(model, bound, path, columns).sample()
    return Simulation(values, as_numpy(path), Series(observed, columns))


def filter_states(
    model: StateSpaceModel,
    params: Mapping[str, Any],
    data: Any,
    *,
    num_particles: int = 1000,
    seed: int | None = None,
    threshold: float = 0.5,
    guided: bool = True,
    device: Any = None,
) -> ParticleHistory:
    """Filter a trajectory at given parameters by a particle filter.

    Parameters
    ----------
    model : StateSpaceModel
        The model; where it has a proposal (``HasProposal``) the filter is guided by it.
    params : mapping
        Values of the global sites, by name.
    data : Series or array_like
        Observations, time first.
    num_particles : int
        Number of particles.
    seed : int or None
        Same seed, same particles; None for a fresh one.
    threshold : float
        Resample when the effective number of particles falls below this share.
    guided : bool
        Whether to use the model's own proposal, if it has one.
    device : str, torch.device or None
        Where it computes, such as ``"cuda"``; None for the CPU.

    Returns
    -------
    ParticleHistory
        States of shape (time, particle, ...), weights, ancestors, and ``log_evidence``, whose
        exponential is an unbiased estimate of p(data | params).

    Raises
    ------
    InferenceError
        If all particles die; names the time step and the seed.
    SettingError, DataError
        If parameters, the model's laws or the data do not fit.

    Examples
    --------
    >>> from probneuro.testing.state_space import LinearGaussian, kalman
    >>> truth = {"decay": 0.9, "noise": 0.5}
    >>> data = simulate(LinearGaussian(), truth, 20, seed=1).series
    >>> found = filter_states(LinearGaussian(), truth, data, seed=1)
    >>> exact = kalman(LinearGaussian(), truth, data)
    >>> abs(found.log_evidence - exact.log_evidence) < 1.0
    True
    """
    check_sizes(num_particles, threshold)
    chosen = resolve_seed(seed)
    rng = generator(chosen, "filter")
    bound = bind(model, params, series_on(resolve_device(device, data), data), rng, guided=guided)
    return _with_seed(
        lambda: run_filter(bound, num_particles, rng, threshold=threshold), "filter", chosen
    )


def smooth_states(
    model: StateSpaceModel,
    params: Mapping[str, Any],
    data: Any,
    *,
    num_paths: int = 100,
    num_particles: int = 1000,
    seed: int | None = None,
    guided: bool = True,
    device: Any = None,
) -> NDArray[Any]:
    """Draw trajectories given all data and given parameters, by backward simulation.

    Parameters
    ----------
    model, params, data, num_particles, seed, guided, device
        As in :func:`filter_states`.
    num_paths : int
        Number of trajectories.

    Returns
    -------
    numpy.ndarray
        Shape (path, time, ...).

    Raises
    ------
    InferenceError
        If all particles die; names the time step and the seed.
    SettingError, DataError
        If parameters, the model's laws or the data do not fit.

    Examples
    --------
    >>> from probneuro.testing.state_space import LinearGaussian
    >>> truth = {"decay": 0.9, "noise": 0.5}
    >>> data = simulate(LinearGaussian(), truth, 20, seed=1).series
    >>> smooth_states(LinearGaussian(), truth, data, num_paths=10, seed=1).shape
    (10, 20, 2)
    """
    check_sizes(num_particles, 0.5)
    chosen = resolve_seed(seed)
    rng = generator(chosen, "smooth")
    bound = bind(model, params, series_on(resolve_device(device, data), data), rng, guided=guided)
    history = _with_seed(lambda: run_filter(bound, num_particles, rng), "smoother", chosen)
    return backward_paths(bound, history, num_paths, rng)


@dataclass(frozen=True)
class Forecast:
    """Draws of what comes after the data.

    Parameters
    ----------
    states : numpy.ndarray
        Shape (draw, time, ...).
    values : numpy.ndarray
        Observations, shape (draw, time, ...).
    """

    states: NDArray[Any]
    values: NDArray[Any]


def forecast_states(
    model: StateSpaceModel,
    params: Mapping[str, Any],
    data: Any,
    length: int,
    *,
    inputs: Any = None,
    num_particles: int = 1000,
    seed: int | None = None,
    device: Any = None,
) -> Forecast:
    """Draw states and observations of the steps after the data, at given parameters.

    Parameters
    ----------
    model, params, data, num_particles, seed, device
        As in :func:`filter_states`; one draw a particle.
    length : int
        Number of steps to look ahead.
    inputs : array_like or None
        Inputs of these steps, shape (time, ...); needed where the data have inputs.

    Returns
    -------
    Forecast
        States and observations of shape (draw, time, ...).

    Raises
    ------
    SettingError
        If the length is below 1, or inputs are missing.

    Examples
    --------
    >>> from probneuro.testing.state_space import LinearGaussian
    >>> truth = {"decay": 0.9, "noise": 0.5}
    >>> data = simulate(LinearGaussian(), truth, 20, seed=1).series
    >>> forecast_states(LinearGaussian(), truth, data, 5, seed=1).values.shape
    (1000, 5, 2)
    """
    if length < 1:
        raise SettingError(f"`length` must be 1 or more; got {length!r}. Pass e.g. 10.")
    check_sizes(num_particles, 0.5)
    where, chosen = resolve_device(device, data), resolve_seed(seed)
    series = series_on(where, data)
    future = series_on(where, Series(np.zeros(length), inputs)).inputs
    if (series.inputs is None) != (future is None):
        raise SettingError(
            "`inputs` of the steps ahead must be given where the data have inputs, and only there."
        )
    rng = generator(chosen, "forecast")
    bound = bind(model, params, series, rng)
    history = _with_seed(lambda: run_filter(bound, num_particles, rng), "forecast", chosen)
    chosen_particles = np.empty(num_particles, dtype=np.int64)
    place(history.weights[-1], rng.random(num_particles), chosen_particles)
    values = torch.zeros(series.length + length, *series.values.shape[1:], dtype=torch.float64)
    columns = None if future is None else torch.cat([series.inputs, future])
    longer = series_on(where, Series(values, columns))
    with torch_stream(rng, where):
        ahead = BoundModel(model, bind_parameters(model, params)[0], longer)
        states = torch.as_tensor(history.states[-1, chosen_particles])
        paths, observed = [], []
        for t in range(series.length, series.length + length):
            states = ahead.draw(states, t)
            paths.append(as_numpy(states))
            observed.append(as_numpy(ahead.draw_observation(states, t)))
    return Forecast(np.stack(paths, 1), np.stack(observed, 1))


def bind(
    model: StateSpaceModel,
    params: Mapping[str, Any],
    series: Series,
    rng: np.random.Generator,
    *,
    guided: bool = True,
    device: Any = None,
) -> BoundModel:
    """Bind a model to parameters and data, and refuse what does not fit together."""
    with torch_stream(rng, series.values.device):
        bound = BoundModel(model, bind_parameters(model, params)[0], series, guided=guided)
        bound.check()
    return bound


def check_sizes(num_particles: int, threshold: float) -> None:
    """Refuse settings that no filter can run with.

    Raises
    ------
    SettingError
        If there are fewer than two particles, or the threshold is negative.
    """
    if num_particles < 2:
        raise SettingError(
            f"`num_particles` must be at least 2; got {num_particles}. Pass e.g. 1000."
        )
    if not threshold >= 0:
        raise SettingError(f"`threshold` must not be negative; got {threshold}. Pass e.g. 0.5.")


def _with_seed(run: Callable[[], T], what: str, seed: int) -> T:
    try:
        return run()
    except InferenceError as error:
        raise InferenceError(f"The {what} failed, seed {seed}: {error}.") from error
