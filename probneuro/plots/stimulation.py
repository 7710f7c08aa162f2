"""Responses to stimulation: forecasts with bands, bases, states, controllers, latencies."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from probneuro.core import names
from probneuro.core.detection import auc, roc_curve
from probneuro.core.errors import DataError
from probneuro.plots import style

MOST_CHANNELS = 4
_COLOURS = (*style.CHAIN_COLOURS, style.INK)
_MS = 1e3


def forecast_bands(
    evaluation: xr.DataTree,
    *,
    channels: Sequence[str] | None = None,
    trials: Sequence[int] = (0, 1, 2),
    method: str = "leave_one_out",
) -> Figure:
    """Draw single trials: what was forecast, its band, and what came.

    Parameters
    ----------
    evaluation : xarray.DataTree
        What `probneuro.models.tbfm.evaluate` returned.
    channels : sequence of str, optional
        Channels to draw; the first few by default.
    trials : sequence of int
        Numbers of the trials to draw, a column each.
    method : str
        Whose intervals.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there are no such intervals, channels or trials.
    """
    found = _group(evaluation, f"interval_{method}", "response", "mean", "lower", "upper")
    rows = _channels(found, channels)
    columns = [n for n in trials if n < found.sizes[names.TRIAL]]
    if not columns:
        raise DataError(
            f"`trials` asks for none of the {found.sizes[names.TRIAL]} trials there are; got "
            f"{tuple(trials)}. Pass numbers from 0."
        )
    figure = style.new_figure(3.2 * len(columns), 1.9 * len(rows) + 0.5)
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey="row")
    times = found[names.HORIZON].values * _MS
    level = round(100 * float(found.attrs.get("level", 0.9)))
    for line, channel in zip(grid, rows, strict=True):
        for panel, number in zip(line, columns, strict=True):
            one = found.isel({names.TRIAL: number}).sel({names.CHANNEL: channel})
            band = (one["lower"], one["upper"])
            panel.fill_between(
                times, *band, color=style.BLUE, alpha=style.OUTER_ALPHA, linewidth=0,
                label=f"{level} %",
            )  # fmt: skip
            panel.plot(times, one["response"], color=style.INK, linewidth=1.0, label="response")
            panel.plot(times, one["mean"], color=style.BLUE, linewidth=1.8, label="forecast")
            style.tidy(panel, title=f"channel {channel}, trial {number}", small=True)
    _outer_labels(grid, "time after the runway (ms)", _unit(evaluation))
    grid[0][0].legend(frameon=False, fontsize=style.SMALL_SIZE, loc="best")
    return figure


def temporal_bases(result: xr.DataTree) -> Figure:
    """Draw the temporal bases of a fit, and how much each explains.

    Parameters
    ----------
    result : xarray.DataTree
        What ``infer(TBFM(), trials)`` returned.

    Returns
    -------
    matplotlib.figure.Figure
    """
    found = _group(result, names.PARAMETERS, "bases", "explained")
    bases = found["bases"].values[0, 0]
    explained = np.maximum(found["explained"].values[0, 0], 0.0)
    figure = style.new_figure(9.6, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    times = found[names.HORIZON].values * _MS
    shades = np.linspace(1.0, 0.25, len(bases))
    for row, (basis, shade) in enumerate(zip(bases, shades, strict=True)):
        label = f"basis {row + 1}" if row < 4 else None
        left.plot(times, basis, color=style.BLUE, alpha=float(shade), linewidth=1.6, label=label)
    left.legend(frameon=False, fontsize=style.SMALL_SIZE)
    style.tidy(left, title="Temporal bases", x_label="time after the runway (ms)")
    shown = explained[: max(20, len(bases))]
    share = shown / max(float(explained.sum()), 1e-300)
    inside = np.arange(len(shown)) < len(bases)
    number = np.arange(1, len(shown) + 1)
    right.plot(number[inside], share[inside], "o", color=style.BLUE, label="in the fit")
    right.plot(number[~inside], share[~inside], "o", color=style.FAINT, label="left out")
    right.set_yscale("log")
    right.legend(frameon=False, fontsize=style.SMALL_SIZE)
    style.tidy(right, title="Share of what is explained", x_label="basis")
    return figure


def state_responses(evaluation: xr.DataTree, *, channels: Sequence[str] | None = None) -> Figure:
    """Draw mean responses from each state of the channel, and their mean forecasts.

    Parameters
    ----------
    evaluation : xarray.DataTree
        What `probneuro.models.tbfm.evaluate` returned.
    channels : sequence of str, optional
        Channels to draw; the first few by default.

    Returns
    -------
    matplotlib.figure.Figure
        From low states (blue) to high ones (red); forecasts are dashed.
    """
    from matplotlib import colormaps

    found = _group(evaluation, "by_state", "response", "forecast")
    shown = _channels(found, channels)
    figure = style.new_figure(3.6 * len(shown), 3.4)
    grid = figure.subplots(1, len(shown), squeeze=False, sharex=True)
    times = found[names.HORIZON].values * _MS
    number = found.sizes["state"]
    colours = colormaps[style.DIVERGING](np.linspace(0.95, 0.05, number)[::-1])
    for panel, channel in zip(grid[0], shown, strict=True):
        one = found.sel({names.CHANNEL: channel})
        for state in range(number):
            panel.plot(times, one["response"][state], color=colours[state], linewidth=1.4)
            panel.plot(times, one["forecast"][state], "--", color=colours[state], linewidth=1.4)
        style.tidy(panel, title=f"channel {channel}", small=True)
    _outer_labels(grid, "time after the runway (ms)", _unit(evaluation))
    return figure


def forecast_scores(evaluation: xr.DataTree) -> Figure:
    """Draw R2 and coverage against the horizon.

    Parameters
    ----------
    evaluation : xarray.DataTree
        What `probneuro.models.tbfm.evaluate` returned.

    Returns
    -------
    matplotlib.figure.Figure
    """
    score = _group(evaluation, "score", "r2_by_horizon")
    figure = style.new_figure(9.6, 3.4)
    left, right = figure.subplots(1, 2)
    times = score[names.HORIZON].values * _MS
    left.plot(times, score["r2_by_horizon"], color=style.BLUE, linewidth=1.8)
    left.axhline(0, color=style.FAINT, linewidth=1, zorder=0)
    style.tidy(left, title="R² of forecasts this long", x_label="horizon (ms)", y_label="R²")
    for name, colour in (("posterior", style.BLUE), ("leave_one_out", style.VERMILION)):
        found = _group(evaluation, f"interval_{name}", "coverage")
        curve = found["coverage"].mean(names.CHANNEL)
        right.plot(times, curve, color=colour, linewidth=1.6, label=name.replace("_", " "))
        right.axhline(float(found.attrs["level"]), color=style.FAINT, linewidth=1, zorder=0)
    right.set_ylim(0.5, 1.0)
    right.legend(frameon=False, fontsize=style.SMALL_SIZE)
    style.tidy(right, title="Responses within the interval", x_label="time (ms)")
    return figure


def controller_roc(
    scores: Mapping[str, ArrayLike], should: ArrayLike, *, title: str = ""
) -> Figure:
    """Draw how well scores of a controller tell trials to stimulate from the others.

    Parameters
    ----------
    scores : mapping of str to array_like
        By method: larger means rather stimulate, shape (trial,).
    should : array_like
        Whether stimulating was right, shape (trial,).
    title : str
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = style.new_figure(4.6, 4.4)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, zorder=1)
    for (name, score), colour in zip(scores.items(), style.CHAIN_COLOURS, strict=False):
        curve = roc_curve(score, should)
        label = f"{name}, AUC {auc(score, should):.3f}"
        panel.plot(curve.x, curve.y, color=colour, linewidth=1.9, label=label)
    panel.legend(frameon=False, fontsize=style.SMALL_SIZE, loc="lower right")
    style.tidy(panel, title=title, x_label="false positive rate", y_label="true positive rate")
    return figure


