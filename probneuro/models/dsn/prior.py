"""The uniform density on a behaviour's support, as a distribution."""

from typing import Any, final

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from probneuro.data.behaviour import Behaviour


@final
class UniformShares(dist.TorchDistribution):
    """Uniform density of positive numbers whose sum is below one.

    Parameters
    ----------
    behaviour : Behaviour
        One on a simplex.
    """

    support = constraints.independent(constraints.unit_interval, 1)
    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 -- torch declares it so

    def __init__(self, behaviour: Behaviour) -> None:
        self._size, self._log_volume = len(behaviour.parameters), behaviour.log_volume
        super().__init__(torch.Size(), torch.Size([self._size]), validate_args=False)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 -- as torch's
        """Return draws."""
        flat = dist.Dirichlet(torch.ones(self._size + 1, dtype=torch.float64))
        return flat.sample(sample_shape)[..., :-1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density, minus infinity outside."""
        inside = (value >= 0).all(-1) & (value.sum(-1) <= 1)
        level = torch.full(inside.shape, -self._log_volume, dtype=torch.float64)
        return torch.where(inside, level, torch.full_like(level, -torch.inf))


def uniform_density(behaviour: Behaviour) -> Any:
    """Return the uniform density on a behaviour's support."""
    if behaviour.simplex:
        return UniformShares(behaviour)
    lower, upper = torch.from_numpy(behaviour.lower), torch.from_numpy(behaviour.upper)
    return dist.Uniform(lower, upper).to_event(1)
