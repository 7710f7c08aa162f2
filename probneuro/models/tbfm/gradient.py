"""The paper's own fit by gradient descent, and the models it compares with, as Pyro programs.

Each is a deterministic map inside a program with Gaussian noise; the maximum of its likelihood,
penalised where the paper does, is climbed to in batches.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from probneuro.components.stim_descriptor import StimDescriptor
from probneuro.core import names
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.rng import torch_seed
from probneuro.data import StimTrials
from probneuro.models.tbfm.design import Scaling, check_channels, scaling_of
from probneuro.models.tbfm.generator import BasisGenerator
from probneuro.models.tbfm.network_result import fill_network, network_tree, read_network_tree

Floats = NDArray[np.float64]

_BATCH = 512


class ForecastNetwork(nn.Module, ABC):
    """A map from runways and descriptors to responses, all z-scored, as a Pyro program."""

    @abstractmethod
    def expected(self, runway: Tensor, descriptor: Tensor) -> Tensor:
        """Return the expected response.

        Parameters
        ----------
        runway : Tensor
            Shape (trial, channel, runway).
        descriptor : Tensor
            Shape (trial, horizon, column).

        Returns
        -------
        Tensor
            Shape (trial, channel, horizon).
        """

    @abstractmethod
    def penalty(self, runway: Tensor, response: Tensor, descriptor: Tensor) -> Tensor:
        """Return what is added to the mean squared error."""

    @abstractmethod
    def crop(self) -> int | None:
        """Return the samples of the response that a training step takes, or None for all."""

    def forward(self, runway: Tensor, descriptor: Tensor, response: Tensor | None = None) -> Tensor:
        """Run the program: responses are normal about what is expected, of unit variance."""
        mean = self.expected(runway, descriptor)
        with pyro.plate("trial", len(mean)):
            return pyro.sample("response", dist.Normal(mean, 1.0).to_event(2), obs=response)


@final
class TBFMNetwork(ForecastNetwork):
    r"""The paper's model as it trains it: a generator of bases and an affine map of the runway.

    Parameters
    ----------
    num_channels, runway, horizon, num_columns : int
        Sizes.
    num_bases : int
        Bases.
    ridge : float
        λ of :math:`\lambda \lVert A \rVert_F`, not squared.
    """

    def __init__(
        self, num_channels: int, runway: int, horizon: int, num_columns: int,
        num_bases: int = 15, ridge: float = 0.05,
    ) -> None:  # fmt: skip
        super().__init__()
        self.generator = BasisGenerator(num_columns, horizon, num_bases)
        self.estimator = nn.Linear(num_channels * runway, num_channels * num_bases)
        self.shape, self.ridge = (num_channels, num_bases), ridge

    def expected(self, runway: Tensor, descriptor: Tensor) -> Tensor:
        """Return the last sample plus weighted bases."""
        weights = self.estimator(runway.flatten(1)).unflatten(1, self.shape)
        return runway[:, :, -1:] + weights @ self.generator(descriptor)

    def penalty(self, runway: Tensor, response: Tensor, descriptor: Tensor) -> Tensor:
        """Return the norm of the affine map's matrix, weighted."""
        norm: Tensor = torch.linalg.norm(self.estimator.weight)
        return self.ridge * norm

    def crop(self) -> int | None:
        """Return None: bases have the length of the horizon."""
        return None


@final
class LSSM(ForecastNetwork):
    r"""Linear state-space model, run ahead from the runway's last sample.

    .. math:: x_{k+1} = A x_k + B u_k, \qquad y_k = C x_k, \qquad x_0 = C^+ y_0

    Parameters
    ----------
    num_channels, num_columns : int
        Sizes of signal and descriptor.
    num_latents : int or None
        States; as many as channels by default.

    Notes
    -----
    Source: Bryan et al. (2025), section 6.4.1: trained on the multi-step error, no Kalman filter.
    """

    def __init__(self, num_channels: int, num_columns: int, num_latents: int | None = None) -> None:
        super().__init__()
        size = num_latents or num_channels
        self.transition = nn.Parameter(0.98 * torch.eye(size))
        self.drive = nn.Parameter(0.01 * torch.randn(num_columns, size))
        self.readout = nn.Parameter(
            torch.eye(num_channels, size) + 0.01 * torch.randn(num_channels, size)
        )

    def expected(self, runway: Tensor, descriptor: Tensor) -> Tensor:
        """Return the responses, step by step."""
        state = runway[:, :, -1] @ torch.linalg.pinv(self.readout).T
        drive = descriptor @ self.drive
        states = []
        for step in range(descriptor.shape[1]):
            state = state @ self.transition.T + drive[:, step]
            states.append(state)
        return self.readout @ torch.stack(states, dim=2)

    def penalty(self, runway: Tensor, response: Tensor, descriptor: Tensor) -> Tensor:
        """Return nothing."""
        return torch.zeros(())

    def crop(self) -> int | None:
        """Return None: the paper trains on the whole forecast."""
        return None


