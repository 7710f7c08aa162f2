"""How synaptic weights moved: posterior bands against time, one panel a synapse."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from probneuro.core import names
from probneuro.core.errors import DataError
from probneuro.plots import select, style

MIN_DRAWS = 5
"""Fewer draws with the edge than this give no band worth drawing."""


def weight_trajectories(
    dt: xr.DataTree | select.Results, truth: Any = None, *, max_synapses: int = 12
) -> Figure:
    """Draw posterior weights against time, most probable synapses first.

    Each panel shows the median with its 50 % and 90 % band over the draws in which the edge
    exists; the title gives the probability that it does.

    Parameters
    ----------
    dt : DataTree or mapping of str to DataTree
        One result, or several by rule name, which are then laid over one another.
    truth : DataTree, Dataset or mapping, optional
        True ``weight`` (synapse, window), as a simulator returns it; zero is drawn for synapses
        whose ``edge`` is 0.
    max_synapses : int, optional
        How many synapses to draw at most.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If a result has no ``weight``, or `truth` holds none.
    """
    results = select.by_rule(dt)
    posteriors = {
        name: select.dataset(tree, names.POSTERIOR, "weight") for name, tree in results.items()
    }
    true_weight = _true_weight(truth)
    palette = style.colours(posteriors)
    chosen = select.most_probable(posteriors, max_synapses)
    if not chosen:
        raise DataError(
            "`dt` has no synapses: the recording has one unit. Fit at least two units, or leave "
            "this figure out."
        )
    columns = min(len(chosen), 2 if len(chosen) <= 4 else 3)
    rows = ceil(len(chosen) / columns)
    figure = style.new_figure(max(4.4 * columns, 6.4), 2.35 * rows + 0.75)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = [panel for row in grid for panel in row]
    for panel in panels[len(chosen) :]:
        panel.set_axis_off()
    span = next((s for s in map(select.held_out_span, results.values()) if s is not None), None)
    for position, (panel, label) in enumerate(zip(panels, chosen, strict=False)):
        if span is not None:
            panel.axvspan(*span, color=style.SHADE, zorder=0, label="held out")
        panel.axhline(0, color=style.FAINT, linewidth=0.8, zorder=1)
        drawn = [
            _draw_synapse(panel, p, label, palette[name], name) for name, p in posteriors.items()
        ]
        if not any(drawn):
            note_absent(panel)
        _draw_truth(panel, true_weight, label)
        last = position + columns >= len(chosen)
        style.tidy(
            panel,
            title=_title(posteriors, label),
            x_label="time (s)" if last else "",
            y_label="weight" if position % columns == 0 else "",
            small=len(chosen) > 4,
        )
        panel.tick_params(labelbottom=last)
    _legend(figure, palette, held_out=span is not None, truth=true_weight is not None)
    return figure


def _title(posteriors: Mapping[str, xr.Dataset], label: str) -> str:
    values = []
    for posterior in posteriors.values():
        labels = select.synapse_labels(posterior)
        if label in labels:
            values.append(float(select.edge_probability(posterior)[labels.index(label)]))
    spread = f"{min(values):.2f}"
    if f"{max(values):.2f}" != spread:
        spread += f" to {max(values):.2f}"
    return f"{select.pretty(label)}   P(edge) {spread}"


def _draw_synapse(panel: Axes, posterior: xr.Dataset, label: str, colour: str, name: str) -> bool:
    """Draw the band of one result, and say whether there were draws enough for one."""
    labels = select.synapse_labels(posterior)
    if label not in labels:
        return False
    draws = select.with_edge(posterior, "weight", labels.index(label))
    if len(draws) < MIN_DRAWS:
        return False
    start = np.asarray(posterior[names.WINDOW].values, dtype=float)
    width = select.spacing(start)
    time, levels = start + width / 2, select.bands(draws)
    if len(start) == 1:
        time = np.array([start[0], start[0] + width])
        levels = np.repeat(levels, 2, axis=1)
    draw_bands(panel, time, levels, colour, name)
    return True


def note_absent(panel: Axes) -> None:
    """Say in a panel that stays empty why it does.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        The panel.
    """
    panel.text(
        0.5, 0.6, "absent in (nearly) all draws", transform=panel.transAxes, ha="center",
        fontsize=style.TICK_SIZE - 1, color=style.SOFT_INK,
    )  # fmt: skip


def draw_bands(
    panel: Axes, x: NDArray[np.float64], levels: select.Quantiles, colour: str, name: str
) -> None:
    """Draw the 90 % band, the 50 % band and the median of one curve.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where to draw.
    x : array, shape (point,)
        Abscissa.
    levels : array, shape (5, point)
        Quantiles from `select.bands`.
    colour : str
        Colour of line and bands.
    name : str
        Label of the median line.
    """
    band: dict[str, Any] = {"color": colour, "linewidth": 0}
    panel.fill_between(x, levels[0], levels[4], alpha=style.OUTER_ALPHA, zorder=2, **band)
    panel.fill_between(x, levels[1], levels[3], alpha=style.INNER_ALPHA, zorder=3, **band)
    panel.plot(x, levels[2], color=colour, linewidth=1.7, zorder=4, label=name)


def _true_weight(truth: Any) -> xr.DataArray | None:
    if truth is None:
        return None
    if isinstance(truth, Mapping) and names.TRUTH in truth:
        truth = truth[names.TRUTH]
    absent = truth["edge"] == 0 if isinstance(truth, Mapping) and "edge" in truth else None
    if isinstance(truth, Mapping) and "weight" in truth:
        truth = truth["weight"]
    found = truth
    if not isinstance(found, xr.DataArray) or names.SYNAPSE not in found.dims:
        raise DataError(
            "`truth` must hold `weight` with dimensions (synapse, window); got "
            f"{type(truth).__name__}. Pass what the simulator returned, or its group `truth`."
        )
    # A synapse that is not there has no weight; it is drawn as zero.
    return found if absent is None else found.where(~absent, 0.0)


def _draw_truth(panel: Axes, weight: xr.DataArray | None, label: str) -> None:
    if weight is None or label not in [str(s) for s in weight[names.SYNAPSE].values]:
        return
    one = weight.sel({names.SYNAPSE: label})
    line: dict[str, Any] = {
        "color": style.INK,
        "linewidth": 1.3,
        "linestyle": (0, (4, 2)),
        "zorder": 5,
    }
    if names.WINDOW not in one.dims:
        panel.axhline(float(one), **line)
        return
    start = np.asarray(one[names.WINDOW].values, dtype=float)
    panel.plot(start + select.spacing(start) / 2, np.asarray(one, dtype=float), **line)


def _legend(figure: Figure, palette: Mapping[str, str], *, held_out: bool, truth: bool) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=colour, linewidth=2.2, label=name) for name, colour in palette.items()
    ]
    if truth:
        handles.append(
            Line2D([], [], color=style.INK, linewidth=1.3, linestyle=(0, (4, 2)), label="truth")
        )
    grey = style.SOFT_INK
    handles.append(Patch(color=grey, alpha=0.5, linewidth=0, label="50 % band"))
    handles.append(Patch(color=grey, alpha=0.2, linewidth=0, label="90 % band"))
    if held_out:
        handles.append(Patch(color=style.SHADE, linewidth=0, label="held out"))
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(handles) if len(handles) < 7 else ceil(len(handles) / 2),
        frameon=False,
        fontsize=style.TICK_SIZE,
        handlelength=1.5,
        columnspacing=1.4,
    )
