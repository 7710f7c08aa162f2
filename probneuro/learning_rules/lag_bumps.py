"""Cosine bumps over the time between two spikes, the basis of a free pairwise rule."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import SettingError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LagBumps:
    r"""Raised cosines, equally spaced in the logarithm of the lag.

    .. math::

        \phi_b(d) = \tfrac12 \bigl[1 + \cos \mathrm{clip}(\pi \tfrac{y(d) - b \Delta}{\Delta},
        -\pi, \pi)\bigr], \qquad y(d) = \log(1 + d / d_0), \quad b = 0, 1, \dots

    Bumps sum to one from lag zero to the last peak, and are one at their own peak where all
    others are zero: a coefficient is the curve's value there. The last bump falls to zero at
    ``max_lag``.

    Parameters
    ----------
    num_bumps : int
        Number of bumps.
    max_lag : float
        Longest lag in seconds.
    offset : float
        The lag :math:`d_0` in seconds: peaks are about evenly spaced below it, and spread above.

    Raises
    ------
    SettingError
        If a setting is not positive.

    Notes
    -----
    The stretching of time is that of Pillow et al. (2008); our bumps are half as wide, so that
    coefficients can be read.

    Examples
    --------
    >>> bumps = LagBumps(num_bumps=3)
    >>> bumps.peaks.round(4)
    array([0.    , 0.0122, 0.0395])
    >>> bumps.evaluate(bumps.peaks).round(12) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

    num_bumps: int = 5
    max_lag: float = 0.1
    offset: float = 0.01

    def __post_init__(self) -> None:
        for field in ("num_bumps", "max_lag", "offset"):
            if not getattr(self, field) > 0:
                raise SettingError(
                    f"`{field}` of the bumps must be positive; got {getattr(self, field)}."
                )

    @property
    def peaks(self) -> Floats:
        """Lag of each bump's peak in seconds, shape (bump,); the first is zero."""
        peaks: Floats = self.offset * np.expm1(self._spacing * np.arange(self.num_bumps))
        return peaks

    @property
    def _spacing(self) -> float:
        return float(np.log1p(self.max_lag / self.offset)) / self.num_bumps

    def evaluate(self, lags: ArrayLike) -> Floats:
        """Return the bumps at some lags in seconds, zero or more, shape (bump, lag)."""
        place = np.log1p(np.asarray(lags, dtype=np.float64) / self.offset) / self._spacing
        phase = np.clip(place - np.arange(self.num_bumps)[:, None], -1.0, 1.0)
        bumps: Floats = 0.5 * (1.0 + np.cos(np.pi * phase))
        return bumps

    def table(self, bin_width: float) -> Floats:
        """Return the bumps at lags of 1, 2, ... bins, shape (bump, bins).

        Raises
        ------
        SettingError
            If no bin lies within ``max_lag``.
        """
        bins = int(np.floor(self.max_lag / bin_width * (1.0 + 1e-9)))
        if bins < 1:
            raise SettingError(
                f"`max_lag` of the bumps, {self.max_lag} s, is shorter than a bin of "
                f"{bin_width} s. Choose a longer one, or narrower bins."
            )
        return self.evaluate(bin_width * np.arange(1, bins + 1))
