"""Scalar chains with exact answers, to hold filters and samplers of trajectories against."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr

from probneuro.core.errors import CapabilityError
from probneuro.core.gibbs import ChainLaw, WindowObservation
from probneuro.core.lattice import ABOVE, BELOW, Lattice

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class GaussianWindows(WindowObservation):
    r"""Each window observes the state with Gaussian noise, :math:`y_k \sim N(x_k, s^2)`.

    Parameters
    ----------
    values : ndarray
        Observed values y, shape (window,).
    scale : float
        Standard deviation s.

    Examples
    --------
    >>> GaussianWindows(np.zeros(2), 1.0).at(0, np.array([0.0, 1.0])).round(3)
    array([-0.919, -1.419])
    """

    def __init__(self, values: Floats, scale: float) -> None:
        self.values, self.scale = values, scale
        self.num_windows = values.size

    def at(self, window: int, states: Floats) -> Floats:
        """Return one window's log likelihood at some states, shape (state,)."""
        z = (states - self.values[window]) / self.scale
        value: Floats = -0.5 * z * z - np.log(self.scale * np.sqrt(2.0 * np.pi))
        return value

    @property
    def sketch_step(self) -> float:
        """Half the standard deviation of an observation."""
        return 0.5 * self.scale

    def sketch(self, low: Integers, high: Integers) -> Lattice:
        """Return each window from one point to another."""
        step = np.float64(self.sketch_step)
        return self.lattice(step * low, step * (high - 1))

    def lattice(self, lowest: Floats, highest: Floats) -> Lattice:
        """Return a table good between two states a window; of parabolas, hence exact."""
        step, used = self.sketch_step, highest >= lowest
        low = np.where(used, np.floor(np.where(used, lowest, 0.0) / step) - BELOW, 0.0)
        high = np.where(used, np.floor(np.where(used, highest, 0.0) / step) + ABOVE, 0.0)
        points = np.arange(low[used].min(), high[used].max())
        values = np.array([self.at(k, step * points) for k in range(self.num_windows)])
        ranges = low.astype(np.int64), high.astype(np.int64)
        return Lattice(step, int(points[0]), *ranges, values)


@dataclass(frozen=True)
class SmoothedChain:
    """The exact posterior of a scalar trajectory.

    Parameters
    ----------
    log_evidence : float
        Log likelihood of all windows with the trajectory integrated out.
    mean, variance : ndarray
        Posterior moments of every state, shape (window,).
    """

    log_evidence: float
    mean: Floats
    variance: Floats


def kalman_smoother(law: ChainLaw, observation: GaussianWindows) -> SmoothedChain:
    """Return the posterior of an unbounded affine chain, by Kalman filter and RTS smoother.

    Parameters
    ----------
    law : ChainLaw
        The trajectory's law, without bounds and with an affine drift.
    observation : GaussianWindows
        What was observed.

    Returns
    -------
    SmoothedChain
        Evidence and moments.

    Raises
    ------
    CapabilityError
        If the law has bounds or a drift that is not affine.

    Examples
    --------
    >>> law = ChainLaw(1.0, 1.0, None, np.zeros(1), np.zeros(1))
    >>> kalman_smoother(law, GaussianWindows(np.zeros(2), 1.0)).variance
    array([0.4, 0.6])
    """
    if law.bounds is not None or law.drift is not None:
        raise CapabilityError(
            "`law` has bounds or a drift that is not affine, which a Kalman filter cannot treat. "
            "Use quadrature_smoother."
        )
    windows, noise = observation.num_windows, observation.scale**2
    mean, variance = np.empty(windows), np.empty(windows)
    prior_mean, prior_variance = np.zeros(windows), np.full(windows, law.initial_scale**2)
    log_evidence = 0.0
    for k in range(windows):
        if k:
            gain = 1.0 + law.slope[k - 1]
            prior_mean[k] = gain * mean[k - 1] + law.intercept[k - 1]
            prior_variance[k] = gain**2 * variance[k - 1] + law.noise**2
        total = prior_variance[k] + noise
        error = observation.values[k] - prior_mean[k]
        log_evidence -= 0.5 * (error**2 / total + np.log(2.0 * np.pi * total))
        mean[k] = prior_mean[k] + prior_variance[k] / total * error
        variance[k] = prior_variance[k] * noise / total
    for k in range(windows - 2, -1, -1):
        share = variance[k] * (1.0 + law.slope[k]) / prior_variance[k + 1]
        mean[k] += share * (mean[k + 1] - prior_mean[k + 1])
        variance[k] += share**2 * (variance[k + 1] - prior_variance[k + 1])
    return SmoothedChain(float(log_evidence), mean, variance)


def quadrature_smoother(
    law: ChainLaw, observation: WindowObservation, nodes: int = 400
) -> SmoothedChain:
    """Return the posterior of a bounded chain, by Gauss-Legendre quadrature and plain matrices.

    Slow and simple: one matrix of step densities a window. Where clipping puts a kink into
    the mean, the error falls with the square of the number of nodes.

    Parameters
    ----------
    law : ChainLaw
        The trajectory's law, with bounds.
    observation : WindowObservation
        What was observed.
    nodes : int
        Number of states.

    Returns
    -------
    SmoothedChain
        Evidence and moments.

    Raises
    ------
    CapabilityError
        If the law has no bounds.

    Examples
    --------
    >>> law = ChainLaw(1.0, 1.0, (0.0, 1.0), np.zeros(1), np.zeros(1))
    >>> quadrature_smoother(law, GaussianWindows(np.full(2, 0.5), 1.0)).mean.round(9)
    array([0.5, 0.5])
    """
    if law.bounds is None:
        raise CapabilityError("`law` has no bounds to integrate between. Use kalman_smoother.")
    low, high = law.bounds
    points, weights = np.polynomial.legendre.leggauss(nodes)
    states = low + 0.5 * (high - low) * (points + 1.0)
    log_weight = np.log(0.5 * (high - low) * weights)
    windows = observation.num_windows
    table = np.stack([observation.at(k, states) for k in range(windows)]) + log_weight
    steps = [_log_steps(law, states, k) for k in range(windows - 1)]
    forward, backward = np.empty_like(table), np.zeros_like(table)
    forward[0] = table[0] - np.log(high - low)
    for k in range(1, windows):
        forward[k] = table[k] + logsumexp(forward[k - 1][:, None] + steps[k - 1], axis=0)
    for k in range(windows - 2, -1, -1):
        backward[k] = logsumexp(steps[k] + table[k + 1] + backward[k + 1], axis=1)
    log_evidence = float(logsumexp(forward[-1]))
    posterior = np.exp(forward + backward - log_evidence)
    mean = posterior @ states
    variance = np.einsum("ki,ki->k", posterior, (states - mean[:, None]) ** 2)
    return SmoothedChain(log_evidence, mean, variance)


def _log_steps(law: ChainLaw, states: Floats, window: int) -> Floats:
    """Return log p(x_{k+1} = states[j] | x_k = states[i]), shape (i, j)."""
    mean = law.mean(states, window)[:, None]
    low, high = ((bound - mean) / law.noise for bound in law.bounds or (-np.inf, np.inf))
    z = (states - mean) / law.noise
    value: Floats = (
        -0.5 * z * z - np.log(law.noise * np.sqrt(2.0 * np.pi)) - np.log(ndtr(high) - ndtr(low))
    )
    return value
