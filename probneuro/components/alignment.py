"""Alignment of latent spaces between sessions: Procrustes over electrodes that stayed the same."""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.core.rng import generator

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SMALLEST_ROW: Final = 0.01
"""Rows of a loading matrix below this norm say nothing; Degenhart et al. (2020)."""
_ROUNDS: Final = 30
_STARTS: Final = 200


@final
@dataclass(frozen=True)
class Alignment:
    r"""A rotation into the reference session's latent space.

    .. math:: \tilde\Lambda_i = \Lambda_i \hat O_i', \qquad \tilde z = \hat O_i z

    Parameters
    ----------
    rotation : ndarray
        :math:`\hat O_i`, orthogonal, shape (latent, latent).
    electrodes : ndarray
        Rows of the two matrices that were used.
    weights : ndarray
        Of those rows, between 0 and 1.
    residuals : ndarray
        Distance of those rows from the reference after alignment.
    """

    rotation: Floats
    electrodes: Integers
    weights: Floats
    residuals: Floats


def procrustes(reference: ArrayLike, loading: ArrayLike, weights: ArrayLike = 1.0) -> Floats:
    r"""Return the orthogonal matrix that turns a loading matrix into another.

    .. math:: \hat O = \arg\min_{OO' = I} \sum_r w_r \|\Lambda_{0,r} - \Lambda_{i,r} O'\|^2
              = U V', \qquad U S V' = \Lambda_0' W \Lambda_i

    Parameters
    ----------
    reference, loading : array_like
        Shape (..., electrode, latent).
    weights : array_like
        One a row, shape (..., electrode); or one number.

    Returns
    -------
    ndarray
        Shape (..., latent, latent).

    Notes
    -----
    Source: Schoenemann (1966), Psychometrika 31; Minai et al. (2025), Eq. 2.

    Examples
    --------
    >>> turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> rows = np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]])
    >>> bool(np.allclose(procrustes(rows @ turn.T, rows), turn))
    True
    """
    first = np.asarray(reference, dtype=np.float64)
    second = np.asarray(loading, dtype=np.float64)
    scale = np.broadcast_to(np.asarray(weights, dtype=np.float64), second.shape[:-1])
    left, _, right = np.linalg.svd(np.swapaxes(first, -1, -2) @ (second * scale[..., None]))
    found: Floats = left @ right
    return found


def align_stable(reference: ArrayLike, loading: ArrayLike, *, num_stable: int = 40) -> Alignment:
    """Align over the electrodes that fit best, the worst dropped one after the other.

    Parameters
    ----------
    reference, loading : array_like
        Loadings of the electrodes that both sessions have, shape (electrode, latent).
    num_stable : int
        Electrodes to keep. The paper has 40.

    Returns
    -------
    Alignment

    Raises
    ------
    DataError
        If the matrices differ in shape or hold fewer rows than latents.
    SettingError
        If fewer electrodes are to be kept than there are latents.

    Notes
    -----
    Source: Degenhart et al. (2020), Nature Biomedical Engineering 4. Where fewer electrodes than
    `num_stable` are there, all are used.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(30, 2))
    >>> other = rows @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> other[:5] += 3.0
    >>> bool(align_stable(rows, other, num_stable=20).electrodes.min() >= 5)
    True
    """
    first, second, kept = _common(reference, loading)
    if num_stable < first.shape[1]:
        raise SettingError(
            f"`num_stable` must be at least the number of latents, {first.shape[1]}; got "
            f"{num_stable!r}. The paper keeps 40."
        )
    while True:
        turn = procrustes(first[kept], second[kept])
        residuals = np.linalg.norm(first[kept] - second[kept] @ turn.T, axis=1)
        if len(kept) <= num_stable:
            return Alignment(turn, kept, np.ones(len(kept)), residuals)
        kept = np.delete(kept, residuals.argmax())


