"""A state-space model bound to parameters and data: particles drawn and weighed step by step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray

from probneuro.core.device import CPU, as_numpy, moved, seed_torch
from probneuro.core.errors import CapabilityError, DataError, SettingError
from probneuro.core.state_path import check_batch, draw
from probneuro.core.state_space import HasProposal, Series, StateSpaceModel, as_series
from probneuro.inference.pyro_program import latent_sites, pyro_as_found

Floats = NDArray[np.float64]

_PROBES = 2


@contextmanager
def torch_stream(rng: np.random.Generator, device: torch.device = CPU) -> Iterator[None]:
    """Run torch in float64, without gradients, on a stream of a chain's; leave all as found."""
    with pyro_as_found(torch.float64, device=device), torch.no_grad():
        seed_torch(int(rng.integers(2**62)), device)
        yield


def series_on(device: str | torch.device, data: Any) -> Series:
    """Return data as a series whose numbers are on a device, where filters then compute."""
    series: Series = moved(as_series(data), torch.device(device))
    return series


def require_state_space(model: Any, engine: str) -> StateSpaceModel:
    """Return the model if it is a state-space model.

    Raises
    ------
    CapabilityError
        If it is not.
    """
    if isinstance(model, StateSpaceModel):
        return model
    raise CapabilityError(
        f"{engine} needs a StateSpaceModel; got {type(model).__name__}. Write the model as one "
        "(`probneuro.core.state_space`), or use NUTS() for a program with continuous variables."
    )


