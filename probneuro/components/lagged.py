"""Spike counts filtered by a causal basis."""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray


@nb.njit(cache=True, nogil=True)
def _add_responses(
    counts: NDArray[Any], basis: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    num_bins = counts.shape[0]
    num_bumps, num_lags = basis.shape
    for n in range(counts.shape[1]):
        for t in range(num_bins):
            if counts[t, n] == 0:
                continue
            stop = min(num_lags, num_bins - t - 1)
            for b in range(num_bumps):
                for d in range(stop):
                    out[n, b, t + 1 + d] += counts[t, n] * basis[b, d]


def lagged_traces(counts: NDArray[Any], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Filter spike counts by every bump, strictly causally.

    .. math:: x_{n,b}[t] = \sum_{d \ge 1} \phi_b[d]\, s[t - d, n]

    Parameters
    ----------
    counts : ndarray
        Spike counts, shape (time, neuron).
    basis : ndarray
        Bumps, shape (basis, lag), in 1/s; the first lag is one bin.

    Returns
    -------
    ndarray
        Shape (neuron, basis, time), in 1/s. The cost grows with the number of spikes.

    Examples
    --------
    >>> lagged_traces(np.array([[1], [0], [0]]), np.array([[2.0, 1.0]]))[0, 0]
    array([0., 2., 1.])
    """
    out = np.zeros((counts.shape[1], basis.shape[0], counts.shape[0]))
    _add_responses(np.ascontiguousarray(counts), np.ascontiguousarray(basis), out)
    return out
