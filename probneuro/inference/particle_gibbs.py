"""Particle Gibbs with ancestor sampling: the route of Linderman et al. (2014)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.device import refuse_device
from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions, RunsOnDevice
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.gibbs import ChainLaw, Conditionals, GibbsTarget, SwitchedChain
from probneuro.core.state_space import StateSpaceModel
from probneuro.inference.collapsed import CollapsedLikelihood, draw_chain
from probneuro.inference.column_gibbs import ColumnKernel
from probneuro.inference.gibbs import STATISTIC_DIMS, _default_target
from probneuro.inference.gibbs_blocks import RuleBlocks, SmoothBlocks, join, split
from probneuro.inference.grid_filter import GridFilter
from probneuro.inference.particle_filter import ParticleHistory, filter_chain, multinomial
from probneuro.inference.pgas import conditional_filter
from probneuro.inference.pseudo_marginal import PseudoMarginalRules
from probneuro.inference.runner import chains_result, run_as_asked
from probneuro.inference.state_space_gibbs import StateSpaceKernel
from probneuro.inference.state_space_steps import series_on
from probneuro.inference.switched_scalars import move_scalars

Floats = NDArray[np.float64]

_DIMS: Mapping[str, tuple[str, ...]] = {**STATISTIC_DIMS, "particle_ess": ("synapse",)}


@dataclass(frozen=True, kw_only=True)
class ParticleGibbs(Engine, RunsOnDevice):
    r"""Gibbs sampling in which trajectories move by particle Gibbs with ancestor sampling.

    On a :class:`~probneuro.core.state_space.StateSpaceModel` one iteration moves the
    trajectory by a conditional particle filter, and the global parameters given it by HMC
    (:class:`~probneuro.inference.state_space_gibbs.StateSpaceKernel`). What follows is about
    models with Gibbs conditionals, whose trajectories have switches.

    One iteration moves each neuron's real parameters by HMC; draws each group's rule
    parameters by slice sampling given the trajectories of its present synapses,

    .. math:: p(\theta) \prod_{s : a_s = 1} p(w_s \mid \theta);

    then gives each synapse an edge move and, where the edge is on, a conditional particle
    filter with ancestor sampling. Weights of absent synapses are drawn from their law.

    The edge move is a Metropolis step on the edge and the filter's particles together. An
    absent edge is proposed with a fresh filter's evidence estimate :math:`\hat Z` and a path
    drawn from it, and accepted with probability
    :math:`\min(1, \rho \hat Z / ((1 - \rho) Z^0))`. For a present edge a conditional filter
    around its path renews the estimate, and its removal is accepted with probability
    :math:`\min(1, (1 - \rho) Z^0 / (\rho \hat Z))`. Both leave the exact posterior invariant
    for any number of particles. Drawing the edge from the odds
    :math:`\rho \hat Z / ((1 - \rho) Z^0)` as a Gibbs step would, with :math:`\hat Z` in
    place of the evidence, is biased: the logistic function of an unbiased estimate is not an
    unbiased estimate of the probability.

    With ``pseudo_marginal`` the rule's parameters move by particle marginal Metropolis-Hastings
    instead, with one present trajectory of each block integrated out
    (:class:`~probneuro.inference.pseudo_marginal.PseudoMarginalRules`).

    Where trajectories depend on each other, particles are vectors of all trajectories of a block
    (:class:`~probneuro.inference.column_gibbs.ColumnKernel`).

    Parameters
    ----------
    warmup : int
        Steps that tune step sizes, metrics and slice directions; they are not draws.
    num_particles : int
        Particles of each filter.
    pseudo_marginal : bool
        Whether the rule's parameters move by filters' evidence estimates instead of by slices
        given the trajectories. It suits few synapses that share a rule: the variances of their
        log evidences add up, and should stay below about 2.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: Linderman, Stock and Adams (2014), section 4, with the filter of Lindsten, Jordan
    and Schoen (2012). Deviation: the paper draws edges as in the Gibbs step above. Given the
    trajectories the rule's parameters hardly move; :class:`CollapsedGibbs
    <probneuro.inference.gibbs.CollapsedGibbs>` integrates the trajectories out.

    A static synapse has no trajectory to filter; its edge and weight are drawn exactly on a
    grid. The statistic ``log_edge_odds`` holds the estimated posterior log odds that the
    edge move used, and ``particle_ess`` the effective number of particles, averaged over
    windows, of the last filter that was run.

    Examples
    --------
    >>> ParticleGibbs(num_particles=50).settings()["num_particles"]
    50
    """

    warmup: int = 500
    num_particles: int = 100
    pseudo_marginal: bool = False

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise SettingError(f"`warmup` must not be negative; got {self.warmup}. Pass e.g. 500.")
        if self.num_particles < 2:
            raise SettingError(
                f"`num_particles` must be at least 2; got {self.num_particles}. Pass e.g. 100."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the chains on a state-space model, or on one with Gibbs conditionals."""
        kernel: Kernel
        if isinstance(model, StateSpaceModel):
            self._refuse_pseudo_marginal("PMMH() moves the parameters of a state-space model so")
            series = series_on(options.device, *args, **kwargs)
            kernel = StateSpaceKernel(model, series, self.num_particles, self.warmup)
            dims: Mapping[str, Any] = kernel.dims
        else:
            refuse_device(options.device, f"{self.name} of such a model", "use NUTS() or SVI()")
            target = _default_target(model, args, self.name)
            if target.coupled:
                self._refuse_pseudo_marginal("trajectories that depend on each other share filters")
                kernel = ColumnKernel(target, self.num_particles, self.warmup)
            else:
                kernel = ParticleKernel(target, self)
            dims = _DIMS
        chains = run_as_asked(kernel, options, warmup=self.warmup, label=self.name)
        return chains_result(chains, options, dims=dims)

    def _refuse_pseudo_marginal(self, why: str) -> None:
        if self.pseudo_marginal:
            raise CapabilityError(
                f"`pseudo_marginal` does not apply to this model: {why}. Leave it out."
            )


class ParticleKernel(Kernel):
    """One chain of :class:`ParticleGibbs`.

    Parameters
    ----------
    target : GibbsTarget
        The model bound to data.
    settings : ParticleGibbs
        The engine's settings.
    """

    def __init__(self, target: GibbsTarget, settings: ParticleGibbs) -> None:
        self._target, self._settings = target, settings
        self._blocks = SmoothBlocks(target, settings.warmup)
        self._rules = RuleBlocks(target, settings.warmup)
        self._marginal = PseudoMarginalRules(
            target, self._rules, settings.num_particles, settings.warmup
        )

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a point and the samplers' states."""
        return join(
            values=self._target.start(rng), hmc=self._blocks.start(),
            rule=(self._marginal if self._settings.pseudo_marginal else self._rules).start(),
            clock={"iteration": np.array(0)},
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
        rule = parts.get("rule", {})
        chains = sum(len(members) for members in self._target.groups)
        odds, sizes, rates = np.zeros(chains), np.zeros(chains), np.ones(len(self._target.groups))
        for group, members in enumerate(self._target.groups):
            rule, rates[group] = self._move_rule(point, group, rule, rng, iteration, warmup)
            parameters = self._rules.parameters(point, group)
            for s, law in point.laws(members, parameters).items():
                if law.noise == 0.0:
                    odds[s] = self._draw_constant(point, s, parameters, rng)
                    sizes[s] = self._settings.num_particles
                else:
                    odds[s], sizes[s] = self._move_chain(point, s, law, rng)
        info["lp"] = np.array(point.log_density())
        info["log_edge_odds"], info["particle_ess"] = odds, sizes
        if self._settings.pseudo_marginal:
            info["pseudo_marginal_acceptance_rate"] = np.array(rates.mean())
        clock = {"iteration": np.array(iteration + 1)}
        return join(values=point.values, hmc=hmc, rule=rule, clock=clock), info

    def draw(self, state: Arrays) -> Arrays:
        """Return the posterior variables."""
        return self._target.draw(split(state)["values"])

    def _move_rule(
        self, point: Conditionals, group: int, rule: Arrays, rng: np.random.Generator,
        iteration: int, warmup: bool,
    ) -> tuple[Arrays, float]:  # fmt: skip
        """Draw a group's parameters by slices given its present trajectories, or by evidences."""
        own, name = split(rule), str(group)
        if self._settings.pseudo_marginal:
            own[name], rate = self._marginal.move(
                point, group, own.get(name, {}), rng, iteration, warmup
            )
            return join(**own), rate
        present = [s for s in self._target.groups[group] if point.values["edge"][s]]
        held = CollapsedLikelihood(point, {}, {}, present)
        own[name], rate = self._rules.sweep(
            point, group, held, own.get(name, {}), rng, iteration, warmup
        )
        return join(**own), rate

    def _draw_constant(
        self, point: Conditionals, index: int, parameters: dict[str, float],
        rng: np.random.Generator,
    ) -> float:  # fmt: skip
        """Draw the switch and level of a trajectory that never changes, exactly."""
        chain = point.chain(index)
        on = point.values["edge"][index]
        around = point.values["weight"][index] if on else None
        grid = GridFilter(chain.observation, offset=rng.random(), around=around)
        return draw_chain(point, index, chain, grid, point.law(index, parameters), rng)

    def _move_chain(
        self, point: Conditionals, index: int, law: ChainLaw, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Move a switch and its trajectory; return the log odds and mean particle ESS."""
        chain = point.chain(index)
        on = bool(point.values["edge"][index])
        path, log_odds, history = move_switch(
            law, chain, point.values["weight"][index] if on else None,
            self._settings.num_particles, rng,
        )  # fmt: skip
        if path is None:
            path, on = law.sample(chain.observation.num_windows, rng), False
        else:
            history = conditional_filter(
                law, chain.observation, path, self._settings.num_particles, rng,
                ancestor_sampling=True,
            )  # fmt: skip
            path, on = history.draw_path(rng), True
        point.set_chain(index, chain, on, path)
        size = 0.0 if history is None else float(history.effective_sizes.mean())
        return log_odds, size


def move_switch(
    law: ChainLaw,
    chain: SwitchedChain,
    path: Floats | None,
    num_particles: int,
    rng: np.random.Generator,
) -> tuple[Floats | None, float, ParticleHistory | None]:
    """Move a trajectory's switch by a Metropolis step on particles.

    Parameters
    ----------
    law : ChainLaw
        The trajectory's law.
    chain : SwitchedChain
        The trajectory's conditional.
    path : ndarray or None
        The trajectory, shape (window,), or None where the switch is off.
    num_particles : int
        Particles of the filter.
    rng : numpy.random.Generator
        The chain's stream.

    Returns
    -------
    tuple
        The trajectory or None, the estimated posterior log odds of the switch, and the
        filter's particles; None where the switch is always on, which needs no filter.
    """
    if np.isposinf(chain.log_prior_odds):
        return path, np.inf, None
    if path is None:
        history = filter_chain(law, chain.observation, num_particles, rng, resample=multinomial)
    else:
        history = conditional_filter(
            law, chain.observation, path, num_particles, rng, ancestor_sampling=False
        )
    log_odds = chain.log_prior_odds + history.log_evidence - chain.null_log_likelihood
    log_uniform = -rng.exponential()
    if path is None:
        return (history.draw_path(rng) if log_uniform < log_odds else None), log_odds, history
    return (None if log_uniform < -log_odds else path), log_odds, history
