"""The matrix normal distribution, by the precision of its rows."""

from math import log, pi
from typing import Any, final

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


@final
class MatrixNormal(TorchDistribution):
    r"""A normal matrix whose rows and columns are correlated apart from each other.

    .. math:: \mathrm{vec}(A) \sim \mathcal N(\mathrm{vec}(M),\; V \otimes (L L^\top)^{-1}),
              \qquad V = K K^\top

    Parameters
    ----------
    loc : Tensor
        M, shape (..., row, column).
    row_precision_tril : Tensor
        L: lower triangle whose product with itself is the rows' precision, (..., row, row).
    column_tril : Tensor
        K: lower triangle of the columns' covariance, (..., column, column).

    Examples
    --------
    >>> law = MatrixNormal(torch.zeros(2, 3), torch.eye(2), torch.eye(3))
    >>> law.event_shape, round(law.log_prob(torch.zeros(2, 3)).item(), 4)
    (torch.Size([2, 3]), -5.5136)
    """

    arg_constraints = {  # noqa: RUF012 -- torch wants a dict here
        "loc": constraints.independent(constraints.real, 2),
        "row_precision_tril": constraints.lower_cholesky,
        "column_tril": constraints.lower_cholesky,
    }
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        row_precision_tril: Tensor,
        column_tril: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        self.loc = loc
        self.row_precision_tril = row_precision_tril
        self.column_tril = column_tril
        super().__init__(loc.shape[:-2], loc.shape[-2:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "MatrixNormal":
        """Return the distribution with other batch dimensions."""
        shape = torch.Size(batch_shape)
        parts = (self.loc, self.row_precision_tril, self.column_tril)
        loc, rows, columns = (part.expand(shape + part.shape[-2:]) for part in parts)
        return MatrixNormal(loc, rows, columns, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return draws, differentiable in the parameters."""
        shape = torch.Size(sample_shape) + self.loc.shape
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        upper = self.row_precision_tril.mT
        rows = torch.linalg.solve_triangular(upper, noise, upper=True)
        return self.loc + rows @ self.column_tril.mT

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of matrices."""
        rows, columns = self.event_shape
        white = self.row_precision_tril.mT @ (value - self.loc)
        white = torch.linalg.solve_triangular(self.column_tril, white.mT, upper=False)
        of_rows = self.row_precision_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        of_columns = self.column_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        scale = columns * of_rows - rows * of_columns
        return scale - 0.5 * (white.square().sum((-2, -1)) + rows * columns * log(2 * pi))
