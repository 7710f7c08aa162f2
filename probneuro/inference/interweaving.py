"""Moving shared parameters together with their trajectories, whose innovations are held."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from probneuro.core.gibbs import ChainLaw, Conditionals
from probneuro.inference.gibbs_blocks import Parameters
from probneuro.inference.innovation_kernels import carry

Floats = NDArray[np.float64]

# Shares of the weight scale's digits that a trajectory may lose on the way there and back.
_ROUNDING = 1e-7


class InnovationLikelihood:
    r"""The likelihood of a group's parameters with the innovations of its trajectories held.

    A trajectory is a function :math:`x(\theta, \epsilon)` of the parameters and of innovations:
    the standard normal scores :math:`\epsilon` of its states under a guided law

    .. math::

        q_\theta(x_{k+1} \mid x_k) \propto p(x_{k+1} \mid x_k, \theta)\,
        \mathcal N(x_{k+1};\ c_{k+1}(\theta),\ 1 / h_{k+1}(\theta)),

    whose second factor is what later data say, in a Gaussian approximation about a reference.
    In these coordinates the density of the parameters is

    .. math::

        p(\theta)\, p(y \mid x)\, \frac{p(x \mid \theta)}{q_\theta(x)}, \qquad
        x = x(\theta, \epsilon),

    for any guide. Moving the parameters carries all trajectories along. Where many of them
    share parameters, trajectories that are held tell the parameters far more precisely than the
    data do; here they tell nothing, and as far as the approximation is good the parameters move
    as if all trajectories were integrated out. Alternating this with moves at which
    trajectories are held is the interweaving of Yu and Meng (2011).

    Parameters
    ----------
    point : Conditionals
        Where the sampler is.
    indices : sequence of int
        The trajectories that are carried along: all of the group that are switched on.
    parameters : dict of str to float
        The group's parameters there.
    reference : ndarray
        Trajectories, shape (chain, window), of all chains, near which to approximate. They must
        not depend on where the carried ones are.

    Notes
    -----
    Trajectories that are switched off have no say, and must be drawn from their law afterwards.
    """

    def __init__(
        self, point: Conditionals, indices: Sequence[int], parameters: Parameters,
        reference: Floats,
    ) -> None:  # fmt: skip
        self._point, self._indices = point, list(indices)
        self._likelihood = point.trajectory_likelihood(self._indices)
        states = np.ascontiguousarray(reference[self._indices])
        slope, information = self._likelihood.slope_and_information(states)
        self._precision = information
        self._centre = states + slope / np.where(information > 0.0, information, np.inf)
        paths = point.values["weight"][self._indices]
        self._innovations = self._scores(parameters, paths)
        with np.errstate(all="ignore"):
            again, _ = self._carried(parameters)
        self.invertible = bool(np.abs(again - paths).max() <= _ROUNDING * np.abs(paths).max())

    def exact(self, parameters: Parameters) -> float:
        """Return the log likelihood, minus infinity where a trajectory runs away."""
        with np.errstate(all="ignore"):
            paths, weight = self._carried(parameters)
        if not (np.isfinite(paths).all() and np.isfinite(weight)):
            return -np.inf
        return self._likelihood(paths) + weight

    approximate = exact

    def carry(self, parameters: Parameters) -> None:
        """Set the point's trajectories to where they go under some parameters."""
        for s, path in zip(self._indices, self._carried(parameters)[0], strict=True):
            self._point.set_chain(s, None, True, path)

    def _laws(self, parameters: Parameters) -> Iterable[ChainLaw]:
        laws = self._point.laws(self._indices, parameters)
        return (laws[s] for s in self._indices)

    def _carried(self, parameters: Parameters) -> tuple[Floats, float]:
        """Return where the trajectories go, shape (chain, window), and their log weight."""
        paths, weight = np.empty_like(self._innovations), 0.0
        for i, law in enumerate(self._laws(parameters)):
            guide = self._centre[i].copy(), self._precision[i].copy()
            weight += _carry(law, guide, paths[i], self._innovations[i], forward=True)
        return paths, weight

    def _scores(self, parameters: Parameters, paths: Floats) -> Floats:
        """Return the innovations of some trajectories, shape (chain, window)."""
        scores = np.empty_like(paths)
        for i, law in enumerate(self._laws(parameters)):
            guide = self._centre[i].copy(), self._precision[i].copy()
            _carry(law, guide, paths[i], scores[i], forward=False)
        return scores


def _carry(
    law: ChainLaw, guide: tuple[Floats, Floats], states: Floats, scores: Floats, *, forward: bool
) -> float:
    lower, upper = law.bounds or (-np.inf, np.inf)
    weight: float = carry(
        law.intercept, law.slope, law.noise, law.initial_scale, law.bounds is not None, lower,
        upper, *guide, states, scores, forward,
    )  # fmt: skip
    return weight
