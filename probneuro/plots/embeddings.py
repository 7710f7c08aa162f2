"""Figures of embeddings: accuracies, confusions, a map, reconstructions, a tree of treatments."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import dendrogram

from probneuro.core.errors import DataError
from probneuro.plots import style

_FEW_LABELS: Final = 8
_MOST_IN_LEGEND: Final = 20


def accuracy_bars(accuracies: Mapping[str, ArrayLike], *, chance: float | None = None) -> Figure:
    """Draw the mean accuracy of each kind of features, with a dot for every repetition.

    Parameters
    ----------
    accuracies : mapping of str to array_like
        Accuracies over seeds, by name of the features.
    chance : float, optional
        Accuracy of guessing, drawn as a line.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there are none.
    """
    if not accuracies:
        raise DataError("`accuracies` is empty. Pass at least one kind of features.")
    figure = style.new_figure(6.4, 0.9 + 0.34 * len(accuracies))
    axes = figure.add_subplot()
    for row, values in enumerate(accuracies.values()):
        each = np.atleast_1d(np.asarray(values, dtype=np.float64))
        axes.barh(row, each.mean(), color=style.SKY, height=0.62)
        axes.plot(each, np.full(each.size, row), "o", color=style.INK, markersize=3)
    if chance is not None:
        axes.axvline(chance, color=style.SOFT_INK, linewidth=0.9, linestyle=":")
    axes.set_yticks(range(len(accuracies)), list(accuracies))
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    style.tidy(axes, x_label="accuracy on recordings held out")
    return figure


def confusion_matrices(tables: Mapping[str, ArrayLike], classes: Sequence[str]) -> Figure:
    """Draw confusion matrices side by side, each row scaled to one.

    Parameters
    ----------
    tables : mapping of str to array_like
        Counts, shape (true class, predicted class), by name of the features.
    classes : sequence of str
        Names of the classes.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not tables:
        raise DataError("`tables` is empty. Pass at least one confusion matrix.")
    figure = style.new_figure(3.6 * len(tables) + 0.6, 4.0)
    for place, (name, table) in enumerate(tables.items(), start=1):
        counts = np.asarray(table, dtype=np.float64)
        if counts.shape != (len(classes), len(classes)):
            raise DataError(
                f"`tables` of '{name}' has shape {counts.shape} for {len(classes)} classes. Pass "
                "one row and one column a class."
            )
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1.0)
        axes = figure.add_subplot(1, len(tables), place)
        axes.imshow(share, cmap=style.SEQUENTIAL, vmin=0.0, vmax=1.0)
        axes.set_xticks(range(len(classes)), list(classes), rotation=90)
        axes.set_yticks(range(len(classes)), list(classes) if place == 1 else [])
        style.tidy(axes, title=name, x_label="predicted", y_label="true" if place == 1 else "",
                   small=True)  # fmt: skip
    return figure


def embedding_map(dt: xr.DataTree, *, colour: str = "treatment", chain: int = 0) -> Figure:
    """Draw embeddings in their first two principal components, coloured by a label.

    Parameters
    ----------
    dt : xarray.DataTree
        A result with ``posterior/embedding``.
    colour : str
        A label of the recordings, in ``constant_data``.
    chain : int
        Which restart.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If the result has no embedding, or no such label.
    """
    if "posterior" not in dt.children or "embedding" not in dt["posterior"]:
        raise DataError("`dt` has no `posterior/embedding`. Pass a result of roll_ae.")
    known = dt["constant_data"].dataset
    if colour not in known.coords:
        raise DataError(
            f"`colour` '{colour}' is no label of the recordings; known: "
            f"{', '.join(str(c) for c in known.coords if c not in known.dims)}."
        )
    x = dt["posterior"].dataset["embedding"].isel(chain=chain).mean("draw").values.astype(float)
    centred = x - x.mean(0)
    _, size, axes_of = np.linalg.svd(centred, full_matrices=False)
    placed = centred @ axes_of[:2].T
    placed = np.pad(placed, ((0, 0), (0, max(0, 2 - placed.shape[1]))))
    share = size**2 / max(float((size**2).sum()), 1e-300)
    share = np.pad(share, (0, 2))
    figure = style.new_figure(5.4, 4.2)
    axes = figure.add_subplot()
    values = known[colour].values
    if values.dtype.kind in "if" and len(np.unique(values)) > _FEW_LABELS:
        # More colours than the eye tells apart: a scale, as numbers have an order.
        pale = float(values.min()) - 0.3 * float(np.ptp(values))
        shown = axes.scatter(
            placed[:, 0], placed[:, 1], c=values, cmap=style.SEQUENTIAL, s=16, vmin=pale
        )
        figure.colorbar(shown, ax=axes, label=colour)
    else:
        _draw_groups(axes, placed, values.astype(str))
    style.tidy(axes, title=f"embeddings by {colour}", x_label=f"component 1 ({share[0]:.0%})",
               y_label=f"component 2 ({share[1]:.0%})")  # fmt: skip
    return figure


