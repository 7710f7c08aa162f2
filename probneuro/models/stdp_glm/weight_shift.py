"""Moving a weight trajectory as a whole, inside its bounds."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from probneuro.core.gibbs import ChainLaw

Floats = NDArray[np.float64]


class WeightShift:
    r"""The orbit of one trajectory under shifts.

    Unbounded weights move to :math:`w + c`; bounded ones to
    :math:`a + (b - a)\,\sigma(\mathrm{logit}\frac{w - a}{b - a} + c)`. Both are groups of
    transformations with parameter c, so a draw of c from the density along the orbit, with the
    Jacobian of the transformation, leaves the trajectory's conditional as it is (Liu and
    Sabatti 2000).

    Parameters
    ----------
    law : ChainLaw
        The trajectory's prior law.
    path : ndarray
        Where it is, shape (window,).
    """

    def __init__(self, law: ChainLaw, path: Floats) -> None:
        self._law, self._path = law, path
        if law.bounds is not None:
            low, high = law.bounds
            self._position = logit((path - low) / (high - low))

    def weight(self, shift: float) -> Floats:
        """Return the shifted trajectory."""
        if self._law.bounds is None:
            return self._path + shift
        low, high = self._law.bounds
        moved: Floats = low + (high - low) * expit(self._position + shift)
        return moved

    def slope(self, shift: float) -> Floats:
        """Return the derivative of every weight in the shift."""
        if self._law.bounds is None:
            return np.ones_like(self._path)
        low, high = self._law.bounds
        share = expit(self._position + shift)
        rate: Floats = (high - low) * share * (1.0 - share)
        return rate

    def log_density(self, shift: float) -> float:
        """Return the prior's log density of the shifted trajectory with the Jacobian."""
        value = self._law.log_density(self.weight(shift))
        if self._law.bounds is None:
            return value
        position = self._position + shift
        return value + float((-np.abs(position) - 2.0 * np.log1p(np.exp(-np.abs(position)))).sum())


class HeldWeight:
    """A trajectory that no shift moves; the shift is standard normal, so that it stays near zero.

    Parameters
    ----------
    path : ndarray
        Where it is, shape (window,).
    """

    def __init__(self, path: Floats) -> None:
        self._path = path

    def weight(self, shift: float) -> Floats:
        """Return the trajectory as it is."""
        return self._path

    def slope(self, shift: float) -> Floats:
        """Return zero for every weight."""
        return np.zeros_like(self._path)

    def log_density(self, shift: float) -> float:
        """Return the log density of the shift alone."""
        return -0.5 * shift * shift
