"""What embeddings are judged by: classification, metrics, clusters, wells left out."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from probneuro.core.errors import DataError
from probneuro.core.rng import generator

Floats = NDArray[np.float64]

PENALTIES: Final = tuple(10.0**k for k in range(-4, 5))
"""Inverse strengths of the penalty that cross-validation chooses among."""
_FOLDS: Final = 4
_COMPONENTS: Final = 10


@final
@dataclass(frozen=True, eq=False)
class Classification:
    """What a classifier did on recordings that it had not seen.

    Parameters
    ----------
    accuracy : float
        Share of right answers.
    confusion : array
        Shape (true class, predicted class), counts.
    classes : tuple of str
        Names of the classes.
    predicted : array of str
        By recording tested.
    penalty : float
        What cross-validation on the training recordings chose; NaN where several were fitted.
    """

    accuracy: float
    confusion: NDArray[np.int64]
    classes: tuple[str, ...]
    predicted: NDArray[np.str_]
    penalty: float


def _matrix(features: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.str_]]:
    """Return features and labels, or say what is wrong with them."""
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels).astype(str)
    if x.ndim != 2 or len(x) != len(y) or not len(x):
        raise DataError(
            f"`features` must have shape (recording, feature) with one label each; got {x.shape} "
            f"and {len(y)} labels. Embeddings are dt['posterior/embedding'].values[0, 0]."
        )
    if not np.isfinite(x).all():
        raise DataError("`features` must be finite; got NaN or infinity. Fill or drop them.")
    return x, y


def _chosen(x: Floats, y: NDArray[np.str_], groups: ArrayLike | None, seed: int) -> Any:
    """Fit a logistic regression whose penalty is chosen by four-fold cross-validation."""
    if len(np.unique(y)) < 2:
        raise DataError(f"`labels` has one class only, '{y[0]}'. Pass two or more to tell apart.")
    least = int(np.unique(y, return_counts=True)[1].min())
    folds: Any
    if groups is not None and len(np.unique(np.asarray(groups))) >= 2:
        num = min(_FOLDS, len(np.unique(np.asarray(groups))))
        folds = list(GroupKFold(num).split(x, y, np.asarray(groups)))
        folds = [(a, b) for a, b in folds if len(np.unique(y[a])) == len(np.unique(y))]
    else:
        folds = None
    if not folds:
        num = max(2, min(_FOLDS, least))
        folds = StratifiedKFold(num, shuffle=True, random_state=seed)
        if least < 2:
            raise DataError(
                "`labels` has a class with a single recording to train on, too few to choose a "
                "penalty. Leave that class out."
            )
    pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(pipe, {"logisticregression__C": PENALTIES}, cv=folds)
    with warnings.catch_warnings():
        # Weak penalties of separable classes take many steps; the strong ones win there anyway.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return search.fit(x, y)


def classify(
    features: ArrayLike,
    labels: ArrayLike,
    train: ArrayLike,
    test: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> Classification:
    """Train a logistic regression on some recordings and test it on others.

    L2 penalty chosen by four-fold cross-validation on the training recordings alone (Appendix D);
    features are standardised with the training recordings' means and spreads.

    Parameters
    ----------
    features : array_like
        Shape (recording, feature).
    labels : array_like of str
        One a recording.
    train, test : array_like of int
        Positions, as `probneuro.data.grouped_split` returns them.
    groups : array_like, optional
        One a recording; those of a group stay together in cross-validation too.
    seed : int
        Of the folds.

    Returns
    -------
    Classification

    Raises
    ------
    DataError
        If shapes do not fit, features are not finite, or a class is too small.

    Examples
    --------
    >>> x, y = np.r_[np.zeros((8, 1)), np.ones((8, 1))], ["a"] * 8 + ["b"] * 8
    >>> classify(x, y, range(0, 16, 2), range(1, 16, 2)).accuracy
    1.0
    """
    x, y = _matrix(features, labels)
    first, second = np.asarray(train, dtype=np.int64), np.asarray(test, dtype=np.int64)
    inside = None if groups is None else np.asarray(groups)[first]
    search = _chosen(x[first], y[first], inside, seed)
    predicted = search.predict(x[second]).astype(str)
    penalty = float(search.best_params_["logisticregression__C"])
    return _scored(y[second], predicted, penalty)


def _scored(true: NDArray[Any], predicted: NDArray[Any], penalty: float) -> Classification:
    names = tuple(sorted(set(true) | set(predicted)))
    with warnings.catch_warnings():
        # A plate of one class, told right throughout, is no mistake.
        warnings.filterwarnings("ignore", "A single label was found", UserWarning)
        table = confusion_matrix(true, predicted, labels=list(names))
    return Classification(float(np.mean(true == predicted)), table, names, predicted, penalty)


def two_level_classification(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    held_out: float = 0.3,
    seed: int = 0,
) -> Classification:
    """Split embedded recordings 70 to 30 at random, by class, and classify: Appendix D.

    The recordings must be the 30 % that the autoencoder was not trained on.
    """
    x, y = _matrix(features, labels)
    rng = generator(seed, "two_level")
    test = []
    for name in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == name))
        test.append(rows[: max(1, round(held_out * len(rows)))])
    second = np.sort(np.concatenate(test))
    first = np.setdiff1d(np.arange(len(y)), second)
    return classify(x, y, first, second, seed=seed)


def leave_groups_out(
    features: ArrayLike, labels: ArrayLike, groups: ArrayLike, *, seed: int = 0
) -> Classification:
    """Predict each group's recordings from all others: leave a plate, or a well, out.

    Parameters
    ----------
    features, labels : array_like
        As in `classify`.
    groups : array_like
        Plate, or plate and well, of each recording.
    seed : int
        Of the folds inside.

    Returns
    -------
    Classification
        Over all recordings, in their order.
    """
    x, y = _matrix(features, labels)
    member = np.asarray(groups).astype(str)
    if len(np.unique(member)) < 2:
        raise DataError("`groups` has a single group, so none can be left out. Pass finer groups.")
    predicted = np.empty(len(y), dtype=y.dtype)
    for group in np.unique(member):
        out = member == group
        search = _chosen(x[~out], y[~out], member[~out], seed)
        predicted[out] = search.predict(x[out])
    return _scored(y, predicted.astype(str), float("nan"))


def phenotype(
    features: ArrayLike,
    condition: ArrayLike,
    treatment: ArrayLike,
    well: ArrayLike,
    *,
    seed: int = 0,
) -> "pd.Series[float]":
    """Return for each treatment how well its wells' condition is told, each well left out in turn.

    Within a treatment, a classifier of the condition (such as knockdown or control) is trained on
    all wells but one and predicts that one's recordings (section 3.2).

    Returns
    -------
    pandas.Series
        Accuracy by treatment.
    """
    x, y = _matrix(features, condition)
    kinds, wells = np.asarray(treatment).astype(str), np.asarray(well).astype(str)
    found = {
        str(kind): leave_groups_out(
            x[kinds == kind], y[kinds == kind], wells[kinds == kind], seed=seed
        ).accuracy
        for kind in np.unique(kinds)
    }
    return pd.Series(found, name="accuracy")


def credential(
    features: ArrayLike,
    metrics: pd.DataFrame,
    *,
    train: ArrayLike | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> "pd.Series[float]":
    """Return how well features predict each neural metric: r on recordings held out.

    Ridge regression with a penalty of 1.0 on 80 % of the recordings (section 3.2, Fig. 6).

    Parameters
    ----------
    features : array_like
        Shape (recording, feature).
    metrics : pandas.DataFrame
        As `probneuro.components.neural_metrics.metrics_table` returns it; blanks are left out
        metric by metric.
    train : array_like of int, optional
        Positions to train on; a random 80 % by default.
    held_out : float
        Share to test on, if ``train`` is not given.
    seed : int
        Of the split.

    Returns
    -------
    pandas.Series
        r by metric, highest first; NaN where fewer than three values are known on a side, or one
        side does not vary.
    """
    x, _ = _matrix(features, np.arange(len(metrics)))
    if train is None:
        order = generator(seed, "credential").permutation(len(x))
        chosen = np.sort(order[round(held_out * len(x)) :])
    else:
        chosen = np.asarray(train, dtype=np.int64)
    inside = np.isin(np.arange(len(x)), chosen)
    found = {}
    for name, column in metrics.items():
        y = column.to_numpy(dtype=np.float64)
        known = np.isfinite(y)
        found[str(name)] = _predicted_r(x, y, inside & known, ~inside & known)
    return pd.Series(found, name="r").sort_values(ascending=False)


def _predicted_r(x: Floats, y: Floats, first: NDArray[Any], second: NDArray[Any]) -> float:
    if min(first.sum(), second.sum()) < 3 or y[first].std() == 0 or y[second].std() == 0:
        return float("nan")
    model = Pipeline([("scale", StandardScaler()), ("ridge", Ridge(alpha=1.0))])
    predicted = model.fit(x[first], y[first]).predict(x[second])
    if np.std(predicted) == 0:
        return float("nan")
    return float(np.corrcoef(predicted, y[second])[0, 1])


@final
@dataclass(frozen=True, eq=False)
class TreatmentClusters:
    """Treatments by the distances between their centroids.

    Parameters
    ----------
    treatments : tuple of str
        Their names.
    centroids : array
        Shape (treatment, component).
    distances : array
        Shape (treatment, treatment).
    tree : array
        As `scipy.cluster.hierarchy.linkage` returns it, by average distance.
    explained : float
        Share of the variance in the components.
    """

    treatments: tuple[str, ...]
    centroids: Floats
    distances: Floats
    tree: Floats
    explained: float


def cluster_treatments(
    features: ArrayLike, treatments: Sequence[str] | ArrayLike, *, num_components: int = _COMPONENTS
) -> TreatmentClusters:
    """Cluster treatments by the centroids of their recordings in principal components.

    Parameters
    ----------
    features : array_like
        Shape (recording, feature).
    treatments : sequence of str
        One a recording; two different ones at least.
    num_components : int
        Principal components; ten in the paper.

    Returns
    -------
    TreatmentClusters

    References
    ----------
    Dey, Dreossi, Fox, Koller (2025), section 3.2, Fig. 5.

    Examples
    --------
    >>> found = cluster_treatments([[0.0], [0.1], [1.0], [5.0]], ["a", "a", "b", "c"])
    >>> found.treatments, found.tree[0, :2].tolist()
    (('a', 'b', 'c'), [0.0, 1.0])
    """
    x, kinds = _matrix(features, np.asarray(treatments))
    names = tuple(str(n) for n in np.unique(kinds))
    if len(names) < 2:
        raise DataError(f"`treatments` has one only, '{names[0]}'. Pass two or more to compare.")
    pca = PCA(min(num_components, *x.shape), svd_solver="full")
    placed = pca.fit_transform(x)
    centroids = np.stack([placed[kinds == name].mean(0) for name in names])
    flat = pdist(centroids)
    explained = float(np.nansum(pca.explained_variance_ratio_))
    return TreatmentClusters(
        names, centroids, squareform(flat), linkage(flat, method="average"), explained
    )
