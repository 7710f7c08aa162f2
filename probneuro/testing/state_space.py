"""State-space models with exact answers, and the check that a model's parts fit together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.core.state_path import draw
from probneuro.core.state_space import (
    OBSERVED,
    STATE,
    HasProposal,
    StateSpaceModel,
    as_series,
)
from probneuro.inference.state_space_steps import BoundModel, bind_parameters, torch_stream

Floats = NDArray[np.float64]

_ROTATION: Final = ((0.9, -0.3), (0.3, 0.9))
_MIXING: Final = ((1.0, 0.0), (0.5, 1.0))
_AGREE: Final = 1e-6
_PROBES: Final = 3


class LinearGaussian(StateSpaceModel, HasProposal):
    r"""A rotating, decaying pair of numbers seen through Gaussian noise.

    .. math::

        x_t \sim \mathcal N(d R x_{t-1} + u_t, \sigma^2 I), \qquad
        y_t \sim \mathcal N(C x_t, s^2 I), \qquad x_0 \sim \mathcal N(0, I)

    with decay d, a fixed rotation R, process noise :math:`\sigma`, and a mixing C. Its
    proposal is exact: :math:`p(x_t \mid x_{t-1}, y_t)`.

    Parameters
    ----------
    scale : float
        Standard deviation s of an observation.

    Examples
    --------
    >>> LinearGaussian().matrices({"decay": 1.0, "noise": 0.5})[0]
    array([[ 0.9, -0.3],
           [ 0.3,  0.9]])
    """

    name = "linear_gaussian"
    state_dims = ("latent",)
    observed_dims = ("channel",)

    def __init__(self, scale: float = 0.5) -> None:
        self.scale = scale

    def global_model(self) -> dict[str, torch.Tensor]:
        """Sample decay and process noise."""
        return {
            "decay": pyro.sample("decay", dist.Normal(0.8, 0.3)),
            "noise": pyro.sample("noise", dist.LogNormal(-0.7, 0.5)),
        }

    def initialize(self, params: Any) -> Any:
        """Return a standard normal in two dimensions."""
        return dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1)

    def transition(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        """Return the rotated, decayed state with noise."""
        mean = params["decay"] * state @ torch.tensor(_ROTATION, dtype=torch.float64).T
        mean = mean if inputs is None else mean + inputs
        return dist.Normal(mean, params["noise"]).to_event(1)

    def observe(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        """Return the mixed state with noise."""
        mixing = torch.tensor(_MIXING, dtype=torch.float64)
        return dist.Normal(state @ mixing.T, self.scale).to_event(1)

    def propose(
        self, state: torch.Tensor | None, params: Any, t: int, inputs: Any, observed: torch.Tensor
    ) -> Any:
        """Return the law of the next state given that before and the observation, exactly."""
        law = (
            self.initialize(params) if state is None else self.transition(state, params, t, inputs)
        )
        mixing = torch.tensor(_MIXING, dtype=torch.float64)
        precision = torch.diag(law.base_dist.scale.reshape(-1, 2)[0] ** -2)
        precision = precision + mixing.T @ mixing / self.scale**2
        covariance = torch.linalg.inv(precision)
        shift = law.mean * law.base_dist.scale**-2 + observed @ mixing / self.scale**2
        return dist.MultivariateNormal(shift @ covariance, covariance)

    def matrices(self, params: Mapping[str, Any]) -> tuple[Floats, Floats, Floats, Floats]:
        """Return transition and its noise covariance, mixing and its noise covariance."""
        eye = np.eye(2)
        transition = float(params["decay"]) * np.array(_ROTATION)
        noises = float(params["noise"]) ** 2 * eye, self.scale**2 * eye
        return transition, noises[0], np.array(_MIXING), noises[1]


@dataclass(frozen=True)
class Smoothed:
    """The exact posterior of a trajectory.

    Parameters
    ----------
    log_evidence : float
        Log density of the data with the trajectory integrated out.
    filtered : numpy.ndarray
        Means given the data so far, shape (time, ...).
    mean, covariance : numpy.ndarray
        Moments given all data, shape (time, ...); of a finite chain, the mean holds the
        probabilities of its states.
    """

    log_evidence: float
    filtered: Floats
    mean: Floats
    covariance: Floats


def kalman(model: LinearGaussian, params: Mapping[str, Any], data: Any) -> Smoothed:
    """Return the exact posterior of a linear-Gaussian model's trajectory.

    Parameters
    ----------
    model : LinearGaussian
        The model.
    params : mapping
        Values of ``decay`` and ``noise``.
    data : Series or array_like
        Observations, shape (time, 2).

    Returns
    -------
    Smoothed
        By a Kalman filter and a Rauch-Tung-Striebel smoother.

    Examples
    --------
    >>> kalman(LinearGaussian(), {"decay": 1.0, "noise": 1.0}, np.zeros((3, 2))).mean.shape
    (3, 2)
    """
    series = as_series(data)
    values = series.values.numpy()
    pushes = np.zeros((series.length, 2)) if series.inputs is None else series.inputs.numpy()
    step, noise, mixing, error = model.matrices(params)
    mean, covariance, log_evidence = np.zeros(2), np.eye(2), 0.0
    predicted, filtered = [], []
    for t in range(series.length):
        if t:
            mean, covariance = step @ mean + pushes[t], step @ covariance @ step.T + noise
        predicted.append((mean, covariance))
        total = mixing @ covariance @ mixing.T + error
        rest = values[t] - mixing @ mean
        solved = np.linalg.solve(total, rest)
        log_evidence -= 0.5 * (rest @ solved + np.linalg.slogdet(2.0 * np.pi * total)[1])
        gain = covariance @ mixing.T @ np.linalg.inv(total)
        mean, covariance = mean + gain @ rest, covariance - gain @ mixing @ covariance
        filtered.append((mean, covariance))
    smoothed = [filtered[-1]]
    for t in range(series.length - 2, -1, -1):
        (m, c), (pm, pc), (later, spread) = filtered[t], predicted[t + 1], smoothed[-1]
        share = c @ step.T @ np.linalg.inv(pc)
        smoothed.append((m + share @ (later - pm), c + share @ (spread - pc) @ share.T))
    smoothed.reverse()
    means, covariances = (np.stack(column) for column in zip(*smoothed, strict=True))
    return Smoothed(float(log_evidence), np.stack([m for m, _ in filtered]), means, covariances)


class FiniteChain(StateSpaceModel):
    r"""A hidden Markov chain of three states that emits spike counts.

    .. math:: P(x_t = j \mid x_{t-1} = i) = s [i = j] + (1 - s) / 3, \qquad
        y_t \sim \mathrm{Poisson}(r_{x_t})

    Parameters
    ----------
    rates : tuple of float
        Mean counts r of the three states.

    Examples
    --------
    >>> FiniteChain().table({"stay": 0.7})[0].round(3)
    array([0.8, 0.1, 0.1])
    """

    name = "finite_chain"

    def __init__(self, rates: tuple[float, float, float] = (0.5, 2.0, 6.0)) -> None:
        self.rates = rates

    def global_model(self) -> dict[str, torch.Tensor]:
        """Sample how persistent states are."""
        return {"stay": pyro.sample("stay", dist.Beta(4.0, 2.0))}

    def initialize(self, params: Any) -> Any:
        """Return a uniform law over the states."""
        return dist.Categorical(torch.full((3,), 1.0 / 3.0, dtype=torch.float64))

    def transition(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        """Return the row of the transition matrix that belongs to each state."""
        stay = params["stay"]
        table = stay * torch.eye(3, dtype=torch.float64) + (1.0 - stay) / 3.0
        return dist.Categorical(table[state])

    def observe(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        """Return counts at the state's rate."""
        return dist.Poisson(torch.tensor(self.rates, dtype=torch.float64)[state])

    def table(self, params: Mapping[str, Any]) -> Floats:
        """Return the transition matrix, rows summing to one."""
        stay = float(params["stay"])
        table: Floats = stay * np.eye(3) + (1.0 - stay) / 3.0
        return table


