"""What every engine of largest entropy hands back: draws, weights, and how far they are off."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.core.engine import Arrays, RunOptions
from probneuro.core.entropy import HasSimulator
from probneuro.core.entropy_verdict import (
    FEATURE,
    PARAMETER,
    ROUND,
    STATISTIC,
    verdicts,
)
from probneuro.core.errors import InferenceError
from probneuro.core.flow import Flow
from probneuro.core.names import CHAIN, CONSTANT_DATA, MAX_ENTROPY, POSTERIOR_PREDICTIVE
from probneuro.core.pareto import smooth_weights
from probneuro.core.results import FIT_HISTORY
from probneuro.core.tilting import tilt
from probneuro.data.behaviour import Behaviour
from probneuro.inference.runner import ChainDraws, chains_result

Floats = NDArray[np.float64]

_CHECK, _BLOCK = "check.", "block."
_RESAMPLES: Final = 400
_TESTED: Final = 200
"""Draws in each bootstrap mean, as in EPI's test; more would find ever smaller misses."""


def uniform_draws(behaviour: Behaviour, rng: np.random.Generator, count: int) -> Floats:
    """Return draws from the uniform density on the support, shape (count, parameter)."""
    if behaviour.simplex:
        return np.asarray(rng.dirichlet(np.ones(len(behaviour.lower) + 1), count)[:, :-1])
    width = behaviour.upper - behaviour.lower
    return np.asarray(behaviour.lower + width * rng.random((count, len(width))))


@dataclass(frozen=True)
class Block:
    """All draws of a restart with their features, and what was found out about them.

    Parameters
    ----------
    rows : dict of numpy.ndarray
        Arrays of shape (draw, ...).
    checks : dict of numpy.ndarray
        One array a diagnostic.
    """

    rows: Arrays
    checks: Arrays

    def arrays(self) -> Arrays:
        """Return the block as it stands in a chain's state."""
        rows = {_BLOCK + name: value for name, value in self.rows.items()}
        return rows | {_CHECK + name: value for name, value in self.checks.items()}

    @staticmethod
    def row(state: Arrays) -> Arrays:
        """Return the draw that is next in a state, as posterior variables."""
        if _BLOCK + "values" not in state:
            return {}
        place = int(state["next"])
        names = {"values": "z", "features": FEATURE, "statistics": STATISTIC}
        return {new: state[_BLOCK + old][place] for old, new in names.items()}

    @staticmethod
    def stats(state: Arrays) -> Arrays:
        """Return the draw's densities, and the block's diagnostics."""
        place = int(state["next"])
        rows = {name: state[_BLOCK + name][place] for name in ("log_q", "log_weight")}
        checks = {name: value for name, value in state.items() if name.startswith(_CHECK)}
        return {"lp": rows["log_q"], **rows, **checks}


def draw_block(
    model: HasSimulator,
    behaviour: Behaviour,
    flow: Flow,
    rng: np.random.Generator,
    draws: int,
) -> Block:
    """Draw from a flow, simulate, and check the draws against the optimum.

    As many probes from the uniform density are simulated beside them: a mode that the flow has
    lost shows in their weights, and nowhere else.

    Parameters
    ----------
    model : HasSimulator
        The simulator.
    behaviour : Behaviour
        What is asked for.
    flow : Flow
        The density found.
    rng : numpy.random.Generator
        The chain's stream.
    draws : int
        Number of draws.

    Returns
    -------
    Block
    """
    with torch.no_grad():
        drawn, density = flow.push(flow.base(rng, draws))
        probes = uniform_draws(behaviour, rng, draws)
        own = flow.log_prob(torch.from_numpy(probes)).numpy()
    values, log_q = drawn.numpy(), density.numpy()
    if not np.isfinite(log_q).all():
        raise InferenceError("the flow's density is not finite. Lower `learning_rate`")
    everything = np.concatenate([values, probes])
    features = model.simulate(behaviour, everything, rng)
    statistics = behaviour.statistics(features)
    mixture = np.logaddexp(np.concatenate([log_q, own]), -behaviour.log_volume) - np.log(2.0)
    found = tilt(-mixture - np.log(len(mixture)), statistics, behaviour.targets)
    raw = np.where(
        np.isfinite(statistics[:draws]).all(axis=1),
        -np.nan_to_num(statistics[:draws]) @ found.multipliers - log_q,
        -np.inf,
    )
    log_weight, k = smooth_weights(raw)
    checks = {
        "multipliers": found.multipliers,
        "dual_entropy": np.array(found.entropy),
        "solvable": np.array(int(found.met)),
        "entropy": np.array(-log_q.mean()),
        "pareto_k": np.array(max(k, smooth_weights(found.log_weights)[1])),
        "effective_share": np.array(np.exp(-logsumexp(2.0 * log_weight)) / draws),
        **_moments(behaviour, statistics[:draws], rng),
        **mode_shares(model, behaviour, values, log_weight),
    }
    miss = checks["miss"]
    gap = checks["dual_entropy"] - checks["entropy"]
    checks["entropy_gap"] = gap
    checks["divergence"] = gap + found.multipliers @ miss
    rows = {
        "values": values,
        "features": features[:draws],
        "statistics": statistics[:draws],
        "log_q": log_q,
        "log_weight": log_weight,
    }
    return Block(rows, {name: np.asarray(value) for name, value in checks.items()})


