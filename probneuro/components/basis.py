"""Rectified cosine bumps in logarithmic time, the basis of every impulse response."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class CosineBasis:
    r"""Raised cosine bumps, equally spaced in log time.

    .. math::

        \phi_b(d) \propto \tfrac12 \bigl[1 + \cos(\mathrm{clip}(
        \tfrac{\pi}{2} \tfrac{y(d) - c_b}{\Delta}, -\pi, \pi))\bigr],
        \qquad y(d) = \log(a\,d + b)

    with d in ms, centres :math:`c_b` a distance :math:`\Delta` apart, and each bump scaled so
    that :math:`\sum_d \phi_b(d)\,\mathrm{d}t = 1`.

    Parameters
    ----------
    num_bumps : int
        Number of bumps.
    duration : float
        Longest lag in seconds; the last bump falls to zero there.
    stretch : float
        The constant a, per ms; larger spreads the bumps to later lags.
    offset : float
        The constant b, dimensionless.

    Raises
    ------
    SettingError
        If a setting is not positive.

    Notes
    -----
    Source: Pillow et al. (2008), with the constants of Linderman et al. (2014). The first
    centre lies at lag zero and the last bump ends at ``duration``; lags start at one bin, so
    a spike never acts on its own bin.

    Examples
    --------
    >>> phi = CosineBasis().evaluate(1e-3)
    >>> phi.shape, bool(np.allclose(phi.sum(axis=1) * 1e-3, 1.0))
    ((5, 200), True)
    """

    num_bumps: int = 5
    duration: float = 0.2
    stretch: float = 1.0 / 120.0
    offset: float = 0.5

    def __post_init__(self) -> None:
        for field in ("num_bumps", "duration", "stretch", "offset"):
            if not getattr(self, field) > 0:
                raise SettingError(
                    f"`{field}` of the basis must be positive; got {getattr(self, field)}."
                )

    def lags(self, bin_width: float) -> NDArray[np.float64]:
        """Return the lags in seconds, from one bin to ``duration``."""
        num_lags = max(1, round(self.duration / bin_width))
        return np.arange(1, num_lags + 1, dtype=np.float64) * bin_width

    def evaluate(self, bin_width: float) -> NDArray[np.float64]:
        """Return the bumps, shape (basis, lag), in 1/s.

        Parameters
        ----------
        bin_width : float
            Width of a time bin in seconds.

        Returns
        -------
        ndarray
            Bumps at lags 1, 2, ... bins, each summing to one over lags times ``bin_width``.

        Raises
        ------
        SettingError
            If a bump falls between two bins, because bins are too wide for it.
        """
        lags_ms = 1e3 * self.lags(bin_width)
        y = np.log(self.stretch * lags_ms + self.offset)
        first = np.log(self.offset)
        spacing = (np.log(self.stretch * 1e3 * self.duration + self.offset) - first) / (
            self.num_bumps + 1
        )
        centres = first + spacing * np.arange(self.num_bumps)
        phase = np.clip(0.5 * np.pi * (y - centres[:, None]) / spacing, -np.pi, np.pi)
        bumps = 0.5 * (1.0 + np.cos(phase))
        area = bumps.sum(axis=1, keepdims=True) * bin_width
        if np.any(area <= 0):
            raise SettingError(
                f"`bin_width` of {bin_width} s is too wide for {self.num_bumps} bumps over "
                f"{self.duration} s: a bump holds no bin. Use narrower bins or fewer bumps."
            )
        return bumps / area
