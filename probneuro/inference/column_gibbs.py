"""Particle Gibbs for trajectories that move together: one chain of the sampler."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from probneuro.core.columns import Bools, ColumnLaw, ColumnObservation, HasColumns
from probneuro.core.engine import Arrays, Kernel
from probneuro.core.errors import CapabilityError
from probneuro.core.gibbs import Conditionals, GibbsTarget
from probneuro.inference.column_filter import filter_column
from probneuro.inference.gibbs_blocks import RuleBlocks, SmoothBlocks, join, split
from probneuro.inference.switched_scalars import move_scalars

Floats = NDArray[np.float64]
Parameters = dict[str, float]


class ColumnKernel(Kernel):
    r"""One chain of :class:`probneuro.inference.particle_gibbs.ParticleGibbs` on coupled targets.

    One iteration moves each block's real parameters by HMC. Then each group's rule parameters move
    by slice sampling twice: given the trajectories, and given their first states and innovations
    :math:`\epsilon_k = (w_{k+1} - w_k - \ell_k) / \sigma`, so that the trajectories follow the
    parameters (interweaving). Last, each block's switches and trajectories move by filters whose
    particles are vectors. A switch is proposed to change with all trajectories of its block drawn
    anew, and accepted with probability

    .. math::

        \min\bigl(1,\; p(a') \hat Z(a') / (p(a) \hat Z(a))\bigr),

    the present switches' estimate renewed by a conditional filter around the trajectories.
    Trajectories that are switched off are integrated out throughout, and drawn at the end.

    Parameters
    ----------
    target : GibbsTarget
        The model bound to data.
    num_particles : int
        Particles of each filter.
    warmup : int
        Steps that tune step sizes, metrics and slice directions.

    Notes
    -----
    Source: Lindsten, Jordan and Schoen (2012) for the trajectories; Andrieu, Doucet and Holenstein
    (2010), section 4.4, for the switches; Yu and Meng (2011) for the interweaving.
    """

    def __init__(self, target: GibbsTarget, num_particles: int, warmup: int) -> None:
        self._target, self._num_particles = target, num_particles
        self._blocks = SmoothBlocks(target, warmup)
        self._rules = RuleBlocks(target, warmup)
        self._blocks_of = [sorted({target.block_of_chain[s] for s in own}) for own in target.groups]

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a point and the samplers' states."""
        return join(
            values=self._target.start(rng), hmc=self._blocks.start(), rule=self._rules.start(),
            moving=self._rules.start(), clock={"iteration": np.array(0)},
        )  # fmt: skip

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Move every block once."""
        parts = split(state)
        iteration = int(parts["clock"]["iteration"])
        point = self._target.at(parts["values"])
        hmc, info = self._blocks.sweep(point, parts.get("hmc", {}), rng, iteration, warmup)
        for block in range(len(self._target.smooth_sizes)):
            move_scalars(point, block, rng)
        rule, moving = split(parts.get("rule", {})), split(parts.get("moving", {}))
        for group, blocks in enumerate(self._blocks_of):
            columns = [Held(point, block, group) for block in blocks]
            rule[str(group)], _ = self._rules.sweep(
                point, group, _Sum(columns), rule.get(str(group), {}), rng, iteration, warmup
            )
            followers = [Following(point, block, group) for block in blocks]
            moving[str(group)], _ = self._rules.sweep(
                point, group, _Sum(followers), moving.get(str(group), {}), rng, iteration, warmup
            )
            own = self._rules.parameters(point, group)
            for follower in followers:
                follower.settle(own, rng)
        chains = len(self._target.block_of_chain)
        odds, sizes = np.full(chains, np.inf), np.zeros(chains)
        for block in range(len(self._target.smooth_sizes)):
            members = _columns(point).members(block)
            if members.size:
                odds[members], sizes[members] = self._move_block(point, block, rng)
        info["lp"] = np.array(point.log_density())
        info["log_edge_odds"], info["particle_ess"] = odds, sizes
        clock = {"iteration": np.array(iteration + 1)}
        return join(
            values=point.values, hmc=hmc, rule=join(**rule), moving=join(**moving), clock=clock
        ), info

    def draw(self, state: Arrays) -> Arrays:
        """Return the posterior variables."""
        return self._target.draw(split(state)["values"])

    def _move_block(
        self, point: Conditionals, block: int, rng: np.random.Generator
    ) -> tuple[Floats, float]:
        """Move a block's switches and trajectories; return log odds and the mean particle ESS."""
        column = _columns(point)
        prior = column.switch_log_odds(block)
        on, paths = _present(point, block)
        odds, size = prior.copy(), float(self._num_particles)
        for j in np.flatnonzero(np.isfinite(prior)):
            other = on.copy()
            other[j] = ~on[j]
            here, _ = self._evidence(column, block, on, rng, paths)
            there, proposed = self._evidence(column, block, other, rng, None)
            gain = there - here + (prior[j] if other[j] else -prior[j])
            odds[j] = gain if other[j] else -gain
            if -rng.exponential() < gain:
                on, paths = other, proposed
        if on.any():
            history = filter_column(
                column.column_law(block, on), column.column_observation(block, on),
                self._num_particles, rng, paths=paths, ancestor_sampling=True,
            )  # fmt: skip
            paths, size = history.draw_path(rng).T, float(history.effective_sizes.mean())
        column.set_column(block, on, paths, rng)
        return odds, size

    def _evidence(
        self, column: HasColumns, block: int, on: Bools, rng: np.random.Generator,
        paths: Floats | None,
    ) -> tuple[float, Floats]:  # fmt: skip
        """Return an estimate of the log evidence of some switches, and trajectories drawn by it.

        With ``paths`` it is that of a filter around them, and they are what is returned.
        """
        law, seen = column.column_law(block, on), column.column_observation(block, on)
        if not on.any():
            none = np.empty((0, law.num_windows))
            return seen.along(none), none
        history = filter_column(law, seen, self._num_particles, rng, paths=paths)
        drawn = history.draw_path(rng).T if paths is None else paths
        return history.log_evidence, drawn


