"""Has an alignment failed? A bootstrap over electrodes says how sure its rotation is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.components.alignment import Alignment, procrustes
from probneuro.core.rng import generator

Floats = NDArray[np.float64]

LEAST_AGREEMENT: Final = 0.8
"""Below it an alignment is flagged; the level of R2 that the diagnostic is to tell apart."""
_AGREES: Final = 0.5
_SHARE_NEEDED: Final = 8.0


@final
@dataclass(frozen=True)
class AlignmentCheck:
    """How far rotations from resampled electrodes agree with an alignment.

    Parameters
    ----------
    agreement : ndarray
        Of each latent dimension: expected correlation of its latents under the estimate and under
        a resampled rotation, shape (latent,).
    draws : ndarray
        Resampled rotations, shape (draw, latent, latent).
    share : float
        Share of the electrodes both sessions have that fit the rotation.
    chance : float
        The same share after alignment to electrodes in random order.
    """

    agreement: Floats
    draws: Floats
    share: float
    chance: float

    @property
    def score(self) -> float:
        """One number to rank alignments by: mean agreement, less what chance fits explain."""
        gain = (self.share - self.chance) / max(1 - self.chance, 1e-12)
        return float(self.agreement.mean() * np.clip(_SHARE_NEEDED * gain, 0.0, 1.0))

    @property
    def failed(self) -> bool:
        """Whether the alignment should not be trusted."""
        return self.score < LEAST_AGREEMENT

    def words(self) -> str:
        """Return the finding as a sentence."""
        sure = "cannot be trusted" if self.failed else "holds"
        return (
            f"The alignment {sure}: score {self.score:.2f}, agreement of resampled rotations "
            f"{self.agreement.min():.2f} to {self.agreement.max():.2f}, {self.share:.0%} of the "
            f"electrodes fit where {self.chance:.0%} would by chance."
        )


def check_alignment(
    reference: ArrayLike,
    loading: ArrayLike,
    align: Callable[[Floats, Floats], Alignment],
    *,
    draws: int = 50,
    seed: int = 0,
) -> AlignmentCheck:
    r"""Resample electrodes, align again, and compare with alignment by chance.

    .. math:: a_l = \frac1B \sum_b (O_b \hat O')_{ll}

    is the expected correlation of dimension l under both rotations, since latents have unit
    variance. An electrode fits if its residual is below half of its norm.

    Parameters
    ----------
    reference, loading : array_like
        As of `probneuro.components.alignment.align_stable`.
    align : callable
        Takes both matrices and returns an `Alignment`: the way that is to be checked.
    draws : int
        Resamples; a fifth as many random orders are made for what chance would fit.
    seed : int
        Of the resampling.

    Returns
    -------
    AlignmentCheck

    Notes
    -----
    Resampling alone is confident of a wrong rotation that few rows fit by chance; the share of
    electrodes that fit, beside the same share with the electrodes shuffled, tells. Ours.

    Examples
    --------
    >>> from probneuro.components.alignment import align_all
    >>> rows = np.random.default_rng(0).normal(size=(40, 2))
    >>> check_alignment(rows, rows, align_all).failed
    False
    >>> other = np.random.default_rng(1).normal(size=(40, 2))
    >>> check_alignment(rows, other, align_all).failed
    True
    """
    first, second = np.asarray(reference, np.float64), np.asarray(loading, np.float64)
    rng = generator(seed, "alignment check")
    found = align(first, second)
    turned = []
    for _ in range(draws):
        rows = rng.integers(len(first), size=len(first))
        turned.append(align(first[rows], second[rows]).rotation)
    stacked = np.stack(turned)
    agreement = np.einsum("dlk,lk->dl", stacked, found.rotation).mean(axis=0)
    by_chance = []
    for _ in range(max(draws // 5, 1)):
        order = rng.permutation(len(first))
        wrong = align(first[order], second).rotation
        by_chance.append(_share(first[order], second, wrong))
    share = _share(first, second, found.rotation)
    return AlignmentCheck(agreement, stacked, share, float(np.mean(by_chance)))


def _share(first: Floats, second: Floats, turn: Floats) -> float:
    """Return the share of rows whose residual is below half of their norm."""
    residuals = np.linalg.norm(first - second @ turn.T, axis=1)
    norms = np.maximum(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    return float(np.mean(residuals < _AGREES * norms))


def rotation_agreement(turn: ArrayLike, other: ArrayLike) -> float:
    """Return the expected correlation of latents under two rotations, averaged over dimensions.

    Examples
    --------
    >>> rotation_agreement(np.eye(2), np.eye(2)), rotation_agreement(np.eye(2), -np.eye(2))
    (1.0, -1.0)
    """
    product = np.asarray(turn, np.float64) * np.asarray(other, np.float64)
    return float(product.sum() / len(product))


def loading_posterior(
    reference: ArrayLike, loading: ArrayLike, noise: float, *, draws: int = 100, seed: int = 0
) -> Floats:
    """Draw rotations under normal errors of the loadings, by perturbing one of the matrices.

    Parameters
    ----------
    reference, loading : array_like
        Rows of stable electrodes, shape (electrode, latent).
    noise : float
        Standard deviation of an entry's error in both matrices together.
    draws : int
        Number of rotations.
    seed : int
        Of the draws.

    Returns
    -------
    ndarray
        Shape (draw, latent, latent).

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(40, 2))
    >>> loading_posterior(rows, rows, 0.1, draws=3).shape
    (3, 2, 2)
    """
    first, second = np.asarray(reference, np.float64), np.asarray(loading, np.float64)
    rng = generator(seed, "loading posterior")
    moved = first + noise * rng.normal(size=(draws, *first.shape))
    return procrustes(moved, np.broadcast_to(second, (draws, *second.shape)))
