"""Networks of the stimulation-response models: a pattern part, a state part, a joint head."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn


@final
@dataclass(frozen=True, kw_only=True)
class PatternCNN:
    """Convolutions over the grid of the pattern.

    Parameters
    ----------
    channels : tuple of int
        Of the two convolutions of 3 x 3.
    width, features : int
        Of the two linear layers that follow.

    Notes
    -----
    Source: MiSO's network, Minai et al. (2024): 32 and 64 channels, 32 and 10 units.
    """

    channels: tuple[int, int] = (32, 64)
    width: int = 32
    features: int = 10

    def build(self, grid: tuple[int, int]) -> nn.Module:
        """Return the network of grids (trial, height, width)."""
        first, second = self.channels
        return nn.Sequential(
            nn.Unflatten(1, (1, grid[0])),
            nn.Conv2d(1, first, 3, padding=1), nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * grid[0] * grid[1], self.width), nn.ReLU(),
            nn.Linear(self.width, self.features), nn.ReLU(),
        )  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class StateMLP:
    """A multilayer perceptron on the last bins before stimulation.

    Parameters
    ----------
    bins : int
        Bins to look at, counted back from stimulation.
    width, features : int
        Of its two layers. The paper does not state its own.
    """

    bins: int = 5
    width: int = 32
    features: int = 10

    def build(self, num_latents: int) -> nn.Module:
        """Return the network of states (trial, bin, latent)."""
        return nn.Sequential(
            nn.Flatten(), nn.Linear(self.bins * num_latents, self.width), nn.ReLU(),
            nn.Linear(self.width, self.features), nn.ReLU(),
        )  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class StateLSTM:
    """A long short-term memory over the bins before stimulation; its last state is used.

    Parameters
    ----------
    bins : int
        Bins to look at, counted back from stimulation.
    features : int
        Of its state. The paper does not state its own.
    """

    bins: int = 5
    features: int = 10

    def build(self, num_latents: int) -> nn.Module:
        """Return the network of states (trial, bin, latent)."""
        return _LastState(num_latents, self.features)


@final
class _LastState(nn.Module):
    def __init__(self, num_latents: int, features: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_latents, features, batch_first=True)

    def forward(self, states: Tensor) -> Tensor:
        """Return the last state, (trial, feature)."""
        whole, _ = self.lstm(states)
        last: Tensor = whole[:, -1]
        return last


@final
class ResponseNetwork(nn.Module):
    r"""Pattern and state to latents after stimulation.

    .. math:: f(S, Z) = W_2\, \mathrm{relu}(W_p\, p(S) + W_s\, s(Z) + b) + b_2

    Since the pattern enters the head by a sum, what it gives can be kept for all patterns.

    Parameters
    ----------
    pattern, state : PatternCNN, StateMLP or StateLSTM, or None
        The parts; at least one.
    grid : tuple of int
        Height and width.
    num_latents : int
        Of the states, and of the output.
    width : int
        Of the head.
    """

    def __init__(
        self,
        pattern: PatternCNN | None,
        state: StateMLP | StateLSTM | None,
        grid: tuple[int, int],
        num_latents: int,
        width: int,
    ) -> None:
        super().__init__()
        self.pattern = None if pattern is None else pattern.build(grid)
        self.state = None if state is None else state.build(num_latents)
        self.from_pattern = None if pattern is None else nn.Linear(pattern.features, width)
        self.from_state = None if state is None else nn.Linear(state.features, width)
        self.out = nn.Linear(width, num_latents)

    def pattern_part(self, grids: Tensor) -> Tensor | float:
        """Return what patterns give to the head, (trial, width)."""
        if self.pattern is None or self.from_pattern is None:
            return 0.0
        part: Tensor = self.from_pattern(self.pattern(grids))
        return part

    def state_part(self, states: Tensor) -> Tensor | float:
        """Return what states give to the head, (trial, width)."""
        if self.state is None or self.from_state is None:
            return 0.0
        part: Tensor = self.from_state(self.state(states))
        return part

    def forward(self, grids: Tensor, states: Tensor) -> Tensor:
        """Return latents after stimulation, (trial, latent)."""
        hidden = torch.as_tensor(self.pattern_part(grids) + self.state_part(states))
        found: Tensor = self.out(torch.relu(hidden))
        return found
