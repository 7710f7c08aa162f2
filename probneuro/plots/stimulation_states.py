"""Latents before and after alignment, suitability on the grid, and errors over trials."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from probneuro.core.errors import DataError
from probneuro.plots import style


def latent_trajectories(
    reference: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
    *,
    dimensions: tuple[int, int] = (0, 1),
    conditions: tuple[ArrayLike, ArrayLike] | None = None,
) -> Figure:
    """Draw the latents of one session over those of the reference, before and after alignment.

    Parameters
    ----------
    reference : array_like
        Latents of the reference session, shape (trial, time, latent).
    before, after : array_like
        Latents of another session, not aligned and aligned, shape (trial, time, latent).
    dimensions : tuple of int
        The two dimensions to draw.
    conditions : tuple of array_like, optional
        What the task asked for in each trial of the reference and of the other session, shape
        (trial,); the mean path of each is drawn bold, that of all trials by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If a dimension is not there.
    """
    base = _checked("reference", reference, dimensions)
    figure = style.new_figure(8.0, 4.0)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, title, values in ((left, "before", before), (right, "after", after)):
        moved = _checked(title, values, dimensions)
        kinds = conditions or (np.zeros(len(base)), np.zeros(len(moved)))
        for label, data, asked, colour in (
            ("reference", base, np.asarray(kinds[0]), style.INK),
            ("other session", moved, np.asarray(kinds[1]), style.VERMILION),
        ):
            for trial in data[:40]:
                axes.plot(trial[:, 0], trial[:, 1], color=colour, alpha=0.08, linewidth=0.7)
            for number, kind in enumerate(np.unique(asked)):
                mean = data[asked == kind].mean(axis=0)
                name = label if number == 0 else None
                axes.plot(mean[:, 0], mean[:, 1], color=colour, linewidth=2.0, label=name)
        names = [f"latent {d}" for d in dimensions]
        style.tidy(axes, title=f"{title} alignment", x_label=names[0], y_label=names[1])
    right.legend(frameon=False, fontsize=style.SMALL_SIZE)
    return figure


def suitability_maps(
    suitability: ArrayLike,
    candidates: ArrayLike,
    grid: tuple[int, int],
    labels: ArrayLike,
    *,
    num_stimulated: int = 5,
) -> Figure:
    """Draw the suitability of every candidate on the electrode grid, one panel a moment.

    Parameters
    ----------
    suitability : array_like
        Shape (moment, candidate), between 0 and 1.
    candidates : array_like of int
        Grid index of the candidates.
    grid : tuple of int
        Height and width.
    labels : array_like of str
        Title of each panel.
    num_stimulated : int
        The most suitable ones, which are ringed.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If shapes do not fit.
    """
    values, places = np.asarray(suitability, float), np.asarray(candidates, dtype=int)
    titles = [str(label) for label in np.asarray(labels)]
    if values.ndim != 2 or values.shape != (len(titles), len(places)):
        raise DataError(
            f"`suitability` must have shape (moment, candidate) = ({len(titles)}, {len(places)}); "
            f"got {values.shape}. Give one row a label."
        )
    figure = style.new_figure(2.6 * len(titles) + 0.8, 2.9)
    panels = np.atleast_1d(figure.subplots(1, len(titles), squeeze=False)[0])
    image = None
    for axes, row, title in zip(panels, values, titles, strict=True):
        plane = np.full(grid[0] * grid[1], np.nan)
        plane[places] = row
        image = axes.imshow(plane.reshape(grid), cmap=style.SEQUENTIAL, vmin=0, vmax=1)
        best = places[np.argsort(-row, kind="stable")[:num_stimulated]]
        axes.scatter(
            best % grid[1], best // grid[1], s=60, facecolors="none", edgecolors=style.VERMILION
        )
        axes.set_xticks([])
        axes.set_yticks([])
        style.tidy(axes, title=title, small=True)
    if image is not None:
        figure.colorbar(image, ax=list(panels), shrink=0.8, label="suitability")
    return figure


def error_over_trials(errors: Mapping[str, ArrayLike], *, window: int = 20) -> Figure:
    """Draw each method's distance from the target over a session.

    Parameters
    ----------
    errors : mapping of str to array_like
        L1 distance by method, shape (session, trial).
    window : int
        Trials that are averaged.

    Returns
    -------
    matplotlib.figure.Figure
        Left: running means over sessions. Right: second-half means of every session.

    Raises
    ------
    DataError
        If there is no method, or shapes differ.

    Examples
    --------
    >>> len(error_over_trials({"random": np.ones((2, 40))}).axes)
    2
    """
    arrays = {name: np.asarray(values, float) for name, values in errors.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or any(len(shape) != 2 for shape in shapes):
        raise DataError(
            "`errors` must hold one array (session, trial) of the same shape a method; got "
            f"{sorted(shapes)}."
        )
    figure = style.new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=[1.4, 1.0])
    known, drawn = style.colours(arrays), set()
    for place, (name, values) in enumerate(arrays.items()):
        # Where colours run out, those that come again are dashed.
        dash = "--" if known[name] in drawn else "-"
        drawn.add(known[name])
        width = min(window, values.shape[1])
        mean = np.convolve(values.mean(axis=0), np.ones(width) / width, mode="valid")
        label = name.replace("_", " ")
        times = np.arange(len(mean)) + width
        left.plot(times, mean, dash, color=known[name], label=label)
        half = values[:, values.shape[1] // 2 :].mean(axis=1)
        right.scatter(half, np.full(len(half), place), s=12, color=known[name], alpha=0.7)
        right.scatter([half.mean()], [place], s=60, marker="|", color=style.INK)
    style.tidy(left, x_label="trial", y_label="L1 error", title="over a session")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside upper left", ncols=5, frameon=False,
        fontsize=style.SMALL_SIZE,
    )  # fmt: skip
    right.set_yticks(range(len(arrays)), [name.replace("_", " ") for name in arrays])
    right.invert_yaxis()
    style.tidy(right, x_label="L1 error, second half", title="each session")
    return figure


def _checked(name: str, values: ArrayLike, dimensions: tuple[int, int]) -> np.ndarray:
    array = np.asarray(values, float)
    if array.ndim != 3 or max(dimensions) >= array.shape[2]:
        raise DataError(
            f"`{name}` must have shape (trial, time, latent) with dimensions {dimensions}; got "
            f"{array.shape}."
        )
    return array[..., list(dimensions)]
