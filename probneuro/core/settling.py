"""Whether a fit has settled, and whether its restarts agree: in numbers and in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.names import CHAIN
from probneuro.core.results import FIT_HISTORY

Floats = NDArray[np.float64]

MATERIAL: Final = 0.1
"""Nats: a shift of a normal's mean by 0.45 standard deviations costs a guide as much."""
CLEAR: Final = 4.0
"""Standard errors from which a rise is no noise; the house's bound for a fixed seed is 4.9."""
LEAST_STEPS: Final = 40
"""Shorter curves leave too few values in their last quarter."""
_BATCHES: Final = 10
_WINDOWS: Final = 40
_CURVES: Final[Mapping[str, tuple[str, str, str]]] = {
    "elbo": ("ELBO", "steps", "raise `steps`, or `learning_rate` if the curve is straight"),
    "log_density": ("log density", "iterations", "raise `iterations`"),
}


@dataclass(frozen=True)
class Settling:
    """How a curve that is being climbed ends.

    Parameters
    ----------
    level, level_error : float
        Mean of the last quarter, with its standard error.
    rise, rise_error : float
        By how much it rises in the last quarter, with its standard error.
    settled_after : int or None
        Step after which it stays at the level; None where it still rises.
    """

    level: float
    level_error: float
    rise: float
    rise_error: float
    settled_after: int | None


def settling(curve: Floats) -> Settling:
    r"""Return how a curve ends: the slope of its last quarter, and since when it is level.

    The slope is that of a line through the means of ten batches, with the standard error of
    their scatter about it. A rise counts where it is above four standard errors and 0.1 nats.

    Parameters
    ----------
    curve : numpy.ndarray
        ELBO or log density by step, shape (iteration,), at least `LEAST_STEPS` long.

    Examples
    --------
    >>> settling(-np.exp(-np.arange(400) / 20.0)).settled_after
    50
    >>> settling(0.01 * np.arange(400.0)).settled_after is None
    True
    """
    quarter = curve[3 * curve.size // 4 :]
    means = np.array([batch.mean() for batch in np.array_split(quarter, _BATCHES)])
    times = (np.arange(_BATCHES) + 0.5) / _BATCHES - 0.5
    slope = float(times @ means / (times @ times))
    rest = means - means.mean() - slope * times
    scatter = np.sqrt(rest @ rest / (_BATCHES - 2))
    rise_error = float(scatter / np.sqrt(times @ times))
    level, error = float(means.mean()), float(scatter / np.sqrt(_BATCHES))
    if slope > max(CLEAR * rise_error, MATERIAL):
        return Settling(level, error, slope, rise_error, None)
    return Settling(level, error, slope, rise_error, _since(curve, level))


def _since(curve: Floats, level: float) -> int:
    """Return the first step from which the means of windows stay about a level."""
    windows = np.array_split(curve, min(_WINDOWS, curve.size // 2))
    tail = windows[3 * len(windows) // 4 :]
    noise = float(np.std([window.mean() for window in tail], ddof=1))
    away = [abs(window.mean() - level) > max(MATERIAL, CLEAR * noise) for window in windows]
    last = max((i for i, far in enumerate(away) if far), default=-1)
    return sum(window.size for window in windows[: last + 1])


def is_fit(result: xr.DataTree) -> bool:
    """Whether a result's chains are restarts of a fit, with a curve that was climbed."""
    if FIT_HISTORY not in result.children:
        return False
    return any(name in result[FIT_HISTORY].data_vars for name in _CURVES)


def settling_of(result: xr.DataTree) -> list[tuple[str, list[Settling]]]:
    """Return how each curve of a result's ``fit_history`` ends, one entry a restart.

    Curves with numbers that are not finite, and short ones, are left out.
    """
    if not is_fit(result):
        return []
    found, history = [], result[FIT_HISTORY].to_dataset()
    for name in _CURVES:
        if name in history and history[name].dims[:1] == (CHAIN,):
            values = np.asarray(history[name].values, dtype=np.float64)
            if values.shape[1] >= LEAST_STEPS and np.isfinite(values).all():
                found.append((name, [settling(curve) for curve in values]))
    return found


def fit_findings(result: xr.DataTree) -> list[str]:
    """Say what is wrong with a fit: curves that still rise, restarts that end apart.

    Parameters
    ----------
    result : xarray.DataTree
        With group ``fit_history``, as SVI and EM leave it.

    Returns
    -------
    list of str
        Empty when all is well, or there is no such group.
    """
    findings = []
    for name, ends in settling_of(result):
        words, unit, cure = _CURVES[name]
        rising = [end for end in ends if end.settled_after is None]
        if rising:
            worst = max(rising, key=lambda end: end.rise)
            length = result[f"{FIT_HISTORY}/{name}"].shape[1]
            per_hundred = 100.0 * worst.rise / (length / 4)
            findings.append(
                f"The {words} still rises by {per_hundred:.2g} per 100 {unit} in {len(rising)} of "
                f"{len(ends)} restarts: {cure}."
            )
            continue
        best = max(ends, key=lambda end: end.level)
        behind = [
            best.level - end.level
            for end in ends
            if best.level - end.level
            > MATERIAL + CLEAR * np.hypot(best.level_error, end.level_error)
        ]
        if behind:
            findings.append(
                f"The restarts end apart: {len(behind)} of {len(ends)} stay up to "
                f"{max(behind):.3g} below the best {words}, {best.level:.5g}. There are several "
                "optima, or too few steps: keep the best restart, and run more of them."
            )
    return findings


def fit_summary(result: xr.DataTree) -> list[str]:
    """Say since when a fit is settled, and that its restarts agree; nothing where not.

    Examples
    --------
    >>> from probneuro.core.results import build_result
    >>> curve = -np.exp(-np.arange(400) / 20.0) * np.ones((2, 1))
    >>> dims = {"fit_history/elbo": ["chain", "iteration"]}
    >>> fit_summary(build_result({}, dims=dims, groups={"fit_history": {"elbo": curve}}))
    ['The ELBO settled after 50 of 400 steps; the 2 restarts agree.']
    """
    if fit_findings(result):
        return []
    lines = []
    for name, ends in settling_of(result):
        words, unit, _ = _CURVES[name]
        after = max(end.settled_after or 0 for end in ends)
        length = result[f"{FIT_HISTORY}/{name}"].shape[1]
        others = f"; the {len(ends)} restarts agree" if len(ends) > 1 else ""
        lines.append(f"The {words} settled after {after} of {length} {unit}{others}.")
    return lines
