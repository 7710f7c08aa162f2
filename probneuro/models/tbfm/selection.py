"""Penalties and the number of bases, chosen on trials held out at the end of the training part."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from probneuro.models.tbfm.design import Design
from probneuro.models.tbfm.reduced_rank import Compression, mean_targets, moments_of, top_bases
from probneuro.models.tbfm.ridge import OwnCrossRidge

Floats = NDArray[np.float64]

COARSE_OWN: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
COARSE_CROSS: Final = (1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
"""Penalties a trial: with z-scored features, 1 weighs like as many trials as there are."""

FINE: Final = 10**0.5
TIE: Final = 1e-4
"""R2 that a further basis must gain to be taken."""


@final
@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen, and all that was tried.

    Parameters
    ----------
    own, cross : float
        Penalties a training trial.
    num_bases : int
        Bases.
    tried : ndarray
        One row a trial of penalties: own, cross, then the held-out R2 with 1, 2, ... bases.
    """

    own: float
    cross: float
    num_bases: int
    tried: Floats


@final
class HeldOutScores:
    """Scores of penalties and bases on held-out trials.

    Parameters
    ----------
    early, late : Design
        Scaled alike; fitted on the early, scored on the late.
    compression : Compression
        Of responses over time.
    max_bases : int
        Most bases to score.
    """

    def __init__(
        self, early: Design, late: Design, compression: Compression, max_bases: int
    ) -> None:
        alive = early.scaling.alive
        self._trials = len(early.features)
        self._ridge = OwnCrossRidge(early.features, early.scaling.runway)
        targets = compression.apply(early.targets)
        self._means = mean_targets(targets, early.pattern, len(early.scaling.patterns))
        counts = np.bincount(early.pattern, minlength=len(self._means))
        weighted = self._means * np.sqrt(counts)[:, None, None]
        flat = weighted.reshape(-1, weighted.shape[2])
        self._mean_moments: Floats = flat.T @ flat
        moments = moments_of(early.features, targets - self._means[early.pattern])
        self._rotated = self._ridge.rotate(moments)
        self._late = late.features @ self._ridge.vectors
        self._max_bases = min(max_bases, targets.shape[2])
        known = late.observed & alive
        mask = known[:, :, None].astype(np.float64)
        # By channel first, as corrections come.
        self._known = np.ascontiguousarray(mask.transpose(1, 0, 2))
        self._truth = (compression.apply(late.targets) * mask).transpose(1, 0, 2).copy()
        self._offset = self._means[late.pattern]
        # Responses about their mean over trials and time, as R2 counts them.
        self._total = _variation(late, known)
        self._missed = float((late.targets**2 * mask).sum())

    def scores(self, own: Iterable[float], cross: float) -> list[list[float]]:
        """Return rows of own, cross, and R2 with 1, 2, ... bases."""
        ridge, own = self._ridge, list(own)
        mu_cross = cross * self._trials
        scaled = self._late * ridge.weights(mu_cross)
        count, (channels, width) = len(scaled), (ridge.num_channels, ridge.width)
        size = self._rotated.shape[2]
        base = (scaled @ self._rotated.reshape(len(self._rotated), -1)).reshape(
            count, channels, size
        )
        base = (base + self._offset).transpose(1, 0, 2)
        sides = (scaled @ ridge.vectors.T).reshape(count, channels, width).transpose(1, 0, 2)
        blocks, inner = ridge.own_blocks(mu_cross), ridge.own_moments(self._rotated, mu_cross)
        rows = []
        for one in own:
            mu_own = one * self._trials
            fixed = ridge.correction(blocks, inner, mu_own, mu_cross)
            guess = base - sides @ fixed
            explained = ridge.explained(self._rotated, mu_own, mu_cross) + self._mean_moments
            rows.append([one, cross, *self._r2(guess, explained)])
        return rows

    def _r2(self, guess: Floats, explained: Floats) -> Floats:
        """Return R2 with the first 1, 2, ... bases of what is explained."""
        bases = top_bases(explained, self._max_bases)[0].T
        guess *= self._known
        along = guess.reshape(-1, len(bases)) @ bases
        truth = self._truth.reshape(-1, len(bases)) @ bases
        gain = ((2 * truth - along) * along).sum(0).cumsum()
        r2: Floats = 1 - (self._missed - gain) / self._total
        return r2


def choose(
    scores: HeldOutScores,
    own: float | None,
    cross: float | None,
    num_bases: int | None,
) -> Selection:
    """Return the penalties and the number of bases that forecast held-out trials best.

    Parameters
    ----------
    scores : HeldOutScores
        On the held-out trials.
    own, cross, num_bases : float, float, int or None
        What is given is kept.

    Returns
    -------
    Selection
        A grid of decades, then half decades about its best point.
    """
    rows: list[list[float]] = []
    own_grid = COARSE_OWN if own is None else (own,)
    for value in COARSE_CROSS if cross is None else (cross,):
        rows += scores.scores(own_grid, value)
    best = _best(rows, num_bases)
    around_own = (best[0] / FINE, best[0], best[0] * FINE) if own is None else (own,)
    if cross is None:
        for value in (best[1] / FINE, best[1] * FINE):
            rows += scores.scores(around_own, value)
    if own is None:
        rows += scores.scores(around_own[::2], best[1])
    best = _best(rows, num_bases)
    curve = np.asarray(best[2:])
    few = int(np.flatnonzero(curve >= curve.max() - TIE)[0]) + 1
    return Selection(own=best[0], cross=best[1], num_bases=num_bases or few, tried=np.asarray(rows))


def _best(rows: list[list[float]], num_bases: int | None) -> list[float]:
    """Return the row of the highest score, with the number of bases given or the best one."""

    def score(row: list[float]) -> float:
        return max(row[2:]) if num_bases is None else row[1 + min(num_bases, len(row) - 2)]

    return max(rows, key=score)


def _variation(late: Design, known: NDArray[np.bool_]) -> float:
    """Return the sum of squares of responses about each channel's mean, in its scale.

    Targets are less where forecasts start, so the responses are put together again.
    """
    width, scaling = late.scaling.runway, late.scaling
    shape = (len(late.features), -1, width)
    last = late.features.reshape(shape)[:, :, -1]
    last = last + scaling.feature_mean[late.pattern].reshape(shape)[:, :, -1]
    last = last * float(scaling.carried)
    responses = late.targets + last[:, :, None]
    weights = np.broadcast_to(known[:, :, None], responses.shape)
    total = np.maximum(weights.sum((0, 2)), 1)
    mean = (responses * weights).sum((0, 2)) / total
    return float((((responses - mean[:, None]) ** 2) * weights).sum())
