"""How many latents a factor analysis should have: cross-validation on covariances alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import SettingError
from probneuro.core.factor_analysis import FactorMoments, fit_profile
from probneuro.core.rng import generator

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class FactorSelection:
    """Held-out likelihood by number of latents.

    Parameters
    ----------
    num_latents : tuple of int
        Numbers that were tried.
    scores : ndarray
        Nats per held-out observation, shape (number, fold).
    """

    num_latents: tuple[int, ...]
    scores: Floats

    @property
    def best(self) -> int:
        """Number with the highest mean over folds."""
        return self.num_latents[int(self.scores.mean(axis=1).argmax())]


def cross_validate(
    values: ArrayLike,
    num_latents: Sequence[int] = tuple(range(1, 11)),
    *,
    folds: int = 10,
    seed: int = 0,
) -> FactorSelection:
    """Score numbers of latents on observations that were left out.

    Each fold's training moments are those of all data less the fold's own, so that data are read
    once; fits of a fold start from the fit of all data, which changes their time and not their
    maximum.

    Parameters
    ----------
    values : array_like
        Observations, shape (observation, electrode).
    num_latents : sequence of int
        Numbers to try.
    folds : int
        Random parts of equal size.
    seed : int
        Of the parts.

    Returns
    -------
    FactorSelection

    Raises
    ------
    SettingError
        If there are fewer than two folds, or more than observations.

    Notes
    -----
    Source: Minai et al. (2025), section S1: the most frequent optimum over sessions is taken;
    see `most_frequent`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 8)) + rng.normal(size=(400, 8))
    >>> cross_validate(x, (1, 2, 3), folds=5).best
    2
    """
    array = np.asarray(values, dtype=np.float64)
    whole = FactorMoments.of(array)
    if not 2 <= folds <= len(array):
        raise SettingError(
            f"`folds` must be between 2 and {len(array)} (observations); got {folds!r}. Pass 10."
        )
    order = generator(seed, "folds").permutation(len(array))
    parts = [_part(array[index], whole) for index in np.array_split(order, folds)]
    scores = np.empty((len(num_latents), folds))
    for row, number in enumerate(num_latents):
        start = fit_profile(whole, number, gradient_tolerance=1e-4).noise_variance
        for fold, (train, test) in enumerate(parts):
            fit = fit_profile(train, number, start=start, gradient_tolerance=1e-5)
            scores[row, fold] = fit.score(test)
    return FactorSelection(tuple(num_latents), scores)


def most_frequent(numbers: Sequence[int]) -> int:
    """Return the number of latents that most sessions prefer; the smaller one of a tie.

    Examples
    --------
    >>> most_frequent([5, 4, 5, 6, 4])
    4
    """
    values, counts = np.unique(np.asarray(numbers), return_counts=True)
    return int(values[counts.argmax()])


def _part(held: Floats, whole: FactorMoments) -> tuple[FactorMoments, FactorMoments]:
    """Return moments of all data without a part, and of the part."""
    size, rest = len(held), whole.count - len(held)
    mean = held.mean(axis=0)
    centred = held - mean
    scatter = centred.T @ centred
    others = (whole.count * whole.mean - size * mean) / rest
    gap = mean - others
    left = whole.count * whole.covariance - scatter - np.outer(gap, gap) * size * rest / whole.count
    train = FactorMoments(rest, others, left / rest)
    return train, FactorMoments(size, mean, scatter / size)
