"""The distribution of a weight trajectory under a rule, for the Pyro program."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import WEIGHT_MAX, WEIGHT_NOISE, LearningRule

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class WeightTrajectory(TorchDistribution):
    r"""Trajectories of plastic weights, shape (synapse, window), given the spikes so far.

    .. math::

        w_0 \sim \mathcal N(0, s^2) \text{ or } \mathrm U(w_{min}, w_{max}), \qquad
        w_{k+1} \sim \mathcal N(w_k + \ell_k, \sigma^2) \text{ or }
        \mathrm{TN}(\mathrm{clip}(w_k + \ell_k), \sigma^2; w_{min}, w_{max})

    Parameters
    ----------
    rule : LearningRule
        A plastic rule.
    pairs : SpikePairs
        The spikes on both sides of each synapse.
    parameters : mapping of str to Tensor
        The rule's parameters per synapse, each of shape (synapse, 1).
    weight_scale : float
        Standard deviation s of an unbounded rule's first weight.
    sign : Tensor, optional
        1 or -1 for each synapse, shape (synapse, 1): where it is -1 the trajectory is the
        mirror image of one that follows the rule.
    """

    has_rsample = False

    def __init__(
        self,
        rule: LearningRule,
        pairs: SpikePairs,
        parameters: Mapping[str, Tensor],
        weight_scale: float,
        sign: Tensor | None = None,
    ) -> None:
        self.rule, self.pairs, self.parameters = rule, pairs, parameters
        self.weight_scale = weight_scale
        self.sign = torch.ones(len(pairs), 1, dtype=torch.float64) if sign is None else sign
        super().__init__(
            batch_shape=torch.Size([len(pairs)]),
            event_shape=torch.Size([pairs.num_windows]),
            validate_args=False,
        )

    @property
    def support(self) -> Any:
        """Real vectors, or vectors between the bounds."""
        if self.rule.weight_min is None:
            return constraints.independent(constraints.real, 1)
        ends = self.sign * self.rule.weight_min, self.sign * self.parameters[WEIGHT_MAX]
        interval = constraints.interval(torch.minimum(*ends), torch.maximum(*ends))
        return constraints.independent(interval, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of each synapse's trajectory."""
        value = self.sign * value
        drift = self.rule.drift(value, self.pairs, self.parameters)
        mean = (value + drift)[..., :-1]
        noise = self.parameters[WEIGHT_NOISE]
        if self.rule.weight_min is None:
            initial = self._normal(value[..., 0], value.new_zeros(()), self.weight_scale)
            return initial + self._normal(value[..., 1:], mean, noise).sum(-1)
        lower, upper = self.rule.weight_min, self.parameters[WEIGHT_MAX]
        mean = torch.minimum(mean.clamp(min=lower), upper)
        steps = self._normal(value[..., 1:], mean, noise) - self._log_mass(mean, noise, upper)
        inside = ((value >= lower) & (value <= upper)).all(-1)
        total = steps.sum(-1) - (upper.squeeze(-1) - lower).log()
        return torch.where(inside, total, -math.inf)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw trajectories window by window."""
        shape = self._extended_shape(torch.Size(sample_shape))[:-1]
        uniform = torch.rand(*shape, self.pairs.num_windows, dtype=torch.float64)
        with torch.no_grad():
            path = torch.zeros(*shape, self.pairs.num_windows, dtype=torch.float64)
            path[..., 0] = self._first(uniform[..., 0])
            for k in range(self.pairs.num_windows - 1):
                mean = (path + self.rule.drift(path, self.pairs, self.parameters))[..., k]
                path[..., k + 1] = self._next(mean, uniform[..., k + 1])
        return self.sign * path

    def _first(self, uniform: Tensor) -> Tensor:
        if self.rule.weight_min is None:
            return self.weight_scale * torch.special.ndtri(uniform)
        upper = self.parameters[WEIGHT_MAX].squeeze(-1)
        return self.rule.weight_min + uniform * (upper - self.rule.weight_min)

    def _next(self, mean: Tensor, uniform: Tensor) -> Tensor:
        noise = self.parameters[WEIGHT_NOISE].squeeze(-1)
        if self.rule.weight_min is None:
            return mean + noise * torch.special.ndtri(uniform)
        lower, upper = self.rule.weight_min, self.parameters[WEIGHT_MAX].squeeze(-1)
        mean = torch.minimum(mean.clamp(min=lower), upper)
        low = torch.special.ndtr((lower - mean) / noise)
        high = torch.special.ndtr((upper - mean) / noise)
        draw = mean + noise * torch.special.ndtri(low + uniform * (high - low))
        return torch.minimum(draw.clamp(min=lower), upper)

    def _log_mass(self, mean: Tensor, noise: Tensor, upper: Tensor) -> Tensor:
        high = torch.special.ndtr((upper - mean) / noise)
        lower = float(self.rule.weight_min or 0.0)
        return (high - torch.special.ndtr((lower - mean) / noise)).log()

    @staticmethod
    def _normal(x: Tensor, mean: Tensor, scale: Any) -> Tensor:
        scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
        return -0.5 * ((x - mean) / scale) ** 2 - scale.log() - _HALF_LOG_2PI
