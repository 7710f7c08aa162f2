"""Gibbs sampling with trajectories, switches and their parameters collapsed on a grid."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.gibbs import Conditionals, GibbsTarget, HasGibbs, SwitchedChain
from probneuro.inference.collapsed import (
    CollapsedLikelihood,
    Run,
    current_path,
    draw_chain,
    move_chain,
    redraw_path,
)
from probneuro.inference.gibbs_blocks import RuleBlocks, SmoothBlocks, join, split
from probneuro.inference.grid_filter import GridFilter
from probneuro.inference.interweaving import InnovationLikelihood
from probneuro.inference.runner import chains_result, run_as_asked
from probneuro.inference.switched_scalars import move_scalars

Floats = NDArray[np.float64]

# How likely a trajectory is integrated out that was never switched on while warming up, next
# to one that always was.
_RARELY = 0.05
# A switch that was on less often than the first while warming up is moved in the second's share
# of the steps only.
_SELDOM, _VISITS = 0.05, 0.3
# Steps over which the reference of a trajectory is averaged while warming up.
_REMEMBERED = 20.0
# Where trajectories hold the parameters back, those are moved with some collapsed in one step of
# these only: that costs as much as to carry all along, and moves far less.
_HELD_BACK = 4
# First steps without carrying: trajectories of the start fit so badly that a noise of thousands of
# weights would carry them to better ones, from where it is a long way back.
_SETTLING = 10
# Steps of the warm-up between looks at the curvature of what moves trajectories along.
_BENDS = 5


def _default_target(model: Any, args: tuple[Any, ...], engine: str) -> GibbsTarget:
    """Return the model's conditionals, or say why there are none."""
    if not isinstance(model, HasGibbs):
        raise CapabilityError(
            f"{engine} needs a model with Gibbs conditionals (HasGibbs); "
            f"{type(model).__name__} has none. Use NUTS() or SVI()."
        )
    return model.gibbs(*args)


def factorised_target(model: Any, args: tuple[Any, ...], engine: str) -> GibbsTarget:
    """Return the model's conditionals, or say that its trajectories depend on each other."""
    target = _default_target(model, args, engine)
    if target.coupled:
        raise CapabilityError(
            f"{engine} moves one trajectory at a time; those of this {type(model).__name__} "
            "depend on each other. Use ParticleGibbs()."
        )
    return target


def run_kernel(kernel: Kernel, warmup: int, label: str, options: RunOptions) -> xr.DataTree:
    """Run a Gibbs kernel's chains and name the result."""
    chains = run_as_asked(kernel, options, warmup=warmup, label=label)
    return chains_result(chains, options, dims=STATISTIC_DIMS)


STATISTIC_DIMS: Mapping[str, tuple[str, ...]] = {
    "acceptance_rate": ("neuron",),
    "step_size": ("neuron",),
    "log_edge_odds": ("synapse",),
}