def _draw_groups(axes: Axes, placed: NDArray[np.float64], labels: NDArray[np.str_]) -> None:
    """Draw points in the colour of their label, with a legend unless there are too many."""
    for name, shade in style.colours(np.unique(labels).tolist()).items():
        rows = labels == name
        axes.plot(*placed[rows].T, "o", color=shade, markersize=4, alpha=0.75, label=name or "-")
    if len(np.unique(labels)) <= _MOST_IN_LEGEND:
        axes.legend(fontsize=style.SMALL_SIZE, frameon=False, bbox_to_anchor=(1.0, 1.0))


def training_losses(dt: xr.DataTree) -> Figure:
    """Draw the losses of training and validation by epoch, one line a restart.

    Parameters
    ----------
    dt : xarray.DataTree
        A result with ``fit_history``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If the result has no history of a training.
    """
    history = dt["fit_history"].dataset if "fit_history" in dt.children else xr.Dataset()
    if not history.sizes.get("epoch"):
        raise DataError("`dt` has no `fit_history`. Pass a result of roll_ae that was trained.")
    figure = style.new_figure(5.4, 3.0)
    axes = figure.add_subplot()
    epochs = 1 + np.arange(history.sizes["epoch"])
    for name, shade in (("loss", style.BLUE), ("validation_loss", style.VERMILION)):
        lines = np.atleast_2d(history[name].values)
        if np.isfinite(lines).any():
            for k, line in enumerate(lines):
                label = {"loss": "training", "validation_loss": "held out"}[name]
                axes.plot(epochs, line, color=shade, label=None if k else label)
    axes.legend(fontsize=style.SMALL_SIZE, frameon=False)
    style.tidy(axes, x_label="epoch", y_label="loss")
    return figure


def aligned_reconstruction(
    recording: ArrayLike, reconstruction: ArrayLike, aligned: ArrayLike, *, bin_width: float
) -> Figure:
    """Draw a recording, what the decoder gives, and the element of its orbit nearest to it.

    Parameters
    ----------
    recording, reconstruction, aligned : array_like
        Shape (electrode, time); ``aligned`` is the recording moved by its nearest element.
    bin_width : float
        Seconds.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows: dict[str, NDArray[Any]] = {
        "recording": np.asarray(recording, dtype=np.float64),
        "recording, aligned": np.asarray(aligned, dtype=np.float64),
        "reconstruction": np.asarray(reconstruction, dtype=np.float64),
    }
    figure = style.new_figure(7.2, 4.6)
    for place, (name, values) in enumerate(rows.items(), start=1):
        axes = figure.add_subplot(3, 1, place)
        reach = (0.0, values.shape[1] * bin_width, values.shape[0] - 0.5, -0.5)
        axes.imshow(
            values, aspect="auto", interpolation="nearest", cmap=style.SEQUENTIAL, extent=reach
        )
        last = place == len(rows)
        style.tidy(axes, title=name, x_label="time (s)" if last else "", y_label="electrode",
                   small=True)  # fmt: skip
    return figure


def treatment_tree(tree: ArrayLike, treatments: Sequence[str]) -> Figure:
    """Draw the dendrogram of treatments.

    Parameters
    ----------
    tree : array_like
        As `scipy.cluster.hierarchy.linkage` returns it.
    treatments : sequence of str
        Their names.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = style.new_figure(4.8, 0.9 + 0.26 * len(treatments))
    axes = figure.add_subplot()
    dendrogram(
        np.asarray(tree, dtype=np.float64), labels=list(treatments), orientation="left", ax=axes,
        color_threshold=0.0, above_threshold_color=style.BLUE,
    )  # fmt: skip
    style.tidy(axes, x_label="distance between centroids")
    return figure
