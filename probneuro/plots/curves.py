"""Curves over lag: what a learning rule does to a weight, and a synapse's impulse response."""

from math import ceil
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probneuro.core import names
from probneuro.core.errors import SettingError
from probneuro.plots import select, style
from probneuro.plots.trajectories import MIN_DRAWS, draw_bands, note_absent

PAIR_PARAMETERS = ("amplitude_plus", "amplitude_minus", "tau_plus", "tau_minus")


def has_curve(dt: xr.DataTree) -> bool:
    """Tell whether a result has a pairwise learning rule that can be drawn as a curve.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.

    Returns
    -------
    bool
        False for the static rule and for rules that are not sums over pairs of spikes.
    """
    return all(name in select.dataset(dt, names.POSTERIOR) for name in PAIR_PARAMETERS)


def learning_rule_curve(
    dt: xr.DataTree | select.Results,
    *,
    max_lag: float = 0.1,
    points: int = 200,
    max_groups: int = 12,
) -> Figure:
    r"""Draw the weight change that one pair of spikes causes, against the time between them.

    .. math:: \Delta w = A_+ e^{-\Delta t / \tau_+} \;(\Delta t > 0), \qquad
              \Delta w = -A_- e^{\Delta t / \tau_-} \;(\Delta t < 0)

    with :math:`\Delta t` the time of the postsynaptic minus that of the presynaptic spike. For
    a multiplicative rule the ordinate is the fraction of the distance to the bound that the
    pair closes (at most one).

    Parameters
    ----------
    dt : DataTree or mapping of str to DataTree
        One result or several by rule name; every rule and every rule group gets a panel.
    max_lag : float, optional
        Largest lag drawn, in s.
    points : int, optional
        Points on each side of zero.
    max_groups : int, optional
        How many rule groups to draw of each rule at most, the first ones.

    Returns
    -------
    matplotlib.figure.Figure
        Median with 50 % and 90 % bands.

    Raises
    ------
    SettingError
        If no result has a pairwise rule (the static rule has none).
    """
    given = select.by_rule(dt)
    results = {name: tree for name, tree in given.items() if has_curve(tree)}
    if not results:
        raise SettingError(
            f"`dt` has no pairwise learning rule to draw; got {', '.join(given)}. "
            "Pass a result of a rule with amplitude_plus and tau_plus, such as additive."
        )
    panels = [
        (name, group)
        for name, tree in results.items()
        for group in range(min(max_groups, _num_groups(tree)))
    ]
    columns = min(3, len(panels))
    rows = ceil(len(panels) / columns)
    figure = style.new_figure(max(4.6 * columns, 5.6), 3.7 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for panel in grid[len(panels) :]:
        panel.set_axis_off()
    palette = style.colours(given)
    for panel, (name, group) in zip(grid, panels, strict=False):
        _draw_rule(panel, results[name], name, group, palette[name], max_lag, points)
    return figure


def _num_groups(dt: xr.DataTree) -> int:
    return int(dt[names.POSTERIOR]["amplitude_plus"].sizes.get(names.RULE_GROUP, 1))


def _draw_rule(
    panel: Axes,
    dt: xr.DataTree,
    name: str,
    group: int,
    colour: str,
    max_lag: float,
    points: int,
) -> None:
    posterior = select.dataset(dt, names.POSTERIOR, *PAIR_PARAMETERS)
    fraction = "multiplicative" in (name, select.rule_name(dt))
    values = {}
    for parameter in PAIR_PARAMETERS:
        array = posterior[parameter]
        if names.RULE_GROUP in array.dims:
            array = array.isel({names.RULE_GROUP: group})
        values[parameter] = select.flat(array)[:, None]
    # From just above zero: the two branches do not meet there.
    lag = np.linspace(max_lag / (10 * points), max_lag, points)
    up = values["amplitude_plus"] * np.exp(-lag / values["tau_plus"])
    down = values["amplitude_minus"] * np.exp(-lag / values["tau_minus"])
    if fraction:
        up, down = np.minimum(up, 1.0), np.minimum(down, 1.0)
    panel.axhline(0, color=style.SOFT_INK, linewidth=0.8, zorder=1)
    panel.axvline(0, color=style.FAINT, linewidth=0.8, zorder=1)
    draw_bands(panel, lag * 1e3, select.bands(up), colour, name)
    draw_bands(panel, -lag[::-1] * 1e3, select.bands(-down[:, ::-1]), colour, name)
    limit = 1.08 * max(float(np.quantile(side, 0.95, axis=0).max()) for side in (up, down))
    panel.set_ylim(-limit, limit)
    panel.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    panel.yaxis.get_offset_text().set_fontsize(style.SMALL_SIZE)
    panel.set_xlim(-max_lag * 1e3, max_lag * 1e3)
    groups = posterior.sizes.get(names.RULE_GROUP, 1)
    which = f", {posterior[names.RULE_GROUP].values[group]}" if groups > 1 else ""
    style.tidy(
        panel,
        title=f"{name}{which}",
        x_label="Δt = post − pre (ms)",
        y_label="fraction of remaining distance" if fraction else "weight change per spike pair",
    )
    note: dict[str, Any] = {
        "fontsize": style.SMALL_SIZE,
        "color": style.SOFT_INK,
        "transform": panel.transAxes,
    }
    panel.text(0.02, 0.03, "post before pre", ha="left", **note)
    panel.text(0.98, 0.03, "pre before post", ha="right", **note)


def impulse_responses(dt: xr.DataTree, *, max_synapses: int = 12) -> Figure:
    r"""Draw the normalised impulse response of the most probable synapses.

    .. math:: h(d) = \sum_b \theta_b \phi_b(d)

    Parameters
    ----------
    dt : xarray.DataTree
        A result with ``impulse`` (synapse, basis) and, in `constant_data`,
        ``basis_function`` (basis, lag).
    max_synapses : int, optional
        How many synapses to draw at most.

    Returns
    -------
    matplotlib.figure.Figure
        Median with 50 % and 90 % bands over the draws in which the edge exists.

    Raises
    ------
    DataError
        If the result lacks one of the two variables.
    """
    posterior = select.dataset(dt, names.POSTERIOR, "impulse")
    constant = select.dataset(dt, names.CONSTANT_DATA, "basis_function")
    basis = np.asarray(constant["basis_function"].transpose(names.BASIS, names.LAG), dtype=float)
    lag = np.asarray(constant[names.LAG].values, dtype=float) * 1e3
    labels = select.synapse_labels(posterior)
    probability = select.edge_probability(posterior)
    chosen = select.most_probable({"": posterior}, max_synapses)
    columns = min(len(chosen), 2 if len(chosen) <= 4 else 4)
    rows = ceil(len(chosen) / columns)
    small = len(chosen) > 4
    figure = style.new_figure(max((3.2 if small else 4.4) * columns, 5.6), 2.3 * rows + 0.5)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in grid[len(chosen) :]:
        panel.set_axis_off()
    colour = style.colours([select.rule_name(dt)])[select.rule_name(dt)]
    for position, (panel, label) in enumerate(zip(grid, chosen, strict=False)):
        index = labels.index(label)
        draws = select.with_edge(posterior, "impulse", index)
        if len(draws) >= MIN_DRAWS:
            draw_bands(panel, lag, select.bands(draws @ basis), colour, label)
        else:
            note_absent(panel)
        last = position + columns >= len(chosen)
        style.tidy(
            panel,
            title=f"{select.pretty(label)}   P(edge) {probability[index]:.2f}",
            x_label="lag (ms)" if last else "",
            y_label="h (1/s)" if position % columns == 0 else "",
            small=small,
        )
        panel.set_xlim(0, float(lag[-1]))
        panel.set_ylim(bottom=0)
        panel.tick_params(labelbottom=last)
    return figure
