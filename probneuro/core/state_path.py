"""A trajectory and its observations as two Pyro distributions, built from the laws of one step."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution

from probneuro.core.errors import SettingError

log = logging.getLogger("probneuro")


def check_batch(law: Any, size: int, method: str) -> None:
    """Refuse a law of one step that does not have one batch axis, that of the particles.

    Parameters
    ----------
    law : distribution
        What the model returned.
    size : int
        Number of particles it was asked for.
    method : str
        The model's method, for the message.

    Raises
    ------
    SettingError
        If the batch shape is none of (), (1,) and (size,).

    Examples
    --------
    >>> import pyro.distributions as dist
    >>> check_batch(dist.Normal(torch.zeros(3, 2), 1.0).to_event(1), 3, "transition")
    """
    shape = tuple(law.batch_shape)
    if shape not in ((), (1,), (size,)):
        raise SettingError(
            f"`{method}` returned a {type(law).__name__} of batch shape {shape} for {size} "
            f"particles; it must be ({size},). Write `.to_event(k)` for the k axes that belong "
            "to one particle, and keep the particle axis first."
        )


def input_row(inputs: torch.Tensor | None, t: int) -> torch.Tensor | None:
    """Return the inputs of one time step, or None where there are none."""
    return None if inputs is None else inputs[t]


def transition_densities(
    model: Any, params: Any, path: torch.Tensor, inputs: torch.Tensor | None
) -> torch.Tensor:
    """Return the log density of each step of a path, shape (time - 1,)."""

    def one(t: Any, previous: Any, following: Any, row: Any) -> torch.Tensor:
        law = model.transition(previous.unsqueeze(0), params, t, row)
        check_batch(law, 1, "transition")
        return law.log_prob(following.unsqueeze(0)).reshape(())

    rows = None if inputs is None else inputs[1 : path.shape[0]]
    return over_time(one, range(1, path.shape[0]), path[:-1], path[1:], rows)


def observation_densities(
    model: Any, params: Any, path: torch.Tensor, values: torch.Tensor, inputs: torch.Tensor | None
) -> torch.Tensor:
    """Return the log density of each observation given a path, shape (time,)."""

    def one(t: Any, state: Any, value: Any, row: Any) -> torch.Tensor:
        law = model.observe(state.unsqueeze(0), params, t, row)
        check_batch(law, 1, "observe")
        return law.log_prob(value.unsqueeze(0)).reshape(())

    rows = None if inputs is None else inputs[: path.shape[0]]
    return over_time(one, range(path.shape[0]), path, values, rows)


def over_time(
    one: Callable[..., torch.Tensor], times: range, *columns: torch.Tensor | None
) -> torch.Tensor:
    """Evaluate a function of one time step at all steps, as one vectorised call where it can be.

    A function that branches on its time, or indexes a list by it, cannot be vectorised; it is
    called step by step instead, with the time as an integer.

    Parameters
    ----------
    one : callable
        Takes a time and a row of each column, and returns a scalar.
    times : range
        The times.
    *columns : torch.Tensor or None
        Shape (time, ...). A column that is None stays None.

    Returns
    -------
    torch.Tensor
        Shape (time,).

    Examples
    --------
    >>> over_time(lambda t, x: x if t < 2 else -x, range(3), torch.ones(3))
    tensor([ 1.,  1., -1.])
    """
    if len(times) == 0:
        return torch.zeros(0)
    try:
        axes = (0, *(None if column is None else 0 for column in columns))
        return torch.func.vmap(one, in_dims=axes)(torch.tensor(times), *columns)
    except Exception as error:  # the loop raises it again where it is the model's own mistake
        log.debug("Steps are evaluated one by one: %s", error)
    rows = [one(t, *(None if c is None else c[i] for c in columns)) for i, t in enumerate(times)]
    return torch.stack(rows)


class StatePath(TorchDistribution):
    r"""The law of a whole trajectory, one event of shape (time, ...).

    .. math:: p(x_{0:T-1}) = p(x_0) \prod_{t=1}^{T-1} p(x_t \mid x_{t-1})

    Parameters
    ----------
    model : StateSpaceModel
        Whose ``initialize`` and ``transition`` to use.
    params : object
        What the model's ``global_model`` returned.
    length : int
        Number of time steps.
    inputs : torch.Tensor or None
        Shape (time, ...).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 -- torch's own form
    has_rsample = False

    def __init__(
        self, model: Any, params: Any, length: int, inputs: torch.Tensor | None = None
    ) -> None:
        self._model, self._params, self._length, self._inputs = model, params, length, inputs
        self._first = model.initialize(params)
        check_batch(self._first, 1, "initialize")
        shape = torch.Size((length, *self._first.event_shape))
        super().__init__(torch.Size(), shape, validate_args=False)

    @property
    def support(self) -> Any:
        """Return where a trajectory lives: where every one of its states does."""
        return constraints.independent(self._first.support, 1)

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draw trajectories step by step, shape (*sample_shape, time, ...)."""
        shape = torch.Size(sample_shape)
        size = max(shape.numel(), 1)
        with torch.no_grad():
            state = draw(self._first, size)
            path = [state]
            for t in range(1, self._length):
                row = input_row(self._inputs, t)
                law = self._model.transition(state, self._params, t, row)
                check_batch(law, size, "transition")
                state = draw(law, size)
                path.append(state)
            return torch.stack(path, 1).reshape(*shape, *self.event_shape)

    def log_prob(self, path: torch.Tensor) -> torch.Tensor:
        """Return the log density of one trajectory, a scalar."""
        first = self._first.log_prob(path[:1]).reshape(())
        return first + transition_densities(self._model, self._params, path, self._inputs).sum()


class ObservedPath(TorchDistribution):
    """The law of all observations given a trajectory, independent over time.

    Parameters
    ----------
    model : StateSpaceModel
        Whose ``observe`` to use.
    params : object
        What the model's ``global_model`` returned.
    path : torch.Tensor
        The trajectory, shape (time, ...).
    inputs : torch.Tensor or None
        Shape (time, ...).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 -- torch's own form
    has_rsample = False

    def __init__(
        self, model: Any, params: Any, path: torch.Tensor, inputs: torch.Tensor | None = None
    ) -> None:
        self._model, self._params, self._path, self._inputs = model, params, path, inputs
        law = self._law(0)
        check_batch(law, 1, "observe")
        self._support = law.support
        super().__init__(path.shape[:1], law.event_shape, validate_args=False)

    def _law(self, t: int) -> Any:
        row = input_row(self._inputs, t)
        return self._model.observe(self._path[t : t + 1], self._params, t, row)

    @property
    def support(self) -> Any:
        """Return where the first observation lives."""
        return self._support

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draw observations, shape (*sample_shape, time, ...)."""
        shape = torch.Size(sample_shape)
        size = max(shape.numel(), 1)
        with torch.no_grad():
            rows = [draw(self._law(t), size) for t in range(len(self._path))]
            return torch.stack(rows, 1).reshape(*shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, values: torch.Tensor) -> torch.Tensor:
        """Return the log density of each observation, shape (time,)."""
        return observation_densities(self._model, self._params, self._path, values, self._inputs)


def draw(law: Any, size: int) -> torch.Tensor:
    """Draw one sample a particle, shape (particle, ...), whether or not the law has that axis."""
    if tuple(law.batch_shape) != (size,):
        law = law.expand(torch.Size((size,)))
    sample: torch.Tensor = law.sample()
    return sample