def align_all(reference: ArrayLike, loading: ArrayLike) -> Alignment:
    """Align over all rows that both sessions have.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(30, 2))
    >>> bool(np.allclose(align_all(rows, rows).rotation, np.eye(2)))
    True
    """
    first, second, kept = _common(reference, loading)
    turn = procrustes(first[kept], second[kept])
    residuals = np.linalg.norm(first[kept] - second[kept] @ turn.T, axis=1)
    return Alignment(turn, kept, np.ones(len(kept)), residuals)


def align_robust(
    reference: ArrayLike, loading: ArrayLike, *, scale: float | None = None, seed: int = 0
) -> Alignment:
    r"""Align with Cauchy weights, so that nobody says how many electrodes were stable.

    .. math:: \min_O \sum_r \log\left(1 + \|\Lambda_{0,r} - \Lambda_{i,r} O'\|^2 / s^2\right)

    Iteratively reweighted Procrustes from all rows, and from random small sets of rows; the
    lowest objective wins.

    Parameters
    ----------
    reference, loading : array_like
        As of `align_stable`.
    scale : float, optional
        s, the size of a residual of a stable row; by default a fifth of the median row norm.
    seed : int
        Of the random sets.

    Returns
    -------
    Alignment

    Raises
    ------
    DataError
        If the matrices differ in shape or hold fewer rows than latents.

    Notes
    -----
    The sets make it find a minority of stable rows, where reweighting from all rows ends among
    the others. Ours; the paper has `align_stable`.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(40, 2))
    >>> turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> other = np.random.default_rng(1).normal(size=(40, 2))
    >>> other[:15] = rows[:15] @ turn
    >>> bool(np.allclose(align_robust(rows, other).rotation, turn, atol=0.1))
    True
    """
    first, second, kept = _common(reference, loading)
    first, second = first[kept], second[kept]
    if scale is None:
        scale = 0.2 * float(np.median(np.linalg.norm(first, axis=1)))
    starts = _start_weights(len(first), first.shape[1], generator(seed, "alignment"))
    turn, weights = _reweighted(first, second, starts, scale)
    residuals = np.linalg.norm(first - second @ turn.T, axis=1)
    return Alignment(turn, kept, weights, residuals)


def _start_weights(size: int, latents: int, rng: np.random.Generator) -> Floats:
    """Return weights to start from, (start, electrode): all rows, then small sets of them."""
    weights = np.zeros((_STARTS + 1, size))
    weights[0] = 1.0
    members = min(latents, size)
    chosen = np.argsort(rng.random((_STARTS, size)), axis=1)[:, :members]
    np.put_along_axis(weights[1:], chosen, 1.0, axis=1)
    return weights


def _reweighted(
    first: Floats, second: Floats, weights: Floats, scale: float
) -> tuple[Floats, Floats]:
    """Return the best rotation over starts, and its rows' weights."""
    turn, value = np.empty(0), np.empty(0)
    for _ in range(_ROUNDS):
        turn = procrustes(first, np.broadcast_to(second, (len(weights), *second.shape)), weights)
        fitted = second @ np.swapaxes(turn, -1, -2)
        squares = ((first - fitted) ** 2).sum(axis=-1) / scale**2
        value = np.log1p(squares).sum(axis=-1)
        weights = 1 / (1 + squares)
    best = int(value.argmin())
    return turn[best], weights[best]


def _common(reference: ArrayLike, loading: ArrayLike) -> tuple[Floats, Floats, Integers]:
    """Return both matrices, and the rows that say something in both."""
    first = np.asarray(reference, dtype=np.float64)
    second = np.asarray(loading, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2:
        raise DataError(
            "`reference` and `loading` must have the same shape (electrode, latent); got "
            f"{first.shape} and {second.shape}. Pass the rows of the electrodes both sessions have."
        )
    norms = np.minimum(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    kept = np.flatnonzero(norms >= SMALLEST_ROW)
    if len(kept) < first.shape[1]:
        raise DataError(
            f"`loading` shares {len(kept)} electrodes with the reference; {first.shape[1]} latents "
            "need as many at least. Take another reference session."
        )
    return first, second, kept
