"""How well scores tell what is there from what is not, and whether probabilities mean it."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, rankdata

from probneuro.core.errors import DataError, SettingError

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """A curve over thresholds, from the highest to the lowest.

    Parameters
    ----------
    x, y : ndarray
        The curve's points, shape (point,).
    threshold : ndarray
        Scores from here on count as detected, shape (point,).
    """

    x: Floats
    y: Floats
    threshold: Floats


def roc_curve(score: ArrayLike, truth: ArrayLike) -> Curve:
    """Return the share of true ones detected against the share of false ones detected.

    Parameters
    ----------
    score : array_like
        Larger means more likely there, shape (item,).
    truth : array_like
        Whether each is there, shape (item,), zeros and ones.

    Returns
    -------
    Curve
        x is the false, y the true positive rate; one point a distinct score, after (0, 0).
        Items of equal score are detected together, as a straight piece.

    Raises
    ------
    DataError
        If a score is not finite, shapes differ, or one of the two kinds is missing.

    Examples
    --------
    >>> curve = roc_curve([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    >>> curve.x.tolist(), curve.y.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    hits, alarms, threshold = _cumulative(*_checked(score, truth))
    return Curve(
        np.concatenate([[0.0], alarms / alarms[-1]]),
        np.concatenate([[0.0], hits / hits[-1]]),
        np.concatenate([[np.inf], threshold]),
    )


def auc(score: ArrayLike, truth: ArrayLike) -> float:
    r"""Return the area under the ROC curve, the chance that a true one scores above a false one.

    .. math:: \frac{1}{mn} \sum_{i \in 1} \sum_{j \in 0} [x_i > x_j] + \tfrac12 [x_i = x_j]

    Parameters
    ----------
    score, truth : array_like
        As for `roc_curve`.

    Raises
    ------
    DataError
        As `roc_curve` does.

    Examples
    --------
    >>> auc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    0.875
    """
    values, there = _checked(score, truth)
    true, false = int(there.sum()), int((~there).sum())
    ranks = rankdata(values)[there].sum()
    return float((ranks - true * (true + 1) / 2) / (true * false))


def auc_covariance(scores: ArrayLike, truth: ArrayLike) -> Floats:
    r"""Return the covariance of the AUCs of several scores of the same items.

    .. math:: \frac{S_{10}}{m} + \frac{S_{01}}{n}

    with S the sample covariances, over true and over false items, of each item's share in the
    AUC. The variance of the difference of two methods is that of their contrast.

    Parameters
    ----------
    scores : array_like
        Shape (method, item).
    truth : array_like
        Shape (item,), two items of each kind or more.

    Returns
    -------
    ndarray
        Shape (method, method); NaN with fewer than two of a kind.

    Notes
    -----
    Items count as independent; synapses that share a neuron are not quite. A method without
    any error has no spread here, which says little with few items. Source: DeLong, DeLong &
    Clarke-Pearson (1988), Biometrics 44:837, by the ranks of Sun & Xu (2014).

    Examples
    --------
    >>> score = [[0.9, 0.6, 0.3, 0.7, 0.2, 0.1]]
    >>> auc_covariance(score, [1, 1, 1, 0, 0, 0]).round(3)
    array([[0.062]])
    """
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    there = _checked(table[0], truth)[1]
    rows = [_checked(row, truth)[0] for row in table]
    true, false = int(there.sum()), int((~there).sum())
    if min(true, false) < 2:
        return np.full((len(rows), len(rows)), np.nan)
    of_true = np.array([rankdata(r)[there] - rankdata(r[there]) for r in rows]) / false
    of_false = 1.0 - np.array([rankdata(r)[~there] - rankdata(r[~there]) for r in rows]) / true
    return np.atleast_2d(np.cov(of_true) / true + np.cov(of_false) / false)


def precision_recall(score: ArrayLike, truth: ArrayLike) -> Curve:
    """Return which share of the detected is there against which share is detected.

    Parameters
    ----------
    score, truth : array_like
        As for `roc_curve`.

    Returns
    -------
    Curve
        x is the recall, y the precision; one point a distinct score.

    Raises
    ------
    DataError
        As `roc_curve` does.

    Examples
    --------
    >>> curve = precision_recall([0.9, 0.5, 0.4, 0.1], [1, 0, 1, 0])
    >>> curve.x.tolist(), curve.y.round(2).tolist()
    ([0.5, 0.5, 1.0, 1.0], [1.0, 0.5, 0.67, 0.5])
    """
    hits, alarms, threshold = _cumulative(*_checked(score, truth))
    return Curve(hits / hits[-1], hits / (hits + alarms), threshold)


def average_precision(score: ArrayLike, truth: ArrayLike) -> float:
    r"""Return the area under the precision-recall curve, by steps.

    .. math:: \sum_k (R_k - R_{k-1})\, P_k

    Parameters
    ----------
    score, truth : array_like
        As for `roc_curve`. Guessing gives the share of true ones.

    Raises
    ------
    DataError
        As `roc_curve` does.

    Examples
    --------
    >>> round(average_precision([0.9, 0.5, 0.4, 0.1], [1, 0, 1, 0]), 3)
    0.833
    """
    recall, precision, _ = precision_recall(score, truth)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def brier(probability: ArrayLike, truth: ArrayLike) -> float:
    r"""Return the mean squared error of probabilities, :math:`\overline{(p - a)^2}`.

    Parameters
    ----------
    probability : array_like
        Between 0 and 1, shape (item,).
    truth : array_like
        Shape (item,), zeros and ones; one kind alone will do.

    Raises
    ------
    DataError
        If a probability is outside [0, 1], or shapes differ.

    Examples
    --------
    >>> round(brier([0.9, 0.2], [1, 0]), 3)
    0.025
    """
    values, there = _probabilities(probability, truth)
    return float(np.mean((values - there) ** 2))


def reliability(
    probability: ArrayLike, truth: ArrayLike, bins: int = 10, level: float = 0.9
) -> xr.Dataset:
    """Return how often things of a given probability are there.

    Parameters
    ----------
    probability, truth : array_like
        As for `brier`.
    bins : int
        Equal bins between 0 and 1.
    level : float
        Coverage of the intervals, above 0 and below 1.

    Returns
    -------
    xarray.Dataset
        By ``bin`` (its centre): ``count``; ``probability``, their mean; ``frequency``, the
        share that is there; ``lower`` and ``upper``, the exact binomial (Clopper-Pearson)
        interval of that share. NaN where a bin is empty. Well calibrated probabilities lie
        inside about ``level`` of the intervals.

    Raises
    ------
    DataError
        As `brier` does.
    SettingError
        If `bins` or `level` are out of range.

    Examples
    --------
    >>> found = reliability([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], bins=2)
    >>> found["frequency"].values.tolist(), found["count"].values.tolist()
    ([0.0, 1.0], [2, 2])
    """
    values, there = _probabilities(probability, truth)
    if not bins >= 1 or not 0.0 < level < 1.0:
        raise SettingError(
            f"`bins` must be 1 or more and `level` between 0 and 1; got {bins} and {level}. "
            "Use for example bins=10, level=0.9."
        )
    place = np.minimum((values * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    hits = np.bincount(place[there], minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, values, bins) / count
        frequency = hits / count
    tail = 0.5 * (1.0 - level)
    empty = count == 0
    lower = np.where(hits == 0, 0.0, beta.ppf(tail, np.maximum(hits, 1), count - hits + 1))
    upper = np.where(hits == count, 1.0, beta.ppf(1 - tail, hits + 1, np.maximum(count - hits, 1)))
    columns = {"count": count, "probability": mean, "frequency": frequency}
    columns |= {"lower": np.where(empty, np.nan, lower), "upper": np.where(empty, np.nan, upper)}
    return xr.Dataset(
        {name: ("bin", column) for name, column in columns.items()},
        coords={"bin": (np.arange(bins) + 0.5) / bins},
    )


def _cumulative(values: Floats, there: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Return true and false items detected down to each distinct score, and that score."""
    order = np.argsort(-values, kind="stable")
    values, there = values[order], there[order]
    last = np.append(np.flatnonzero(np.diff(values)), values.size - 1)
    hits = np.cumsum(there, dtype=np.float64)[last]
    return hits, last + 1.0 - hits, values[last]


def _checked(score: ArrayLike, truth: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, there = _pair("score", score, truth)
    if not 0 < there.sum() < there.size:
        kind = "true" if there.any() else "false"
        raise DataError(
            f"`truth` must have true and false items to tell apart; all {there.size} are {kind}. "
            "Score more items, or leave this score out."
        )
    return values, there


def _probabilities(probability: ArrayLike, truth: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, there = _pair("probability", probability, truth)
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            f"`probability` must lie between 0 and 1; got {values.min():g} to {values.max():g}. "
            "Scores of other kinds have no calibration."
        )
    return values, there


def _pair(name: str, score: ArrayLike, truth: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values: Floats = np.asarray(score, dtype=np.float64)
    labels: NDArray[Any] = np.asarray(truth)
    if values.ndim != 1 or values.shape != labels.shape or values.size == 0:
        raise DataError(
            f"`{name}` and `truth` must be flat and of one length; got shapes {values.shape} and "
            f"{labels.shape}. Pass one value an item."
        )
    if not np.isfinite(values).all():
        raise DataError(
            f"`{name}` must be finite; item {np.flatnonzero(~np.isfinite(values))[0]} is "
            f"{values[~np.isfinite(values)][0]}. Leave such items out."
        )
    if not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"`truth` must be zeros and ones; got {labels[~np.isin(labels, (0, 1))][0]}. Say for "
            "each item whether it is there."
        )
    return values, labels.astype(bool)
