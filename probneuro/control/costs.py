"""What an action costs, by the forecast of what it leads to, with or without its uncertainty."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from probneuro.core.errors import DataError

Floats = NDArray[np.float64]


class Cost(ABC):
    """A cost of forecasts: the lower, the nearer to what is wanted."""

    @abstractmethod
    def distance(self, forecast: ArrayLike) -> Floats:
        """Return how far each forecast is from what is wanted, shape (trial,).

        The forecast is taken at its word; a controller acts where the distance is below a margin.
        """

    @abstractmethod
    def chance(self, forecast: ArrayLike, covariance: ArrayLike) -> Floats:
        """Return the probability that what is wanted comes about, shape (trial,)."""

    @abstractmethod
    def reached(self, outcome: ArrayLike) -> NDArray[np.bool_]:
        """Return whether it came about, shape (trial,)."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TargetRange(Cost):
    r"""Some values, such as two channels at one time, have to lie in ranges.

    .. math:: \max_i \max(l_i - \hat y_i,\; \hat y_i - u_i) \le \delta

    Parameters
    ----------
    low, high : ndarray
        Ends of the ranges, shape (trial, target) or (target,); infinite for an open one.

    Raises
    ------
    DataError
        If the shapes differ, or a range is empty.

    Notes
    -----
    Source: Bryan et al. (2025), sections 3.6.1 and 6.3.1. Their margin δ is compared with
    `distance`.

    Examples
    --------
    >>> wanted = TargetRange(low=np.array([0.0, -1.0]), high=np.array([1.0, 1.0]))
    >>> wanted.distance([[0.5, 0.0], [1.5, 0.0]]).tolist()
    [-0.5, 0.5]
    >>> wanted.chance([[0.5, 0.0]], 0.01 * np.eye(2)).round(2).tolist()
    [1.0]
    """

    low: Floats
    high: Floats

    def __post_init__(self) -> None:
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        if low.shape != high.shape or not (low < high).all():
            raise DataError(
                f"`low` must be below `high`, of one shape; got shapes {low.shape} and "
                f"{high.shape}. Give every target two ends."
            )

    def distance(self, forecast: ArrayLike) -> Floats:
        """Return the largest distance beyond an end; negative inside."""
        value = np.asarray(forecast, dtype=np.float64)
        found: Floats = np.maximum(self.low - value, value - self.high).max(1)
        return found

    def chance(self, forecast: ArrayLike, covariance: ArrayLike) -> Floats:
        r"""Return the probability that all values lie in their ranges.

        Parameters
        ----------
        forecast : array_like
            Shape (trial, target).
        covariance : array_like
            Of the errors, shape (target, target) or (trial, target, target).

        Returns
        -------
        ndarray
            Shape (trial,). Exact for one or for independent targets; two correlated ones are
            integrated over the first at 64 points.
        """
        value = np.asarray(forecast, dtype=np.float64)
        cov = np.broadcast_to(
            np.asarray(covariance, dtype=np.float64), (len(value), *2 * value.shape[1:])
        )
        low, high = (np.broadcast_to(end, value.shape) - value for end in (self.low, self.high))
        scale = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
        if value.shape[1] != 2 or not np.any(cov[:, 0, 1]):
            each = norm.cdf(high / scale) - norm.cdf(low / scale)
            found: Floats = each.prod(1)
            return found
        return _both(low / scale, high / scale, cov[:, 0, 1] / scale.prod(1))

    def reached(self, outcome: ArrayLike) -> NDArray[np.bool_]:
        """Return whether all values lie in their ranges."""
        return self.distance(outcome) <= 0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceTrajectory(Cost):
    r"""A trajectory has to stay close to a reference.

    .. math:: \sum_c \frac1T \sum_t (\hat y_{ct} - y^*_{ct})^2 < \epsilon

    Parameters
    ----------
    reference : ndarray
        Shape (trial, channel, time) or (channel, time).
    tolerance : float
        ε, in the signal's unit squared.

    Notes
    -----
    Source: Bryan et al. (2025), sections 3.6.2 and 6.3.2.

    Examples
    --------
    >>> wanted = ReferenceTrajectory(reference=np.zeros((1, 4)), tolerance=1.0)
    >>> wanted.distance(np.full((1, 1, 4), 2.0)).tolist()
    [4.0]
    """

    reference: Floats
    tolerance: float

    def distance(self, forecast: ArrayLike) -> Floats:
        """Return the mean squared distance, summed over channels, in the unit squared."""
        error = np.asarray(forecast, dtype=np.float64) - self.reference
        found: Floats = (error**2).mean(2).sum(1)
        return found

    def chance(self, forecast: ArrayLike, covariance: ArrayLike) -> Floats:
        r"""Return the probability that the distance stays below the tolerance.

        The distance of a normal trajectory is a sum of squares; it is taken as a scaled
        chi-square of the same mean and variance (Satterthwaite),

        .. math:: \mu = d + \tfrac1T \mathrm{tr}\,\Sigma, \qquad
                  v = \tfrac{1}{T^2} (2\,\mathrm{tr}\,\Sigma^2 + 4 e^\top \Sigma e)

        Parameters
        ----------
        forecast : array_like
            Shape (trial, channel, time).
        covariance : array_like
            Of the errors over time, shape (channel, time, time).

        Returns
        -------
        ndarray
            Shape (trial,).
        """
        from scipy.stats import chi2

        error = np.asarray(forecast, dtype=np.float64) - self.reference
        cov = np.asarray(covariance, dtype=np.float64)
        size = error.shape[2]
        mean = self.distance(forecast) + np.trace(cov, axis1=1, axis2=2).sum() / size
        along = np.einsum("nct,cts,ncs->n", error, cov, error, optimize=True)
        variance = (2 * (cov**2).sum() + 4 * along) / size**2
        freedom = 2 * mean**2 / variance
        found: Floats = chi2.cdf(self.tolerance * freedom / mean, freedom)
        return found

    def reached(self, outcome: ArrayLike) -> NDArray[np.bool_]:
        """Return whether the distance stays below the tolerance."""
        return self.distance(outcome) < self.tolerance


def _both(low: Floats, high: Floats, correlation: Floats) -> Floats:
    """Return the probability that two standard normals of some correlation lie in their ranges."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    left, right = np.clip(low[:, 0], -8, 8), np.clip(high[:, 0], -8, 8)
    place = 0.5 * (right - left)[:, None] * (nodes + 1) + left[:, None]
    rest = np.sqrt(np.maximum(1 - correlation**2, 1e-12))[:, None]
    shift = correlation[:, None] * place
    other = norm.cdf((high[:, 1:] - shift) / rest) - norm.cdf((low[:, 1:] - shift) / rest)
    inside = (norm.pdf(place) * other) @ weights
    found: Floats = 0.5 * (right - left) * inside
    return found
