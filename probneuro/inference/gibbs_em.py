"""Stochastic-approximation EM of models with Gibbs conditionals: fast point estimates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.gibbs import ChainLaw, Conditionals, GibbsTarget
from probneuro.inference.collapsed import (
    CollapsedLikelihood,
    current_path,
    draw_chain,
    log_marginal,
)
from probneuro.inference.em import check_counts
from probneuro.inference.gibbs import STATISTIC_DIMS, factorised_target
from probneuro.inference.gibbs_blocks import Parameters, join, split
from probneuro.inference.grid_filter import GridFilter
from probneuro.inference.point_estimates import point_result
from probneuro.inference.runner import run_as_asked
from probneuro.inference.score_steps import (
    Stencil,
    climbed,
    damped_step,
    memory,
    smooth_curvature,
)
from probneuro.inference.stochastic_em import StepSizes, step_sizes
from probneuro.inference.switched_scalars import draw_switch

Floats = NDArray[np.float64]

HIDDEN: Final = ("edge", "weight", "self_edge")
"""What is drawn; all else that a point records is estimated."""
# Iterations from one measurement of the curvature to the next: it costs many gradients.
_EVERY: Final = 5
# Step of differences and longest move of a rule's parameters, in prior standard deviations.
_PROBE, _LONGEST = 0.03, 0.5
# Draws of a prior that tell its standard deviation.
_PRIOR_DRAWS: Final = 1000
# Nodes per standard deviation between bounds, as in CollapsedGibbs.
_BOUNDED_RESOLUTION: Final = 3.0
# Draws of the prior that a restart chooses its rule's start from.
_STARTS: Final = 20
# Log odds below which an absent trajectory tells the rule nothing.
_ABSENT: Final = -16.0


@dataclass(frozen=True, kw_only=True)
class StochasticEM(Engine):
    r"""Most probable parameters of a model with Gibbs conditionals, its trajectories averaged over.

    .. math::

        \hat\theta = \arg\max_\theta \; p(\theta)
        \sum_a \int p(y, w, a \mid \theta)\, \mathrm dw, \qquad
        \theta_{k+1} = \theta_k + \gamma_k H_k^{-1} S(\theta_k; w_k, a_k)

    An iteration draws every switch and trajectory, each with its switch integrated out as
    :class:`~probneuro.inference.gibbs.CollapsedGibbs` does, and moves the parameters along the
    score S of the density given them. The expectation of S is the slope of the density with
    everything hidden integrated out, so that the noise of the draws averages out. H is a running
    mean of the curvature. A chain is a restart.

    The score by a rule's parameters has each trajectory integrated out in turn, the others held:

    .. math::

        S_\mathrm{rule} = \partial_\theta \log p(\theta)
        + \sum_s \partial_\theta \log \bigl[\rho Z_s(\theta) + (1 - \rho) Z_s^0\bigr],

    whose expectation is the same, and which is far less noisy than the score given the
    trajectories; with one trajectory a block it is the slope itself.

    Parameters
    ----------
    iterations : int
        Iterations, burn-in included.
    burn_in : int
        First iterations, with whole steps; the estimate is the mean of the parameters after them.
    decay : float
        Exponent of the step sizes after the burn-in, in (1/2, 1].

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: the block "particle SAEM" of Linderman, Stock and Adams (2014), with the
    Robbins-Monro step on the score of Delyon, Lavielle and Moulines (1999) and the averaged
    curvature of Gu and Kong (1998); the mean at the end is that of Polyak and Juditsky (1992).
    Deviations: trajectories are drawn exactly on a grid instead of by particles, and the score of
    the rule's parameters is that above.

    Priors count. The mode is that of the density in the coordinates in which the Gibbs engines
    move: logarithms of positive parameters and of the gammas of impulse responses, whose density
    has no mode in their own space. ``fit_history`` holds the parameters of every iteration and
    ``log_density``: the log prior in the parameters' own space, plus the likelihood with one
    trajectory of each block integrated out and the others held. It is exact where no block has
    more than one, and somewhat too high elsewhere. Draws after the fit are switches and
    trajectories given the estimate.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.data import BinnedSpikes
    >>> from probneuro.models.stdp_glm import STDPGLM
    >>> counts = np.random.default_rng(0).poisson(0.05, (400, 2))
    >>> data = BinnedSpikes(counts, bins_per_window=100)
    >>> sizes = {"draws": 5, "chains": 1, "seed": 1, "progress": False}
    >>> result = infer(STDPGLM(), data, engine=StochasticEM(iterations=6, burn_in=3), **sizes)
    >>> result["parameters/bias"].shape, result.posterior["weight"].shape
    ((1, 1, 2), (1, 5, 2, 4))
    """

    iterations: int = 300
    burn_in: int = 100
    decay: float = 0.7

    def __post_init__(self) -> None:
        check_counts(self, iterations=1)
        self.step_sizes()

    def step_sizes(self) -> StepSizes:
        """Return the sizes of the steps along the score."""
        return step_sizes(self.iterations, self.burn_in, self.decay)

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Fit every restart on a model with Gibbs conditionals and return the result."""
        target = factorised_target(model, args, self.name)
        chains = run_as_asked(
            GibbsEMKernel(target, self.iterations, self.step_sizes()),
            options,
            warmup=self.iterations,
            label=self.name,
            keep_warmup=True,
        )
        dims = {"log_edge_odds": list(STATISTIC_DIMS["log_edge_odds"])}
        estimates = [name for name in chains.posterior if name not in HIDDEN]
        return point_result(chains, options, estimates=estimates, dims=dims)


