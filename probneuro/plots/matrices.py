"""Who is connected to whom: edge probability and mean weight as matrices."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from probneuro.core import names
from probneuro.plots import select, style

MAX_ANNOTATED = 10
"""Up to this many neurons the numbers are written into the cells."""


def connectivity_matrices(
    posterior: xr.Dataset,
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Return edge probability and mean weight among edges as matrices.

    Parameters
    ----------
    posterior : xarray.Dataset
        Group `posterior` with ``weight``.

    Returns
    -------
    neurons : list of str
        Row and column labels.
    probability : array, shape (pre, post)
        Posterior edge probability; NaN where the model has no such synapse.
    weight : array, shape (pre, post)
        Mean over windows and over the draws with the edge; NaN where no draw has it.
    """
    ends = [select.ends(posterior, index) for index in range(posterior.sizes[names.SYNAPSE])]
    pre, post = [end[0] for end in ends], [end[1] for end in ends]
    if names.NEURON in posterior.coords:
        neurons = [str(name) for name in posterior[names.NEURON].values]
    else:
        neurons = list(dict.fromkeys([*pre, *post]))
    place = {name: index for index, name in enumerate(neurons)}
    probability = np.full((len(neurons), len(neurons)), np.nan)
    weight = np.full_like(probability, np.nan)
    edges = select.edge_probability(posterior)
    for index, (source, target) in enumerate(zip(pre, post, strict=True)):
        cell = place[source], place[target]
        probability[cell] = edges[index]
        draws = select.with_edge(posterior, "weight", index)
        if len(draws):
            weight[cell] = draws.mean()
    return neurons, probability, weight


def connectivity(dt: xr.DataTree, *, min_probability: float = 0.5) -> Figure:
    """Draw edge probabilities and mean weights, presynaptic neurons in rows.

    Parameters
    ----------
    dt : xarray.DataTree
        A result with ``weight`` and, if edges were inferred, ``edge``.
    min_probability : float, optional
        Weights of less probable edges are left out: their mean says nothing about the network.

    Returns
    -------
    matplotlib.figure.Figure
        Left: posterior probability of each edge. Right: mean weight over windows and over the
        draws with the edge. Grey cells hold no synapse, or one too improbable for a weight.

    Raises
    ------
    DataError
        If the result lacks weights.
    """
    posterior = select.dataset(dt, names.POSTERIOR, "weight")
    neurons, probability, weight = connectivity_matrices(posterior)
    side = float(np.clip(2.2 + 0.22 * len(neurons), 3.0, 7.5))
    figure = style.new_figure(2 * side + 2.0, side + 0.7)
    left, right = figure.subplots(1, 2)
    image = left.imshow(probability, cmap=style.SEQUENTIAL, vmin=0, vmax=1)
    _finish(figure, left, image, neurons, "edge probability")
    weight = np.where(probability >= min_probability, weight, np.nan)
    finite = np.abs(weight[np.isfinite(weight)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    image = right.imshow(weight, cmap=style.DIVERGING, vmin=-limit, vmax=limit)
    _finish(figure, right, image, neurons, f"mean weight where P(edge) ≥ {min_probability:g}")
    if len(neurons) <= MAX_ANNOTATED:
        _annotate(left, probability, 0.55)
        _annotate(right, weight, 0.6 * limit)
    return figure


def draw_matrix(
    figure: Figure,
    panel: Axes,
    values: NDArray[np.float64],
    neurons: list[str],
    title: str,
    *,
    low: float = 0.0,
    high: float = 1.0,
    annotate: bool = True,
) -> None:
    """Draw one matrix of pairs of neurons, presynaptic ones in rows.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    panel : matplotlib.axes.Axes
        Where to draw.
    values : array, shape (pre, post)
        NaN is left grey.
    neurons : list of str
        Labels.
    title : str
        Written above.
    low, high : float, optional
        Ends of the colours.
    annotate : bool, optional
        Whether to write the numbers into the cells.
    """
    image = panel.imshow(values, cmap=style.SEQUENTIAL, vmin=low, vmax=high)
    _finish(figure, panel, image, neurons, title)
    if annotate:
        _annotate(panel, values, low + 0.55 * (high - low))


def _finish(figure: Figure, panel: Axes, image: AxesImage, neurons: list[str], title: str) -> None:
    size = style.TICK_SIZE if len(neurons) <= 12 else 7.0
    panel.set_facecolor(style.FAINT)
    ticks = np.arange(len(neurons))
    crowded = len(neurons) > 6 or max(map(len, neurons)) > 5
    style.tidy(panel, title=title, x_label="postsynaptic", y_label="presynaptic")
    panel.set_xticks(ticks, neurons, fontsize=size, rotation=90 if crowded else 0)
    panel.set_yticks(ticks, neurons, fontsize=size)
    panel.set_xticks(ticks[:-1] + 0.5, minor=True)
    panel.set_yticks(ticks[:-1] + 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=2.0 if len(neurons) <= 20 else 1.4)
    panel.tick_params(which="both", length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=panel, shrink=0.8, aspect=22, pad=0.02)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=style.SMALL_SIZE, length=2, colors=style.SOFT_INK)


def _annotate(panel: Axes, values: NDArray[np.float64], dark_from: float) -> None:
    size = style.LABEL_SIZE if len(values) <= 5 else style.SMALL_SIZE
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if abs(value) >= dark_from else style.INK
            text = f"{value:.2f}"
            panel.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
