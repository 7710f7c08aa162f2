"""How much data tells learning rules apart, and which stimulation does it best."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.components.window_table import WindowTable
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.log_evidence import Evidence, log_evidence
from probneuro.core.progress import ChainStatus, progress_display
from probneuro.core.registry import load
from probneuro.core.rng import generator, resolve_seed
from probneuro.data import BinnedSpikes
from probneuro.inference.grid_filter import GridFilter
from probneuro.learning_rules import LearningRule
from probneuro.learning_rules.rule import WEIGHT_NOISE
from probneuro.models.stdp_glm import STDPGLM, Candidates
from probneuro.models.stdp_glm.conditionals import STDPGLMTarget
from probneuro.simulators.pairing import Pairing
from probneuro.simulators.plastic_glm import PlasticGLM, simulate_plastic_glm

Floats = NDArray[np.float64]


def rule_power(
    rules: Sequence[str | LearningRule] = ("static", "additive", "multiplicative"),
    *,
    durations: Sequence[float] = (15.0, 30.0, 60.0),
    recordings: int = 10,
    parameters: Mapping[str, Mapping[str, float]] | None = None,
    initial_weight: float = 1.0,
    pairing: Pairing | None = None,
    window: float = 1.0,
    seed: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    r"""Say how well recordings of some lengths tell learning rules apart, before any is made.

    .. math::

        I = \mathbb E_{r, y}\Bigl[\log p(y \mid r)
        - \log \tfrac1R \sum_{r'} p(y \mid r')\Bigr] \le \log R

    how much more probable a recording makes the rule that holds among R rules, each as probable
    beforehand, by simulation: two neurons and one synapse, the weights integrated out exactly
    and the rule's parameters under their priors. With parameters from these priors it is the
    expected information; with given ones it may be negative, where short recordings mislead.

    Parameters
    ----------
    rules : sequence of str or LearningRule
        Rules that may hold, two or more.
    durations : sequence of float
        Lengths of a recording, in s.
    recordings : int
        Recordings of each rule to simulate.
    parameters : mapping of str to mapping, optional
        Parameters of each rule to simulate by, in the link's units; lively ones by default.
    initial_weight : float
        Weight in the first window.
    pairing : Pairing, optional
        Stimulation, known to the analysis; none by default.
    window : float
        Time over which a weight is constant, in s.
    seed : int, optional
        Same seed, same numbers; recordings are the same, but longer, from duration to duration.
    progress : bool
        Whether to show progress.

    Returns
    -------
    xarray.Dataset
        ``log_evidence`` and its Monte Carlo ``error`` (truth, duration, recording, rule) in nats.
        :func:`power_table` sums it up.

    Raises
    ------
    SettingError
        If there are fewer than two rules, a name twice, or a duration below two windows.

    Notes
    -----
    Biases, self connections and the shape of the impulse response are taken as known, and the
    synapse as present: real recordings tell less. Ours; the paper asks for such designs in its
    discussion and gives none.

    Examples
    --------
    >>> found = rule_power(["static", "random_walk"], durations=[4.0], recordings=2, seed=1,
    ...                    progress=False)
    >>> dict(found["log_evidence"].sizes)
    {'truth': 2, 'duration': 1, 'recording': 2, 'rule': 2}
    """
    chosen = _named(rules)
    lengths = sorted(float(d) for d in durations)
    if not lengths or lengths[0] < 2 * window:
        raise SettingError(
            f"`durations` must be two windows ({2 * window:g} s) at least; got {list(durations)!r}."
        )
    seed = resolve_seed(seed)
    shape = (len(chosen), len(lengths), recordings, len(chosen))
    values, errors = np.empty(shape), np.empty(shape)
    status = ChainStatus(total=len(chosen) * recordings, warmup=0, note="recordings")
    with progress_display(progress, "rule power") as shown:
        for t, truth in enumerate(chosen):
            for k in range(recordings):
                given = (parameters or {}).get(truth)
                whole = _Recording(
                    chosen[truth], given, initial_weight, pairing, lengths[-1], window,
                    generator(seed, "rule_power", truth, k),
                )  # fmt: skip
                for d, length in enumerate(lengths):
                    for r, rule in enumerate(chosen.values()):
                        found = whole.evidence(rule, round(length / window))
                        values[t, d, k, r], errors[t, d, k, r] = found.log_value, found.error
                status.step += 1
                shown.show([status])
    dims = ("truth", "duration", "recording", "rule")
    coords = {"truth": list(chosen), "duration": lengths, "rule": list(chosen)}
    return xr.Dataset({"log_evidence": (dims, values), "error": (dims, errors)}, coords)


def power_table(found: xr.Dataset) -> pd.DataFrame:
    """Sum up what :func:`rule_power` found, one row a duration.

    Parameters
    ----------
    found : Dataset
        What it returned.

    Returns
    -------
    DataFrame
        ``information`` about the rule in nats and its standard error ``information_se``;
        ``information_share`` of the most there is, log of the number of rules; ``first``, how often
        the true rule has the largest evidence, and by truth ``lead_<rule>``, the mean log Bayes
        factor against the best other rule.
    """
    evidence = found["log_evidence"].transpose("duration", "truth", "recording", "rule")
    truths = evidence["truth"].values.tolist()
    rows = []
    for values in evidence.values:
        own = np.stack([values[t, :, t] for t in range(len(truths))])
        gained = own - (logsumexp(values, axis=-1) - np.log(len(truths)))
        others = np.where(np.eye(len(truths), dtype=bool)[:, None], -np.inf, values).max(-1)
        row = {
            "information": gained.mean(),
            "information_se": _error(gained),
            "information_share": gained.mean() / np.log(len(truths)),
            "first": (own > others).mean(),
        }
        leads = (own - others).mean(axis=1)
        rows.append(row | {f"lead_{t}": lead for t, lead in zip(truths, leads, strict=True)})
    return pd.DataFrame(rows, index=pd.Index(evidence["duration"].values, name="duration"))


def _error(gained: Floats) -> float:
    """Return the standard error of a mean over truths, recordings being what varies."""
    if gained.shape[1] < 2:
        return float("nan")
    each = gained.var(axis=1, ddof=1) / gained.shape[1]
    return float(np.sqrt(each.sum()) / len(each))


class _Recording:
    """Two neurons and one synapse, and the evidence of rules given all but rule and weights."""

    def __init__(
        self, rule: LearningRule, parameters: Mapping[str, float] | None, initial_weight: float,
        pairing: Pairing | None, duration: float, window: float, rng: np.random.Generator,
    ) -> None:  # fmt: skip
        seed = int(rng.integers(2**31))
        plain, known = simulate_plastic_glm(
            rule, duration=2 * window, seed=seed, synapses=[(0, 1)], parameters=parameters,
            initial_weight=initial_weight, window=window,
        )  # fmt: skip
        bins = plain.bins_per_window * round(duration / window)
        self._drive = (pairing or Pairing(rate=0.0)).drive(bins, plain.bin_width)
        self._model = STDPGLM(network=Candidates((("0", "1"),)))
        self._known = {name: known[name] for name in _NUISANCE}
        self._rng = rng
        link = self._model.link
        network = PlasticGLM(
            rule=rule, pre=np.array([0]), post=np.array([1]), edge=np.ones(1), link=link,
            basis=self._model.basis, initial_weight=np.array([known["weight"][0, 0]]),
            parameters={name: known[name] for name in rule.priors(link.weight_scale)},
            bias=known["bias"], self_weight=known["self_weight"],
            self_impulse=known["self_impulse"], impulse=known["impulse"][:1],
        )  # fmt: skip
        self._spikes, _ = network.simulate(
            round(duration / window), rng, bins_per_window=plain.bins_per_window, drive=self._drive
        )

    def evidence(self, rule: LearningRule, windows: int) -> Evidence:
        """Return a rule's evidence by the first windows."""
        priors = rule.priors(self._model.link.weight_scale).values()
        start = np.array([_middle(prior, self._rng) for prior in priors])
        return log_evidence(self.density(rule, windows), start, self._rng)

    def density(self, rule: LearningRule, windows: int) -> Callable[[Floats], float]:
        """Return the log density of the spikes and a rule's parameters, on the samplers' scale."""
        bins = windows * self._spikes.bins_per_window
        data = BinnedSpikes(
            self._spikes.counts[:bins], bins_per_window=self._spikes.bins_per_window,
            bin_width=self._spikes.bin_width,
        )  # fmt: skip
        model = STDPGLM(rule=rule, network=self._model.network)
        target = STDPGLMTarget(model, data)
        table, least = self._table(target, data), _LEAST_NOISE * model.link.weight_scale
        floor = -_NEGLIGIBLE + sum(
            known.log_density_real(_middle(known, np.random.default_rng(0)))
            for known in target.priors.values()
        )

        def log_density(point: Floats) -> float:
            values, prior = {}, 0.0
            for (name, known), z in zip(target.priors.items(), point.tolist(), strict=True):
                values[name] = math.exp(min(z, 50.0)) if known.positive else z
                prior += known.log_density_real(z)
            if not prior > floor:
                return -np.inf
            if WEIGHT_NOISE in values:
                values[WEIGHT_NOISE] = max(values[WEIGHT_NOISE], least)
            try:  # a fresh filter: one that has seen a wild law keeps its wide range of weights
                return GridFilter(table).log_evidence(target.law(0, values)) + prior
            except InferenceError:  # weights that run away beyond any grid: nothing is lost
                return -np.inf

        return log_density

    def _table(self, target: Any, data: BinnedSpikes) -> WindowTable:
        """Return the likelihood of every window by the weight, all else at its true value."""
        values = target.start(np.random.default_rng(0))
        for name in ("bias", "self_weight"):
            values[name] = self._known[name]
        values["self_log_gamma"] = np.log(np.maximum(self._known["self_impulse"], 1e-12))
        values["log_gamma"] = np.log(np.maximum(self._known["impulse"][:1], 1e-12))
        values["weight"] = np.zeros_like(values["weight"])
        point = target.at(values)
        base = point.activation(1) + self._drive[: data.num_bins, 1]
        return WindowTable(
            base, point.drive(0), target.design.silent, target.design.spikes[1], target.model.link,
            data.bin_width, float(values["table_step"][0]),
        )  # fmt: skip


# Steps of a weight below which the likelihood no longer tells noise from none, in weight scales.
_LEAST_NOISE = 3e-3
# Nats below the prior's median at which parameters are left out: filters fail at absurd ones.
_NEGLIGIBLE = 60.0
_NUISANCE = ("bias", "self_weight", "self_impulse", "impulse")


def _middle(prior: Any, rng: np.random.Generator) -> float:
    """Return the median of a prior where samplers work on it."""
    draws = prior.sample(rng, 400)
    return float(np.median(np.log(draws) if prior.positive else draws))


def _named(rules: Sequence[str | LearningRule]) -> dict[str, LearningRule]:
    given = [load("learning_rule", r)() if isinstance(r, str) else r for r in rules]
    chosen = {rule.name: rule for rule in given}
    if len(chosen) < 2 or len(chosen) != len(given):
        raise SettingError(
            f"`rules` must be two or more, each named once; got {[r.name for r in given]}. "
            'Pass e.g. ["static", "additive"].'
        )
    return chosen
