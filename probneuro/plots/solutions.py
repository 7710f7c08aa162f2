"""Distributions of solutions: parameters in pairs, features against targets, the fit's course."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probneuro.core import names
from probneuro.core.entropy_verdict import FEATURE, PARAMETER, ROUND, STATISTIC
from probneuro.core.errors import SettingError
from probneuro.core.results import FIT_HISTORY
from probneuro.plots import style

Floats = NDArray[np.float64]

_MOST_PARAMETERS: Final = 8
_MOST_POINTS: Final = 2000
_BINS: Final = 40
_EVERY: Final = 8
"""Steps of 0.025 ms from one point of a trace to the next: spikes stay whole."""


def _draws(dt: xr.DataTree) -> tuple[Floats, Floats, list[str]]:
    """Return draws, log densities and parameter names of all restarts together."""
    z = dt[names.POSTERIOR].to_dataset()["z"]
    labels = [str(label) for label in z[PARAMETER].values]
    log_q = dt[names.SAMPLE_STATS].to_dataset()["log_q"].values.ravel()
    return z.values.reshape(-1, len(labels)), log_q, labels


def solution_pairs(dt: xr.DataTree, parameters: Sequence[str] | None = None) -> Figure:
    """Draw parameters in pairs: draws coloured by log density, and marginals on the diagonal.

    Parameters
    ----------
    dt : xarray.DataTree
        A result of a DSN.
    parameters : sequence of str, optional
        Which to draw; the first eight by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingError
        If a parameter is not in the result.
    """
    draws, log_q, labels = _draws(dt)
    chosen = list(parameters or labels[:_MOST_PARAMETERS])
    for name in chosen:
        if name not in labels:
            raise SettingError(
                f"`parameters` holds '{name}', which the result does not. It has "
                f"{', '.join(labels)}."
            )
    places = [labels.index(name) for name in chosen]
    constant = dt[names.CONSTANT_DATA].to_dataset()
    limits = [(constant["lower"].values[i], constant["upper"].values[i]) for i in places]
    size = len(places)
    figure = style.new_figure(1.7 * size + 0.8, 1.6 * size + 0.6)
    panels: Any = figure.subplots(size, size, squeeze=False)
    some = np.linspace(0, len(draws) - 1, min(_MOST_POINTS, len(draws))).astype(int)
    order = some[np.argsort(log_q[some])]
    for row, column in np.ndindex(size, size):
        axes = panels[row, column]
        if column > row:
            axes.set_visible(False)
            continue
        x = draws[:, places[column]]
        if row == column:
            axes.hist(x, bins=_BINS, range=limits[row], color=style.BLUE, alpha=0.7)
            axes.set_yticks([])
        else:
            y = draws[:, places[row]]
            axes.scatter(
                x[order], y[order], c=log_q[order], s=3, cmap=style.SEQUENTIAL, linewidths=0
            )
            axes.set_ylim(limits[row])
        axes.set_xlim(limits[column])
        below = chosen[column] if row == size - 1 else ""
        left = chosen[row] if column == 0 and row > 0 else ""
        style.tidy(axes, x_label=below, y_label=left, small=True)
    return figure


def feature_check(dt: xr.DataTree) -> Figure:
    """Draw every feature of the draws, its target mean, and a standard deviation about its centre.

    Parameters
    ----------
    dt : xarray.DataTree
        A result of a DSN.

    Returns
    -------
    matplotlib.figure.Figure
    """
    features = dt[names.POSTERIOR_PREDICTIVE].to_dataset()["features"]
    constant = dt[names.CONSTANT_DATA].to_dataset()
    target, centre = constant["target"].to_series(), constant["centre"].to_series()
    labels = [str(label) for label in features[FEATURE].values]
    figure = style.new_figure(2.6 * len(labels) + 0.4, 2.6)
    panels = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, label in zip(panels, labels, strict=True):
        values = features.sel({FEATURE: label}).values.ravel()
        values = values[np.isfinite(values)]
        _histogram(axes, values)
        if label in target:
            axes.axvline(target[label], color=style.INK, linewidth=1.2)
        spread = f"{label} variance"
        if spread in target:
            middle, width = centre[spread], float(np.sqrt(target[spread]))
            axes.axvspan(middle - width, middle + width, color=style.AMBER, alpha=0.25)
        style.tidy(axes, x_label=label)
        axes.set_yticks([])
    return figure


def _histogram(axes: Axes, values: Floats) -> None:
    # One draw in a hundred at either end may lie far off; it must not hide the others.
    low, high = np.quantile(values, [0.01, 0.99]) if values.size else (0.0, 1.0)
    pad = 0.1 * (high - low) + 1e-12
    axes.hist(values, bins=_BINS, range=(low - pad, high + pad), color=style.BLUE, alpha=0.7)


def entropy_course(dt: xr.DataTree) -> Figure:
    """Draw the flow's entropy by round, with the dual's once it has reached the target.

    Parameters
    ----------
    dt : xarray.DataTree
        A result of a DSN.

    Returns
    -------
    matplotlib.figure.Figure
    """
    history: Any = dt[FIT_HISTORY].to_dataset()
    figure = style.new_figure(5.4, 3.2)
    axes = figure.subplots()
    rounds = history[ROUND].values
    for place in range(history.sizes[names.CHAIN]):
        colour = style.CHAIN_COLOURS[place % len(style.CHAIN_COLOURS)]
        one = history.isel({names.CHAIN: place})
        axes.plot(rounds, one["entropy"].values, color=colour, linewidth=1.3)
        if "dual_entropy" in one:
            axes.plot(rounds, one["dual_entropy"].values, color=colour, linestyle=":")
    style.tidy(axes, x_label="round", y_label="entropy (nats)")
    return figure


def voltage_traces(
    time: Floats, voltages: Sequence[Floats], cells: Sequence[str] = ("AB/PD", "LP", "PY")
) -> Figure:
    """Draw voltages of some circuits, a column a circuit and a row a cell.

    Parameters
    ----------
    time : numpy.ndarray
        Seconds, shape (step,).
    voltages : sequence of numpy.ndarray
        Shape (step, cell) each, in mV.
    cells : sequence of str
        Names of the cells.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = max(len(voltages), 1)
    figure = style.new_figure(2.4 * columns + 0.6, 1.1 * len(cells) + 0.6)
    panels = figure.subplots(len(cells), columns, squeeze=False, sharex=True, sharey=True)
    thin = slice(None, None, _EVERY)
    for column, voltage in enumerate(voltages):
        for row, cell in enumerate(cells):
            axes = panels[row, column]
            axes.plot(time[thin], voltage[thin, row], color=style.INK, linewidth=0.6)
            below = "time (s)" if row == len(cells) - 1 else ""
            style.tidy(axes, x_label=below, y_label=cell if column == 0 else "", small=True)
    return figure


def solution_figures(dt: xr.DataTree, *, prefix: str = "") -> dict[str, Figure]:
    """Return every figure of a result of a DSN, by name.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.
    prefix : str, optional
        Put before each name.
    """
    if STATISTIC not in dt[names.CONSTANT_DATA].to_dataset().sizes:
        raise SettingError("The result has no targets: it is not one of a DSN. Pass one that is.")
    figures = {
        "solution_pairs": solution_pairs(dt),
        "feature_check": feature_check(dt),
        "entropy_course": entropy_course(dt),
    }
    return {prefix + name: figure for name, figure in figures.items()}
