"""Diagnostics in words: what is wrong with a run, where, and what to do about it."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import xarray as xr

from probneuro.core.convergence import measure
from probneuro.core.entropy_verdict import entropy_findings
from probneuro.core.names import CHAIN, DRAW, MAX_ENTROPY, POSTERIOR, SAMPLE_STATS
from probneuro.core.settling import fit_findings, is_fit

RHAT_LIMIT: Final = 1.01
"""Vehtari, Gelman, Simpson, Carpenter, Buerkner 2021, section 4."""
ESS_PER_CHAIN: Final = 100
"""The same paper: below it, R-hat and the Monte Carlo errors themselves are noise."""
EVIDENCE_VARIANCE_LIMIT: Final = 2.0
"""Doucet, Pitt, Deligiannidis, Kohn 2015: a variance of 1 to 1.7 costs least for each effective
draw, and much beyond it a chain sticks."""
_BEST_VARIANCE: Final = 1.5
_RESTART_LIMIT: Final = 1.1
"""Restarts half a standard deviation apart; an optimiser's last steps cost less."""
_LEAST_DRAWS: Final = 4
_LEAST_ACCEPTED: Final = 0.2


def say(result: xr.DataTree) -> list[str]:
    """Say what a result's diagnostics find, one line a finding.

    Parameters
    ----------
    result : xarray.DataTree
        With groups ``posterior`` and, if the engine has any, ``sample_stats`` and
        ``fit_history``.

    Returns
    -------
    list of str
        Empty when all is well.

    Examples
    --------
    >>> from probneuro.core.results import build_result
    >>> x = np.random.default_rng(0).normal(size=(4, 100)) + np.arange(4)[:, None]
    >>> print(say(build_result({"x": x}))[0])
    `x`: R-hat 1.49 (limit 1.01). The chains disagree; run longer, with more warm-up.
    """
    if MAX_ENTROPY in result.children:
        return entropy_findings(result)
    fitted = fit_findings(result)
    if POSTERIOR not in result.children:
        return fitted
    posterior = result[POSTERIOR].to_dataset()
    if not {CHAIN, DRAW} <= set(posterior.dims):
        return fitted
    if is_fit(result):  # chains are restarts
        return [*fitted, *_restarts(posterior)]
    if posterior.sizes[DRAW] < _LEAST_DRAWS:
        return [f"Only {posterior.sizes[DRAW]} draws a chain: too few for any diagnostics."]
    return [*_statistics(result), *_evidence(result), *_convergence(posterior)]


def _statistics(result: xr.DataTree) -> Iterator[str]:
    if SAMPLE_STATS not in result.children:
        return
    stats = result[SAMPLE_STATS].to_dataset()
    if "diverging" in stats and (count := int(stats["diverging"].sum())):
        share = 100 * count / stats["diverging"].size
        yield (
            f"{count} divergent draws ({share:.1f} %): the posterior has places the sampler cannot "
            "enter, so the draws may be biased. Raise `target_accept`, or rewrite the model "
            "(non-centred, tighter priors)."
        )
    if "reached_max_treedepth" in stats and (deep := int(stats["reached_max_treedepth"].sum())):
        yield (
            f"{deep} draws stopped at the greatest tree depth: slow, not wrong. "
            "Raise `max_tree_depth`, or bring the variables to similar scales."
        )
    if "rule_acceptance_rate" in stats and (
        (rate := float(stats["rule_acceptance_rate"].mean())) < _LEAST_ACCEPTED
    ):
        yield (
            f"Only {100 * rate:.0f} % of the moves of rule parameters were accepted: right, but "
            "slow. Run more draws, or use a weight scale that the recording's weights fit."
        )


def _evidence(result: xr.DataTree) -> Iterator[str]:
    if SAMPLE_STATS not in result.children:
        return
    stats = result[SAMPLE_STATS].to_dataset()
    if "log_evidence_variance" not in stats:
        return
    worst = float(stats["log_evidence_variance"].max())
    if not worst <= EVIDENCE_VARIANCE_LIMIT:
        more = f"about {worst / _BEST_VARIANCE:.0f} times" if np.isfinite(worst) else "many times"
        yield (
            f"The log evidence estimate has variance {worst:.1f} (at most "
            f"{EVIDENCE_VARIANCE_LIMIT:.0f} is wanted): chains stick where an estimate was lucky. "
            f"Use {more} as many particles, or a guided filter."
        )


def _restarts(posterior: xr.Dataset) -> Iterator[str]:
    """Compare the draws of restarts, point estimates left out."""
    enough = posterior.sizes[CHAIN] > 1 and posterior.sizes[DRAW] >= _LEAST_DRAWS
    for name, draws in posterior.data_vars.items():
        if not enough or draws.dtype.kind != "f" or not bool(np.isfinite(draws).all()):
            continue
        if worst := _worst(_measured(draws)[0], _RESTART_LIMIT, above=True):
            yield (
                f"`{name}{worst[0]}`: R-hat {worst[1]:.2f} between restarts (limit "
                f"{_RESTART_LIMIT}){worst[2]}. They found different answers; where they end at "
                "the same height, labels may have switched. Keep the best restart."
            )


def _convergence(posterior: xr.Dataset) -> Iterator[str]:
    chains = posterior.sizes[CHAIN]
    least = ESS_PER_CHAIN * chains
    if chains == 1:
        yield "One chain only: whether chains agree cannot be told. Run 4."
    for name, draws in posterior.data_vars.items():
        if draws.dtype.kind not in "iuf":
            continue
        bad = int((~np.isfinite(draws)).sum()) if draws.dtype.kind == "f" else 0
        if bad:
            yield f"`{name}`: {bad} draws are NaN or infinite. Look at the model where this begins."
            continue
        ratio, size = _measured(draws)
        if chains > 1 and (worst := _worst(ratio, RHAT_LIMIT, above=True)):
            yield (
                f"`{name}{worst[0]}`: R-hat {worst[1]:.2f} (limit {RHAT_LIMIT}){worst[2]}. "
                "The chains disagree; run longer, with more warm-up."
            )
        if worst := _worst(size, least, above=False):
            yield (
                f"`{name}{worst[0]}`: {worst[1]:.0f} effective draws (at least {least} are "
                f"wanted){worst[2]}. Run more draws before trusting its tails or errors."
            )


def _measured(draws: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    ordered = draws.transpose(CHAIN, DRAW, ...)
    shell = ordered.isel({CHAIN: 0, DRAW: 0}, drop=True)
    ratio, size = measure(ordered.values)
    return shell.copy(data=ratio), shell.copy(data=size)


def _worst(values: xr.DataArray, limit: float, *, above: bool) -> tuple[str, float, str] | None:
    flat = np.atleast_1d(values.values).ravel()
    badness = np.where(np.isfinite(flat), flat if above else -flat, -np.inf)
    count = int(np.sum(badness > (limit if above else -limit)))
    if not count:
        return None
    place = np.unravel_index(int(np.argmax(badness)), values.shape) if values.ndim else ()
    labels = [_label(values, dim, i) for dim, i in zip(values.dims, place, strict=True)]
    others = f", and {count - 1} more of {flat.size} beyond it" if count > 1 else ""
    where = f"[{', '.join(labels)}]" if labels else ""
    return where, float(flat[int(np.argmax(badness))]), others


def _label(values: xr.DataArray, dim: Any, index: Any) -> str:
    return str(values[dim].values[index]) if dim in values.coords else str(index)
