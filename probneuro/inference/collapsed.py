"""The likelihood of parameters with trajectories and switches integrated out, and their draws."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probneuro.core.gibbs import ChainLaw, Conditionals, SwitchedChain
from probneuro.inference.gibbs_blocks import Parameters
from probneuro.inference.grid_filter import GridFilter
from probneuro.inference.laplace import LaplaceEvidence

Floats = NDArray[np.float64]
Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""``map``, or a pool's: calls a function on each of some arguments, and gives what it returned."""

# Log odds beyond which a double cannot tell a probability from one.
_NEGLIGIBLE = 37.0
# Log odds of a switch being on that a guess stays within: a bad guess must not stop all moves.
_SURE = 6.0
# Nodes per standard deviation of the grid that stands for the evidence of a bounded trajectory.
_ROUGH = 1.5


def log_marginal(chain: SwitchedChain, evidence: float) -> float:
    """Return the log likelihood, trajectory and switch integrated out, up to a constant."""
    if chain.log_prior_odds == math.inf:
        return evidence
    on, off = chain.log_prior_odds + evidence, chain.null_log_likelihood
    return max(on, off) + math.log1p(math.exp(-abs(on - off)))


class CollapsedLikelihood:
    """The likelihood of a group's parameters with some of its trajectories integrated out.

    Parameters
    ----------
    point : Conditionals
        Where the sampler is.
    chains : dict of SwitchedChain
        The trajectories that are integrated out.
    filters : dict of GridFilter
        Their exact filters.
    present : list of int
        The group's other trajectories that are switched on; they are held.
    run : callable
        ``map`` or the like of a thread pool.
    """

    def __init__(
        self, point: Conditionals, chains: Mapping[int, SwitchedChain],
        filters: Mapping[int, GridFilter], present: list[int], run: Run = map,
    ) -> None:  # fmt: skip
        self._point, self._chains, self._filters = point, chains, filters
        self._present, self._run = present, run
        self._rough: dict[int, LaplaceEvidence | GridFilter] = {}
        self._laws: dict[tuple[float, ...], Mapping[int, ChainLaw]] = {}

    def laws(self, parameters: Parameters) -> Mapping[int, ChainLaw]:
        """Return the laws of what is integrated out, the same objects for the same parameters."""
        key = tuple(parameters.values())
        if key not in self._laws:
            self._laws[key] = self._point.laws(list(self._chains), parameters)
        return self._laws[key]

    def exact(self, parameters: Parameters) -> float:
        """Return the log likelihood, by the grid filter."""
        laws = self.laws(parameters)

        def one(s: int) -> float:
            return log_marginal(self._chains[s], self._filters[s].log_evidence(laws[s]))

        return self._held(parameters) + sum(self._run(one, self._chains))

    def approximate(self, parameters: Parameters) -> float:
        """Return the log likelihood, by Laplace's approximation or, with bounds, a coarse grid."""
        laws = self._point.laws(list(self._chains), parameters)
        if not self._rough:
            found = self._run(lambda s: self._approximation(s, laws[s]), self._chains)
            self._rough = dict(zip(self._chains, found, strict=True))
        parts = (
            log_marginal(chain, self._rough[s].log_evidence(laws[s]))
            for s, chain in self._chains.items()
        )
        return self._held(parameters) + sum(parts)

    def _approximation(self, index: int, law: ChainLaw) -> LaplaceEvidence | GridFilter:
        if law.bounds is None and law.noise > 0.0:
            chain = self._chains[index]
            return LaplaceEvidence(chain.observation, current_path(self._point, index))
        return self._filters[index].coarser(_ROUGH)

    def _held(self, parameters: Parameters) -> float:
        laws, paths = self._point.laws(self._present, parameters), self._point.values["weight"]
        return sum(law.log_density(paths[s]) for s, law in laws.items())


def current_path(point: Conditionals, index: int) -> Floats | None:
    """Return a trajectory where it is known to be likely: where it is switched on."""
    return point.values["weight"][index] if point.values["edge"][index] else None


def draw_chain(
    point: Conditionals,
    index: int,
    chain: SwitchedChain,
    grid: GridFilter,
    law: ChainLaw,
    rng: np.random.Generator,
) -> float:
    """Draw a switch with its trajectory integrated out, then the trajectory; return log odds."""
    log_odds = chain.log_prior_odds + grid.log_evidence(law) - chain.null_log_likelihood
    on = _heads(log_odds, rng)
    path = grid.sample(law, rng) if on else law.sample(law.num_windows, rng)
    point.set_chain(index, chain, on, path)
    return float(max(log_odds, -_NEGLIGIBLE))


def redraw_path(
    point: Conditionals,
    index: int,
    filter_of: Callable[[SwitchedChain], GridFilter],
    law: ChainLaw,
    rng: np.random.Generator,
) -> float:
    """Draw a trajectory, its switch held; return the log odds, unknown while it is off."""
    if not point.values["edge"][index]:
        point.set_chain(index, None, False, law.sample(law.num_windows, rng))
        return np.nan
    chain = point.chain(index)
    grid = filter_of(chain)
    point.set_chain(index, chain, True, grid.sample(law, rng))
    return float(chain.log_prior_odds + grid.log_evidence(law) - chain.null_log_likelihood)


def move_chain(
    point: Conditionals,
    index: int,
    filter_of: Callable[[SwitchedChain], GridFilter],
    law: ChainLaw,
    rng: np.random.Generator,
) -> float:
    """Move a switch with its trajectory integrated out, then draw the trajectory.

    A switch is proposed from odds by Laplace's approximation, which depend on neither switch
    nor trajectory, and accepted with the ratio of exact to approximate odds where it changes.
    The exact filter is spared where a switch is off and is not proposed to be on: most of a
    sparse network. Returns the log odds, exact where the filter ran.
    """
    guess, chain = np.nan, point.chain(index)
    if law.bounds is None and law.noise > 0.0 and math.isfinite(chain.log_prior_odds):
        rough = LaplaceEvidence(chain.observation, current_path(point, index)).log_evidence(law)
        guess = chain.log_prior_odds + rough - chain.null_log_likelihood
    if not math.isfinite(guess):
        return draw_chain(point, index, chain, filter_of(chain), law, rng)
    on = bool(point.values["edge"][index])
    likely = min(max(guess, -_SURE), _SURE)
    wanted = _heads(likely, rng)
    if not on and not wanted:
        point.set_chain(index, chain, False, law.sample(law.num_windows, rng))
        return max(guess, -_NEGLIGIBLE)
    grid = filter_of(chain)
    log_odds = chain.log_prior_odds + grid.log_evidence(law) - chain.null_log_likelihood
    if on != wanted:
        gain = log_odds - likely if wanted else likely - log_odds
        on = wanted if np.log(rng.random()) < gain else on
    path = grid.sample(law, rng) if on else law.sample(law.num_windows, rng)
    point.set_chain(index, chain, on, path)
    return float(max(log_odds, -_NEGLIGIBLE))


def _heads(log_odds: float, rng: np.random.Generator) -> bool:
    return bool(np.log(rng.random()) < -np.logaddexp(0.0, -log_odds))
