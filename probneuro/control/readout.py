"""Counts to latents, in microseconds: what a rig runs before every decision."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Readout:
    r"""Posterior means of the latents that are controlled.

    .. math:: z = \beta (x - \mu), \qquad
              \beta = \tilde\Lambda'(\tilde\Lambda \tilde\Lambda' + \Psi)^{-1}

    Parameters
    ----------
    matrix : ndarray
        Rows of beta of the target dimensions, zero where an electrode is not used, shape
        (latent, electrode).
    mean : ndarray
        Shape (electrode,).

    Raises
    ------
    DataError
        If sizes do not fit.

    Notes
    -----
    Source: Minai et al. (2025), Eq. 4.

    Examples
    --------
    >>> Readout(np.ones((1, 2)), np.ones(2)).latents([[2.0, 3.0]])
    array([[3.]])
    """

    matrix: Floats
    mean: Floats

    def __post_init__(self) -> None:
        if np.ndim(self.matrix) != 2 or np.shape(self.mean) != np.shape(self.matrix)[1:]:
            raise DataError(
                "`matrix` must have shape (latent, electrode) and `mean` (electrode,); got "
                f"{np.shape(self.matrix)} and {np.shape(self.mean)}. Pass those of one readout."
            )

    @property
    def num_latents(self) -> int:
        """Number of latents."""
        return len(self.matrix)

    @staticmethod
    def of(
        matrix: ArrayLike,
        mean: ArrayLike,
        usable: ArrayLike,
        dimensions: ArrayLike | None = None,
    ) -> "Readout":
        """Return the readout of all recorded electrodes from that of the usable ones.

        Parameters
        ----------
        matrix, mean : array_like
            Beta, (latent, usable), and mu, (usable,).
        usable : array_like of bool
            Shape (electrode,).
        dimensions : array_like of int, optional
            The target dimensions; all by default.

        Raises
        ------
        DataError
            If sizes do not fit.
        """
        beta, mask = np.asarray(matrix, np.float64), np.asarray(usable, dtype=bool)
        if beta.ndim != 2 or beta.shape[1] != mask.sum() or np.shape(mean) != (beta.shape[1],):
            raise DataError(
                f"`matrix` must have one column a usable electrode, {int(mask.sum())}, and `mean` "
                f"one entry; got {beta.shape} and {np.shape(mean)}. Pass those of one session."
            )
        chosen = beta if dimensions is None else beta[np.asarray(dimensions, dtype=np.int64)]
        whole = np.zeros((len(chosen), len(mask)))
        whole[:, mask] = chosen
        centre = np.zeros(len(mask))
        centre[mask] = mean
        return Readout(whole, centre)

    def latents(self, counts: ArrayLike) -> Floats:
        """Return latents of counts (..., electrode), shape (..., latent).

        Raises
        ------
        DataError
            If counts are of another number of electrodes.
        """
        values = np.asarray(counts, np.float64)
        if values.shape[-1:] != np.shape(self.mean):
            raise DataError(
                f"`counts` must have {len(self.mean)} electrodes on the last axis; got shape "
                f"{values.shape}. Pass counts of every electrode of the readout."
            )
        found: Floats = (values - self.mean) @ self.matrix.T
        return found
