"""How much a recording of some length tells about which rule holds."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probneuro.core.errors import DataError
from probneuro.plots import style


def power_curves(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw information about the rule, and how often the true one is first, against duration.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        What `probneuro.power_table` returned, by the name of the stimulation.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there is no table.
    """
    if not tables:
        raise DataError("`tables` is empty. Pass what power_table returned, by a name.")
    figure = style.new_figure(8.4, 3.2)
    left, right = figure.subplots(1, 2)
    palette = style.colours(tables)
    for name, table in tables.items():
        x = np.asarray(table.index, dtype=float)
        most = table["information"] / table["information_share"]
        left.errorbar(
            x, table["information"], yerr=table["information_se"], fmt="o-", capsize=2,
            color=palette[name], label=name, linewidth=1.6, markersize=4,
        )  # fmt: skip
        left.axhline(float(most.iloc[-1]), color=style.FAINT, linewidth=0.8, zorder=1)
        right.plot(x, table["first"], "o-", color=palette[name], linewidth=1.6, markersize=4)
    left.set_ylim(bottom=0.0)
    right.set_ylim(0.0, 1.05)
    style.tidy(left, title="Information about the rule", x_label="duration (s)", y_label="nats")
    style.tidy(
        right, title="True rule first", x_label="duration (s)", y_label="share of recordings"
    )
    left.legend(frameon=False, fontsize=style.TICK_SIZE)
    return figure
