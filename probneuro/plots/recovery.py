"""Whether the rule that made the spikes predicts them best, over several recordings."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from probneuro.core.errors import DataError
from probneuro.plots import style


def recovery_dots(scores: Mapping[str, ArrayLike], rules: Sequence[str]) -> Figure:
    """Draw held-out scores of every fitted rule minus those of the true one.

    Parameters
    ----------
    scores : mapping of str to array_like
        By the true rule, held-out log-likelihoods (recording, rule), in nats.
    rules : sequence of str
        The fitted rules, as the columns are.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each truth: a dot a recording, and the mean with one paired standard error.

    Raises
    ------
    DataError
        If a truth is not among the fitted rules.

    Examples
    --------
    >>> figure = recovery_dots({"static": [[-3.0, -4.0], [-5.0, -5.5]]}, ["static", "additive"])
    >>> len(figure.axes)
    1
    """
    missing = [truth for truth in scores if truth not in rules]
    if missing:
        raise DataError(f"`scores` has '{missing[0]}', which `rules` lacks. Name every column.")
    figure = style.new_figure(max(3.6 * len(scores), 5.0), 3.2)
    grid = figure.subplots(1, len(scores), squeeze=False, sharey=True).ravel()
    palette = style.colours(rules)
    for panel, (truth, given) in zip(grid, scores.items(), strict=True):
        values = np.asarray(given, dtype=float)
        gaps = values - values[:, [rules.index(truth)]]
        panel.axvline(0.0, color=style.FAINT, linewidth=0.8, zorder=1)
        for row, rule in enumerate(rules):
            spread = np.linspace(-0.12, 0.12, len(gaps)) if len(gaps) > 1 else np.zeros(1)
            panel.plot(gaps[:, row], row + spread, ".", color=palette[rule], alpha=0.45, zorder=2)
            error = gaps[:, row].std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else None
            panel.errorbar(
                gaps[:, row].mean(), row, xerr=error, fmt="o", color=palette[rule], zorder=3
            )
        panel.set_yticks(range(len(rules)), rules)
        panel.set_ylim(len(rules) - 0.5, -0.5)
        style.tidy(
            panel, title=f"truth: {truth}", x_label="held-out score minus the truth's (nats)"
        )
    return figure