@final
class AELSTM(ForecastNetwork):
    r"""Autoencoder whose latent state an LSTM moves on: :math:`z \leftarrow z + f([z, u])`.

    Parameters
    ----------
    num_channels, num_columns : int
        Sizes of signal and descriptor.
    num_latents, num_hidden : int
        Size of the latent state, and of the LSTM.
    window : int
        Samples of the response in a training step; the paper crops 20 ms + 40 ms at random.

    Notes
    -----
    Source: Bryan et al. (2025), section 6.4.2. The losses of autoencoder and latent centre stand
    beside that of the forecast with the same weight; the paper states none.
    """

    def __init__(
        self, num_channels: int, num_columns: int, num_latents: int = 96, num_hidden: int = 96,
        window: int = 40,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(num_channels, num_latents), nn.Tanh(), nn.Linear(num_latents, num_latents)
        )
        self.decoder = nn.Sequential(
            nn.Linear(num_latents, num_latents), nn.Tanh(), nn.Linear(num_latents, num_channels)
        )
        self.cell = nn.LSTMCell(num_latents + num_columns, num_hidden)
        self.change = nn.Linear(num_hidden, num_latents)
        self.window = window

    def expected(self, runway: Tensor, descriptor: Tensor) -> Tensor:
        """Return the decoded latent path."""
        return self.decoder(self._ahead(runway, descriptor)).transpose(1, 2)

    def penalty(self, runway: Tensor, response: Tensor, descriptor: Tensor) -> Tensor:
        """Return the losses of autoencoder, latent path and latent centre."""
        both = torch.cat([runway, response], dim=2).transpose(1, 2)
        latent = self.encoder(both)
        ahead = self._ahead(runway, descriptor)
        coded = (self.decoder(latent) - both).square().mean()
        moved = (ahead - latent[:, runway.shape[2] :]).square().mean()
        centre: Tensor = latent.mean((0, 1)).square().mean()
        return coded + moved + centre

    def crop(self) -> int | None:
        """Return the window."""
        return self.window

    def _ahead(self, runway: Tensor, descriptor: Tensor) -> Tensor:
        """Return latent states over the horizon, (trial, horizon, latent)."""
        latent = self.encoder(runway.transpose(1, 2))
        quiet = torch.zeros(len(latent), descriptor.shape[2])
        hidden = None
        for step in range(latent.shape[1] - 1):
            hidden = self.cell(torch.cat([latent[:, step], quiet], dim=1), hidden)
        state, path = latent[:, -1], []
        for step in range(descriptor.shape[1]):
            hidden = self.cell(torch.cat([state, descriptor[:, step]], dim=1), hidden)
            state = state + self.change(hidden[0])
            path.append(state)
        return torch.stack(path, dim=1)


@final
@dataclass(frozen=True, kw_only=True)
class GradientFit:
    """How a network is trained.

    Parameters
    ----------
    epochs : int
        Passes over the training trials.
    learning_rate : float
        AdamW's; the paper takes 2e-4 and about 15,000 epochs of one batch.
    batch : int
        Trials a step.
    decay : float
        AdamW's weight decay.

    Raises
    ------
    SettingError
        If a number is out of range.
    """

    epochs: int = 100
    learning_rate: float = 2e-4
    batch: int = _BATCH
    decay: float = 0.01

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or not self.learning_rate > 0:
            raise SettingError(
                f"`epochs` and `batch` must be at least 1 and `learning_rate` positive; got "
                f"{self.epochs!r}, {self.batch!r} and {self.learning_rate!r}."
            )

    def fit(
        self, kind: type[ForecastNetwork], trials: StimTrials, *, seed: int = 0, **sizes: Any
    ) -> "NetworkForecaster":
        """Train a network.

        Parameters
        ----------
        kind : type of ForecastNetwork
            `TBFMNetwork`, `LSSM`, `AELSTM`, or one of yours.
        trials : StimTrials
            Complete ones, to train on.
        seed : int
            Of the start and the batches.
        **sizes
            Further arguments of the network.

        Returns
        -------
        NetworkForecaster

        Raises
        ------
        InferenceError
            If the loss is no longer a number.
        """
        scaling = scaling_of(trials)
        descriptor = StimDescriptor.of(trials)
        told = torch.as_tensor(descriptor(trials.patterns), dtype=torch.float32)
        sizes |= {"num_channels": trials.num_channels, "num_columns": descriptor.num_columns}
        if kind is TBFMNetwork:
            sizes |= {"runway": trials.runway, "horizon": trials.horizon}
        with torch_seed(seed):
            network = kind(**sizes)
            history = self._trained(network, _Batches(trials, scaling, told, self.batch), seed)
        return NetworkForecaster(
            network=network, sizes=sizes, scaling=scaling, descriptor=descriptor, losses=history
        )

    def _trained(self, network: ForecastNetwork, batches: "_Batches", seed: int) -> list[float]:
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=self.learning_rate, weight_decay=self.decay
        )
        losses = []
        for epoch in range(self.epochs):
            total = 0.0
            for runway, descriptor, response in batches.epoch(network.crop()):
                optimiser.zero_grad()
                log_density = pyro.poutine.trace(network).get_trace(runway, descriptor, response)
                # The normal's log density is the squared error, but for a constant.
                constant = 0.5 * np.log(2 * np.pi)
                error = 2 * (-log_density.log_prob_sum() / response.numel() - constant)
                loss = error + network.penalty(runway, response, descriptor)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                total += float(error.detach()) * len(response)
            losses.append(total / batches.size)
            if not np.isfinite(losses[-1]):
                raise InferenceError(
                    f"The loss of {type(network).__name__} is no number in epoch {epoch} (seed "
                    f"{seed}). Lower the learning rate, or look for missing samples."
                )
        return losses


