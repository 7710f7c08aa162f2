"""The distribution of a recording with its group element summed out."""

from typing import Any, final

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from probneuro.components.shifts import (
    ElectrodeGroup,
    OrbitLikelihood,
    act,
    group_log_likelihood,
)


@final
class OrbitMarginal(TorchDistribution):
    """``p(x | h)`` with ``g`` uniform on the group summed out, its density by one FFT.

    Parameters
    ----------
    likelihood : OrbitLikelihood
        Of a recording given ``g h``.
    output : Tensor
        What the decoder puts out, shape (..., electrode, time).
    group : ElectrodeGroup
        The permutations; shifts are always summed over.

    Examples
    --------
    >>> from probneuro.components.shifts import PoissonCounts, no_permutation
    >>> marginal = OrbitMarginal(PoissonCounts(), torch.zeros(5, 1, 4), no_permutation(1))
    >>> marginal.batch_shape, marginal.event_shape
    (torch.Size([5]), torch.Size([1, 4]))
    """

    arg_constraints = {}  # noqa: RUF012 -- the form torch asks for
    support = constraints.independent(constraints.real, 2)
    has_rsample = False

    def __init__(
        self,
        likelihood: OrbitLikelihood,
        output: Tensor,
        group: ElectrodeGroup,
        validate_args: bool | None = None,
    ) -> None:
        self.likelihood, self.output, self.group = likelihood, output, group
        super().__init__(output.shape[:-2], output.shape[-2:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "OrbitMarginal":
        """Return the same distribution, repeated."""
        wide = self.output.expand(*batch_shape, *self.event_shape)
        return OrbitMarginal(self.likelihood, wide, self.group)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the exact log density, shape of the batch."""
        return group_log_likelihood(self.likelihood, value, self.output, self.group)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw an element, then a recording."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            count = self.group.num_elements(self.event_shape[-1])
            element = torch.randint(count, shape, device=self.output.device)
            moved = act(self.output, self.group, element)
            return self.likelihood.distribution(moved).sample()
