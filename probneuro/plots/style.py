"""The look of every figure: colours that colour-blind readers tell apart, no chartjunk."""

from collections.abc import Iterable
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe & Ito (2008), "Color universal design": eight colours safe for common colour blindness.
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#AA4499"
AMBER: Final = "#E69F00"
SKY: Final = "#56B4E9"
INK: Final = "#22262B"
SOFT_INK: Final = "#5B6470"
FAINT: Final = "#D9DDE2"
SHADE: Final = "#EEF0F3"

RULE_COLOURS: Final = {
    "static": "#6B7580",
    "additive": BLUE,
    "multiplicative": VERMILION,
    "additive_bounded": SKY,
    "bounded": SKY,
    "triplet": PURPLE,
    "pair_kernel": AMBER,
    "random_walk": GREEN,
    "oja": GREEN,
}
CHAIN_COLOURS: Final = (BLUE, AMBER, GREEN, PURPLE, SKY, VERMILION)
SEQUENTIAL: Final = "Blues"
DIVERGING: Final = "RdBu_r"

TITLE_SIZE: Final = 12.0
LABEL_SIZE: Final = 11.0
TICK_SIZE: Final = 9.5
SMALL_SIZE: Final = 8.5
OUTER_ALPHA: Final = 0.18
INNER_ALPHA: Final = 0.32


def colours(names: Iterable[str]) -> dict[str, str]:
    """Give each rule its colour: always the same for known rules, unused ones for the rest.

    Parameters
    ----------
    names : iterable of str
        Rule names.

    Returns
    -------
    dict of str to str
        Hexadecimal colour by name.

    Examples
    --------
    >>> colours(["static", "mine"])["mine"] != colours(["static", "mine"])["static"]
    True
    """
    names = list(names)
    chosen = {name: RULE_COLOURS[name] for name in names if name in RULE_COLOURS}
    spare = [c for c in (*CHAIN_COLOURS, INK) if c not in chosen.values()]
    for position, name in enumerate(n for n in names if n not in chosen):
        chosen[name] = spare[position % len(spare)]
    return {name: chosen[name] for name in names}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of a size in inches, without touching pyplot.

    Parameters
    ----------
    width, height : float
        Size in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With constrained layout.

    Examples
    --------
    >>> new_figure(4, 3).get_size_inches().tolist()
    [4.0, 3.0]
    """
    engine = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.04)
    return Figure(figsize=(width, height), layout=engine, facecolor="white", dpi=110)


def tidy(
    axes: Axes, *, title: str = "", x_label: str = "", y_label: str = "", small: bool = False
) -> None:
    """Bring one panel into the house style: two spines, soft ticks, readable labels.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The panel.
    title, x_label, y_label : str, optional
        Its texts; an empty one is left out.
    small : bool, optional
        Whether the panel is one of many and takes smaller letters.
    """
    shrink = 1.5 if small else 0.0
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(SOFT_INK)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(
        labelsize=TICK_SIZE - shrink * 0.7, colors=SOFT_INK, labelcolor=INK, length=3, width=0.8
    )
    if title:
        axes.set_title(title, fontsize=TITLE_SIZE - shrink, color=INK, loc="left")
    if x_label:
        axes.set_xlabel(x_label, fontsize=LABEL_SIZE - shrink * 0.7, color=INK)
    if y_label:
        axes.set_ylabel(y_label, fontsize=LABEL_SIZE - shrink * 0.7, color=INK)