@final
class _Batches:
    """Training trials as z-scored tensors, in random order."""

    def __init__(self, trials: StimTrials, scaling: Scaling, told: Tensor, batch: int) -> None:
        values = _scored(trials.values, scaling)
        self._values = values.nan_to_num(0.0)
        self._told, self._pattern = told, torch.as_tensor(trials.pattern_of_trial)
        self._runway, self._batch = trials.runway, batch
        self.size = len(values)

    def epoch(self, crop: int | None) -> Any:
        """Yield runways, descriptors and responses, or random crops of them."""
        for rows in torch.randperm(self.size).split(self._batch):
            start, stop = 0, self._values.shape[2]
            if crop is not None:
                start = int(torch.randint(stop - self._runway - crop + 1, ()))
                stop = start + self._runway + crop
            part = self._values[rows, :, start:stop]
            told = self._told[self._pattern[rows], start : stop - self._runway]
            yield part[:, :, : self._runway], told, part[:, :, self._runway :]


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NetworkForecaster:
    """Forecasts of a trained network.

    Parameters
    ----------
    network : ForecastNetwork
        The network.
    sizes : dict
        What it was built of.
    scaling : Scaling
        From the training trials.
    descriptor : StimDescriptor
        What it is told of pulses.
    losses : list of float
        Mean squared error of each epoch, z-scored.
    """

    network: ForecastNetwork
    sizes: dict[str, Any]
    scaling: Scaling
    descriptor: StimDescriptor
    losses: list[float] = field(default_factory=list)

    def to_tree(self) -> xr.DataTree:
        """Return it as a tree, which `probneuro.save` writes."""
        return network_tree(
            type(self.network).__name__, {"network": self.network}, self.sizes, self.scaling,
            self.descriptor, {"loss": (("epoch",), self.losses)},
        )  # fmt: skip

    @classmethod
    def from_tree(
        cls, tree: xr.DataTree, kind: type[ForecastNetwork] | None = None
    ) -> "NetworkForecaster":
        """Return what `to_tree` told, as it was or read back from a file.

        Parameters
        ----------
        tree : DataTree
            The tree.
        kind : type of ForecastNetwork, optional
            Class of a network of your own.

        Raises
        ------
        DataError
            If it is of another kind, or was changed.
        """
        kinds = (TBFMNetwork, LSSM, AELSTM) if kind is None else (kind,)
        known: dict[str, type[ForecastNetwork]] = {c.__name__: c for c in kinds}
        name, sizes, scaling, descriptor = read_network_tree(tree, tuple(known))
        network = known[name](**sizes)
        fill_network(network, tree, "network")
        losses = tree[names.PARAMETERS].to_dataset()["loss"].values.tolist()
        return cls(
            network=network, sizes=sizes, scaling=scaling, descriptor=descriptor, losses=losses
        )

    def forecast(self, trials: StimTrials) -> Floats:
        """Return the expected responses, shape (trial, channel, horizon), in the signal's unit."""
        check_channels(trials, self.scaling)
        told = torch.as_tensor(self.descriptor(trials.patterns), dtype=torch.float32)
        pattern = torch.as_tensor(trials.pattern_of_trial)
        runway = _scored(trials.runways, self.scaling).nan_to_num(0.0)
        parts = []
        with torch.no_grad():
            for rows in torch.arange(len(runway)).split(_BATCH):
                parts.append(self.network.expected(runway[rows], told[pattern[rows]]))
        scored = torch.cat(parts).numpy().astype(np.float64)
        return scored * self.scaling.scale[:, None] + _centre(self.scaling)[:, None]


def _centre(scaling: Scaling) -> Floats:
    """Return each channel's mean over the runway, in the signal's unit."""
    mean = scaling.feature_mean.mean(0).reshape(scaling.scale.size, -1).mean(1)
    found: Floats = mean * scaling.scale
    return found


def _scored(values: Any, scaling: Scaling) -> Tensor:
    scored = (values - _centre(scaling)[:, None]) / scaling.scale[:, None]
    return torch.as_tensor(scored, dtype=torch.float32)