def forward_backward(model: FiniteChain, params: Mapping[str, Any], data: Any) -> Smoothed:
    """Return the exact posterior of a finite chain's trajectory.

    Parameters
    ----------
    model : FiniteChain
        The model.
    params : mapping
        Value of ``stay``.
    data : Series or array_like
        Counts, shape (time,).

    Returns
    -------
    Smoothed
        ``mean`` and ``filtered`` hold the probability of each state, shape (time, 3).

    Examples
    --------
    >>> forward_backward(FiniteChain(), {"stay": 0.7}, [0, 0, 7]).mean.argmax(1)
    array([0, 0, 2])
    """
    values = as_series(data).values
    emission = dist.Poisson(torch.tensor(model.rates, dtype=torch.float64))
    likelihood = emission.log_prob(values[:, None]).numpy()
    steps = np.log(model.table(params))
    forward, backward = np.empty_like(likelihood), np.zeros_like(likelihood)
    forward[0] = likelihood[0] - np.log(3.0)
    for t in range(1, len(values)):
        forward[t] = likelihood[t] + logsumexp(forward[t - 1][:, None] + steps, axis=0)
    for t in range(len(values) - 2, -1, -1):
        backward[t] = logsumexp(steps + likelihood[t + 1] + backward[t + 1], axis=1)
    log_evidence = float(logsumexp(forward[-1]))
    filtered = np.exp(forward - logsumexp(forward, axis=1, keepdims=True))
    mean = np.exp(forward + backward - log_evidence)
    covariance = np.stack([np.diag(p) - np.outer(p, p) for p in mean])
    return Smoothed(log_evidence, filtered, mean, covariance)


