"""What a state-space model is: a hidden state that moves, and observations that depend on it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.infer.autoguide import AutoNormal

from probneuro.core.device import as_numpy
from probneuro.core.errors import DataError
from probneuro.core.model import DescribesData, Model
from probneuro.core.names import OBSERVED_DATA, TIME
from probneuro.core.state_path import ObservedPath, StatePath

STATE: Final = "state"
OBSERVED: Final = "observed"
_GUIDE_SCALE: Final = 0.1


@dataclass(frozen=True, eq=False)
class Series:
    """Observations in order of time, with what drove them.

    Parameters
    ----------
    values : array_like
        Observations, shape (time, ...); kept in float64.
    inputs : array_like or None
        Known inputs, shape (time, ...); row t drives the step into time t and its observation.
    time : array_like or None
        Time of each row in s, shape (time,); None for 0, 1, 2, ...

    Raises
    ------
    DataError
        If there are no rows, shapes do not agree, or numbers are not finite.

    Examples
    --------
    >>> Series([1, 0, 2]).values
    tensor([1., 0., 2.], dtype=torch.float64)
    """

    values: Any
    inputs: Any = None
    time: Any = None

    def __post_init__(self) -> None:
        values = _tensor("values", self.values)
        if values.ndim == 0 or values.shape[0] == 0:
            raise DataError(
                f"`values` has shape {tuple(values.shape)}; the first axis must be time, of "
                "length 1 or more."
            )
        length = values.shape[0]
        inputs = None if self.inputs is None else _tensor("inputs", self.inputs)
        time = np.arange(length) if self.time is None else np.asarray(self.time)
        for name, column in (("inputs", inputs), ("time", time)):
            if column is not None and (column.ndim == 0 or column.shape[0] != length):
                raise DataError(
                    f"`{name}` has shape {tuple(column.shape)} and `values` has {length} time "
                    "steps. Give one row of each a step."
                )
        for name, column in (("values", values), ("inputs", inputs), ("time", time)):
            object.__setattr__(self, name, column)

    @property
    def length(self) -> int:
        """Number of time steps."""
        return int(self.values.shape[0])

    def row(self, t: int) -> Any:
        """Return the inputs at a time step, or None where there are none."""
        return None if self.inputs is None else self.inputs[t]


def as_series(data: Any) -> Series:
    """Return data as a `Series`: one as it is, an array as observations without inputs.

    Examples
    --------
    >>> as_series(np.zeros((5, 2))).length
    5
    """
    return data if isinstance(data, Series) else Series(data)


def _tensor(name: str, values: Any) -> torch.Tensor:
    try:
        plain = values.detach().cpu() if isinstance(values, torch.Tensor) else values
        array = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"`{name}` cannot be read as numbers ({type(values).__name__}: {error}). "
            "Pass an array with time first, or a Series."
        ) from error
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = int(bad[0, 0]) if array.ndim else 0
        raise DataError(
            f"`{name}` is NaN or infinite at time step {where}. Cut the series there, or fill it."
        )
    return torch.from_numpy(array)


def _columns(data: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return values and inputs; a tensor passes unchecked, since it may be one being traced."""
    if isinstance(data, torch.Tensor):
        return data.to(torch.float64), None
    series = as_series(data)
    # A device that is set as default holds for data that were no tensors, too.
    inputs = None if series.inputs is None else torch.as_tensor(series.inputs)
    return torch.as_tensor(series.values), inputs


