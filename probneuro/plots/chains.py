"""Did the chains agree: traces and ranks of scalar parameters."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import rankdata

from probneuro.core import names
from probneuro.core.errors import SettingError
from probneuro.plots import select, style

MAX_ROWS = 12
RULE_SCALARS = (
    "amplitude_plus",
    "amplitude_minus",
    "tau_plus",
    "tau_minus",
    "weight_noise",
    "weight_max",
)
UNITS = {"tau_plus": "s", "tau_minus": "s"}
RATE_LINK = "softplus"
SCALARS = (*RULE_SCALARS, "bias", "self_weight")


def trace_rank(dt: xr.DataTree, var_names: Sequence[str] | None = None) -> Figure:
    """Draw the trace of every chain beside the histogram of its ranks.

    If the chains explore the same distribution, each chain's ranks among all draws are
    uniform: its line stays in the shaded band, which holds 99 % of the bins when draws are
    independent (autocorrelated chains leave it more often).

    Parameters
    ----------
    dt : xarray.DataTree
        A result.
    var_names : sequence of str, optional
        Variables of group `posterior`, or ``"lp"``; by default the log posterior, the rule's
        parameters, biases and self weights, the first twelve scalars of them.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingError
        If a name is not a variable of the posterior.
    """
    series = _scalars(dt, var_names)
    shown = series if var_names is not None else series[:MAX_ROWS]
    figure = style.new_figure(10.0, 1.1 * len(shown) + 0.9)
    grid = figure.subplots(len(shown), 2, squeeze=False, width_ratios=[2.2, 1], sharex="col")
    for row, (label, values) in enumerate(shown):
        last = row == len(shown) - 1
        _draw_trace(grid[row, 0], label, values, last=last)
        _draw_ranks(grid[row, 1], values, last=last)
    heads = ("trace of each chain", "ranks among all draws")
    for panel, text in zip(grid[0], heads, strict=True):
        more = f" (first {len(shown)} of {len(series)} parameters)"
        text += more if panel is grid[0, 0] and len(shown) < len(series) else ""
        panel.set_title(text, loc="left", fontsize=style.LABEL_SIZE, color=style.INK)
    figure.align_ylabels(grid[:, 0])
    return figure


def _scalars(
    dt: xr.DataTree, var_names: Sequence[str] | None
) -> list[tuple[str, NDArray[np.float64]]]:
    posterior = select.dataset(dt, names.POSTERIOR)
    log_posterior = None
    if names.SAMPLE_STATS in dt.children and "lp" in dt[names.SAMPLE_STATS]:
        log_posterior = dt[names.SAMPLE_STATS].to_dataset()["lp"]
    if var_names is None:
        wanted = [name for name in SCALARS if name in posterior]
        wanted = [*(["lp"] if log_posterior is not None else []), *wanted]
        wanted = wanted or [str(name) for name in posterior.data_vars]
    else:
        wanted = list(var_names)
    series = []
    for name in wanted:
        if name == "lp" and log_posterior is not None and "lp" not in posterior:
            series += _split("log posterior", log_posterior)
        elif name in posterior:
            series += _split(name, posterior[name], unit_of(dt, name))
        else:
            known = ", ".join(["lp", *map(str, posterior.data_vars)])
            raise SettingError(
                f"`var_names` has '{name}', which is not in the posterior. Choose among: {known}."
            )
    return series


def unit_of(dt: xr.DataTree, name: str) -> str:
    """Return the unit of a variable: its attribute ``units``, or what the schema says.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.
    name : str
        A variable of group `posterior`.

    Returns
    -------
    str
        Empty where there is none, or none is known.

    Examples
    --------
    >>> unit_of(xr.DataTree.from_dict({"posterior": xr.Dataset({"tau_plus": 0.02})}), "tau_plus")
    's'
    """
    own = dt[names.POSTERIOR][name].attrs.get("units", "")
    if own or name != "bias":
        return str(own or UNITS.get(name, ""))
    # Under an exponential link a bias is the logarithm of a rate.
    return "Hz" if str(dt.attrs.get("link", "")).startswith(RATE_LINK) else ""


def _split(name: str, array: xr.DataArray, unit: str = "") -> list[tuple[str, NDArray[np.float64]]]:
    ordered = array.transpose(names.CHAIN, names.DRAW, ...)
    values = np.asarray(ordered, dtype=float)
    title = name.replace("_", " ")
    rows = []
    for index in np.ndindex(values.shape[2:]):
        labels = [
            str(ordered[dim].values[i]) if dim in ordered.coords else str(i)
            for dim, i in zip(ordered.dims[2:], index, strict=True)
        ]
        alone = all(size == 1 for size in values.shape[2:])
        tail = "" if alone else f", {select.pretty(', '.join(labels))}"
        tail += f" ({unit})" if unit else ""
        rows.append((title + tail, values[(slice(None), slice(None), *index)]))
    return rows


def _draw_trace(panel: Axes, label: str, values: NDArray[np.float64], *, last: bool) -> None:
    for chain, draws in enumerate(values):
        colour = style.CHAIN_COLOURS[chain % len(style.CHAIN_COLOURS)]
        panel.plot(draws, color=colour, linewidth=0.6, alpha=0.75)
    style.tidy(panel, x_label="draw" if last else "", small=True)
    panel.set_ylabel(
        label, rotation=0, ha="right", va="center", fontsize=style.TICK_SIZE, color=style.INK
    )
    panel.set_xlim(0, max(values.shape[1] - 1, 1))
    panel.locator_params(axis="y", nbins=3)


def rank_counts(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Return how many draws of each chain fall into each bin of ranks over all chains.

    Parameters
    ----------
    values : array, shape (chain, draw)
        Draws; ties take their mean rank.
    bins : int
        Number of equal bins of ranks.

    Returns
    -------
    array, shape (chain, bins)

    Examples
    --------
    >>> rank_counts(np.array([[1.0, 2.0], [3.0, 4.0]]), 2).tolist()
    [[2, 0], [0, 2]]
    """
    ranks = rankdata(values, method="average").reshape(values.shape)
    edges = np.linspace(0.5, values.size + 0.5, bins + 1)
    return np.stack([np.histogram(chain, edges)[0] for chain in ranks])


def _draw_ranks(panel: Axes, values: NDArray[np.float64], *, last: bool) -> None:
    chains, draws = values.shape
    bins = int(np.clip(draws // 20, 5, 20))
    counts = rank_counts(values, bins) * bins / draws
    # Hypergeometric spread of one chain's share of a bin; 2.576 sd hold 99 %.
    share = 1 / bins
    spread = np.sqrt(draws * share * (1 - share) * (1 - 1 / max(chains, 1)))
    half = 2.576 * spread * bins / draws
    edges = np.linspace(0, 1, bins + 1)
    panel.axhspan(max(1 - half, 0), 1 + half, color=style.SHADE, zorder=0)
    panel.axhline(1, color=style.SOFT_INK, linewidth=0.7, zorder=1)
    for chain, row in enumerate(counts):
        colour = style.CHAIN_COLOURS[chain % len(style.CHAIN_COLOURS)]
        panel.stairs(row, edges, color=colour, linewidth=1.3, baseline=None)
    style.tidy(panel, x_label="rank / number of draws" if last else "", small=True)
    panel.set_xlim(0, 1)
    panel.set_ylim(0, max(2.0, 1.1 * float(counts.max())))
    panel.set_yticks([0, 1, 2] if counts.max() < 3 else [0, 1, round(float(counts.max()))])
