"""Curves over lag: what a learning rule does to a weight, and a synapse's impulse response."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probneuro.core import names
from probneuro.core.errors import SettingError
from probneuro.plots import select, style
from probneuro.plots.trajectories import MIN_DRAWS, draw_bands, note_absent

PAIR_PARAMETERS = ("amplitude_plus", "amplitude_minus", "tau_plus", "tau_minus")
_TRUTH: Mapping[str, Any] = {"color": style.INK, "linewidth": 1.3, "linestyle": (0, (4, 2))}


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
    return _has_curve(select.dataset(dt, names.POSTERIOR), _functions(dt))


def _has_curve(parameters: Mapping[Any, Any], functions: xr.DataArray | None) -> bool:
    kernel = () if functions is None else functions[names.KERNEL].values.tolist()
    return all(name in parameters for name in PAIR_PARAMETERS) or (
        bool(kernel) and all(name in parameters for name in kernel)
    )


def _functions(dt: xr.DataTree) -> xr.DataArray | None:
    """Return the functions that a rule of free shape combines, (kernel, pair_lag)."""
    if names.CONSTANT_DATA not in dt.children:
        return None
    constant = dt.children[names.CONSTANT_DATA].to_dataset()
    if "kernel_function" not in constant:
        return None
    return constant["kernel_function"].transpose(names.KERNEL, names.PAIR_LAG)


def learning_rule_curve(
    dt: xr.DataTree | select.Results,
    truth: Any = None,
    *,
    max_lag: float = 0.1,
    points: int = 200,
    max_groups: int = 12,
) -> Figure:
    r"""Draw the weight change that one pair of spikes causes, against the time between them.

    .. math:: \Delta w = A_+ e^{-\Delta t / \tau_+} \;(\Delta t > 0), \qquad
              \Delta w = -A_- e^{\Delta t / \tau_-} \;(\Delta t < 0)

    with :math:`\Delta t` the time of the postsynaptic minus that of the presynaptic spike, or a
    sum of bumps for a rule of free shape. For a multiplicative rule the ordinate is the fraction
    of the distance to the bound that the pair closes (at most one); for a triplet rule the pair
    is an isolated one.

    Parameters
    ----------
    dt : DataTree or mapping of str to DataTree
        One result or several by rule name; every rule and every rule group gets a panel.
    truth : DataTree, Dataset or mapping, optional
        What the simulator used, drawn over the posterior if it has a curve: a double
        exponential, or a sum of the result's own bumps. It need not be the rule of the result,
        but one is a fraction or a weight change as the other is.
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
    # From just above zero: the two branches do not meet there.
    side = np.linspace(max_lag / (10 * points), max_lag, points)
    lags = np.concatenate([side, -side[::-1]])
    for panel, (name, group) in zip(grid, panels, strict=False):
        tree, fraction = results[name], _is_fraction(name, results[name])
        posterior, functions = select.dataset(tree, names.POSTERIOR), _functions(tree)
        change = _curves(posterior, functions, group, lags, fraction)
        true = _true_curve(truth, functions, group, lags, fraction)
        _draw_curve(panel, lags, change, palette[name], name, true)
        groups = posterior.sizes.get(names.RULE_GROUP, 1)
        which = f", {posterior[names.RULE_GROUP].values[group]}" if groups > 1 else ""
        _label_curve(panel, f"{name}{which}", fraction)
    return figure


def _num_groups(dt: xr.DataTree) -> int:
    return int(select.dataset(dt, names.POSTERIOR).sizes.get(names.RULE_GROUP, 1))


def _is_fraction(name: str, dt: xr.DataTree) -> bool:
    return "multiplicative" in (name, select.rule_name(dt))


def _curves(
    parameters: Mapping[Any, Any],
    functions: xr.DataArray | None,
    group: int,
    lags: NDArray[np.float64],
    fraction: bool,
) -> NDArray[np.float64]:
    """Return a group's curves at some lags, shape (draw, lag)."""
    if functions is not None and functions[names.KERNEL].values[0] in parameters:
        values = [_of_group(parameters[k], group) for k in functions[names.KERNEL].values]
        at, bumps = functions[names.PAIR_LAG].values, np.asarray(functions, dtype=float)
        own = np.zeros((len(bumps), lags.size))
        for later in (lags > 0, lags < 0):  # the curve may jump at zero
            branch = at * np.sign(lags[later][0]) > 0
            for b, bump in enumerate(bumps):
                inside = np.interp(lags[later], at[branch], bump[branch])
                own[b, later] = np.where(np.abs(lags[later]) <= np.abs(at).max(), inside, 0.0)
        combined: NDArray[np.float64] = np.stack(values, axis=1) @ own
        return combined
    plus, minus, tau_plus, tau_minus = (
        _of_group(parameters[name], group)[:, None] for name in PAIR_PARAMETERS
    )
    lag = np.abs(lags)
    up, down = plus * np.exp(-lag / tau_plus), minus * np.exp(-lag / tau_minus)
    if fraction:
        up, down = np.minimum(up, 1.0), np.minimum(down, 1.0)
    return np.where(lags > 0, up, -down)


def _of_group(values: Any, group: int) -> NDArray[np.float64]:
    """Return a parameter of one group, shape (draw,); a truth has one draw."""
    if isinstance(values, xr.DataArray):
        if names.RULE_GROUP in values.dims:
            values = values.isel({names.RULE_GROUP: min(group, values.sizes[names.RULE_GROUP] - 1)})
        if names.CHAIN in values.dims:
            return select.flat(values)
    array = np.atleast_1d(np.asarray(values, dtype=float))
    return array[min(group, array.size - 1)][None]


def _true_curve(
    truth: Any,
    functions: xr.DataArray | None,
    group: int,
    lags: NDArray[np.float64],
    fraction: bool,
) -> NDArray[np.float64] | None:
    """Return the true curve, None where there is none."""
    if isinstance(truth, Mapping) and names.TRUTH in truth:
        truth = truth[names.TRUTH]
    if not isinstance(truth, Mapping) or not _has_curve(truth, functions):
        return None
    return _curves(truth, functions, group, lags, fraction)[0]


def _draw_curve(
    panel: Axes,
    lags: NDArray[np.float64],
    change: NDArray[np.float64],
    colour: str,
    name: str,
    true: NDArray[np.float64] | None,
) -> None:
    panel.axhline(0, color=style.SOFT_INK, linewidth=0.8, zorder=1)
    panel.axvline(0, color=style.FAINT, linewidth=0.8, zorder=1)
    limit = 0.0
    for branch in (lags > 0, lags < 0):
        levels = select.bands(change[:, branch])
        draw_bands(panel, lags[branch] * 1e3, levels, colour, name)
        limit = max(limit, float(np.abs(levels).max()))
        if true is not None:
            panel.plot(lags[branch] * 1e3, true[branch], zorder=5, label="truth", **_TRUTH)
            limit = max(limit, float(np.abs(true[branch]).max()))
    panel.set_ylim(-1.08 * limit, 1.08 * limit)
    panel.set_xlim(-lags.max() * 1e3, lags.max() * 1e3)


def _label_curve(panel: Axes, title: str, fraction: bool) -> None:
    panel.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    panel.yaxis.get_offset_text().set_fontsize(style.SMALL_SIZE)
    style.tidy(
        panel,
        title=title,
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