def _moments(behaviour: Behaviour, statistics: Floats, rng: np.random.Generator) -> Arrays:
    """Return by how much the flow misses each target, and bootstrap p-values of it."""
    good = statistics[np.isfinite(statistics).all(axis=1)]
    count = len(behaviour.targets)
    failed = np.array(1.0 - len(good) / len(statistics))
    if not len(good):
        return {"miss": np.full(count, np.nan), "p_value": np.zeros(count), "failed_share": failed}
    places = rng.integers(len(good), size=(_RESAMPLES, min(_TESTED, len(good))))
    means = good[places].mean(axis=1) - behaviour.targets
    above, below = (means > 0).mean(axis=0), (means < 0).mean(axis=0)
    return {
        "miss": good.mean(axis=0) - behaviour.targets,
        "p_value": np.minimum(1.0, 2.0 * np.minimum(above, below)),
        "failed_share": failed,
    }


def mode_shares(
    model: HasSimulator,
    behaviour: Behaviour,
    values: Floats,
    log_weight: Floats,
    share: Floats | None = None,
) -> Arrays:
    """Return the share of mode 1, of the draws and of the weighted draws; NaN where unknown."""
    member = model.modes(behaviour, values)
    if not member.size:
        return {"mode_share": np.array(np.nan), "weighted_mode_share": np.array(np.nan)}
    plain = member.mean() if share is None else share @ member
    return {
        "mode_share": np.array(plain),
        "weighted_mode_share": np.array(np.exp(log_weight) @ member),
    }


def entropy_result(
    chains: ChainDraws, model: HasSimulator, behaviour: Behaviour, options: RunOptions
) -> xr.DataTree:
    """Return the result of a run: draws, predictions, diagnostics and the history of the fit.

    Groups: ``posterior`` with ``z`` (parameter); ``posterior_predictive`` with ``feature`` and
    ``statistic``; ``sample_stats`` with ``log_q`` and ``log_weight``; ``max_entropy`` with one
    number a restart; ``fit_history``; ``constant_data`` with targets and bounds.
    """
    predicted = {name: chains.posterior[name] for name in (FEATURE, STATISTIC)}
    stats = chains.sample_stats
    checks = {
        name.removeprefix(_CHECK): value[:, 0]
        for name, value in stats.items()
        if name.startswith(_CHECK)
    }
    history = chains.warmup_sample_stats
    own = {"z": [PARAMETER], "features": [FEATURE], "statistics": [STATISTIC]}
    dims = {**own, **_own_dims(checks, history)}
    constant = {
        "target": behaviour.targets,
        "centre": behaviour.centres,
        "lower": behaviour.lower,
        "upper": behaviour.upper,
    }
    dims |= {name: [STATISTIC] for name in ("target", "centre")}
    dims |= {name: [PARAMETER] for name in ("lower", "upper")}
    groups: dict[str, Mapping[str, Any]] = {
        POSTERIOR_PREDICTIVE: {
            "features": predicted[FEATURE],
            "statistics": predicted[STATISTIC],
        },
        MAX_ENTROPY: checks,
        FIT_HISTORY: history,
        CONSTANT_DATA: {**options.groups.get(CONSTANT_DATA, {}), **constant},
    }
    plain = replace(
        chains,
        posterior={"z": chains.posterior["z"]},
        sample_stats={n: v for n, v in stats.items() if not n.startswith(_CHECK)},
        warmup_posterior={},
        warmup_sample_stats={},
    )
    coords = {
        PARAMETER: list(behaviour.parameters),
        FEATURE: list(behaviour.features),
        STATISTIC: list(behaviour.statistic_names),
        **options.coords,
    }
    known = replace(options, coords=coords, groups={**options.groups})
    result = chains_result(plain, known, dims=dims, groups=groups)
    group = result[MAX_ENTROPY].to_dataset()
    converged = np.array([not failed for failed in verdicts(group)], dtype=np.int8)
    result[f"{MAX_ENTROPY}/converged"] = xr.DataArray(converged, dims=[CHAIN])
    return result


def _own_dims(checks: Arrays, history: Arrays) -> dict[str, list[str]]:
    """Return the dimensions of diagnostics (chain) and of the history (chain, round)."""
    dims = {}
    for name, value in checks.items():
        dims[f"{MAX_ENTROPY}/{name}"] = [CHAIN, STATISTIC][: value.ndim]
    for name, value in history.items():
        dims[f"{FIT_HISTORY}/{name}"] = [CHAIN, ROUND, STATISTIC][: value.ndim]
    return dims