@dataclass(frozen=True, kw_only=True)
class CollapsedGibbs(Engine):
    r"""Gibbs sampling in which weights and edges are integrated out of the rule's parameters.

    One iteration moves each neuron's real parameters by HMC; then, for each group of synapses
    that share a rule, draws the rule's parameters from

    .. math::

        p(\theta) \prod_{s \in S} \bigl[\rho Z_s(\theta) + (1 - \rho) Z_s^0\bigr]
        \prod_{s \notin S, a_s = 1} p(w_s \mid \theta)

    where S holds one synapse per postsynaptic neuron and :math:`Z_s` is the likelihood with the
    whole trajectory integrated out; then draws edges and trajectories of all synapses. The
    parameters move by slice sampling of an approximate :math:`Z_s`, and the move is accepted
    or not by the exact one, from the grid filter (``rule_acceptance_rate``). Edges are
    proposed and accepted in the same way, so that an absent synapse costs little; the
    statistic ``log_edge_odds`` is exact where the filter ran, approximate elsewhere, and NaN
    where an edge was left as it was: those that were hardly ever on in the warm-up are moved in
    three steps of ten.

    Where a group has several synapses onto one neuron, trajectories outside S hold its parameters
    back. There another move comes first, which carries all present trajectories along: see
    :class:`~probneuro.inference.interweaving.InnovationLikelihood`; that with S follows in one
    step of four.

    Neurons are independent given the rule's parameters: where there are more processors than
    chains, they are spread over threads. The draws do not depend on how many.

    Parameters
    ----------
    warmup : int
        Steps that tune step sizes, metrics and slice directions; they are not draws.
    resolution : float
        Nodes per standard deviation of a step, unbounded rules.
    bounded_resolution : float
        The same for rules with bounds.
    thin : int
        Iterations a draw, once warmed up, for long recordings of many neurons: a draw holds every
        weight of every window, and one in ten says nearly as much as all.

    Notes
    -----
    Goes beyond Linderman et al. (2014), who slice-sample the rule's parameters given the
    trajectories; see :class:`ParticleGibbs` for that. At a resolution of 1.5 the evidence is
    exact to about 1e-7 nats, at 3 with bounds to about 1e-4.

    Examples
    --------
    >>> CollapsedGibbs(warmup=200).settings()["warmup"]
    200
    """

    warmup: int = 500
    resolution: float = 1.5
    bounded_resolution: float = 3.0
    thin: int = 1

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise SettingError(f"`warmup` must not be negative; got {self.warmup}. Pass e.g. 500.")
        if self.thin < 1:
            raise SettingError(f"`thin` must be 1 or more; got {self.thin}. Pass e.g. 10.")
        for name in ("resolution", "bounded_resolution"):
            if getattr(self, name) < 1.2:
                raise SettingError(
                    f"`{name}` must be at least 1.2 nodes per standard deviation; got "
                    f"{getattr(self, name)}. The grid filter is not exact below."
                )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the chains on a model with Gibbs conditionals."""
        target = factorised_target(model, args, self.name)
        workers = options.workers or os.cpu_count() or 1
        if options.chains >= workers:
            return run_kernel(CollapsedKernel(target, self), self.warmup, self.name, options)
        with ThreadPoolExecutor(workers) as pool:  # processors that would have no chain
            kernel = CollapsedKernel(target, self, pool.map)
            return run_kernel(kernel, self.warmup, self.name, options)


class CollapsedKernel(Kernel):
    """One chain of :class:`CollapsedGibbs`.

    Parameters
    ----------
    target : GibbsTarget
        The model bound to data.
    settings : CollapsedGibbs
        The engine's settings.
    run : callable
        ``map``, or the like of a thread pool: how blocks that share no likelihood are moved.
    """

    def __init__(self, target: GibbsTarget, settings: CollapsedGibbs, run: Run = map) -> None:
        self._target, self._settings, self._run = target, settings, run
        self._blocks = SmoothBlocks(target, settings.warmup)
        self._rules = RuleBlocks(target, settings.warmup)
        self._chains = len(target.block_of_chain)
        spans = [sorted({target.block_of_chain[s] for s in own}) for own in target.groups]
        self._shared = [g for g, blocks in enumerate(spans) if len(blocks) > 1]
        # Groups of which some trajectories are held while their parameters are drawn.
        self._crowded = [
            len(own) > len(blocks) for own, blocks in zip(target.groups, spans, strict=True)
        ]
        self._own: list[list[int]] = [[] for _ in target.smooth_sizes]
        for group, blocks in enumerate(spans):
            if len(blocks) == 1:
                self._own[blocks[0]].append(group)

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a point and the samplers' states."""
        values = self._target.start(rng)
        return join(
            values=values, hmc=self._blocks.start(), rule=self._rules.start(),
            carried=self._rules.start(),
            often={"on": np.ones(self._chains)}, reference={"path": values["weight"].copy()},
            clock={"iteration": np.array(0)},
        )  # fmt: skip

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Move every block once, or as often as draws are thinned; statistics are of the last."""
        for _ in range(1 if warmup else self._settings.thin):
            state, info = self._iterate(state, rng, warmup=warmup)
        return state, info

    def _iterate(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Move every block once."""
        sweep = _Sweep(self._target, state, rng, warmup=warmup)

        def block(number: int) -> None:
            """Move a block's real vector, and the groups that only its chains belong to."""
            sweep.hmc[str(number)], sweep.acceptance[number], sweep.steps[number] = (
                self._blocks.move(
                    sweep.point, number, sweep.hmc.get(str(number), {}), sweep.streams[number],
                    sweep.iteration, warmup,
                )
            )  # fmt: skip
            move_scalars(sweep.point, number, sweep.streams[number])
            for group in self._own[number]:
                self._group(sweep, group, sweep.streams[number], map)

        list(self._run(block, range(len(sweep.streams))))
        for group in self._shared:
            self._group(sweep, group, rng, self._run)
        return sweep.end()

    def draw(self, state: Arrays) -> Arrays:
        """Return the posterior variables."""
        return self._target.draw(split(state)["values"])

    def _group(self, sweep: "_Sweep", group: int, rng: np.random.Generator, run: Run) -> None:
        """Draw a group's parameters with some trajectories collapsed, then all trajectories."""
        point, members = sweep.point, self._target.groups[group]
        moved = self._crowded[group] and self._interweave(sweep, group, rng)
        chosen = self._choose(members, sweep.often, rng)
        chains = dict(zip(chosen, run(point.chain, chosen), strict=True))
        filters = {s: self._filter(sweep, chain) for s, chain in chains.items()}
        others = [s for s in members if s not in chains]
        present = [s for s in others if point.values["edge"][s]]
        collapsed = CollapsedLikelihood(point, chains, filters, present, run)
        if not moved or sweep.warmup or sweep.iteration % _HELD_BACK == 0:
            sweep.rule[str(group)], sweep.rates[group] = self._rules.sweep(
                point, group, collapsed, sweep.rule.get(str(group), {}), rng, sweep.iteration,
                sweep.warmup, sweeps=1 if moved else 2,
            )  # fmt: skip
        parameters = self._rules.parameters(point, group)
        exact, laws = collapsed.laws(parameters), point.laws(others, parameters)

        def draw(block: int) -> None:
            for s in (s for s in chosen if self._target.block_of_chain[s] == block):
                grid = filters[s]
                sweep.odds[s] = draw_chain(
                    point, s, chains[s], grid, exact[s], sweep.streams[block]
                )
                sweep.note(s, grid)
            for s in (s for s in others if self._target.block_of_chain[s] == block):
                self._move(sweep, s, laws[s], sweep.streams[block])

        list(run(draw, sorted({self._target.block_of_chain[s] for s in members})))

    def _interweave(self, sweep: "_Sweep", group: int, rng: np.random.Generator) -> bool:
        """Move a group's parameters with its present trajectories, their innovations held.

        Returns whether that could be done.
        """
        if sweep.iteration < _SETTLING:
            return False
        point = sweep.point
        present = [s for s in self._target.groups[group] if point.values["edge"][s]]
        parameters = self._rules.parameters(point, group)
        if not parameters or not present or point.law(present[0], parameters).drift is not None:
            return False
        held = InnovationLikelihood(point, present, parameters, sweep.reference)
        if not held.invertible:
            return False
        own = sweep.carried.get(str(group), {})
        if sweep.warmup and sweep.iteration % _BENDS == 0:
            own = sweep.carried[str(group)] = self._rules.bend(point, group, held, own)
        self._rules.sweep(point, group, held, own, rng, sweep.iteration, warmup=False, sweeps=1)
        held.carry(self._rules.parameters(point, group))
        return True

    def _move(self, sweep: "_Sweep", index: int, law: Any, rng: np.random.Generator) -> None:
        """Move one switch and trajectory, its parameters held."""

        def filter_of(chain: SwitchedChain) -> GridFilter:
            grids.append(self._filter(sweep, chain))
            return grids[0]

        grids: list[GridFilter] = []
        # Drawn whatever the switch is now, and no more often while it is off.
        visited = sweep.often[index] > _SELDOM or rng.random() < _VISITS
        move = move_chain if visited else redraw_path
        sweep.odds[index] = move(sweep.point, index, filter_of, law, rng)
        for grid in grids:
            sweep.note(index, grid)

    def _choose(self, members: Sequence[int], often: Floats, rng: np.random.Generator) -> list[int]:
        """Return one chain of each block, at random; one that is often on, more likely."""
        chosen: dict[int, int] = {}
        keys = np.log(rng.random(len(members))) / (_RARELY + often[list(members)])
        for place in np.argsort(-keys):
            chosen.setdefault(self._target.block_of_chain[members[place]], members[place])
        return list(chosen.values())

    def _filter(self, sweep: "_Sweep", chain: SwitchedChain) -> GridFilter:
        block = self._target.block_of_chain[chain.index]
        return GridFilter(
            chain.observation,
            resolution=self._settings.resolution,
            bounded_resolution=self._settings.bounded_resolution,
            offset=sweep.streams[block].random(),
            around=current_path(sweep.point, chain.index),
            near=sweep.near.get(str(chain.index)),
        )


