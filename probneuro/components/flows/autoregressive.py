"""Autoregressive spline flow: each parameter given those before it, quick to evaluate."""

from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probneuro.components.flows.spline import Spline
from probneuro.components.flows.support import Support
from probneuro.core.flow import Flow

Floats = NDArray[np.float64]

_BIAS_GAIN: Final = 10.0
"""Steps of Adam are of one size; marginals have tails of e-10 and less, which must go quickly."""


@final
class _Stage(nn.Module):
    """One pass in one order of the parameters; masks keep each from seeing later ones."""

    def __init__(
        self,
        size: int,
        hidden: int,
        bins: int,
        order: NDArray[np.int64],
        rng: np.random.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.size, self.order = size, [int(i) for i in order]
        self._outputs = 3 * bins + 1
        rank = np.empty(size, dtype=int)
        rank[order] = np.arange(size)
        inner = np.arange(hidden) % max(size - 1, 1)
        masks = (
            inner[:, None] >= rank[None, :],
            inner[:, None] >= inner[None, :],
            np.repeat(rank, self._outputs)[:, None] > inner[None, :],
        )
        ins, outs = (size, hidden, hidden), (hidden, hidden, size * self._outputs)
        for place, (mask, n_in, n_out) in enumerate(zip(masks, ins, outs, strict=True)):
            scale = 0.0 if place == 2 else np.sqrt(2.0 / n_in)
            weight = torch.from_numpy(scale * rng.standard_normal((n_out, n_in))).to(dtype)
            shift = 0.0 if place == 2 else 0.3
            bias = torch.from_numpy(shift * rng.standard_normal(n_out)).to(dtype)
            self.register_parameter(f"weight_{place}", nn.Parameter(weight))
            self.register_parameter(f"bias_{place}", nn.Parameter(bias))
            self.register_buffer(f"mask_{place}", torch.from_numpy(mask).to(dtype))

    def splines(self, cube: Tensor) -> Tensor:
        """Return the free numbers of each parameter's spline, shape (draw, parameter, ...)."""
        layer = 2.0 * cube - 1.0
        for place in range(3):
            weight = self.get_parameter(f"weight_{place}") * self.get_buffer(f"mask_{place}")
            bias = self.get_parameter(f"bias_{place}") * (_BIAS_GAIN if place == 2 else 1.0)
            layer = nn.functional.linear(layer, weight, bias)
            layer = nn.functional.silu(layer) if place < 2 else layer
        return layer.reshape(len(cube), self.size, self._outputs)

    def down(self, cube: Tensor) -> tuple[Tensor, Tensor]:
        """Return the base and the log density, in one pass."""
        value, slope = Spline(self.splines(cube)).forward(cube)
        return value, slope.sum(dim=1)

    def up(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cube and the log density, one pass a parameter."""
        columns = list(torch.full_like(base, 0.5).unbind(dim=1))
        slopes = torch.zeros(len(base), dtype=base.dtype)
        for place in self.order:
            raw = self.splines(torch.stack(columns, dim=1))[:, place]
            columns[place], slope = Spline(raw).inverse(base[:, place])
            slopes = slopes + slope
        return torch.stack(columns, dim=1), slopes


@final
class AutoregressiveSpline(Flow):
    r"""Density on a support whose conditionals are monotone splines of a uniform base.

    .. math::

        \log q(z) = \sum_s \sum_d \log S_{s,d}'(u_{s,d} \mid u_{s,<d})
        - \log |\partial z / \partial u|

    It begins as the uniform density on the cube. A log density takes one pass of each stage, a
    draw one pass a parameter: right where draws are few and evaluations many.

    Parameters
    ----------
    support : Support
        Where values live.
    size : int
        Number of parameters.
    rng : numpy.random.Generator
        For the first weights.
    stages : int
        Passes; every other one takes the parameters in reverse.
    hidden : int
        Width of the two hidden layers.
    bins : int
        Bins of a spline.
    single : bool
        Whether to compute in single precision.

    Examples
    --------
    >>> from probneuro.components.flows import Box
    >>> flow = AutoregressiveSpline(Box([0.0], [2.0]), 1, np.random.default_rng(0))
    >>> round(flow.log_prob(torch.tensor([[0.7]], dtype=torch.float64)).item(), 4)
    -0.6931
    """

    def __init__(
        self,
        support: Support,
        size: int,
        rng: np.random.Generator,
        *,
        stages: int = 2,
        hidden: int = 64,
        bins: int = 16,
        single: bool = True,
    ) -> None:
        super().__init__()
        self._support, self._size = support, size
        self._dtype = torch.float32 if single else torch.float64
        forward = np.arange(size)
        orders = [forward if stage % 2 == 0 else forward[::-1] for stage in range(stages)]
        self.stages = nn.ModuleList(
            _Stage(size, hidden, bins, order, rng, self._dtype) for order in orders
        )

    def _ordered(self) -> list[_Stage]:
        return [stage for stage in self.stages if isinstance(stage, _Stage)]

    def base(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return uniform numbers, shape (count, parameter)."""
        return torch.from_numpy(rng.random((count, self._size)))

    def push(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return draws and their log density, one pass a parameter and stage."""
        cube = base.to(self._dtype)
        total = torch.zeros(len(cube), dtype=self._dtype)
        for stage in reversed(self._ordered()):
            cube, slopes = stage.up(cube)
            total = total + slopes
        value, volume = self._support.to_value(cube)
        return value, total.double() - volume

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of values, in one pass a stage."""
        inside, volume = self._support.to_cube(value)
        cube = inside.to(self._dtype)
        total = torch.zeros(len(cube), dtype=self._dtype)
        for stage in self._ordered():
            cube, slopes = stage.down(cube)
            total = total + slopes
        return total.double() - volume
