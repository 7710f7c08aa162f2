"""Rules' parameters by particle marginal Metropolis-Hastings, with trajectories carried along."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.errors import InferenceError
from probneuro.core.gibbs import ChainLaw, Conditionals, GibbsTarget, SwitchedChain
from probneuro.inference.gibbs_blocks import Parameters, RuleBlocks, join
from probneuro.inference.particle_filter import filter_chain, multinomial
from probneuro.inference.pgas import conditional_filter
from probneuro.inference.pmmh import adapted, propose

Floats = NDArray[np.float64]

# Variance of the first proposal, in the square of logarithms or of a parameter's own unit.
_FIRST_VARIANCE: Final = 0.25


class PseudoMarginalRules:
    r"""A Metropolis step on a group's parameters, with filters' evidence estimates.

    .. math::

        \alpha = \min\Bigl(1, \frac{p(\theta') \prod_{s \in S} \hat Z_s(\theta')
        \prod_{s \notin S} p(w_s \mid \theta')}{p(\theta) \prod_{s \in S} \hat Z_s(\theta)
        \prod_{s \notin S} p(w_s \mid \theta)}\Bigr)

    over the group's present trajectories; S holds one of each block, drawn at random: the
    likelihoods of two in one block do not multiply. Estimates at the present parameters come
    from conditional filters about the trajectories, those at the proposal from fresh filters,
    which also give the trajectories that a move goes to. The posterior is exact for any number of
    particles. The random walk learns its scale and covariance while warming up.

    Parameters
    ----------
    target : GibbsTarget
        The model bound to data.
    rules : RuleBlocks
        The parameters as vectors, and their prior.
    num_particles : int
        Particles of each filter.
    warmup : int
        Steps that learn the proposal.

    Notes
    -----
    Source: Andrieu, Doucet and Holenstein (2010), sections 2.4.2 and 4.1; Linderman, Stock and
    Adams (2014) name it as the alternative to slice sampling given the trajectories.
    """

    def __init__(
        self, target: GibbsTarget, rules: RuleBlocks, num_particles: int, warmup: int
    ) -> None:
        self._target, self._rules = target, rules
        self._size, self._warmup = num_particles, warmup
        self._dimension = len(target.parameter_priors())

    def start(self) -> Arrays:
        """Return the samplers' states."""
        size = self._dimension
        own = {
            "mean": np.zeros(size),
            "covariance": _FIRST_VARIANCE * np.eye(size),
            "log_scale": np.array(0.0),
        }
        return join(**{str(g): dict(own) for g in range(len(self._target.groups) if size else 0)})

    def move(
        self, point: Conditionals, group: int, own: Arrays, rng: np.random.Generator,
        iteration: int, warmup: bool,
    ) -> tuple[Arrays, float]:  # fmt: skip
        """Move a group's parameters; return the sampler's state and how likely a move was."""
        if not self._dimension:
            return own, 1.0
        chains, held = self._split(point, group, rng)
        here = self._rules.position(point, group)
        there = propose({**own, "position": here}, rng)
        before, _ = self._estimate(point, chains, held, here, rng, renew=True)
        after, paths = self._estimate(point, chains, held, there, rng, renew=False)
        acceptance = math.exp(min(0.0, after - before)) if after > -np.inf else 0.0
        position = here
        if rng.random() < acceptance:
            position = there
            point.set_parameters(group, self._rules.unpack(there))
            for s, path in paths.items():
                point.set_chain(s, None, True, path)
        if warmup:
            # learnt from zero, a mean would take its way to the posterior for the posterior
            mean = position if iteration == 0 else own["mean"]
            known = {**own, "mean": mean, "position": position}
            own = adapted(known, acceptance, iteration, self._warmup // 2)
            own.pop("position")
        return own, acceptance

    def _split(
        self, point: Conditionals, group: int, rng: np.random.Generator
    ) -> tuple[dict[int, SwitchedChain], list[int]]:
        """Return the chains to filter, one a block, and the other present trajectories."""
        present = [s for s in self._target.groups[group] if point.values["edge"][s]]
        chosen: dict[int, int] = {}
        for s in rng.permutation(present).tolist() if present else []:
            chosen.setdefault(self._target.block_of_chain[s], int(s))
        chains = {s: point.chain(s) for s in chosen.values()}
        return chains, [s for s in present if s not in chains]

    def _estimate(
        self, point: Conditionals, chains: dict[int, SwitchedChain], held: list[int],
        position: Floats, rng: np.random.Generator, *, renew: bool,
    ) -> tuple[float, dict[int, Floats]]:  # fmt: skip
        """Return an estimate of the log density, and paths of fresh filters.

        ``renew`` holds the present paths, about which the estimate is what it would have been
        when they were accepted.
        """
        parameters: Parameters = self._rules.unpack(position)
        total, paths = self._rules.log_prior(position), {}
        if not math.isfinite(total):
            return -np.inf, {}
        known: dict[int, ChainLaw] = dict(point.laws([*chains, *held], parameters))
        total += sum(known[s].log_density(point.values["weight"][s]) for s in held)
        for s, chain in chains.items():
            path = point.values["weight"][s]
            if renew:
                history = conditional_filter(
                    known[s], chain.observation, path, self._size, rng, ancestor_sampling=False
                )
            else:
                try:
                    history = filter_chain(
                        known[s], chain.observation, self._size, rng, resample=multinomial
                    )
                except InferenceError:  # all particles died: an estimate of zero
                    return -np.inf, {}
                paths[s] = history.draw_path(rng)
            total += history.log_evidence
        return total, paths