class _Sweep:
    """One step of the kernel under way: the point, the samplers' states, and the statistics.

    Every block has a stream of random numbers of its own, so that the order in which threads
    move blocks does not matter. ``near`` notes how far from each trajectory its filter went,
    for the next sweep's first guess of where likelihoods are needed; ``often`` how often each
    switch was on while warming up, and ``reference`` where its trajectory was.
    """

    def __init__(
        self, target: GibbsTarget, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> None:
        parts = split(state)
        self.warmup, self.iteration = warmup, int(parts["clock"]["iteration"])
        self.point: Conditionals = target.at(parts["values"])
        self.hmc, self.rule = split(parts.get("hmc", {})), split(parts.get("rule", {}))
        self.carried = split(parts.get("carried", {}))
        self.near, self.often = dict(parts.get("near", {})), parts["often"]["on"]
        self.reference = parts["reference"]["path"]
        blocks = len(target.smooth_sizes)
        self.streams = [np.random.default_rng(seed) for seed in rng.integers(2**63, size=blocks)]
        self.acceptance, self.steps = np.ones((2, blocks))
        self.odds, self.rates = np.zeros(self.often.size), np.ones(len(target.groups))

    def note(self, index: int, grid: GridFilter) -> None:
        """Note where a filter went, from the trajectory that was drawn with it."""
        values = self.point.values
        self.near[str(index)] = grid.visited_from(values["weight"][index] * values["edge"][index])

    def end(self) -> tuple[Arrays, Arrays]:
        """Return the state and the statistics."""
        values, often, reference = self.point.values, self.often, self.reference
        if self.warmup:
            often = often + (values["edge"] - often) / min(self.iteration + 1.0, 100.0)
            new = (values["edge"] != 0)[:, None] * (values["weight"] - reference)
            reference = reference + new / min(self.iteration + 1.0, _REMEMBERED)
        info = {
            "acceptance_rate": self.acceptance,
            "step_size": self.steps,
            "lp": np.array(self.point.log_density()),
            "log_edge_odds": self.odds,
            "rule_acceptance_rate": np.array(self.rates.mean()),
        }
        state = join(
            values=values, hmc=join(**self.hmc), rule=join(**self.rule),
            carried=join(**self.carried), near=self.near,
            often={"on": often}, reference={"path": reference},
            clock={"iteration": np.array(self.iteration + 1)},
        )  # fmt: skip
        return state, info
