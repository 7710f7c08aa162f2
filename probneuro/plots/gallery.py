"""All figures of a comparison or of one result, by file name, as the report shows them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from probneuro.core import names
from probneuro.plots import select
from probneuro.plots.chains import trace_rank
from probneuro.plots.curves import has_curve, impulse_responses, learning_rule_curve
from probneuro.plots.held_out import held_out_comparison
from probneuro.plots.matrices import connectivity
from probneuro.plots.trajectories import weight_trajectories


def has_synapses(dt: xr.DataTree) -> bool:
    """Tell whether a result has synaptic weights to draw; that of a single unit has none.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.

    Returns
    -------
    bool
    """
    posterior = select.dataset(dt, names.POSTERIOR)
    return "weight" in posterior and posterior.sizes.get(names.SYNAPSE, 0) > 0


def _has_basis(dt: xr.DataTree) -> bool:
    return names.CONSTANT_DATA in dt.children and "basis_function" in dt[names.CONSTANT_DATA]


def result_figures(dt: xr.DataTree, truth: Any = None, *, prefix: str = "") -> dict[str, Figure]:
    """Return every figure that one result has the variables for.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.
    truth : DataTree, Dataset or mapping, optional
        What the simulator used, to be drawn over the posterior.
    prefix : str, optional
        Put before each name, such as ``"additive_"``.

    Returns
    -------
    dict of str to Figure
        By name: ``weight_trajectories``, ``connectivity``, ``impulse_responses``,
        ``learning_rule``, ``trace_rank``.
    """
    posterior = dt[names.POSTERIOR]
    figures: dict[str, Figure] = {}
    if has_synapses(dt):
        figures["weight_trajectories"] = weight_trajectories(dt, truth)
        figures["connectivity"] = connectivity(dt)
    if has_curve(dt):
        figures["learning_rule"] = learning_rule_curve(dt)
    if has_synapses(dt) and "impulse" in posterior and _has_basis(dt):
        figures["impulse_responses"] = impulse_responses(dt)
    figures["trace_rank"] = trace_rank(dt)
    return {prefix + name: figure for name, figure in figures.items()}


def comparison_figures(
    results: Mapping[str, xr.DataTree], table: pd.DataFrame, truth: Any = None
) -> dict[str, Figure]:
    """Return the figures of a comparison: those of all rules together, then those of each.

    Parameters
    ----------
    results : mapping of str to DataTree
        Results by rule name.
    table : pandas.DataFrame
        What `probneuro.compare` returned for them.
    truth : DataTree, Dataset or mapping, optional
        What the simulator used.

    Returns
    -------
    dict of str to Figure
        ``held_out_comparison``, ``weight_trajectories``, ``learning_rules`` (if any rule has a
        curve) and, for each rule, ``<rule>_weight_trajectories`` and so on.
    """
    figures = {"held_out_comparison": held_out_comparison(results, table)}
    if all(has_synapses(dt) for dt in results.values()):
        figures["weight_trajectories"] = weight_trajectories(results, truth)
    if any(has_curve(dt) for dt in results.values()):
        figures["learning_rules"] = learning_rule_curve(results)
    for name, dt in results.items():
        figures.update(result_figures(dt, truth, prefix=f"{name}_"))
    return figures


def save_figures(figures: Mapping[str, Figure], folder: Path, *, dpi: int = 130) -> dict[str, Path]:
    """Write figures as PNG files.

    Parameters
    ----------
    figures : mapping of str to Figure
        Figures by name; the name becomes the file's.
    folder : pathlib.Path
        Made if it is not there.
    dpi : int, optional
        Resolution in dots per inch.

    Returns
    -------
    dict of str to pathlib.Path
        The files written, by the names of the figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        figure.savefig(paths[name], dpi=dpi)
    return paths