class StateSpaceModel(Model, DescribesData):
    r"""A model with a hidden Markov state, written once as the laws of one step.

    .. math::

        \theta \sim p(\theta), \qquad x_0 \sim p(x_0 \mid \theta), \qquad
        x_t \sim p(x_t \mid x_{t-1}, \theta, u_t), \qquad
        y_t \sim p(y_t \mid x_t, \theta, u_t)

    From these four methods come the Pyro program (sites: those of ``global_model``, ``state``
    of shape (time, ...), and ``observed``), simulation, filters, smoothers, forecasts, and
    every particle engine. Data are an array with time first, or a :class:`Series`.

    States carry a leading particle axis: shape (particle,) where a state is a number,
    (particle, k) where it is a vector of k. A law returned for them has that axis as its only
    batch axis; axes of one particle belong to the event (``.to_event(1)``).

    Attributes
    ----------
    state_dims, observed_dims : tuple of str
        Names of the axes of one state and of one observation, beside time.
    parameter_dims : mapping
        Names of the axes of the global sites that are not scalars.
    labels : mapping
        Labels of these dimensions.

    Notes
    -----
    Where ``transition`` and ``observe`` neither branch on ``t`` nor index Python objects by
    it, densities of whole paths are evaluated for all times at once; ``t`` is then a tensor.
    Inputs of any kind are better passed as ``inputs``.

    Examples
    --------
    >>> import pyro.distributions as dist
    >>> class Walk(StateSpaceModel):
    ...     name = "walk"
    ...     def global_model(self):
    ...         return {"noise": pyro.sample("noise", dist.LogNormal(0.0, 1.0))}
    ...     def initialize(self, params):
    ...         return dist.Normal(0.0, 1.0)
    ...     def transition(self, state, params, t, inputs):
    ...         return dist.Normal(state, params["noise"])
    ...     def observe(self, state, params, t, inputs):
    ...         return dist.Poisson(state.exp())
    >>> trace = pyro.poutine.trace(Walk().model).get_trace([1.0, 0.0, 2.0])
    >>> trace.nodes["state"]["value"].shape
    torch.Size([3])
    """

    name = "state_space"
    state_dims: tuple[str, ...] = ()
    observed_dims: tuple[str, ...] = ()
    parameter_dims: Mapping[str, Sequence[str]] = {}
    labels: Mapping[str, Any] = {}

    @abstractmethod
    def global_model(self) -> Any:
        """Sample the global parameters as Pyro sites, and return what the other laws need."""

    @abstractmethod
    def initialize(self, params: Any) -> Any:
        """Return the distribution of the first state."""

    @abstractmethod
    def transition(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        """Return the distribution of the state at time t given those at t - 1; t is 1 or more.

        Parameters
        ----------
        state : torch.Tensor
            States at time t - 1, shape (particle, ...).
        params : object
            What ``global_model`` returned.
        t : int
            Time step that is entered.
        inputs : torch.Tensor or None
            Row t of the series' inputs.
        """

    @abstractmethod
    def observe(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        """Return the distribution of the observation at time t given the states at t."""

    def model(self, data: Any) -> torch.Tensor:
        """Run the generative program: parameters, trajectory, observations."""
        values, inputs = _columns(data)
        params = self.global_model()
        law = StatePath(self, params, len(values), inputs)
        names: Any = {"event_dims": [TIME, *self.state_dims]}
        path: torch.Tensor = pyro.sample(STATE, law, infer=names)
        with pyro.plate(TIME, len(values)):
            pyro.sample(OBSERVED, ObservedPath(self, params, path, inputs), obs=values)
        return path

    def guide(self, data: Any) -> Any:
        """Run a mean-field normal guide in unconstrained space.

        It takes neighbouring states as independent, so it understates how uncertain they are.
        """
        return AutoNormal(self.model, init_scale=_GUIDE_SCALE)(data)

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the named dimensions of every site."""
        return {
            **self.parameter_dims,
            STATE: (TIME, *self.state_dims),
            OBSERVED: (TIME, *self.observed_dims),
        }

    def coords(self, data: Any) -> Mapping[str, Any]:
        """Return the labels of every dimension."""
        return {**self.labels, TIME: as_series(data).time}

    def data_groups(self, data: Any) -> Mapping[str, Mapping[str, NDArray[np.float64]]]:
        """Return the observations, where ``observed_dims`` names their axes."""
        values = as_numpy(as_series(data).values)
        named = values.ndim == 1 + len(self.observed_dims)
        return {OBSERVED_DATA: {OBSERVED: values}} if named else {}

    def attributes(self) -> Mapping[str, Any]:
        """Return nothing: the parameters are in the posterior."""
        return {}


class HasProposal(ABC):
    """A state-space model that knows better than its transition where the next state is."""

    @abstractmethod
    def propose(
        self, state: torch.Tensor | None, params: Any, t: int, inputs: Any, observed: torch.Tensor
    ) -> Any:
        """Return the distribution that a guided filter draws the state at time t from.

        It must reach wherever the transition does, with tails at least as heavy where the
        observation allows a state. ``state`` holds the particles at t - 1, and is None at
        t = 0, where one distribution without a particle axis may be returned.
        """
