"""Exponential tilting: the weights of largest entropy that meet given means, by a convex dual."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.core.errors import InferenceError

Floats = NDArray[np.float64]

TOLERANCE: Final = 1e-9
"""Largest miss of a mean that counts as met, in standard deviations of its statistic."""
_STEPS: Final = 200
_RIDGE: Final = 1e-12
_SHORTEST: Final = 1e-10


@dataclass(frozen=True)
class Tilt:
    """Weights proportional to ``base * exp(-multipliers @ T)`` that meet the targets.

    Parameters
    ----------
    multipliers : numpy.ndarray
        Shape (statistic,).
    log_weights : numpy.ndarray
        Normalised, shape (point,); minus infinity where a statistic is not finite.
    entropy : float
        Least value of the dual, log Z + multipliers @ targets: the largest entropy in nats,
        where the base adds up to the volume of the support.
    met : bool
        Whether the targets are met; False where no weights on these points can.
    """

    multipliers: Floats
    log_weights: Floats
    entropy: float
    met: bool

    @property
    def effective_share(self) -> float:
        """Effective sample size as a share of all points."""
        return float(np.exp(-logsumexp(2.0 * self.log_weights)) / self.log_weights.size)


def tilt(
    log_base: Floats, statistics: Floats, targets: Floats, start: Floats | None = None
) -> Tilt:
    r"""Return the tilted weights of least Kullback-Leibler divergence that meet given means.

    .. math::

        \min_\eta \; \log \sum_i b_i e^{-\eta \cdot T_i} + \eta \cdot \mu

    by Newton's method on statistics brought to unit spread. The dual is convex; where the
    targets lie outside the convex hull of the points it has no minimum, and ``met`` is False.

    Parameters
    ----------
    log_base : numpy.ndarray
        Logarithms of the base weights, shape (point,): minus the log density of a proposal,
        minus the logarithm of the number of points, for importance sampling.
    statistics : numpy.ndarray
        Shape (point, statistic); rows that are not finite carry no weight.
    targets : numpy.ndarray
        Shape (statistic,).
    start : numpy.ndarray, optional
        Multipliers to begin from.

    Returns
    -------
    Tilt

    Raises
    ------
    InferenceError
        If no point has finite statistics.

    Examples
    --------
    >>> x = (np.arange(4000) + 0.5)[:, None] / 400.0
    >>> found = tilt(np.full(4000, -np.log(400.0)), x, np.array([1.0]))
    >>> round(found.entropy, 2), found.met
    (1.0, True)
    """
    finite = np.isfinite(statistics).all(axis=1) & np.isfinite(log_base)
    if not finite.any():
        raise InferenceError(
            "no simulation gave finite statistics. Look at the simulator, or narrow the bounds"
        )
    base, points = log_base[finite], statistics[finite]
    spread = np.maximum(points.std(axis=0), 1e-300)
    away = (points - targets) / spread
    eta = np.zeros(len(targets)) if start is None else start * spread
    with np.errstate(over="ignore", invalid="ignore"):
        eta, value, met = _newton(base, away, eta)
    scores = base - away @ eta
    log_weights = np.full(len(log_base), -np.inf)
    log_weights[finite] = scores - logsumexp(scores)
    return Tilt(eta / spread, log_weights, value, met)


def tilted(log_base: Floats, statistics: Floats, targets: Floats, multipliers: Floats) -> Tilt:
    """Return the weights of given multipliers; ``met`` is False whatever their means are.

    Its entropy is the dual's value there, an upper bound of the largest entropy.
    """
    finite = np.isfinite(statistics).all(axis=1) & np.isfinite(log_base)
    scores = log_base[finite] - (statistics[finite] - targets) @ multipliers
    value = float(logsumexp(scores))
    log_weights = np.full(len(log_base), -np.inf)
    log_weights[finite] = scores - value
    return Tilt(multipliers, log_weights, value, met=False)


def _newton(base: Floats, away: Floats, eta: Floats) -> tuple[Floats, float, bool]:
    """Return multipliers, the dual's value, and whether its gradient vanished."""
    value = float(logsumexp(base - away @ eta))
    if not np.isfinite(value):
        eta = np.zeros_like(eta)
        value = float(logsumexp(base))
    for _ in range(_STEPS):
        scores = base - away @ eta
        weights = np.exp(scores - logsumexp(scores))
        slope = -(weights @ away)
        if np.abs(slope).max() < TOLERANCE:
            return eta, value, True
        centred = away + slope
        curvature = (centred * weights[:, None]).T @ centred
        curvature[np.diag_indices_from(curvature)] += _RIDGE + 1e-10 * np.trace(curvature)
        step = np.linalg.lstsq(curvature, slope, rcond=None)[0]
        step *= min(1.0, 50.0 / max(float(np.abs(step).max()), 1e-300))
        length, descent = 1.0, float(slope @ step)
        while length > _SHORTEST:
            fresh = float(logsumexp(base - away @ (eta - length * step)))
            if np.isfinite(fresh) and fresh <= value - 1e-4 * length * descent:
                break
            length *= 0.5
        else:
            break
        eta, value = eta - length * step, fresh
    scores = base - away @ eta
    miss = np.abs(np.exp(scores - logsumexp(scores)) @ away).max()
    return eta, value, bool(miss < 1e-6)