def check_state_space_model(model: StateSpaceModel, data: Any, *, seed: int = 0) -> None:
    """Check that a state-space model's parts fit together, at three random parameters.

    The log density of the Pyro program must be the sum of prior, first state, transitions and
    observations, each taken alone and at its own time; and the laws of a step must give every
    particle of a batch the density that it has alone.

    Parameters
    ----------
    model : StateSpaceModel
        The model, with proper priors.
    data : Series or array_like
        A short series, with inputs if the model needs them.
    seed : int
        Seed of the parameters.

    Raises
    ------
    AssertionError
        If two densities that should be the same differ; says which.
    SettingError, DataError
        If a law has the wrong shape, or the data do not fit the model.

    Examples
    --------
    >>> check_state_space_model(FiniteChain(), [0.0, 2.0, 5.0])
    """
    series, rng = as_series(data), np.random.default_rng(seed)
    for _ in range(_PROBES):
        with torch_stream(rng):
            params, values = bind_parameters(model, None)
            bound = BoundModel(model, params, series)
            bound.check()
            states: torch.Tensor | None = None
            walk = []
            for t in range(series.length):
                states = draw(bound.law(states, t, _PROBES), _PROBES)
                walk.append(states)
            _check_program(model, values, torch.stack([step[0] for step in walk]), data)
            _check_particles(bound, walk)


def _check_program(
    model: StateSpaceModel, values: Mapping[str, Any], path: torch.Tensor, data: Any
) -> None:
    """Hold the program's log densities against sums of the laws, step by step."""
    series = as_series(data)
    given = {name: torch.as_tensor(value) for name, value in values.items()}
    program = pyro.condition(model.model, data={**given, STATE: path})
    trace = pyro.poutine.trace(program).get_trace(data)
    trace.compute_log_prob()
    prior = pyro.poutine.trace(pyro.condition(model.global_model, data=given)).get_trace()
    params = prior.nodes["_RETURN"]["value"]
    moves, sights = torch.zeros(series.length), torch.zeros(series.length)
    moves[0] = model.initialize(params).log_prob(path[:1]).sum()
    for t in range(series.length):
        row, now = series.row(t), path[t : t + 1]
        if t:
            law = model.transition(path[t - 1 : t], params, t, row)
            moves[t] = law.log_prob(now).sum()
        sights[t] = model.observe(now, params, t, row).log_prob(series.values[t]).sum()
    pairs = {
        f"trajectory (site `{STATE}`)": (trace.nodes[STATE]["log_prob_sum"], moves.sum()),
        f"observations (site `{OBSERVED}`)": (trace.nodes[OBSERVED]["log_prob"], sights),
        "whole program": (trace.log_prob_sum(), prior.log_prob_sum() + moves.sum() + sights.sum()),
    }
    for what, (ours, parts) in pairs.items():
        _agree(f"The log density of the {what} in the Pyro program", ours, parts, "its parts")


def _check_particles(bound: BoundModel, walk: list[torch.Tensor]) -> None:
    """Hold the densities of a batch of particles against those of each particle alone."""
    for t, states in enumerate(walk):
        alone = [bound.weigh(states[i : i + 1], t)[0] for i in range(_PROBES)]
        _agree(f"`observe` at time step {t}", bound.weigh(states, t), alone, "one particle alone")
        if t:
            before = walk[t - 1]
            together = bound.step_density(before, states, t)
            rows = [bound.step_density(before[i : i + 1], states, t)[:, 0] for i in range(_PROBES)]
            what = f"`transition` at time step {t}"
            _agree(what, together, np.stack(rows, 1), "one particle alone")


def _agree(what: str, ours: Any, other: Any, whose: str) -> None:
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape or not np.allclose(a, b, rtol=_AGREE, atol=_AGREE):
        raise AssertionError(f"{what} is {np.round(a, 6)}; that of {whose} is {np.round(b, 6)}.")
