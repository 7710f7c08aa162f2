"""Which model predicts best: a table over the results of several models on the same data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.core.arviz import compare_by_loo
from probneuro.core.errors import DataError, SettingError, unknown_name
from probneuro.core.names import (
    BLOCK,
    CHAIN,
    DRAW,
    HELD_OUT,
    LFO,
    LOG_LIKELIHOOD,
    NEURON,
    SAMPLE_STATS,
)

Floats = NDArray[np.float64]

EVIDENCE: Final = "log_marginal_likelihood"
_MEASURES: Final = (HELD_OUT, LFO, "evidence", "loo")
_BOOTSTRAPS: Final = 1000
_BOOTSTRAP_SEED: Final = 124
_ROUNDING: Final = 1e-9
_LEAST_BLOCKS: Final = 4
_LARGE_ERROR: Final = 1.0
_SAME_DATA: Final = 1e-5


@dataclass(frozen=True)
class _Score:
    """One model's scores: predictive log densities by block, and their Monte Carlo error."""

    elpd: float
    by_block: Floats
    num_parameters: float
    mcse: float
    baseline: float = np.nan
    spikes: float = 0.0


def compare(
    results: Mapping[str, xr.DataTree], by: str = HELD_OUT, *, var_name: str | None = None
) -> pd.DataFrame:
    r"""Compare models fitted to the same data.

    ``by="held_out"``, the default and the measure of Linderman, Stock & Adams 2014, is the
    rolling predictive log likelihood of data that the fit never saw,

    .. math::

        \mathrm{elpd} = \sum_n \sum_j \log \sum_s w^{(s)}_{j-1,n}\, p(y_{j,n} \mid y_{<j},
        \theta_s), \qquad
        w^{(s)}_{j-1,n} \propto \prod_{i<j} p(y_{i,n} \mid y_{<i}, \theta_s),

    over draws s, blocks j and neurons n, with the latent weights integrated out. Each
    neuron's sum over blocks telescopes to the log mean over draws of the density of its
    whole held-out sequence. ``by="lfo"`` compares what :func:`~probneuro.lfo.lfo_cv` found,
    block by block, for any program on data in order of time. ``by="evidence"`` compares
    ``log_marginal_likelihood`` of ``sample_stats``, ``by="loo"`` is ArviZ' PSIS-LOO.

    Parameters
    ----------
    results : mapping of str to xarray.DataTree
        At least two results, by the model's name.
    by : str
        ``"held_out"``, ``"lfo"``, ``"evidence"`` or ``"loo"``.
    var_name : str or None
        Which observed variable's log likelihood to compare by ``"loo"``, where results have
        several.

    Returns
    -------
    pandas.DataFrame
        One row a model, the best first, with the columns of ArviZ' table:
        ``rank``; ``elpd``, in nats; ``p``, the effective number of parameters as the
        variance over draws of the log density, summed over blocks and neurons;
        ``elpd_diff``, the elpd minus the best one, so 0 for the best and negative for the
        others (the sign of ArviZ 1, whose ``plot_compare`` needs it); ``weight``,
        pseudo-BMA+ over blocks; ``se`` and ``dse``, standard errors of ``elpd`` and
        ``elpd_diff`` from the scatter over blocks; ``warning``, whether fewer than four
        blocks or a Monte Carlo error above 1 nat make these unsafe; ``scale``. Beyond
        ArviZ: ``mcse``, the Monte Carlo error of ``elpd`` (jackknife over chains), and by
        ``held_out`` ``bits_per_spike`` over a Poisson process at the training rate. By
        ``lfo`` and ``evidence``, ``p`` is not known.

    Raises
    ------
    SettingError
        If ``by`` is unknown or there are fewer than two results.
    DataError
        If a result lacks what is compared, or they are about other data.

    Examples
    --------
    >>> from probneuro.core.results import build_result
    >>> def result(level):
    ...     held_out = {
    ...         "log_likelihood": np.full((2, 10, 5, 1), level) - np.arange(5)[:, None],
    ...         "spike_count": np.full((5, 1), 3),
    ...         "baseline_log_likelihood": np.full((5, 1), -9.0),
    ...     }
    ...     names = ["block", "neuron"]
    ...     dims = {name: names for name in held_out}
    ...     return build_result({}, groups={"held_out": held_out}, dims=dims)
    >>> table = compare({"static": result(-3.0), "additive": result(-2.0)})
    >>> table[["rank", "elpd", "elpd_diff"]]
              rank  elpd  elpd_diff
    additive     0 -20.0        0.0
    static       1 -25.0       -5.0
    """
    if by not in _MEASURES:
        raise unknown_name("measure for `by`", str(by), _MEASURES)
    if len(results) < 2:
        raise SettingError(
            f"`results` must hold at least two results to compare; got {len(results)}. "
            'Pass e.g. {"static": ..., "additive": ...}.'
        )
    if var_name is not None and by != "loo":
        raise SettingError(
            f'`var_name` chooses what to compare by "loo"; `by` is "{by}". Leave `var_name` out.'
        )
    if by == "evidence":
        return _by_evidence(results)
    if by == "loo":
        _check_variable(results, var_name)
        return compare_by_loo(results, var_name=var_name)
    if by == LFO:
        return _by_lfo(results)
    _refuse_other_data(results)
    return _table({name: _score(name, result) for name, result in results.items()})


