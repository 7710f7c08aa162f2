"""Largest entropy in few dimensions: a Sobol sequence over the support and a convex dual."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import qmc

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.entropy import HasSimulator
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.pareto import smooth_weights
from probneuro.core.tilting import Tilt, tilt
from probneuro.data.behaviour import Behaviour, as_behaviour
from probneuro.inference.entropy_result import Block, entropy_result, mode_shares
from probneuro.inference.runner import run_as_asked

Floats = NDArray[np.float64]

_MOST_PARAMETERS: Final = 8


@dataclass(frozen=True, kw_only=True)
class SobolDual(Engine):
    r"""The distribution of largest entropy itself, on a low-discrepancy sequence; no flow.

    .. math::

        H^* = \min_\eta \log \frac{V}{n} \sum_i e^{-\eta \cdot (T(z_i) - \mu)}

    with :math:`z_i` a scrambled Sobol sequence over the support of volume V. Right for up to
    about six parameters and a simulator that is cheap; what a flow can be held against.

    Parameters
    ----------
    log2_points : int
        Logarithm to base 2 of the number of simulations.

    Raises
    ------
    SettingError
        If there are too few points.

    Notes
    -----
    Chains are scrambles of the sequence: their scatter is the error. Draws are points resampled
    by their weights, so that some occur more than once.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.data.behaviour import Behaviour, as_behaviour
    >>> from probneuro.models.dsn import DSN
    >>> short = Behaviour({"x": (0.0, 20.0)}, means={"length": 1.0})
    >>> model, settings = DSN(lambda z: {"length": z["x"]}), {"seed": 0, "progress": False}
    >>> result = infer(model, short, engine=SobolDual(log2_points=12), chains=1, **settings)
    >>> round(result["max_entropy/dual_entropy"].item(), 2)
    1.0
    """

    log2_points: int = 15

    def __post_init__(self) -> None:
        if not 4 <= self.log2_points <= 30:
            raise SettingError(
                f"`log2_points` must be between 4 and 30; got {self.log2_points!r}. "
                "Its default is 15, which is 32768 simulations."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Solve every scramble and return resampled points."""
        if not isinstance(model, HasSimulator):
            raise CapabilityError(
                f"SobolDual needs a model with a simulator; {type(model).__name__} has none. "
                "Wrap your simulator: DSN(simulate)."
            )
        behaviour = as_behaviour(*args)
        if len(behaviour.parameters) > _MOST_PARAMETERS:
            raise CapabilityError(
                f"SobolDual covers up to {_MOST_PARAMETERS} parameters; the behaviour has "
                f"{len(behaviour.parameters)}. Use ImportanceDual(), which learns where to look."
            )
        chains = run_as_asked(
            SobolKernel(model, behaviour, self, options.draws),
            options,
            warmup=1,
            label=self.name,
            keep_warmup=True,
        )
        return entropy_result(chains, model, behaviour, options)


class SobolKernel(Kernel):
    """One scramble: its warm-up step solves, its draws are points resampled.

    Parameters
    ----------
    model : HasSimulator
        The simulator.
    behaviour : Behaviour
        What is asked for.
    settings : SobolDual
        The engine's settings.
    draws : int
        Number of draws, which are made at once.
    """

    def __init__(
        self, model: HasSimulator, behaviour: Behaviour, settings: SobolDual, draws: int
    ) -> None:
        self._model, self._behaviour = model, behaviour
        self._settings, self._draws = settings, draws

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return nothing but that nothing was done."""
        return {"next": np.array(-1)}

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Solve in the one step of the warm-up, and hand out draws afterwards."""
        if warmup:
            block = self._solve(rng)
            record = {"entropy": block.checks["dual_entropy"]}
            return {"next": np.array(-1), **block.arrays()}, record
        fresh = {**state, "next": state["next"] + 1}
        return fresh, Block.stats(fresh)

    def draw(self, state: Arrays) -> Arrays:
        """Return one draw with its features; nothing while solving."""
        return Block.row(state) if int(state["next"]) >= 0 else {}

    def _solve(self, rng: np.random.Generator) -> Block:
        behaviour = self._behaviour
        values = _points(behaviour, self._settings.log2_points, rng)
        features = self._model.simulate(behaviour, values, rng)
        statistics = behaviour.statistics(features)
        base = np.full(len(values), behaviour.log_volume - np.log(len(values)))
        found = tilt(base, statistics, behaviour.targets)
        edges = np.cumsum(np.exp(found.log_weights))
        places = (np.arange(self._draws) + rng.random()) / self._draws
        chosen = rng.permutation(np.searchsorted(edges / edges[-1], places))
        log_p = found.log_weights - base
        rows = {
            "values": values[chosen],
            "features": features[chosen],
            "statistics": statistics[chosen],
            "log_q": log_p[chosen],
            "log_weight": np.full(self._draws, -np.log(self._draws)),
        }
        return Block(rows, self._checks(found, statistics, values))

    def _checks(self, found: Tilt, statistics: Floats, values: Floats) -> Arrays:
        """Return the diagnostics: what a flow would be checked for holds here by construction."""
        weights, count = np.exp(found.log_weights), len(self._behaviour.targets)
        failed = np.asarray(~np.isfinite(statistics).all(axis=1))
        means = weights @ np.where(failed[:, None], 0.0, statistics)
        used = weights > 0
        log_p = found.log_weights[used] + np.log(len(weights)) - self._behaviour.log_volume
        entropy = -float(weights[used] @ log_p)
        effective = 1.0 / np.sum(weights**2)
        return {
            "multipliers": found.multipliers,
            "dual_entropy": np.array(found.entropy),
            "solvable": np.array(int(found.met)),
            "entropy": np.array(entropy),
            "entropy_gap": np.array(found.entropy - entropy),
            "divergence": np.array(0.0),
            "pareto_k": np.array(smooth_weights(found.log_weights)[1]),
            "effective_share": np.array(min(1.0, effective / self._draws)),
            "failed_share": np.array(failed.mean()),
            "miss": means - self._behaviour.targets,
            "p_value": np.ones(count),
            **mode_shares(self._model, self._behaviour, values, found.log_weights, weights),
        }


def _points(behaviour: Behaviour, log2_points: int, rng: np.random.Generator) -> Floats:
    """Return a scrambled Sobol sequence over the support."""
    size = len(behaviour.parameters)
    cube = qmc.Sobol(size, scramble=True, rng=rng).random_base2(log2_points)
    if not behaviour.simplex:
        return np.asarray(behaviour.lower + (behaviour.upper - behaviour.lower) * cube)
    left, pieces = np.ones(len(cube)), []
    for place in range(size):  # a stick broken so that every point of the simplex is as likely
        share = 1.0 - (1.0 - cube[:, place]) ** (1.0 / (size - place))
        pieces.append(left * share)
        left = left * (1.0 - share)
    return np.stack(pieces, axis=1)