class GibbsEMKernel(Kernel):
    """One restart of :class:`StochasticEM`: its warm-up steps are iterations.

    Parameters
    ----------
    target : GibbsTarget
        The model bound to data.
    iterations : int
        Iterations, burn-in included.
    sizes : StepSizes
        Sizes of the steps.
    """

    def __init__(self, target: GibbsTarget, iterations: int, sizes: StepSizes) -> None:
        self._target, self._iterations, self._sizes = target, iterations, sizes
        self._coordinates = Coordinates(target)

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return the model's start, with the best of a few draws of the rules' parameters."""
        point = self._target.at(self._target.start(rng))
        for group, members in enumerate(self._target.groups):
            self._coordinates.start(point, group, members, rng)
        return join(
            values=point.values, mean=self._coordinates.read(point), curvature={},
            clock={"iteration": np.array(0), "fitted": np.array(False)},
        )  # fmt: skip

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Draw what is hidden, and while fitting move the parameters along its score."""
        parts = split(state)
        clock, point = parts["clock"], self._target.at(parts["values"])
        done = int(clock["iteration"])
        curved = done % _EVERY == 0
        for block in range(len(self._target.smooth_sizes)):
            draw_switch(point, block, rng)
        sweep = _Sweep(point, parts.get("near", {}), rng, fitting=warmup)
        for group, members in enumerate(self._target.groups):
            self._coordinates.probe(sweep, group, members, curved=curved)
        stats: Arrays = {"log_density": np.array(sweep.height()), "log_edge_odds": sweep.odds}
        if not warmup:
            clock = {**clock, "fitted": np.array(True)}
            return join(
                **{**parts, "values": point.values, "near": sweep.near, "clock": clock}
            ), stats
        drawn = self._target.draw(point.values)
        stats |= {name: value for name, value in drawn.items() if name not in HIDDEN}
        curvature = self._moved(sweep, parts.get("curvature", {}), done, curved=curved)
        mean = self._averaged(point, parts["mean"], done + 1)
        clock = {**clock, "iteration": np.array(done + 1)}
        state = join(
            values=point.values, mean=mean, curvature=curvature, near=sweep.near, clock=clock
        )
        return state, stats

    def draw(self, state: Arrays) -> Arrays:
        """Return the estimate and what is hidden; nothing while fitting."""
        parts = split(state)
        return self._target.draw(parts["values"]) if parts["clock"]["fitted"] else {}

    def _moved(self, sweep: "_Sweep", known: Arrays, done: int, *, curved: bool) -> Arrays:
        """Move all parameters; return the curvatures with those of this draw.

        Steps use what was known before the draw: a curvature of the very draw would go with its
        score, and bend the mean of the steps.
        """
        point, size, share = sweep.point, self._sizes.at(done), memory(done // _EVERY)
        fresh = dict(sweep.curvature)
        for block, own in enumerate(self._target.parameter_sizes):
            density, position = point.smooth(block), point.smooth_position(block)
            name, step = f"block.{block}", np.zeros_like(position)
            if curved:
                fresh[name] = smooth_curvature(density, position, own)
            gradient = density.value_and_gradient(position)[1][:own]
            step[:own] = size * damped_step(gradient, {**fresh, **known}[name])
            point.set_smooth(block, climbed(density, position, step), None)
        for group in range(len(self._target.groups)):
            name = f"group.{group}"
            step = damped_step(sweep.score[name], {**fresh, **known}[name])
            longest = float(np.abs(step).max(initial=_LONGEST))
            self._coordinates.move(point, group, size * step * (_LONGEST / longest))
        before = {**fresh, **known}
        moved = {name: before[name] + share * (own - before[name]) for name, own in fresh.items()}
        return {**known, **moved}

    def _averaged(self, point: Conditionals, mean: Arrays, done: int) -> Arrays:
        """Return the mean after the burn-in, and move the point there at the end."""
        share = 1.0 / max(done - self._sizes.burn_in, 1)
        now = self._coordinates.read(point)
        mean = {name: mean[name] + share * (place - mean[name]) for name, place in now.items()}
        if done == self._iterations:
            self._coordinates.write(point, mean)
        return mean


class Coordinates:
    """The parameters of a target as vectors: blocks' own, and groups' in prior standard deviations.

    Parameters
    ----------
    target : GibbsTarget
        The model bound to data.
    """

    def __init__(self, target: GibbsTarget) -> None:
        self._target, self._priors = target, dict(target.parameter_priors())
        self._positive = np.array([p.positive for p in self._priors.values()], dtype=bool)
        stream = np.random.default_rng(0)  # it sets a scale, on which no result depends
        draws = [prior.sample(stream, _PRIOR_DRAWS) for prior in self._priors.values()]
        self._units = np.array([
            np.std(np.log(x) if positive else x)
            for x, positive in zip(draws, self._positive, strict=True)
        ])  # fmt: skip
        self._stencil = Stencil(len(self._priors), _PROBE)

    def read(self, point: Conditionals) -> Arrays:
        """Return where all parameters are."""
        blocks = {
            f"block.{n}": point.smooth_position(n)[:size]
            for n, size in enumerate(self._target.parameter_sizes)
        }
        groups = {f"group.{g}": self._group(point, g) for g in range(len(self._target.groups))}
        return {**blocks, **groups}

    def write(self, point: Conditionals, places: Arrays) -> None:
        """Move all parameters."""
        for n, size in enumerate(self._target.parameter_sizes):
            position = point.smooth_position(n)
            position[:size] = places[f"block.{n}"]
            point.set_smooth(n, position, None)
        for g in range(len(self._target.groups)):
            point.set_parameters(g, self.parameters(places[f"group.{g}"]))

    def start(
        self, point: Conditionals, group: int, members: Sequence[int], rng: np.random.Generator
    ) -> None:
        """Move a group's parameters to the best of where they are and a few draws of the prior.

        From a bad start trajectories go far to make up for the rule, and the way back is long.
        """
        chains = {s: point.chain(s) for s in members}
        filters = {
            s: GridFilter(chain.observation, bounded_resolution=_BOUNDED_RESOLUTION)
            for s, chain in chains.items()
        }
        likelihood = CollapsedLikelihood(point, chains, filters, [])
        tried: list[Parameters] = [self.parameters(self._group(point, group))]
        for _ in range(_STARTS if self._priors else 0):
            tried.append({n: float(p.sample(rng, 1)[0]) for n, p in self._priors.items()})
        best: Parameters = max(tried, key=likelihood.approximate)
        point.set_parameters(group, best)

    def move(self, point: Conditionals, group: int, step: Floats) -> None:
        """Move a group's parameters by a step in prior standard deviations."""
        point.set_parameters(group, self.parameters(self._group(point, group) + step))

    def probe(self, sweep: "_Sweep", group: int, members: Sequence[int], *, curved: bool) -> None:
        """Draw a group's trajectories, and note the score and curvature by its parameters."""
        place = self._group(sweep.point, group)
        places = place + self._stencil.places(curved=curved)
        if not sweep.fitting:
            places = places[:1]
        laws = [sweep.point.laws(members, self.parameters(at)) for at in places]
        values = np.array([self.log_prior(at) for at in places], dtype=np.float64)
        for s in members:
            values += sweep.visit(s, self._target.block_of_chain[s], [law[s] for law in laws])
        if sweep.fitting:
            sweep.score[f"group.{group}"] = self._stencil.gradient(values)
        if sweep.fitting and curved:
            sweep.curvature[f"group.{group}"] = self._stencil.curvature(values)

    def _group(self, point: Conditionals, group: int) -> Floats:
        values = np.array([float(point.values[name][group]) for name in self._priors])
        place: Floats = np.where(
            self._positive, np.log(np.where(self._positive, values, 1.0)), values
        )
        return place / self._units

    def parameters(self, place: Floats) -> dict[str, float]:
        """Return a group's parameters at a place."""
        named = zip(self._priors.items(), (place * self._units).tolist(), strict=True)
        return {
            name: math.exp(value) if prior.positive else value for (name, prior), value in named
        }

    def log_prior(self, place: Floats) -> float:
        """Return their log prior density, as logarithms where they are positive."""
        named = zip(self._priors.values(), (place * self._units).tolist(), strict=True)
        return sum(prior.log_density_real(value) for prior, value in named)


class _Sweep:
    """One pass over all trajectories: the point, what was found, and the statistics."""

    def __init__(
        self, point: Conditionals, near: Arrays, rng: np.random.Generator, *, fitting: bool
    ) -> None:
        self.point, self.near, self.fitting = point, dict(near), fitting
        self.score: Arrays = {}
        self.curvature: Arrays = {}
        self.odds = np.zeros(point.values["edge"].size)
        self._rng = rng
        self._last: dict[int, tuple[int, float, float]] = {}
        self._switches: dict[int, float] = {}
        self._held = 0.0

    def visit(self, index: int, block: int, laws: list[ChainLaw]) -> Floats:
        """Draw a switch and trajectory under the first law; return log likelihoods under all."""
        point, chain = self.point, self.point.chain(index)
        grid = GridFilter(
            chain.observation, bounded_resolution=_BOUNDED_RESOLUTION, offset=self._rng.random(),
            around=current_path(point, index), near=self.near.get(str(index)),
        )  # fmt: skip
        values = np.full(len(laws), log_marginal(chain, grid.log_evidence(laws[0])))
        odds = self.odds[index] = draw_chain(point, index, chain, grid, laws[0], self._rng)
        if odds > _ABSENT:
            values[1:] = [log_marginal(chain, grid.log_evidence(law)) for law in laws[1:]]
        path, on = point.values["weight"][index], bool(point.values["edge"][index])
        self.near[str(index)] = grid.visited_from(path * on)
        prior = chain.log_prior_odds
        log_off = 0.0 if math.isinf(prior) else -float(np.logaddexp(0.0, prior))
        self._held += laws[0].log_density(path)
        self._switches[index] = log_off + (prior if on and not math.isinf(prior) else 0.0)
        gain = float(values[0]) + log_off - chain.null_log_likelihood
        self._last[block] = index, gain, log_off
        return values

    def height(self) -> float:
        """Return the log prior of the parameters and the likelihood, one trajectory a block out.

        The joint density with these trajectories switched off has what they leave of the
        likelihood; the densities of what is held are taken off it.
        """
        values, switches = self.point.values, dict(self._switches)
        present = [s for s, _, _ in self._last.values() if values["edge"][s]]
        for s in present:
            self.point.set_chain(s, None, False, values["weight"][s])
        total = self.point.log_density()
        for s in present:
            self.point.set_chain(s, None, True, values["weight"][s])
        for s, gain, log_off in self._last.values():
            switches[s] = log_off
            total += gain
        return total - self._held - sum(switches.values())
