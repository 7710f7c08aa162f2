"""Which rule predicts unseen spikes best: totals, and how the difference builds up."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.core import names
from probneuro.core.errors import DataError
from probneuro.plots import select, style

COLUMNS = ("elpd", "elpd_diff", "dse", "bits_per_spike")


def block_scores(dt: xr.DataTree) -> NDArray[np.float64]:
    r"""Return the log predictive density of each held-out block, given the blocks before it.

    .. math:: \sum_n \log \frac{\sum_s \prod_{i \le j} p_{s,i,n}}{\sum_s \prod_{i < j} p_{s,i,n}}

    for block j, over draws s and neurons n: the same numbers that `probneuro.compare` sums,
    written again because figures know only the core.

    Parameters
    ----------
    dt : xarray.DataTree
        A result with group `held_out`.

    Returns
    -------
    array, shape (block,)
        In nats; NaN from the first block on whose density is not finite for a neuron.

    Raises
    ------
    DataError
        If nothing was held out.
    """
    held_out = select.dataset(dt, names.HELD_OUT, "log_likelihood")
    values = select.flat(held_out["log_likelihood"].transpose(..., names.BLOCK, names.NEURON))
    with np.errstate(invalid="ignore"):
        sequence = logsumexp(np.cumsum(values, axis=1), axis=0)
        start = np.full((1, sequence.shape[1]), np.log(len(values)))
        return np.asarray(np.diff(sequence, axis=0, prepend=start).sum(1))


def held_out_comparison(results: Mapping[str, xr.DataTree], table: pd.DataFrame) -> Figure:
    """Draw how well each rule predicts the held-out blocks, relative to the best.

    Parameters
    ----------
    results : mapping of str to DataTree
        Results by rule name, each with group `held_out`.
    table : pandas.DataFrame
        What `probneuro.compare` returned for the same results, best rule first; its columns
        ``elpd_diff`` and ``dse`` (nats) and ``bits_per_spike`` are drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Left: difference to the best in bits per spike with one paired standard error. Right:
        cumulative difference in nats over the held-out blocks.

    Raises
    ------
    DataError
        If the table lacks a column or a rule, or a result has nothing held out.
    """
    order = _ordered(results, table)
    scores = {name: block_scores(results[name]) for name in order}
    palette = style.colours(results)
    figure = style.new_figure(10.6, max(3.4, 1.9 + 0.42 * len(order)))
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    _draw_totals(left, table, order, palette, _num_spikes(results[order[0]]))
    _draw_build_up(right, results, scores, palette)
    return figure


def _ordered(results: Mapping[str, xr.DataTree], table: pd.DataFrame) -> list[str]:
    for column in COLUMNS:
        if column not in table.columns:
            raise DataError(
                f"`table` has no column `{column}`; got {', '.join(map(str, table.columns))}. "
                "Pass what probneuro.compare(results) returned."
            )
    for name in table.index:
        if name not in results:
            raise DataError(
                f"`table` has the row '{name}', but `results` holds {', '.join(results)}. "
                "Pass the results that the table was made from."
            )
    return [str(name) for name in table.sort_values("elpd", ascending=False).index]


def _num_spikes(dt: xr.DataTree) -> float:
    count = select.dataset(dt, names.HELD_OUT, "spike_count")["spike_count"]
    return max(float(count.sum()), 1.0)


def _draw_totals(
    panel: Axes,
    table: pd.DataFrame,
    order: list[str],
    palette: Mapping[str, str],
    num_spikes: float,
) -> None:
    scale = 1 / (num_spikes * np.log(2))
    panel.axvline(0, color=style.FAINT, linewidth=1, zorder=0)
    for row, name in enumerate(order):
        difference = -abs(float(table.at[name, "elpd_diff"])) * scale
        difference = difference if np.isfinite(difference) else np.nan
        error = float(table.at[name, "dse"]) * scale if row else 0.0
        panel.errorbar(
            difference,
            row,
            xerr=error if np.isfinite(error) else 0.0,
            fmt="o",
            markersize=9,
            color=palette[name],
            elinewidth=2.2,
            capsize=0,
            zorder=3,
        )
        bits = float(table.at[name, "bits_per_spike"])
        panel.annotate(
            f"{bits:.3f} bits/spike".replace("-", "−") if np.isfinite(bits) else "not scored",
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=style.TICK_SIZE,
            color=style.SOFT_INK,
        )
    panel.set_yticks(range(len(order)), order)
    panel.set_ylim(len(order) - 0.5, -0.5)
    panel.margins(x=0.08)
    panel.locator_params(axis="x", nbins=5)
    style.tidy(
        panel,
        title="Held-out prediction, relative to the best",
        x_label="Δ bits per spike (± 1 se)",
    )
    panel.tick_params(axis="y", length=0, labelsize=style.LABEL_SIZE)
    panel.spines["left"].set_visible(False)


def _draw_build_up(
    panel: Axes,
    results: Mapping[str, xr.DataTree],
    scores: Mapping[str, NDArray[np.float64]],
    palette: Mapping[str, str],
) -> None:
    best, *others = scores
    start = np.asarray(results[best][names.HELD_OUT][names.BLOCK].values, dtype=float)
    ends = np.concatenate([start[:1], start + select.spacing(start)])
    panel.axhline(0, color=palette[best], linewidth=2, label=best, zorder=2)
    lasts = [(0.0, best)]
    for name in others:
        if len(scores[name]) != len(scores[best]):
            raise DataError(
                f"`results` were held out on different blocks: '{best}' has {len(scores[best])}, "
                f"'{name}' has {len(scores[name])}. Compare results of one and the same split."
            )
        # A rule that could not be scored has no line; the table and the report say so.
        with np.errstate(invalid="ignore"):
            difference = np.concatenate([[0.0], np.cumsum(scores[name] - scores[best])])
        difference[~np.isfinite(difference)] = np.nan
        panel.plot(
            ends, difference, color=palette[name], linewidth=1.8, marker="o", markersize=3.5,
            label=name, zorder=3,
        )  # fmt: skip
        if np.isfinite(difference[-1]):
            lasts.append((float(difference[-1]), name))
    panel.set_xlim(ends[0], ends[-1])
    _name_lines(panel, lasts, palette)
    style.tidy(
        panel,
        title=f"Log likelihood relative to {best}",
        x_label="time (s)",
        y_label="cumulative difference (nats)",
    )


def _name_lines(panel: Axes, lasts: list[tuple[float, str]], palette: Mapping[str, str]) -> None:
    """Write each rule's name at the end of its line, far enough apart to read."""
    low, high = panel.get_ylim()
    gap = 0.075 * (high - low)
    place = np.inf
    for value, name in sorted(lasts, reverse=True):
        place = min(value, place - gap)
        panel.annotate(
            name,
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=style.TICK_SIZE,
            color=palette[name],
            weight="bold",
        )