def latency_histogram(microseconds: Mapping[str, ArrayLike]) -> Figure:
    """Draw how long forecasts take.

    Parameters
    ----------
    microseconds : mapping of str to array_like
        Times of single calls by name of the form, shape (call,).

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there is none.
    """
    if not microseconds:
        raise DataError("`microseconds` holds no form to draw. Pass at least one.")
    figure = style.new_figure(7.0, 3.6)
    panel = figure.subplots()
    every = {name: np.asarray(values, dtype=np.float64) for name, values in microseconds.items()}
    low, high = (f([f(values) for values in every.values()]) for f in (np.min, np.max))
    edges = np.geomspace(max(float(low), 1e-2), float(high) + 1e-2, 90)
    for (name, values), colour in zip(every.items(), _COLOURS, strict=False):
        label = f"{name}, median {np.median(values):.1f} µs"
        panel.hist(values, list(edges), histtype="stepfilled", alpha=0.5, color=colour, label=label)
    panel.set_xscale("log")
    panel.legend(frameon=False, fontsize=style.SMALL_SIZE)
    style.tidy(panel, title="Time of one forecast", x_label="µs", y_label="calls")
    return figure


def _group(tree: xr.DataTree, group: str, *variables: str) -> xr.Dataset:
    if group not in tree.children:
        raise DataError(
            f"`{group}` is not a group of this tree (groups: "
            f"{', '.join(sorted(tree.children)) or 'none'}). Pass what evaluate(result, trials) "
            "returned, or for bases the result itself."
        )
    found = tree.children[group].to_dataset()
    lost = [name for name in variables if name not in found]
    if lost:
        raise DataError(
            f"`{lost[0]}` is not in group `{group}` (there: "
            f"{', '.join(map(str, found.data_vars))}). Draw it for a TBFM."
        )
    return found


def _channels(found: xr.Dataset, wanted: Sequence[str] | None) -> list[str]:
    known = [str(name) for name in found[names.CHANNEL].values]
    chosen = known[:MOST_CHANNELS] if wanted is None else list(wanted)
    lost = [name for name in chosen if name not in known]
    if lost:
        raise DataError(
            f"`channels` asks for {', '.join(lost)}; known are {', '.join(known)}. Pass some of "
            "those."
        )
    return chosen


def _unit(tree: xr.DataTree) -> str:
    return str(tree.attrs.get("signal_unit", ""))


def _outer_labels(
    grid: "np.ndarray[tuple[int, ...], np.dtype[np.object_]]", x: str, y: str
) -> None:
    for panel in grid[-1]:
        _label(panel, x=x)
    for line in grid:
        _label(line[0], y=y)


def _label(panel: Axes, *, x: str = "", y: str = "") -> None:
    style.tidy(panel, x_label=x, y_label=y, small=True)
