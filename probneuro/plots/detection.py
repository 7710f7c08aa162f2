"""How well scores tell synapses from other pairs: ROC, precision and recall, reliability."""

from collections.abc import Mapping
from math import ceil

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from probneuro.core import names
from probneuro.core.detection import (
    auc,
    average_precision,
    brier,
    precision_recall,
    reliability,
    roc_curve,
)
from probneuro.core.errors import DataError
from probneuro.plots import style
from probneuro.plots.matrices import MAX_ANNOTATED, draw_matrix
from probneuro.plots.select import ends

Floats = NDArray[np.float64]


def roc_curves(scores: xr.Dataset) -> Figure:
    """Draw every method's ROC curve, with the area under it in the legend.

    Parameters
    ----------
    scores : xarray.Dataset
        The ``scores`` of `probneuro.connectivity` with a truth.

    Returns
    -------
    matplotlib.figure.Figure
        Share of synapses found against share of other pairs taken for one; the diagonal is
        guessing. With decayed synapses, a second panel has those alone against other pairs.

    Raises
    ------
    DataError
        If there is no truth.
    """
    truth = _truth(scores)
    panels = {f"all {truth.sum()} synapses": np.ones(truth.size, dtype=bool)}
    if "decayed" in scores and scores["decayed"].any():
        title = f"the {int(scores['decayed'].sum())} decayed synapses"
        panels[title] = (scores["decayed"].values == 1) | (truth == 0)
    figure = style.new_figure(4.6 * len(panels) + 0.4, 4.6)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for panel, (title, kept) in zip(grid, panels.items(), strict=True):
        panel.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, zorder=1)
        for name, colour, values in _methods(scores):
            curve = roc_curve(values[kept], truth[kept])
            label = f"{name}, AUC {auc(values[kept], truth[kept]):.3f}"
            panel.plot(curve.x, curve.y, color=colour, linewidth=1.9, label=label, zorder=3)
        _finish(panel, title, "false positive rate", "true positive rate", "lower right")
    return figure


def precision_recall_curves(scores: xr.Dataset) -> Figure:
    """Draw every method's precision against recall, with average precision in the legend.

    Parameters
    ----------
    scores : xarray.Dataset
        The ``scores`` of `probneuro.connectivity` with a truth.

    Returns
    -------
    matplotlib.figure.Figure
        The line is guessing: the share of pairs that are joined.

    Raises
    ------
    DataError
        If there is no truth.
    """
    truth = _truth(scores)
    figure = style.new_figure(5.0, 4.6)
    panel = figure.subplots()
    panel.axhline(truth.mean(), color=style.FAINT, linewidth=1, zorder=1)
    for name, colour, values in _methods(scores):
        recall, precision, _ = precision_recall(values, truth)
        label = f"{name}, AP {average_precision(values, truth):.3f}"
        x, y = np.append(0.0, recall), np.append(precision[0], precision)
        panel.plot(x, y, color=colour, linewidth=1.9, label=label, zorder=3)
    _finish(panel, f"{int(truth.sum())} of {truth.size} pairs", "recall", "precision", "lower left")
    return figure


def reliability_curves(scores: xr.Dataset, *, bins: int = 10, level: float = 0.9) -> Figure:
    """Draw how often edges of a given probability are there.

    Parameters
    ----------
    scores : xarray.Dataset
        The ``scores`` of `probneuro.connectivity` with a truth, of one method with
        probabilities or more.
    bins : int, optional
        Equal bins between 0 and 1.
    level : float, optional
        Coverage of the exact binomial intervals.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a method: the share of pairs that are joined, with its interval, against
        their mean probability, and how many pairs there are. Calibrated ones lie on the diagonal.

    Raises
    ------
    DataError
        If there is no truth, or no method gives probabilities.
    """
    truth = _truth(scores)
    known = _with_probability(scores)
    if not known:
        raise DataError(
            "`scores` has no probabilities to be calibrated; methods: "
            f"{', '.join(map(str, scores['method'].values))}. Add a learning rule, such as static."
        )
    figure = style.new_figure(max(3.9 * len(known), 4.6), 4.2)
    grid = figure.subplots(1, len(known), squeeze=False, sharey=True)[0]
    palette = style.colours(map(str, scores["method"].values))
    for panel, (name, chance) in zip(grid, known.items(), strict=True):
        found = reliability(chance, truth, bins, level)
        panel.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, zorder=1)
        used = found.isel(bin=np.flatnonzero(found["count"].values))
        x, y = used["probability"].values, used["frequency"].values
        error = np.array([y - used["lower"].values, used["upper"].values - y])
        panel.errorbar(
            x, y, yerr=np.maximum(error, 0.0), fmt="o-", markersize=6, linewidth=1.2,
            elinewidth=1.6, color=palette[name], zorder=3,
        )  # fmt: skip
        for place, count in zip(x, used["count"].values, strict=True):
            panel.annotate(
                f"{count}", (place, 1.06), ha="center", fontsize=style.SMALL_SIZE,
                color=style.SOFT_INK,
            )  # fmt: skip
        first = panel is grid[0]
        style.tidy(
            panel, title=f"{name}, Brier {brier(chance, truth):.3f}", x_label="edge probability",
            y_label=f"share that is there ({level:.0%} interval)" if first else "",
        )  # fmt: skip
        panel.set_xlim(-0.04, 1.04)
        panel.set_ylim(-0.04, 1.14)
        panel.set_yticks(np.linspace(0, 1, 6))
    return figure