def _columns(point: Conditionals) -> HasColumns:
    if not isinstance(point, HasColumns):
        raise CapabilityError(
            f"The target says `coupled`, but its conditionals, {type(point).__name__}, have no "
            "columns. Implement probneuro.core.columns.HasColumns."
        )
    return point


def _present(point: Conditionals, block: int) -> tuple[Bools, Floats]:
    """Return which members of a block are on, and their trajectories."""
    members = _columns(point).members(block)
    on = point.values["edge"][members] != 0
    return on, point.values["weight"][members[on]]


class Held:
    """The density of one block's trajectories as a function of a group's parameters."""

    def __init__(self, point: Conditionals, block: int, group: int) -> None:
        self._column, self._block, self._group = _columns(point), block, group
        self.on, self.paths = _present(point, block)

    def law(self, parameters: Mapping[str, float]) -> ColumnLaw:
        """Return the law under some parameters."""
        return self._column.column_law(self._block, self.on, self._group, parameters)

    def value(self, parameters: Parameters) -> float:
        """Return the log density of the trajectories."""
        return self.law(parameters).log_density(self.paths) if self.on.any() else 0.0


class Following(Held):
    """The likelihood of one block as a function of a group's parameters, innovations held."""

    def __init__(self, point: Conditionals, block: int, group: int) -> None:
        super().__init__(point, block, group)
        self._seen: ColumnObservation = self._column.column_observation(block, self.on)
        now = self._column.column_law(block, self.on)
        self._innovations = now.innovations(self.paths)

    def follow(self, parameters: Parameters) -> Floats:
        """Return the trajectories under some parameters."""
        return self.law(parameters).paths(self.paths[:, 0], self._innovations)

    def value(self, parameters: Parameters) -> float:
        """Return the log likelihood along the trajectories."""
        if not self.on.any():
            return 0.0
        value = self._seen.along(self.follow(parameters))
        return value if np.isfinite(value) else -np.inf

    def settle(self, parameters: Parameters, rng: np.random.Generator) -> None:
        """Move the point to the trajectories under some parameters."""
        self._column.set_column(self._block, self.on, self.follow(parameters), rng)


class _Sum:
    """The sum over blocks, as a likelihood of the group's parameters."""

    def __init__(self, columns: "list[Held] | list[Following]") -> None:
        self._columns = columns
        self._known: dict[tuple[float, ...], float] = {}

    def exact(self, parameters: Parameters) -> float:
        """Return the sum."""
        key = tuple(parameters.values())
        if key not in self._known:
            self._known[key] = sum(column.value(parameters) for column in self._columns)
        return self._known[key]

    approximate = exact
