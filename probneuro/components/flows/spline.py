"""Monotone rational-quadratic splines of the unit interval onto itself."""

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import softmax, softplus

LEAST_WIDTH: Final = 1e-4
LEAST_HEIGHT: Final = 1e-7
"""Mass that a bin keeps: what is left where there should be none costs entropy times its statistic,
and a thousandth was a tenth of a nat on the linear system."""
LEAST_SLOPE: Final = 1e-7
_UNIT_SLOPE: Final = 0.541_324_854_612_918_1  # softplus of this is one


class Spline:
    r"""Splines with free slopes at all knots, the ends included.

    Durkan, Bekasov, Murray and Papamakarios (2019), Neural spline flows, Eq. 4 to 8, on [0, 1]
    without tails: densities on a bounded support may be anything at its edges.

    Parameters
    ----------
    raw : torch.Tensor
        Free numbers, shape (..., 3 * bins + 1); all zero gives the identity.

    Examples
    --------
    >>> value, slope = Spline(torch.zeros(5, 13)).forward(torch.full((5,), 0.3))
    >>> round(value[0].item(), 4), round(slope[0].abs().item(), 4)
    (0.3, 0.0)
    """

    def __init__(self, raw: Tensor) -> None:
        bins = raw.shape[-1] // 3
        widths = softmax(raw[..., :bins], dim=-1)
        heights = softmax(raw[..., bins : 2 * bins], dim=-1)
        self._widths = LEAST_WIDTH + (1.0 - LEAST_WIDTH * bins) * widths
        self._heights = LEAST_HEIGHT + (1.0 - LEAST_HEIGHT * bins) * heights
        self._slopes = LEAST_SLOPE + softplus(raw[..., 2 * bins :] + _UNIT_SLOPE)
        self._x = torch.cumsum(self._widths, dim=-1)
        self._y = torch.cumsum(self._heights, dim=-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the splines' values and log slopes at x, shape (...)."""
        place = (x.unsqueeze(-1) >= self._x[..., :-1]).sum(dim=-1, keepdim=True)
        width, height, left, low, first, last = self._bin(place)
        share = ((x - left) / width).clamp(0.0, 1.0)
        mean = height / width
        both = share * (1.0 - share)
        below = mean + (first + last - 2.0 * mean) * both
        value = low + height * (mean * share**2 + first * both) / below
        top = mean**2 * (last * share**2 + 2.0 * mean * both + first * (1.0 - share) ** 2)
        return value, top.log() - 2.0 * below.log()

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the splines take the values y, and the log slopes there."""
        place = (y.unsqueeze(-1) >= self._y[..., :-1]).sum(dim=-1, keepdim=True)
        width, height, left, low, first, last = self._bin(place)
        rise = (y - low).clamp_min(0.0)
        mean = height / width
        bend = rise * (first + last - 2.0 * mean)
        a = height * (mean - first) + bend
        b = height * first - bend
        c = -mean * rise
        share = 2.0 * c / (-b - (b**2 - 4.0 * a * c).clamp_min(0.0).sqrt())
        share = share.clamp(0.0, 1.0)
        both = share * (1.0 - share)
        below = mean + (first + last - 2.0 * mean) * both
        top = mean**2 * (last * share**2 + 2.0 * mean * both + first * (1.0 - share) ** 2)
        return left + share * width, top.log() - 2.0 * below.log()

    def _bin(self, place: Tensor) -> tuple[Tensor, ...]:
        """Return width, height, left end, low end and both slopes of one bin each."""
        width = self._widths.gather(-1, place).squeeze(-1)
        height = self._heights.gather(-1, place).squeeze(-1)
        left = self._x.gather(-1, place).squeeze(-1) - width
        low = self._y.gather(-1, place).squeeze(-1) - height
        first = self._slopes.gather(-1, place).squeeze(-1)
        last = self._slopes.gather(-1, place + 1).squeeze(-1)
        return width, height, left, low, first, last