def score_matrices(scores: xr.Dataset) -> Figure:
    """Draw every method's scores as a matrix, beside the truth if it is known.

    Parameters
    ----------
    scores : xarray.Dataset
        The ``scores`` of `probneuro.connectivity`.

    Returns
    -------
    matplotlib.figure.Figure
        Presynaptic neurons in rows. Probabilities are shown from 0 to 1, other scores from 0
        or their least, whichever is less, to their largest. Rings mark the true synapses.
    """
    labels = [ends(scores, index) for index in range(scores.sizes[names.SYNAPSE])]
    neurons = list(dict.fromkeys(name for pair in labels for name in pair))
    neurons = sorted(neurons, key=int) if all(n.isdigit() for n in neurons) else sorted(neurons)
    place = {name: index for index, name in enumerate(neurons)}
    cells = np.array([(place[a], place[b]) for a, b in labels])
    methods = [str(name) for name in scores["method"].values]
    known = _with_probability(scores)
    number = len(methods)
    columns = min(number, 2 if number <= 4 else 3)
    side = float(np.clip(2.2 + 0.22 * len(neurons), 3.0, 7.5))
    figure = style.new_figure((side + 0.9) * columns, (side + 0.6) * ceil(number / columns))
    grid = figure.subplots(ceil(number / columns), columns, squeeze=False).ravel()
    for panel in grid[number:]:
        panel.set_axis_off()
    for panel, name, values in zip(grid, methods, scores["score"].values, strict=False):
        matrix = np.full((len(neurons), len(neurons)), np.nan)
        matrix[cells[:, 0], cells[:, 1]] = values
        low, high = (0.0, 1.0) if name in known else (min(0.0, values.min()), values.max())
        kind = "edge probability" if name in known else "score"
        draw_matrix(
            figure, panel, matrix, neurons, f"{name}: {kind}", low=low, high=high,
            annotate=len(neurons) <= MAX_ANNOTATED // 2,
        )  # fmt: skip
        if "truth" in scores:
            there = cells[scores["truth"].values == 1]
            panel.scatter(
                there[:, 1], there[:, 0], s=max(1300.0 / len(neurons), 8.0), facecolors="none",
                edgecolors=style.VERMILION, linewidths=1.3,
            )  # fmt: skip
    if "truth" in scores:
        ring = Line2D(
            [], [], marker="o", linestyle="none", markersize=9, markerfacecolor="none",
            markeredgecolor=style.VERMILION, label="true synapse",
        )  # fmt: skip
        figure.legend(
            handles=[ring], loc="outside upper right", frameon=False, fontsize=style.TICK_SIZE
        )
    return figure


def detection_figures(scores: xr.Dataset) -> dict[str, Figure]:
    """Return every figure that the scores have the numbers for.

    Parameters
    ----------
    scores : xarray.Dataset
        The ``scores`` of `probneuro.connectivity`.

    Returns
    -------
    dict of str to Figure
        By name: ``score_matrices`` and, with a truth, ``roc_curves``,
        ``precision_recall_curves`` and, with probabilities, ``reliability_curves``.
    """
    figures = {}
    if "truth" in scores:
        figures["roc_curves"] = roc_curves(scores)
        figures["precision_recall_curves"] = precision_recall_curves(scores)
        if _with_probability(scores):
            figures["reliability_curves"] = reliability_curves(scores)
    figures["score_matrices"] = score_matrices(scores)
    return figures


def _truth(scores: xr.Dataset) -> NDArray[np.int8]:
    if "truth" not in scores:
        raise DataError(
            "`scores` has no `truth` to be held against. Pass connectivity(..., truth=...)."
        )
    return np.asarray(scores["truth"].values)


def _methods(scores: xr.Dataset) -> list[tuple[str, str, Floats]]:
    """Return name, colour and scores of every method, the best first."""
    palette = style.colours(map(str, scores["method"].values))
    truth = _truth(scores)
    rows = [
        (str(name), palette[str(name)], np.asarray(values))
        for name, values in zip(scores["method"].values, scores["score"].values, strict=True)
    ]
    return sorted(rows, key=lambda row: -auc(row[2], truth))


def _with_probability(scores: xr.Dataset) -> Mapping[str, Floats]:
    rows = zip(scores["method"].values, scores["probability"].values, strict=True)
    return {str(name): chance for name, chance in rows if np.isfinite(chance).all()}


def _finish(panel: Axes, title: str, x_label: str, y_label: str, corner: str) -> None:
    style.tidy(panel, title=title, x_label=x_label, y_label=y_label)
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.set_aspect("equal")
    panel.legend(loc=corner, frameon=False, fontsize=style.TICK_SIZE, handlelength=1.4)
