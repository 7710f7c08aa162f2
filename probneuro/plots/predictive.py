"""Would the fitted model fire like the recording? Intervals and correlograms of both."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probneuro.core import names
from probneuro.plots import select, style
from probneuro.plots.trajectories import draw_bands

_ROWS = (
    ("isi_density", names.NEURON, "isi", "interval (ms)", "share of intervals"),
    ("autocorrelogram", names.NEURON, "lag", "lag (ms)", "rate after own spike (Hz)"),
    ("crosscorrelogram", names.SYNAPSE, names.PAIR_LAG, "lag (ms)", "rate around spike (Hz)"),
)


def predictive_statistics(checked: xr.DataTree, *, max_columns: int = 6) -> Figure:
    """Draw what replicates of a recording look like, and the recording over them.

    Parameters
    ----------
    checked : DataTree
        What `probneuro.predictive_check` returned.
    max_columns : int, optional
        How many neurons, and how many pairs, to draw at most.

    Returns
    -------
    matplotlib.figure.Figure
        Intervals, autocorrelograms and cross-correlograms: bands of the replicates (50 % and
        90 %), and a line for the recording.

    Raises
    ------
    DataError
        If there are no replicates.
    """
    drawn = select.dataset(checked, names.POSTERIOR_PREDICTIVE, "isi_density")
    seen = select.dataset(checked, names.OBSERVED_DATA, "isi_density")
    rows = [row for row in _ROWS if row[0] in drawn]
    columns = min(max_columns, max(drawn.sizes[row[1]] for row in rows))
    figure = style.new_figure(max(2.9 * columns, 6.0), 2.5 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for panels, (name, across, along, x_label, y_label) in zip(grid, rows, strict=True):
        for column, panel in enumerate(panels):
            if column >= drawn.sizes[across]:
                panel.set_axis_off()
                continue
            _draw(panel, drawn[name], seen[name], column, (across, along))
            label = str(drawn[across].values[column])
            style.tidy(
                panel,
                title=select.pretty(label) if across == names.SYNAPSE else f"neuron {label}",
                x_label=x_label,
                y_label=y_label if column == 0 else "",
                small=True,
            )
    lost = int(checked.attrs.get("runaways", 0))
    if lost:
        told = f"{lost} of {checked.attrs['replicates']} replicates ran away, and are left out"
        figure.suptitle(told, fontsize=style.LABEL_SIZE, color=style.INK, x=0.01, ha="left")
    return figure


def _draw(
    panel: Axes, drawn: xr.DataArray, seen: xr.DataArray, column: int, dims: tuple[str, str]
) -> None:
    across, along = dims
    values = select.flat(drawn.isel({across: column}))
    x = 1e3 * np.asarray(drawn[along].values, dtype=float)
    draw_bands(panel, x, select.bands(values), style.colours(["model"])["model"], "model")
    line: dict[str, Any] = {"color": style.INK, "linewidth": 1.0, "zorder": 6}
    panel.plot(x, np.asarray(seen.isel({across: column}), dtype=float), label="recording", **line)
    panel.set_ylim(bottom=0.0)
