"""A fixed time between a spike and its effect."""

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError


def delay_bins(delay: float, bin_width: float) -> int:
    """Return a delay as a number of bins.

    Parameters
    ----------
    delay, bin_width : float
        Seconds.

    Raises
    ------
    SettingError
        If the delay is negative or no whole number of bins.

    Examples
    --------
    >>> delay_bins(0.002, 1e-3)
    2
    """
    bins = round(delay / bin_width) if 0.0 <= delay < np.inf else -1
    if bins < 0 or abs(bins * bin_width - delay) > 1e-6 * bin_width:
        raise SettingError(
            f"`delay` must be a whole number of bins of {bin_width} s, 0 or more; got {delay} s. "
            "Round it, or use narrower bins."
        )
    return bins


def delayed(responses: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return responses, shape (..., lag), that start some bins later.

    Examples
    --------
    >>> delayed(np.array([[2.0, 1.0]]), 1)
    array([[0., 2., 1.]])
    """
    still = np.zeros((*responses.shape[:-1], bins))
    return np.concatenate([still, responses], axis=-1)
