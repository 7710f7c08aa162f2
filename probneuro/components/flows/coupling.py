"""Affine coupling flow on a box: quick in both directions, for gradients through draws."""

from itertools import pairwise
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from probneuro.components.flows.support import LOG_2_PI, Support, squash, stretch
from probneuro.core.flow import Flow

_LARGEST_LOG_SCALE = 3.0


@final
class _Half(nn.Module):
    """Scales and shifts one half of the numbers by functions of the other half."""

    def __init__(
        self, kept: int, moved: int, hidden: int, layers: int, rng: np.random.Generator
    ) -> None:
        super().__init__()
        sizes = [kept, *[hidden] * layers, 2 * moved]
        self._count = layers + 1
        for place, (n_in, n_out) in enumerate(pairwise(sizes)):
            scale = 0.0 if place == layers else np.sqrt(2.0 / n_in)
            weight = torch.from_numpy(scale * rng.standard_normal((n_out, n_in)))
            self.register_parameter(f"weight_{place}", nn.Parameter(weight))
            bias = torch.zeros(n_out, dtype=torch.float64)
            self.register_parameter(f"bias_{place}", nn.Parameter(bias))

    def forward(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return log scale and shift."""
        layer = kept
        for place in range(self._count):
            weight, bias = (self.get_parameter(f"{kind}_{place}") for kind in ("weight", "bias"))
            layer = nn.functional.linear(layer, weight, bias)
            layer = nn.functional.relu(layer) if place < self._count - 1 else layer
        log_scale, shift = layer.chunk(2, dim=1)
        return _LARGEST_LOG_SCALE * torch.tanh(log_scale / _LARGEST_LOG_SCALE), shift


@final
class AffineCoupling(Flow):
    r"""RealNVP in front of a map onto a support (Dinh, Sohl-Dickstein and Bengio 2017).

    Halves are swapped between stages instead of permuted, the last layer begins at zero, and an
    elementwise affine map follows, so that it begins as a wide bell on the box and no fit to a
    Gaussian has to come first. The map onto the cube is computed in the stable form of
    :func:`probneuro.components.flows.support.squash`.

    Parameters
    ----------
    support : Support
        Where values live.
    size : int
        Number of parameters, at least 2.
    rng : numpy.random.Generator
        For the first weights.
    stages : int
        Stages of two half steps each.
    hidden, layers : int
        Width and number of hidden layers.
    spread : float
        Standard deviation, on the line, of the density that it begins as; 1.7 is nearly
        uniform on the cube.

    Examples
    --------
    >>> from probneuro.components.flows import Box
    >>> flow = AffineCoupling(Box([0.0, 0.0], [2.0, 2.0]), 2, np.random.default_rng(0))
    >>> value, density = flow.push(flow.base(np.random.default_rng(1), 5))
    >>> torch.allclose(flow.log_prob(value), density)
    True
    """

    def __init__(
        self,
        support: Support,
        size: int,
        rng: np.random.Generator,
        *,
        stages: int = 3,
        hidden: int = 50,
        layers: int = 2,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        self._support, self._size, self._kept = support, size, size // 2
        pair = (self._kept, size - self._kept)
        self.halves = nn.ModuleList(
            _Half(*(pair if place % 2 == 0 else pair[::-1]), hidden, layers, rng)
            for place in range(2 * stages)
        )
        log_spread = torch.full((size,), float(np.log(spread)), dtype=torch.float64)
        self.log_spread = nn.Parameter(log_spread)
        self.shift = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def base(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return standard normal numbers, shape (count, parameter)."""
        return torch.from_numpy(rng.standard_normal((count, self._size)))

    def push(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return draws and their log density."""
        density = -0.5 * (base**2 + LOG_2_PI).sum(dim=1)
        one, two = base[:, : self._kept], base[:, self._kept :]
        for place, half in enumerate(self.halves):
            kept, moved = (one, two) if place % 2 == 0 else (two, one)
            log_scale, shift = half(kept)
            moved = moved * log_scale.exp() + shift
            density = density - log_scale.sum(dim=1)
            one, two = (kept, moved) if place % 2 == 0 else (moved, kept)
        line = torch.cat([one, two], dim=1) * self.log_spread.exp() + self.shift
        cube, slope = squash(line)
        value, volume = self._support.to_value(cube)
        return value, density - self.log_spread.sum() - slope.sum(dim=1) - volume

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of values."""
        cube, volume = self._support.to_cube(value)
        line = stretch(cube)
        slope = squash(line)[1].sum(dim=1)
        inner = (line - self.shift) * (-self.log_spread).exp()
        one, two = inner[:, : self._kept], inner[:, self._kept :]
        density = -self.log_spread.sum() - slope - volume
        for place in reversed(range(len(self.halves))):
            kept, moved = (one, two) if place % 2 == 0 else (two, one)
            log_scale, shift = self.halves[place](kept)
            moved = (moved - shift) * (-log_scale).exp()
            density = density - log_scale.sum(dim=1)
            one, two = (kept, moved) if place % 2 == 0 else (moved, kept)
        base = torch.cat([one, two], dim=1)
        return density - 0.5 * (base**2 + LOG_2_PI).sum(dim=1)
