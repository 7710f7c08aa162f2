"""Joint-distribution tests: a block of a sampler, started at the truth, moves no mean.

Each replicate draws parameters from the prior and spikes from the simulator, then moves one
block a few times. Parameters and spikes together then still follow the joint law, so that the
mean of any statistic of both is what it was; the change of a statistic in each replicate gives
a z-score. (Geweke 2004, with independent replicates in place of one long chain.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma, norm

from probneuro.core.engine import Arrays, Kernel
from probneuro.core.errors import DataError
from probneuro.core.priors import Gamma, LogNormal, Normal
from probneuro.models.stdp_glm import STDPGLM
from probneuro.models.stdp_glm.columns import column_law
from probneuro.models.stdp_glm.conditionals import STDPGLMTarget
from probneuro.models.stdp_glm.prior import simulate_from_prior
from probneuro.testing.stats import paired_scores, uniform_score

Floats = NDArray[np.float64]
Statistics = dict[str, float]


@dataclass(frozen=True)
class Problem:
    """A model with priors that make a few short windows informative."""

    model: STDPGLM
    units: tuple[str, ...]
    windows: int = 5
    size: int = 120
    max_count: int = 300

    def replicate(self, rng: np.random.Generator) -> tuple[STDPGLMTarget, Arrays] | None:
        """Draw a point from the prior and spikes from the simulator, None if unfit.

        Refusing on the spikes alone keeps every conditional given the spikes as it was.
        """
        data, values = simulate_from_prior(
            self.model, self.units, self.windows, rng, bins_per_window=self.size
        )
        if data.counts.sum(axis=0).max() > self.max_count:
            return None
        try:
            target = self.model.gibbs(data)
        except DataError:
            return None
        assert isinstance(target, STDPGLMTarget)
        fixed = {
            "stimulus_filter": np.zeros((len(self.units), 0)),
            "table_step": np.full(target.pre.size, self.model.link.weight_scale / 16.0),
        }
        return target, {**values, **fixed}


def _share(log_gamma: Floats) -> Floats:
    size = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True))
    return size / size.sum(axis=-1, keepdims=True)


def statistics(target: STDPGLMTarget, values: Arrays) -> Statistics:
    """Return bounded or light-tailed statistics of a point and its spikes."""
    model, data = target.model, target.data
    scale = model.link.weight_scale
    out: Statistics = {}
    rates = np.log1p(data.rates)
    for n in range(data.num_neurons):
        bias = (values["bias"][n] - model.bias.location) / model.bias.scale
        own = (values["self_weight"][n] - model.self_weight.location) / model.self_weight.scale
        share = _share(values["self_log_gamma"][n])[0]
        out |= {f"bias {n}": bias, f"bias {n} squared": bias**2, f"bias {n} rate": bias * rates[n]}
        out |= {f"self {n}": own, f"self {n} squared": own**2, f"self {n} rate": own * rates[n]}
        out |= {f"self bump {n}": share, f"self gamma {n}": values["self_log_gamma"][n].mean()}
        if "self_edge" in values:
            there = float(values["self_edge"][n])
            out |= {f"self edge {n}": there, f"self edge {n} rate": there * rates[n]}
            out |= {f"self edge {n} weight": there * own, f"self edge {n} bump": there * share}
            drive, spikes = target.design.traces[n].mean(0), data.counts[:, n]
            excess = np.tanh(drive @ spikes / max(drive.mean() * spikes.sum(), 1.0) - 1.0)
            out |= {f"self edge {n} pairs": there * excess, f"self {n} pairs": own * excess}
            out |= {f"self edge {n} weight pairs": there * own * excess}
    tau = np.full((target.pre.size, 1), 0.02)
    follow = np.log1p(target.pairs.post_after_pre(tau)) / 3.0
    counts = np.log1p(data.window_counts())[:, target.post].T / 3.0
    weight = np.tanh(values["weight"] / (2.0 * scale))
    for s in range(target.pre.size):
        edge = float(values["edge"][s])
        w, link = weight[s], counts[s] - counts[s].mean()
        out |= {f"edge {s}": edge, f"edge {s} pairs": edge * follow[s].mean()}
        out |= {f"edge {s} weight": edge * w.mean(), f"weight {s} first": w[0]}
        out |= {f"weight {s} last": w[-1], f"weight {s} squared": (w**2).mean()}
        out |= {f"weight {s} steps": np.tanh(np.diff(values["weight"][s]) ** 2 / scale**2).mean()}
        out |= {
            f"weight {s} product": (w[1:] * w[:-1]).mean(),
            f"weight {s} link": (w * link).sum(),
        }
        share = _share(values["log_gamma"][s])[0]
        out |= {f"bump {s}": share, f"bump {s} edge": share * edge * w.mean()}
        out |= {f"gamma {s}": values["log_gamma"][s].mean()}
    for name in target.priors:
        x = quantiles(target, values, name)
        out |= {name: x.mean(), f"{name} squared": (x**2).mean()}
        for s in range(target.pre.size):
            own_edge = values["edge"][s] * x[target.group[s]]
            out |= {f"{name} pairs {s}": x[target.group[s]] * follow[s].mean()}
            out |= {f"{name} weight {s}": x[target.group[s]] * (weight[s][-1] - weight[s][0])}
            out |= {f"{name} edge {s}": own_edge}
    for n, own in enumerate(target.incoming if target.coupled else []):
        innovations = column_law(target, own, values["edge"][own], values).innovations(
            values["weight"][own]
        )
        out |= {f"innovations {n}": np.tanh((innovations**2).mean() / 2.0) if own.size else 0.0}
    return out


def quantiles(target: STDPGLMTarget, values: Arrays, name: str) -> Floats:
    """Return a rule parameter's place in its prior, uniform on [0, 1] under the joint law."""
    prior, x = target.priors[name], values[name]
    if isinstance(prior, Gamma):
        return np.asarray(gamma.cdf(x, prior.shape, scale=1.0 / prior.rate))
    if isinstance(prior, Normal):
        return np.asarray(norm.cdf(x, prior.location, prior.scale))
    assert isinstance(prior, LogNormal)
    return np.asarray(norm.cdf(np.log(x / prior.median) / prior.spread))


