"""What one pair of spikes does to a weight, as a curve over the time between them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class CurveBasis(NamedTuple):
    """Functions whose combination is a rule's curve.

    Parameters
    ----------
    lags : ndarray
        Times of post minus pre in seconds, shape (lag,).
    names : tuple of str
        The rule's parameters that are the coefficients.
    functions : ndarray
        Shape (coefficient, lag).
    """

    lags: Floats
    names: tuple[str, ...]
    functions: Floats


class HasPairCurve(ABC):
    """The capability of a rule to say what one isolated pair of spikes does."""

    @abstractmethod
    def curve(self, lags: ArrayLike, parameters: Mapping[str, ArrayLike]) -> Floats:
        """Return the change that a pair causes.

        Parameters
        ----------
        lags : array_like
            Time of the postsynaptic minus that of the presynaptic spike in seconds, shape
            (lag,). Coincident spikes are no pair: at zero lag the change is zero.
        parameters : mapping of str to array_like
            The rule's parameters, all of one shape.

        Returns
        -------
        ndarray
            The shape of the parameters, then (lag,); in units of the weight, or for rules of
            relative changes the fraction of the distance to the bound.
        """


class HasCurveBasis(HasPairCurve):
    """A rule whose curve is linear in its parameters; results carry the basis of the curve."""

    @abstractmethod
    def curve_basis(self) -> CurveBasis:
        """Return the functions that the parameters combine."""


def double_exponential_curve(lags: ArrayLike, parameters: Mapping[str, ArrayLike]) -> Floats:
    r"""Return :math:`A_+ e^{-d/\tau_+}` at lags d > 0 and :math:`-A_- e^{d/\tau_-}` at d < 0.

    Parameters
    ----------
    lags : array_like
        Times of post minus pre in seconds, shape (lag,).
    parameters : mapping of str to array_like
        ``amplitude_plus``, ``amplitude_minus``, ``tau_plus`` and ``tau_minus`` (s), of one shape.

    Examples
    --------
    >>> rule = {"amplitude_plus": 2.0, "amplitude_minus": 1.0, "tau_plus": 0.02, "tau_minus": 0.02}
    >>> double_exponential_curve([-0.02, 0.0, 0.02], rule).round(3)
    array([-0.368,  0.   ,  0.736])
    """
    lag = np.asarray(lags, dtype=np.float64)
    own = {name: np.asarray(value, np.float64)[..., None] for name, value in parameters.items()}
    up = own["amplitude_plus"] * np.exp(-np.abs(lag) / own["tau_plus"])
    down = own["amplitude_minus"] * np.exp(-np.abs(lag) / own["tau_minus"])
    change: Floats = np.where(lag > 0.0, up, 0.0) - np.where(lag < 0.0, down, 0.0)
    return change
