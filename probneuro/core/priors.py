"""Univariate priors that a Pyro program and a compiled sampler read the same way."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlogy

_HALF_LOG_2PI = 0.9189385332046727
_LARGEST = 700.0


class Prior(ABC):
    """A univariate prior: ``positive`` says whether samplers work on its logarithm."""

    positive: bool

    @abstractmethod
    def log_density(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the log density at x, elementwise."""

    def log_density_real(self, z: float) -> float:
        """Return the log density of z: log x where the prior is positive, x where it is not."""
        if not self.positive:
            return float(self.log_density(z))
        return float(self.log_density(math.exp(min(z, _LARGEST)))) + z

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Return draws, shape (size,)."""

    @abstractmethod
    def distribution(self) -> dist.TorchDistribution:
        """Return the same prior as a Pyro distribution in float64."""


def _f64(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@dataclass(frozen=True)
class Gamma(Prior):
    r"""Gamma prior, :math:`p(x) \propto x^{a-1} e^{-r x}`.

    Parameters
    ----------
    shape, rate : float
        Shape a (dimensionless) and rate r (per unit of x).

    Examples
    --------
    >>> g = Gamma(2.0, 100.0)
    >>> bool(np.isclose(g.log_density(0.02), float(g.distribution().log_prob(_f64(0.02)))))
    True
    """

    shape: float
    rate: float
    positive = True

    def log_density(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the log density; minus infinity where x is not positive."""
        x = np.asarray(x, dtype=np.float64)
        value = self._constant + xlogy(self.shape - 1.0, np.maximum(x, 0.0)) - self.rate * x
        return np.where(x > 0, value, -np.inf)

    def log_density_real(self, z: float) -> float:
        """Return the log density of z = log x."""
        return self._constant + self.shape * z - self.rate * math.exp(min(z, _LARGEST))

    @cached_property
    def _constant(self) -> float:
        return float(self.shape * np.log(self.rate) - gammaln(self.shape))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Return gamma draws."""
        return rng.gamma(self.shape, 1.0 / self.rate, size)

    def distribution(self) -> dist.TorchDistribution:
        """Return ``pyro.distributions.Gamma``."""
        return dist.Gamma(_f64(self.shape), _f64(self.rate))


@dataclass(frozen=True)
class LogNormal(Prior):
    r"""Log-normal prior with a given median and spread of the logarithm.

    Parameters
    ----------
    median : float
        Median of x.
    spread : float
        Standard deviation of log x.

    Examples
    --------
    >>> p = LogNormal(0.03, 0.5)
    >>> bool(np.isclose(p.log_density(0.02), float(p.distribution().log_prob(_f64(0.02)))))
    True
    """

    median: float
    spread: float
    positive = True

    def log_density(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the log density; minus infinity where x is not positive."""
        x = np.asarray(x, dtype=np.float64)
        log_x = np.log(np.where(x > 0, x, 1.0))
        z = (log_x - np.log(self.median)) / self.spread
        return np.where(x > 0, -0.5 * z * z - np.log(self.spread) - _HALF_LOG_2PI - log_x, -np.inf)

    def log_density_real(self, z: float) -> float:
        """Return the log density of z = log x."""
        u = (z - math.log(self.median)) / self.spread
        return -0.5 * u * u - math.log(self.spread) - _HALF_LOG_2PI

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Return log-normal draws."""
        return self.median * np.exp(self.spread * rng.standard_normal(size))

    def distribution(self) -> dist.TorchDistribution:
        """Return ``pyro.distributions.LogNormal``."""
        return dist.LogNormal(_f64(float(np.log(self.median))), _f64(self.spread))


@dataclass(frozen=True)
class Normal(Prior):
    r"""Normal prior.

    Parameters
    ----------
    location, scale : float
        Mean and standard deviation.

    Examples
    --------
    >>> p = Normal(-0.2, 0.5)
    >>> bool(np.isclose(p.log_density(0.1), float(p.distribution().log_prob(_f64(0.1)))))
    True
    """

    location: float
    scale: float
    positive = False

    def log_density(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the log density."""
        z = (np.asarray(x, dtype=np.float64) - self.location) / self.scale
        return -0.5 * z * z - np.log(self.scale) - _HALF_LOG_2PI

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Return normal draws."""
        return self.location + self.scale * rng.standard_normal(size)

    def distribution(self) -> dist.TorchDistribution:
        """Return ``pyro.distributions.Normal``."""
        return dist.Normal(_f64(self.location), _f64(self.scale))