def bind_parameters(
    model: StateSpaceModel, values: Mapping[str, Any] | None
) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Return what ``global_model`` returns when its sites hold some values, and these values.

    To be called inside :func:`torch_stream`.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    values : mapping or None
        A value for every global site, in its own space; None to draw them from the prior.

    Raises
    ------
    SettingError
        If a site is missing, unknown, or its value has another shape or leaves the support.
    """
    given = {n: torch.as_tensor(v, dtype=torch.float64) for n, v in (values or {}).items()}
    program = pyro.condition(model.global_model, data=given)
    trace = pyro.poutine.trace(program).get_trace()
    latent = latent_sites(trace)
    if values is not None and (missing := sorted(latent)):
        raise SettingError(
            f"`params` lacks `{missing[0]}`; it has {', '.join(sorted(given)) or 'nothing'}. "
            "Give every site of `global_model` a value."
        )
    for name, value in given.items():
        node = trace.nodes.get(name)
        if node is None or node["type"] != "sample":
            sites = sorted(n for n, x in trace.nodes.items() if x["type"] == "sample")
            raise SettingError(
                f"`params` names `{name}`, which `global_model` does not sample; its sites are "
                f"{', '.join(sites) or 'none'}."
            )
        law: Any = node["fn"]
        if value.shape != law.shape() or not bool(law.support.check(value).all()):
            raise SettingError(
                f"`params` gives `{name}` a value of shape {tuple(value.shape)}, "
                f"{_short(value)}; it must have shape {tuple(law.shape())} and lie in "
                f"{law.support}."
            )
    nodes: Any = trace.nodes
    everything = {n: as_numpy(nodes[n]["value"]).copy() for n in [*given, *latent]}
    return trace.nodes["_RETURN"]["value"], everything


def _short(value: torch.Tensor) -> str:
    text = str(value.tolist())
    return text if len(text) < 60 else f"{text[:57]}..."


class BoundModel:
    """A state-space model at fixed parameters and data.

    Its methods are to be called inside :func:`torch_stream`.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    params : object
        What its ``global_model`` returned.
    series : Series
        The data.
    guided : bool
        Whether to use the model's own proposal, if it has one.
    """

    def __init__(
        self, model: StateSpaceModel, params: Any, series: Series, *, guided: bool = True
    ) -> None:
        self._model, self._params, self.series = model, params, series
        self._proposal = model if guided and isinstance(model, HasProposal) else None

    @property
    def length(self) -> int:
        """Number of time steps."""
        return self.series.length

    @property
    def device(self) -> torch.device:
        """Where it computes: where its data are."""
        device: torch.device = self.series.values.device
        return device

    def law(self, states: torch.Tensor | None, t: int, size: int) -> Any:
        """Return the law of the states at time t, given those before; of the first at t = 0."""
        if states is None:
            law, method = self._model.initialize(self._params), "initialize"
        else:
            row = self.series.row(t)
            law, method = self._model.transition(states, self._params, t, row), "transition"
        check_batch(law, size, method)
        return law

    def observation(self, states: torch.Tensor, t: int) -> Any:
        """Return the law of the observation at time t."""
        law = self._model.observe(states, self._params, t, self.series.row(t))
        check_batch(law, len(states), "observe")
        return law

    def advance(
        self,
        states: torch.Tensor | None,
        t: int,
        size: int,
        held: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Floats]:
        """Draw the states at time t, and return them with their log weights, shape (particle,).

        The weight is the density of the observation, times transition over proposal where
        there is one. A state to be held takes the last particle's place.
        """
        law = self.law(states, t, size)
        guide = None if self._proposal is None else self._guide(states, t, size)
        fresh = draw(law if guide is None else guide, size)
        if held is not None:
            fresh = torch.cat([fresh[:-1], held.unsqueeze(0).to(fresh.dtype)])
        log_weights = self.weigh(fresh, t)
        if guide is not None:
            ratio = law.log_prob(fresh) - guide.log_prob(fresh)
            log_weights = log_weights + _column(ratio.expand(size))
        return fresh, log_weights

    def draw(self, states: torch.Tensor, t: int) -> torch.Tensor:
        """Draw the states at time t from the transition, shape (particle, ...)."""
        return draw(self.law(states, t, len(states)), len(states))

    def draw_observation(self, states: torch.Tensor, t: int) -> torch.Tensor:
        """Draw an observation at time t for each state, shape (particle, ...)."""
        return draw(self.observation(states, t), len(states))

    def weigh(self, states: torch.Tensor, t: int) -> Floats:
        """Return the log density of the observation at time t, shape (particle,)."""
        value = self.observation(states, t).log_prob(self.series.values[t])
        return _column(value.expand(len(states)))

    def step_density(self, states: torch.Tensor, following: torch.Tensor, t: int) -> Floats:
        """Return log p(following at t | states at t - 1), shape (following, state)."""
        law = self.law(states, t, len(states))
        value = law.log_prob(following.unsqueeze(1))
        return as_numpy(value.expand(len(following), len(states)))

    def _guide(self, states: torch.Tensor | None, t: int, size: int) -> Any:
        if self._proposal is None:
            raise CapabilityError("The model has no `propose`. Derive it from HasProposal too.")
        row, value = self.series.row(t), self.series.values[t]
        guide = self._proposal.propose(states, self._params, t, row, value)
        check_batch(guide, size, "propose")
        return guide

    def check(self) -> None:
        """Walk through all steps with two particles, and refuse laws that do not fit.

        Raises
        ------
        SettingError
            If a law of the model has the wrong shape.
        DataError
            If an observation has another shape than the model's, or lies outside its support.
        """
        states: torch.Tensor | None = None
        shape = self.law(None, 0, _PROBES).event_shape
        for t in range(self.length):
            laws = {"transition": self.law(states, t, _PROBES)}
            if self._proposal is not None:
                laws["propose"] = self._guide(states, t, _PROBES)
            for method, law in laws.items():
                if law.event_shape != shape:
                    raise SettingError(
                        f"`{method}` returned states of shape {tuple(law.event_shape)} at time "
                        f"step {t}, `initialize` of shape {tuple(shape)}. Make them the same."
                    )
            states = draw(laws["transition"], _PROBES)
            self._check_observed(self.observation(states, t), t)

    def _check_observed(self, law: Any, t: int) -> None:
        value = self.series.values[t]
        if law.event_shape != value.shape:
            raise DataError(
                f"`observe` describes observations of shape {tuple(law.event_shape)}, and the "
                f"data have {tuple(value.shape)} a time step. Check the order of the data's axes "
                "(time first), and `.to_event` in `observe`."
            )
        if not bool(law.support.check(value).all()):
            raise DataError(
                f"The observation {_short(value)} at time step {t} lies outside {law.support}, "
                f"the support of the {type(law).__name__} that `observe` returns. "
                "Correct the data or the model."
            )


def _column(values: torch.Tensor) -> Floats:
    column: Floats = as_numpy(values.double())
    return column