def _group(name: str, result: xr.DataTree, group: str, cure: str) -> xr.Dataset:
    if group not in result.children:
        have = ", ".join(result.children) or "none"
        raise DataError(f"Result '{name}' has no group `{group}`; it has {have}. {cure}")
    return result[group].to_dataset()


def _check_variable(results: Mapping[str, xr.DataTree], var_name: str | None) -> None:
    for name, result in results.items():
        points = _group(name, result, LOG_LIKELIHOOD, "Compute it, or compare by held_out.")
        have = sorted(map(str, points.data_vars))
        if var_name is not None and var_name not in have:
            raise DataError(
                f"Result '{name}' has no log likelihood of `{var_name}`; it has that of "
                f"{', '.join(have)}. Pass one of them as `var_name`."
            )
        if var_name is None and len(have) > 1:
            raise SettingError(
                f"Result '{name}' has the log likelihood of {', '.join(have)}. Say which to "
                f"compare by `var_name=`, e.g. var_name='{have[0]}'."
            )


def _held_out(name: str, result: xr.DataTree) -> xr.Dataset:
    data = _group(
        name, result, HELD_OUT, "Hold out the end of the recording when fitting, e.g. 10 s."
    )
    for variable in ("log_likelihood", "spike_count", "baseline_log_likelihood"):
        if variable not in data:
            raise DataError(
                f"Result '{name}' has no `{variable}` in `{HELD_OUT}`; it has "
                f"{', '.join(map(str, data.data_vars))}. Fit it with this version."
            )
    wanted = {CHAIN, DRAW, BLOCK, NEURON}
    if set(data["log_likelihood"].dims) != wanted:
        raise DataError(
            f"`log_likelihood` of result '{name}' has dimensions "
            f"{tuple(data['log_likelihood'].dims)}; it needs (chain, draw, block, neuron)."
        )
    return data.transpose(CHAIN, DRAW, BLOCK, NEURON, ..., missing_dims="ignore")


def _by_lfo(results: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    groups = {
        name: _group(name, result, LFO, "Add it by `lfo_cv`.") for name, result in results.items()
    }
    names = list(groups)
    first = groups[names[0]]
    for name in names[1:]:
        for what in (BLOCK, "num_observations", "observed_total"):
            ours, theirs = first[what].values, groups[name][what].values
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=_SAME_DATA):
                raise DataError(
                    f"Results '{names[0]}' and '{name}' differ in `{what}` of `{LFO}`: "
                    f"{_short(ours)} and {_short(theirs)}. Run `lfo_cv` for both on the same "
                    "data, with the same `block` and `min_observations`."
                )
    scores = {
        name: _Score(
            elpd=float(group["elpd"].sum()),
            by_block=np.asarray(group["elpd"].values, dtype=np.float64),
            num_parameters=float("nan"),
            mcse=float(group["total_mcse"]),
        )
        for name, group in groups.items()
    }
    return _table(scores).drop(columns="bits_per_spike")


def _refuse_other_data(results: Mapping[str, xr.DataTree]) -> None:
    names = list(results)
    first = _held_out(names[0], results[names[0]])
    for name in names[1:]:
        other = _held_out(name, results[name])
        for dim in (BLOCK, NEURON):
            ours, theirs = first[dim].values, other[dim].values
            if ours.shape != theirs.shape or not np.array_equal(ours, theirs):
                raise DataError(
                    f"Results '{names[0]}' and '{name}' differ in `{dim}`: {_short(ours)} and "
                    f"{_short(theirs)}. Fit both to the same recording and the same held-out part."
                )
        if not np.array_equal(first["spike_count"], other["spike_count"]):
            raise DataError(
                f"Results '{names[0]}' and '{name}' have other spike counts in `{HELD_OUT}` "
                f"({int(first['spike_count'].sum())} and {int(other['spike_count'].sum())} spikes)."
                " Fit both to the same recording."
            )


def _short(values: NDArray[np.generic]) -> str:
    ends = f"{values[0]} to {values[-1]}" if len(values) else "none"
    return f"{len(values)} ({ends})"


def rolling_log_predictive(log_likelihood: Floats) -> Floats:
    """Return each block's log predictive density, the draws weighted by the blocks before.

    Parameters
    ----------
    log_likelihood : numpy.ndarray
        Shape (draw, block, neuron).

    Returns
    -------
    numpy.ndarray
        Shape (block, neuron); its sum over blocks is the log mean over draws of the density
        of the whole sequence.

    Examples
    --------
    >>> rolling_log_predictive(np.log([[[0.5], [0.5]], [[0.5], [0.1]]])).round(3).ravel()
    array([-0.693, -1.204])
    """
    sequence = logsumexp(np.cumsum(log_likelihood, axis=1), axis=0)
    start = np.full((1, sequence.shape[1]), np.log(len(log_likelihood)))
    predictive: Floats = np.diff(sequence, axis=0, prepend=start)
    return predictive


