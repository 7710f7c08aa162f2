"""Likelihoods whose sum over an orbit is one correlation: what depends on g is an inner product."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from probneuro.core.errors import DataError, SettingError


class OrbitLikelihood(ABC):
    """A likelihood of the form ``log p(x | eta) = <T(x), a(eta)> - sum A(eta) + sum b(x)``.

    ``eta`` is what a decoder puts out, of any real value. Acting on ``eta`` by g permutes it, so
    that only the inner product changes.
    """

    @abstractmethod
    def distribution(self, output: Tensor) -> TorchDistribution:
        """Return the same likelihood as a distribution over every electrode and bin."""

    @abstractmethod
    def statistic(self, x: Tensor) -> Tensor:
        """Return T(x), of the shape of x."""

    @abstractmethod
    def natural(self, output: Tensor) -> Tensor:
        """Return a(eta), of the shape of eta."""

    @abstractmethod
    def normaliser(self, output: Tensor) -> Tensor:
        """Return A(eta), of the shape of eta."""

    @abstractmethod
    def base(self, x: Tensor) -> Tensor:
        """Return b(x), of the shape of x."""

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Raise a `DataError` where x has values that the likelihood cannot give."""

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """Return the expected recording."""


def _check_counts(name: str, x: Tensor, largest: float = math.inf) -> None:
    bad = (x < 0) | (x > largest) | (x != x.floor())
    if bool(bad.any()):
        allowed = "0 and 1" if largest == 1 else "whole numbers of 0 or more"
        raise DataError(
            f"`x` must hold {allowed} for the {name} likelihood; got {float(x[bad][0]):g}. "
            "Pass counts, not normalised values, or choose GaussianValues()."
        )


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise SettingError(f"`{name}` must be positive; got {value!r}. Its default is 1.0.")


@final
@dataclass(frozen=True)
class GaussianValues(OrbitLikelihood):
    """Normal noise of one scale around the decoder's output, for normalised recordings.

    Examples
    --------
    >>> GaussianValues(0.5).natural(torch.ones(1))
    tensor([4.])
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def distribution(self, output: Tensor) -> TorchDistribution:
        """Return Normal(output, scale)."""
        return dist.Normal(output, self.scale)

    def statistic(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def natural(self, output: Tensor) -> Tensor:
        """Return the mean over the variance."""
        return output / self.scale**2

    def normaliser(self, output: Tensor) -> Tensor:
        """Return half the squared mean over the variance."""
        return output.square() / (2.0 * self.scale**2)

    def base(self, x: Tensor) -> Tensor:
        """Return what remains of the normal density."""
        constant = math.log(self.scale) + 0.5 * math.log(2.0 * math.pi)
        return -x.square() / (2.0 * self.scale**2) - constant

    def check(self, x: Tensor) -> None:
        """Accept every finite value."""
        if not bool(torch.isfinite(x).all()):
            raise DataError("`x` must be finite; got NaN or infinity. Drop or mend those bins.")

    def mean(self, output: Tensor) -> Tensor:
        """Return the output itself."""
        return output


@final
@dataclass(frozen=True)
class BernoulliCounts(OrbitLikelihood):
    """A spike or none in each bin; the output is the log odds."""

    def distribution(self, output: Tensor) -> TorchDistribution:
        """Return Bernoulli(logits=output)."""
        return dist.Bernoulli(logits=output)

    def statistic(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def natural(self, output: Tensor) -> Tensor:
        """Return the log odds."""
        return output

    def normaliser(self, output: Tensor) -> Tensor:
        """Return ``log(1 + exp(output))``."""
        return softplus(output)

    def base(self, x: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(x)

    def check(self, x: Tensor) -> None:
        """Accept zeros and ones."""
        _check_counts("Bernoulli", x, largest=1)

    def mean(self, output: Tensor) -> Tensor:
        """Return the probability of a spike."""
        return output.sigmoid()


@final
@dataclass(frozen=True)
class PoissonCounts(OrbitLikelihood):
    """Poisson counts; the output is the log of the expected count of a bin."""

    def distribution(self, output: Tensor) -> TorchDistribution:
        """Return Poisson(exp(output))."""
        return dist.Poisson(output.exp())

    def statistic(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def natural(self, output: Tensor) -> Tensor:
        """Return the log rate."""
        return output

    def normaliser(self, output: Tensor) -> Tensor:
        """Return the rate."""
        return output.exp()

    def base(self, x: Tensor) -> Tensor:
        """Return ``-log x!``."""
        return -torch.lgamma(x + 1.0)

    def check(self, x: Tensor) -> None:
        """Accept counts."""
        _check_counts("Poisson", x)

    def mean(self, output: Tensor) -> Tensor:
        """Return the rate."""
        return output.exp()


@final
@dataclass(frozen=True)
class NegativeBinomialCounts(OrbitLikelihood):
    """Overdispersed counts, variance ``m + m^2 / r``; the output is the log of the mean m.

    Parameters
    ----------
    total_count : float
        The number r; the larger, the nearer to Poisson.
    """

    total_count: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("total_count", self.total_count)

    def _logits(self, output: Tensor) -> Tensor:
        return output - math.log(self.total_count)

    def distribution(self, output: Tensor) -> TorchDistribution:
        """Return NegativeBinomial(total_count, mean exp(output))."""
        return dist.NegativeBinomial(self.total_count, logits=self._logits(output))

    def statistic(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def natural(self, output: Tensor) -> Tensor:
        """Return the log of ``m / (m + r)``."""
        return logsigmoid(self._logits(output))

    def normaliser(self, output: Tensor) -> Tensor:
        """Return ``r log(1 + m / r)``."""
        return self.total_count * softplus(self._logits(output))

    def base(self, x: Tensor) -> Tensor:
        """Return the log of the binomial coefficient."""
        r = torch.as_tensor(self.total_count, dtype=x.dtype, device=x.device)
        return torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1.0)

    def check(self, x: Tensor) -> None:
        """Accept counts."""
        _check_counts("negative binomial", x)

    def mean(self, output: Tensor) -> Tensor:
        """Return the mean."""
        return output.exp()
