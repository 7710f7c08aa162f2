"""What a theorist asks of a distribution of solutions: directions, conditions, comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.entropy import HasSimulator
from probneuro.core.entropy_verdict import PARAMETER
from probneuro.core.errors import DataError, SettingError
from probneuro.core.names import CONSTANT_DATA, POSTERIOR
from probneuro.data.behaviour import Behaviour

Floats = NDArray[np.float64]

_STEP: Final = 1e-3


@dataclass(frozen=True)
class Directions:
    """Directions from a point in which the behaviour changes, the stiffest first.

    Parameters
    ----------
    curvatures : numpy.ndarray
        Eigenvalues of the Hessian of minus the log density, shape (direction,), each parameter
        measured in widths of its bounds. A small one is a direction of degeneracy.
    vectors : numpy.ndarray
        Shape (direction, parameter), of unit length.
    parameters : tuple of str
        Names of the columns.
    """

    curvatures: Floats
    vectors: Floats
    parameters: tuple[str, ...]


def directions(
    model: HasSimulator,
    behaviour: Behaviour,
    multipliers: Floats,
    point: Mapping[str, float],
    *,
    step: float = _STEP,
) -> Directions:
    r"""Return local directions of sensitivity and degeneracy at a point.

    .. math:: \nabla^2 (-\log p^*(z)) = \nabla^2 (\eta^* \cdot T(z))

    by central differences through the simulator, so that it is that of the distribution sought
    and not of the flow that stands for it.

    Parameters
    ----------
    model : HasSimulator
        A DSN whose simulator draws no random numbers, or the same ones.
    behaviour : Behaviour
        What was asked for.
    multipliers : numpy.ndarray
        Shape (statistic,), as in group ``max_entropy`` of a result.
    point : mapping of str to float
        A value for every parameter.
    step : float
        Step of the differences, in widths of the bounds.

    Returns
    -------
    Directions

    Raises
    ------
    DataError
        If a simulation beside the point fails.

    Examples
    --------
    >>> from probneuro.models.dsn import DSN
    >>> box = Behaviour({"x": (0.0, 1.0), "y": (0.0, 1.0)}, {"sum": 1.0}, {"sum": 0.01})
    >>> model = DSN(lambda z: {"sum": z["x"] + z["y"]})
    >>> found = directions(model, box, np.array([0.0, 50.0]), {"x": 0.5, "y": 0.5})
    >>> found.curvatures.round(2).tolist()
    [200.0, 0.0]
    """
    centre = np.array([point[name] for name in behaviour.parameters])
    width = behaviour.upper - behaviour.lower
    size = len(centre)
    unit = step * np.eye(size)
    pairs = [(i, j) for i in range(size) for j in range(i, size)]
    moves = [a * unit[i] + b * unit[j] for i, j in pairs for a in (1, -1) for b in (1, -1)]
    values = centre + np.array(moves) * width
    features = model.simulate(behaviour, values, np.random.default_rng(0))
    energy = behaviour.statistics(features) @ multipliers
    if not np.isfinite(energy).all():
        raise DataError(
            f"`point` lies at the edge of what can be simulated: {np.isnan(energy).sum()} of "
            f"{len(energy)} simulations beside it failed. Choose another, or a smaller `step`."
        )
    hessian = np.zeros((size, size))
    for (i, j), (pp, pm, mp, mm) in zip(pairs, energy.reshape(-1, 4), strict=True):
        hessian[i, j] = hessian[j, i] = (pp - pm - mp + mm) / (4.0 * step**2)
    curvatures, vectors = np.linalg.eigh(hessian)
    order = np.argsort(-np.abs(curvatures))
    return Directions(curvatures[order], vectors[:, order].T, behaviour.parameters)


def conditional(
    result: xr.DataTree, given: Mapping[str, float], *, width: float = 0.05
) -> tuple[Floats, Floats]:
    """Return draws with weights that hold some parameters near given values.

    Parameters
    ----------
    result : xarray.DataTree
        Of a DSN.
    given : mapping of str to float
        Values by parameter.
    width : float
        Standard deviation of the Gaussian kernel, as a share of the parameter's bounds.

    Returns
    -------
    draws : numpy.ndarray
        Shape (draw, parameter), of all restarts.
    weights : numpy.ndarray
        Shape (draw,), adding up to one.

    Raises
    ------
    SettingError
        If a parameter is unknown, or no draw comes near the values.
    """
    z = result[POSTERIOR].to_dataset()["z"]
    labels = [str(label) for label in z[PARAMETER].values]
    draws = z.values.reshape(-1, len(labels))
    constant = result[CONSTANT_DATA].to_dataset()
    span = constant["upper"].values - constant["lower"].values
    score = np.zeros(len(draws))
    for name, value in given.items():
        if name not in labels:
            raise SettingError(f"`given` holds '{name}'. The result has {', '.join(labels)}.")
        place = labels.index(name)
        score -= 0.5 * ((draws[:, place] - value) / (width * span[place])) ** 2
    if score.max() < -8.0:
        raise SettingError(
            f"`given` {dict(given)} is more than four kernel widths from every draw. Choose other "
            "values, a larger `width`, or more draws."
        )
    weights = np.exp(score - score.max())
    return draws, weights / weights.sum()


def compare_behaviours(first: xr.DataTree, second: xr.DataTree) -> dict[str, float]:
    """Return by parameter how far two results' marginals are apart (Kolmogorov-Smirnov).

    Parameters
    ----------
    first, second : xarray.DataTree
        Results of DSNs on the same parameters.

    Returns
    -------
    dict of str to float
        Largest difference of the distribution functions, between 0 and 1, the most different
        parameter first.

    Raises
    ------
    DataError
        If the parameters differ.
    """
    from scipy.stats import ks_2samp

    one, other = (result[POSTERIOR].to_dataset()["z"] for result in (first, second))
    labels = [str(label) for label in one[PARAMETER].values]
    others = [str(label) for label in other[PARAMETER].values]
    if labels != others:
        raise DataError(f"The results have other parameters: {labels} and {others}.")
    distances = {
        label: float(
            ks_2samp(
                one.sel({PARAMETER: label}).values.ravel(),
                other.sel({PARAMETER: label}).values.ravel(),
            ).statistic
        )
        for label in labels
    }
    return dict(sorted(distances.items(), key=lambda pair: -pair[1]))


def predictive_check(
    model: HasSimulator, behaviour: Behaviour, result: xr.DataTree, *, seed: int = 1
) -> dict[str, tuple[float, float, float]]:
    """Simulate the draws anew, and return target, mean and standard error of every statistic.

    Parameters
    ----------
    model : HasSimulator
        The DSN, with another simulator of the same parameters if you like: a finer one.
    behaviour : Behaviour
        What was asked for.
    result : xarray.DataTree
        Of the fit.
    seed : int
        Of the simulations.
    """
    z = result[POSTERIOR].to_dataset()["z"].values
    values = z.reshape(-1, z.shape[-1])
    features = model.simulate(behaviour, values, np.random.default_rng(seed))
    statistics = behaviour.statistics(features)
    good = statistics[np.isfinite(statistics).all(axis=1)]
    errors = good.std(axis=0) / np.sqrt(len(good))
    rows = zip(behaviour.targets, good.mean(axis=0), errors, strict=True)
    return {
        name: (float(target), float(mean), float(error))
        for name, (target, mean, error) in zip(behaviour.statistic_names, rows, strict=True)
    }
