"""Point estimates: how they are climbed to, and how a result holds them."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize

from probneuro.core.engine import RunOptions
from probneuro.core.gibbs import SmoothConditional
from probneuro.core.names import CHAIN, PARAMETERS
from probneuro.core.results import FIT_HISTORY
from probneuro.inference.runner import ChainDraws, chains_result

Floats = NDArray[np.float64]

ITERATION: Final = "iteration"
_FAR: Final = 1e100
"""Loss where there is no density: finite, so that the line search can turn back."""


def maximise(density: SmoothConditional, position: Floats, steps: int) -> Floats:
    """Climb a density by L-BFGS, and never end below the start.

    Parameters
    ----------
    density : SmoothConditional
        Log density and gradient.
    position : numpy.ndarray
        Where to start, shape (dimension,).
    steps : int
        Most L-BFGS steps.

    Returns
    -------
    numpy.ndarray
        The highest position met; the start itself where none was higher.

    Examples
    --------
    >>> class Bell(SmoothConditional):
    ...     def value_and_gradient(self, position):
    ...         return -float((position - 2.0) @ (position - 2.0)), -2.0 * (position - 2.0)
    >>> maximise(Bell(), np.zeros(1), 20).round(3)
    array([2.])
    """

    best, lowest = position, np.inf

    def loss(place: Floats) -> tuple[float, Floats]:
        nonlocal best, lowest
        value, gradient = density.value_and_gradient(place)
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            return _FAR, np.zeros_like(place)
        if -value < lowest:
            best, lowest = (place.copy() if np.isfinite(lowest) else position), -value
        return -value, -gradient

    with np.errstate(over="ignore", invalid="ignore"):
        minimize(loss, position, jac=True, method="L-BFGS-B", options={"maxiter": steps})
    return best


def point_result(
    chains: ChainDraws,
    options: RunOptions,
    *,
    estimates: Collection[str],
    dims: Mapping[str, list[Any]],
) -> xr.DataTree:
    """Return the result of a fit: its warm-up steps are iterations, its draws are of latents.

    Parameters
    ----------
    chains : ChainDraws
        With the warm-up kept; its statistics are the fit's history.
    options : RunOptions
        Of the run.
    estimates : collection of str
        Variables that are the same in all draws of a chain.
    dims : mapping
        Names of the dimensions of every variable.

    Returns
    -------
    xarray.DataTree
        Groups ``parameters`` (chain, draw of length one), ``fit_history`` (chain, iteration),
        ``posterior`` and ``sample_stats``.
    """
    history, known = chains.warmup_sample_stats, {**dims, **options.dims}
    named = {
        f"{FIT_HISTORY}/{name}": [CHAIN, ITERATION, *_filled(name, values, known.get(name))]
        for name, values in history.items()
    }
    points = {name: chains.posterior[name][:, -1:] for name in estimates}
    plain = replace(chains, warmup_posterior={}, warmup_sample_stats={})
    groups = {FIT_HISTORY: history, PARAMETERS: points}
    return chains_result(plain, options, dims={**dims, **named}, groups=groups)


def _filled(name: str, values: NDArray[Any], dims: Any) -> list[str]:
    """Return the names of a variable's own dimensions, as ArviZ fills them in."""
    given = list(dims or [None] * (values.ndim - 2))
    return [dim or f"{name}_dim_{axis}" for axis, dim in enumerate(given)]
