"""Maps from the unit cube to the support of parameters, stable up to the edges."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

EDGE: Final = 1e-12
"""Cube coordinates are kept this far from 0 and 1, where the simplex map has no inverse."""


class Support(ABC):
    """A smooth bijection from the open unit cube to where parameters live."""

    @abstractmethod
    def to_value(self, cube: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (draw, parameter) and the log volume factor (draw,)."""

    @abstractmethod
    def to_cube(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return cube coordinates and the log volume factor of `to_value` there."""


@final
class Box(Support):
    """An axis-aligned box: a scale and a shift.

    Parameters
    ----------
    lower, upper : sequence of float
        Bounds, one a parameter.

    Examples
    --------
    >>> value, volume = Box([0.0, -1.0], [2.0, 1.0]).to_value(torch.full((1, 2), 0.5))
    >>> value.tolist(), round(volume.item(), 3)
    ([[1.0, 0.0]], 1.386)
    """

    def __init__(self, lower: Sequence[float], upper: Sequence[float]) -> None:
        self._lower = torch.as_tensor(lower, dtype=torch.float64)
        self._width = torch.as_tensor(upper, dtype=torch.float64) - self._lower
        self._volume = self._width.log().sum()

    def to_value(self, cube: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and the log volume of the box."""
        return self._lower + self._width * cube.double(), self._volume.expand(len(cube))

    def to_cube(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return cube coordinates and the log volume of the box."""
        return (value - self._lower) / self._width, self._volume.expand(len(value))


@final
class Simplex(Support):
    """Positive parameters whose sum is below one, by breaking a stick.

    Examples
    --------
    >>> value, _ = Simplex().to_value(torch.tensor([[0.5, 0.5]]))
    >>> value.tolist()
    [[0.5, 0.25]]
    """

    def to_value(self, cube: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pieces broken off one after the other, and the log volume factor."""
        cube = cube.double().clamp(EDGE, 1.0 - EDGE)
        left = torch.cumsum(torch.log1p(-cube), dim=1)
        before = torch.cat([torch.zeros_like(left[:, :1]), left[:, :-1]], dim=1)
        return cube * before.exp(), before.sum(dim=1)

    def to_cube(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return by what share each piece was broken off."""
        taken = torch.cumsum(value, dim=1) - value
        left = (1.0 - taken).clamp_min(EDGE)
        return (value / left).clamp(EDGE, 1.0 - EDGE), left.log().sum(dim=1)


def squash(place: Tensor) -> tuple[Tensor, Tensor]:
    r"""Map the line to the unit interval, with the log derivative of each coordinate.

    .. math:: u = \sigma(x), \qquad \log u'(x) = \log\sigma(x) + \log\sigma(-x)

    which neither over- nor underflows; ``log(1 - tanh(x)**2)`` is minus infinity from x = 20,
    and biased in the tails where a small number is added to it.

    Examples
    --------
    >>> round(squash(torch.tensor(100.0))[1].item(), 1)
    -100.0
    """
    return torch.sigmoid(place), logsigmoid(place) + logsigmoid(-place)


def stretch(cube: Tensor) -> Tensor:
    """Map the unit interval to the line, the inverse of `squash`."""
    kept = cube.clamp(1e-15, 1.0 - 1e-15)
    return kept.log() - torch.log1p(-kept)


LOG_2_PI: Final = math.log(2.0 * math.pi)
