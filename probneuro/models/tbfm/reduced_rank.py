"""The best temporal bases in closed form: ridge reduced-rank regression."""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COMPONENTS: Final = 40
"""Temporal components that responses are reduced to before many penalties are tried."""

_SAMPLE: Final = 20_000
"""Responses that the components are found on."""


@final
@dataclass(frozen=True, kw_only=True)
class Compression:
    """Orthonormal temporal components, or none where responses are short.

    Parameters
    ----------
    components : ndarray or None
        Shape (component, horizon).
    """

    components: Floats | None

    def apply(self, targets: Floats) -> Floats:
        """Return responses (..., horizon) as (..., component)."""
        return targets if self.components is None else targets @ self.components.T

    def expand(self, bases: Floats) -> Floats:
        """Return bases (basis, component) as (basis, horizon)."""
        return bases if self.components is None else bases @ self.components


def compression_of(targets: Floats, size: int = COMPONENTS) -> Compression:
    """Return the temporal components that hold most of the responses' variance.

    Parameters
    ----------
    targets : ndarray
        Shape (trial, channel, horizon).
    size : int
        Components to keep.

    Returns
    -------
    Compression
    """
    horizon = targets.shape[2]
    if horizon <= size:
        return Compression(components=None)
    flat = targets.reshape(-1, horizon)
    flat = flat[:: max(1, len(flat) // _SAMPLE)]
    return Compression(components=top_bases(flat.T @ flat, size)[0])


def top_bases(explained: Floats, number: int) -> tuple[Floats, Floats]:
    r"""Return the eigenvectors of largest eigenvalue, the best bases of that number.

    With :math:`B B^\top = I` and :math:`A_c` solved exactly, the penalised sum of squares is a
    constant minus :math:`\mathrm{tr}(B S B^\top)`, so that no other bases do better; those of a
    smaller number are the first of them.

    Parameters
    ----------
    explained : ndarray
        S: what ridge regressions and means explain, shape (time, time).
    number : int
        Bases to return.

    Returns
    -------
    bases : ndarray
        Shape (basis, time); the largest entry of each is positive.
    values : ndarray
        All eigenvalues, from the largest down, shape (time,).

    Examples
    --------
    >>> bases, values = top_bases(np.diag([1.0, 3.0, 2.0]), 2)
    >>> bases.tolist(), values.tolist()
    ([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [3.0, 2.0, 1.0])
    """
    values, vectors = np.linalg.eigh(explained)
    bases = vectors[:, ::-1].T[:number]
    largest = np.abs(bases).argmax(1)
    signs = np.sign(bases[np.arange(len(bases)), largest])
    return bases * signs[:, None] + 0.0, values[::-1]


def mean_targets(targets: Floats, pattern: NDArray[np.int64], number: int) -> Floats:
    """Return mean responses under each pulse pattern, shape (pattern, channel, time)."""
    return np.stack([targets[pattern == k].mean(0) for k in range(number)])


def moments_of(features: Floats, targets: Floats) -> Floats:
    """Return features times targets, shape (feature, channel, time)."""
    flat = features.T @ targets.reshape(len(targets), -1)
    moments: Floats = flat.reshape(features.shape[1], *targets.shape[1:])
    return moments
