"""The stimulation-response model: a network inside a Gaussian program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from probneuro.core.engine import Arrays, Engine
from probneuro.core.ensemble import HasEnsemble
from probneuro.core.errors import DataError, SettingError
from probneuro.core.model import HasDefaultEngine, Model, Reference
from probneuro.core.registry import load
from probneuro.core.rng import generator, torch_seed
from probneuro.data.latent_trials import LatentTrials
from probneuro.models.omiso.networks import PatternCNN, ResponseNetwork, StateLSTM, StateMLP

Floats = NDArray[np.float64]

MINAI = Reference(
    "Minai Y, Soldado-Magraner J, Yu BM, Smith MA",
    2025,
    "OMiSO: Adaptive optimization of state-dependent brain stimulation to shape neural population "
    "states",
    "arXiv",
)


@final
@dataclass(frozen=True, kw_only=True)
class ResponseModel(Model, HasEnsemble, HasDefaultEngine):
    r"""Latents after stimulation, given a pattern on the grid and the latents before.

    .. math:: z^{post} \sim N(f_w(S, Z^{pre}), \mathrm{diag}(\sigma^2)), \qquad w \sim N(0, s^2)

    Parameters
    ----------
    pattern : PatternCNN or None
        Part that sees the pattern; None for a model of the state alone.
    state : StateMLP, StateLSTM or None
        Part that sees the state; None for the pattern alone, as MiSO has it.
    width : int
        Of the joint head.
    weight_scale : float
        s, prior standard deviation of a network's weight.
    epochs, batch : int
        Of a member's training.
    learning_rate, weight_decay : float
        Of AdamW.

    Raises
    ------
    SettingError
        If neither part is there.

    Notes
    -----
    Source: Minai et al. (2025), section 2.3, table S1 and figure S1. Members are trained by AdamW
    on squared errors, each without one session, as there; its weight decay stands for the prior.
    With a single session, members leave out a fifth of the trials each. A member's noise is its
    root mean squared error on what it left out.

    Examples
    --------
    >>> trials = LatentTrials(np.eye(4), np.zeros((4, 5, 2)), np.zeros((4, 2)))
    >>> trace = pyro.poutine.trace(ResponseModel().model).get_trace(trials)
    >>> trace.nodes["after"]["value"].shape
    torch.Size([4, 2])
    """

    pattern: PatternCNN | None = field(default_factory=PatternCNN)
    state: StateMLP | StateLSTM | None = field(default_factory=StateLSTM)
    width: int = 16
    weight_scale: float = 1.0
    epochs: int = 20
    batch: int = 32
    learning_rate: float = 6e-4
    weight_decay: float = 1e-3

    name = "omiso"
    references = (MINAI,)

    def __post_init__(self) -> None:
        if self.pattern is None and self.state is None:
            raise SettingError(
                "`pattern` and `state` are both None: nothing is left to predict from. Give one."
            )

    def model(self, data: LatentTrials) -> None:
        """Run the program on trials."""
        network = self.network(data).double()
        sizes = parameters_to_vector(network.parameters()).numel()
        law = dist.Normal(torch.zeros(sizes, dtype=torch.float64), self.weight_scale).to_event(1)
        weights = pyro.sample("weights", law)
        latents = torch.ones(data.after.shape[1], dtype=torch.float64)
        noise = pyro.sample("noise_scale", dist.HalfNormal(2.0 * latents).to_event(1))
        mean = pyro.deterministic("expected", _at(network, weights, *self.inputs(data)))
        with pyro.plate("trial", len(data)):
            pyro.sample("after", dist.Normal(mean, noise).to_event(1), obs=torch.tensor(data.after))

    def guide(self, data: LatentTrials) -> Any:
        """Run a normal guide."""
        return AutoNormal(self.model)(data)

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the dimensions of every site."""
        return {
            "weights": ["weight"], "noise_scale": ["latent"],
            "expected": ["trial", "latent"], "after": ["trial", "latent"],
        }  # fmt: skip

    def coords(self, data: LatentTrials) -> Mapping[str, Any]:
        """Return the labels of latents and trials."""
        return {"latent": np.arange(data.after.shape[1]), "trial": np.arange(len(data))}

    def default_engine(self) -> Engine:
        """Return the engine of ensembles, as in the paper."""
        engine: Engine = load("engine", "ensemble")()
        return engine

    def network(self, data: LatentTrials) -> ResponseNetwork:
        """Return a network of the size that trials ask for; its weights are torch's own start."""
        self._check(data)
        # Fixed start: weights are set afterwards, and torch's global stream stays as it was.
        with torch_seed(0):
            return ResponseNetwork(
                self.pattern, self.state, data.grid, data.after.shape[1], self.width
            )

    def inputs(self, data: LatentTrials) -> tuple[Tensor, Tensor]:
        """Return grids (trial, height, width) and the states that the state part looks at."""
        grids = np.zeros((len(data), data.grid[0] * data.grid[1]))
        grids[:, data.candidates] = data.patterns
        bins = data.before.shape[1] if self.state is None else self.state.bins
        shaped = grids.reshape(len(data), *data.grid)
        return torch.tensor(shaped), torch.tensor(data.before[:, -bins:])

    def num_members(self, data: LatentTrials) -> int:
        """Return the number of sessions; five parts of the trials where there is one session."""
        number = len(np.unique(data.session))
        return number if number > 1 else min(5, len(data))

    def fit_member(self, data: LatentTrials, member: int, seed: int) -> tuple[Arrays, Arrays]:
        """Train without one session; see the class."""
        self._check(data)
        labels = np.unique(data.session)
        held = (
            data.session == labels[member]
            if len(labels) > 1
            else np.arange(len(data)) % self.num_members(data) == member
        )
        with torch_seed(seed * 1000 + member):
            network = ResponseNetwork(
                self.pattern, self.state, data.grid, data.after.shape[1], self.width
            )
        train, left = data.take(np.flatnonzero(~held)), data.take(np.flatnonzero(held))
        history = self._train(network, train, left, generator(seed, "member", member))
        errors = self._errors(network, left)
        sites = {
            "weights": parameters_to_vector(network.parameters()).detach().double().numpy(),
            "noise_scale": np.sqrt((errors**2).mean(axis=0)),
        }
        return sites, history

    def predict(self, weights: Floats, data: LatentTrials) -> Floats:
        """Return expected latents under weights (..., weight), shape (..., trial, latent)."""
        network, inputs = self.network(data).double(), self.inputs(data)
        flat = torch.tensor(np.asarray(weights, np.float64).reshape(-1, np.shape(weights)[-1]))
        with torch.no_grad():
            found = torch.stack([_at(network, row, *inputs) for row in flat]).numpy()
        shaped: Floats = found.reshape(*np.shape(weights)[:-1], *found.shape[1:])
        return shaped

    def _train(
        self, network: nn.Module, train: LatentTrials, left: LatentTrials, rng: np.random.Generator
    ) -> Arrays:
        grids, states = (part.float() for part in self.inputs(train))
        after = torch.tensor(train.after).float()
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        losses = np.empty((2, self.epochs))
        for epoch in range(self.epochs):
            order = torch.tensor(rng.permutation(len(train)))
            for part in order.split(self.batch):
                optimiser.zero_grad()
                error = network(grids[part], states[part]) - after[part]
                (error**2).mean().backward()
                optimiser.step()
            losses[0, epoch] = (self._errors(network, train) ** 2).mean()
            losses[1, epoch] = (self._errors(network, left) ** 2).mean()
        return {"training_error": losses[0], "left_out_error": losses[1]}

    def _errors(self, network: nn.Module, data: LatentTrials) -> Floats:
        with torch.no_grad():
            found = network(*(part.float() for part in self.inputs(data)))
        errors: Floats = found.double().numpy() - data.after
        return errors

    def _check(self, data: LatentTrials) -> None:
        bins = 0 if self.state is None else self.state.bins
        if data.before.shape[1] < bins:
            raise DataError(
                f"`before` has {data.before.shape[1]} bins; the state part looks at {bins}. Pass a "
                "state part with fewer bins."
            )


def _at(network: nn.Module, weights: Tensor, grids: Tensor, states: Tensor) -> Tensor:
    """Return a network's output at weights, as a function that can be differentiated."""
    named, place = {}, 0
    for name, parameter in network.named_parameters():
        named[name] = weights[place : place + parameter.numel()].view(parameter.shape)
        place += parameter.numel()
    found: Tensor = torch.func.functional_call(network, named, (grids, states))
    return found


def network_at(model: ResponseModel, weights: Floats, data: LatentTrials) -> ResponseNetwork:
    """Return a network with weights put in, in single precision, to be read out."""
    network = model.network(data)
    vector_to_parameters(torch.tensor(weights).float(), network.parameters())
    return network