KernelOf = Callable[[STDPGLMTarget], Kernel]


@dataclass
class Outcome:
    """z-scores by statistic, and the number of replicates."""

    scores: Mapping[str, float]
    replicates: int = 0
    moved: dict[str, float] = field(default_factory=dict)


def adapted(problem: Problem, kernel_of: KernelOf, steps: int, seed: int) -> Arrays:
    """Return the samplers' states after a warm-up on one replicate, without its point."""
    rng = np.random.default_rng([seed, 1])
    drawn = None
    while drawn is None:
        drawn = problem.replicate(rng)
    kernel = kernel_of(drawn[0])
    state = kernel.init(rng)
    for _ in range(steps):
        state, _ = kernel.step(state, rng, warmup=True)
    return {name: value for name, value in state.items() if not name.startswith("values.")}


def joint_test(
    problem: Problem,
    kernel_of: KernelOf,
    state: Arrays,
    *,
    replicates: int,
    steps: int,
    seed: int = 0,
) -> Outcome:
    """Move a kernel from the truth in independent replicates; return z-scores of changes.

    ``state`` holds the samplers' states; it is the same in every replicate, so that no
    adaptation looks at the spikes.
    """
    before: list[Statistics] = []
    after: list[Statistics] = []
    places: dict[str, list[float]] = {}
    for i in range(replicates):
        rng = np.random.default_rng([seed, 2, i])
        drawn = problem.replicate(rng)
        if drawn is None:
            continue
        target, values = drawn
        kernel = kernel_of(target)
        current = {**state, **{f"values.{name}": value for name, value in values.items()}}
        for _ in range(steps):
            current, _ = kernel.step(current, rng, warmup=False)
        end = {
            name.removeprefix("values."): value
            for name, value in current.items()
            if name.startswith("values.")
        }
        before.append(statistics(target, values))
        after.append(statistics(target, end))
        for name in target.priors:
            places.setdefault(name, []).append(float(quantiles(target, end, name)[0]))
    first, last = (_columns(rows) for rows in (before, after))
    scores = paired_scores(first, last)
    scores |= {f"prior law of {name}": uniform_score(u) for name, u in places.items()}
    moved = {name: float(np.mean(first[name] != last[name])) for name in first}
    return Outcome(scores, len(before), moved)


def _columns(rows: list[Statistics]) -> dict[str, Floats]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def without(kernel: Any, *blocks: str) -> Any:
    """Hold blocks of a kernel: "smooth", "rule" (its parameters) or, collapsed, "chains"."""
    if "smooth" in blocks:
        kernel._blocks = _Still(kernel._blocks)
    if "rule" in blocks:
        kernel._rules = _StillRule(kernel._rules)
    if "chains" in blocks:
        kernel._group = lambda *_: None
    return kernel


class _Still:
    """A sampler of real vectors that never moves."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def start(self) -> Arrays:
        state: Arrays = self._inner.start()
        return state

    def move(self, point: Any, block: int, own: Arrays, *rest: Any) -> Any:
        return own, 1.0, 0.0

    def sweep(self, point: Any, state: Arrays, *rest: Any) -> tuple[Arrays, Arrays]:
        return state, {}


class _StillRule(_Still):
    """A sampler of rule parameters that never moves."""

    def parameters(self, point: Any, group: int) -> Any:
        return self._inner.parameters(point, group)

    def bend(self, point: Any, group: int, density: Any, own: Arrays) -> Arrays:
        return own

    def sweep(
        self, point: Any, group: int, density: Any, own: Arrays, *rest: Any, **how: Any
    ) -> Any:
        return own, 1.0