def _score(name: str, result: xr.DataTree) -> _Score:
    data = _held_out(name, result)
    chains = np.asarray(data["log_likelihood"].values, dtype=np.float64)
    if not np.isfinite(chains).all():
        raise DataError(
            f"`log_likelihood` of result '{name}' holds {int((~np.isfinite(chains)).sum())} values "
            "that are NaN or infinite. Look at the draws of that model first."
        )
    pooled = chains.reshape(-1, *chains.shape[2:])
    by_block = rolling_log_predictive(pooled).sum(1)
    return _Score(
        elpd=float(by_block.sum()),
        by_block=by_block,
        num_parameters=float(pooled.var(0, ddof=1).sum()) if len(pooled) > 1 else np.nan,
        mcse=_jackknife(chains),
        baseline=float(data["baseline_log_likelihood"].sum()),
        spikes=float(data["spike_count"].sum()),
    )


def _jackknife(chains: Floats) -> float:
    """Return the Monte Carlo error of the elpd, leaving out one chain after the other."""
    count = len(chains)
    if count < 2:
        return float("nan")
    left = np.array(
        [
            rolling_log_predictive(
                np.delete(chains, c, axis=0).reshape(-1, *chains.shape[2:])
            ).sum()
            for c in range(count)
        ]
    )
    return float(np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum()))


def _table(scores: Mapping[str, _Score]) -> pd.DataFrame:
    order = sorted(scores, key=lambda name: -scores[name].elpd)
    best = scores[order[0]]
    blocks = np.array([scores[name].by_block for name in order])
    weights = _pseudo_bma(blocks)
    rows = []
    for rank, name in enumerate(order):
        score = scores[name]
        gain = score.elpd - score.baseline
        unsafe = len(score.by_block) < _LEAST_BLOCKS or score.mcse > _LARGE_ERROR
        rows.append(
            {
                "rank": rank,
                "elpd": score.elpd,
                "p": score.num_parameters,
                "elpd_diff": score.elpd - best.elpd,
                "weight": weights[rank],
                "se": _sum_error(score.by_block),
                "dse": _sum_error(score.by_block - best.by_block),
                "warning": bool(unsafe),
                "scale": "log",
                "mcse": score.mcse,
                "bits_per_spike": gain / np.log(2) / score.spikes if score.spikes else np.nan,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(order))


def _sum_error(values: Floats) -> float:
    """Return the standard error of a sum over blocks, taken as independent."""
    if len(values) < 2:
        return float("nan")
    spread = float(np.std(values, ddof=1))
    return float(np.sqrt(len(values)) * spread) if spread > _ROUNDING else 0.0


def _pseudo_bma(blocks: Floats) -> Floats:
    """Return pseudo-BMA+ weights (Yao et al. 2018): softmax of elpds, bootstrapped over blocks."""
    count = blocks.shape[1]
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    shares = rng.dirichlet(np.ones(count), size=_BOOTSTRAPS)
    totals = count * shares @ blocks.T
    totals = totals - totals.max(1, keepdims=True)
    weights = np.exp(totals)
    mean: Floats = (weights / weights.sum(1, keepdims=True)).mean(0)
    return mean


def _by_evidence(results: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    rows = {}
    for name, result in results.items():
        stats = _group(name, result, SAMPLE_STATS, "Fit it with an engine that gives evidence.")
        if EVIDENCE not in stats:
            raise DataError(
                f"Result '{name}' has no `{EVIDENCE}` in `{SAMPLE_STATS}`. "
                "Fit it with an engine that gives evidence, or compare by held_out."
            )
        runs = np.atleast_1d(stats[EVIDENCE].values).reshape(
            len(np.atleast_1d(stats[EVIDENCE])), -1
        )
        rows[name] = _log_mean(runs[:, -1])
    values = pd.DataFrame.from_dict(rows, orient="index", columns=["elpd", "se"])
    values = values.sort_values("elpd", ascending=False)
    best = values.iloc[0]
    weight = np.exp(values["elpd"] - logsumexp(values["elpd"]))
    return pd.DataFrame(
        {
            "rank": np.arange(len(values)),
            "elpd": values["elpd"],
            "p": np.nan,
            "elpd_diff": values["elpd"] - best["elpd"],
            "weight": weight,
            "se": values["se"],
            "dse": np.where(np.arange(len(values)) > 0, np.hypot(values["se"], best["se"]), 0.0),
            "warning": values["se"].isna() | (values["se"] > _LARGE_ERROR),
            "scale": "log",
        }
    )


def _log_mean(runs: Floats) -> tuple[float, float]:
    """Return the log mean of independent evidence estimates, and its Monte Carlo error."""
    mean = float(logsumexp(runs) - np.log(len(runs)))
    if len(runs) < 2:
        return mean, float("nan")
    return mean, float(np.exp(runs - mean).std(ddof=1) / np.sqrt(len(runs)))
