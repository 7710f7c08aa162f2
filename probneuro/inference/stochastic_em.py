"""Stochastic-approximation EM: draws of what is hidden, averaged with falling weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays, Kernel
from probneuro.core.errors import SettingError
from probneuro.core.gibbs import SmoothConditional
from probneuro.inference.gibbs import join, split
from probneuro.inference.point_estimates import maximise

Floats = NDArray[np.float64]

WEIGHT: Final = "weight"
_NEGLIGIBLE: Final = 1e-3
"""Draws of less than this share of the greatest weight are forgotten."""


@dataclass(frozen=True, kw_only=True)
class StepSizes:
    r"""How much of an average each new draw takes.

    .. math:: \gamma_k = 1 \;\; (k < b), \qquad \gamma_k = (k - b + 1)^{-d} \;\; (k \ge b)

    Parameters
    ----------
    burn_in : int
        Iterations b that remember nothing, while the estimate is on its way.
    decay : float
        Exponent d, in (1/2, 1].

    Raises
    ------
    SettingError
        If the average would not settle.

    Examples
    --------
    >>> sizes = StepSizes(burn_in=2, decay=1.0)
    >>> [sizes.at(k) for k in range(5)]
    [1.0, 1.0, 1.0, 0.5, 0.3333333333333333]
    """

    burn_in: int
    decay: float

    def __post_init__(self) -> None:
        if self.burn_in < 0:
            raise SettingError(
                f"`burn_in` must not be negative; got {self.burn_in}. Pass e.g. 100."
            )
        if not 0.5 < self.decay <= 1.0:
            raise SettingError(
                f"`decay` must lie above 0.5 and be at most 1; got {self.decay!r}. With others "
                "the noise does not average out, or the start is never forgotten. Pass e.g. 0.7."
            )

    def at(self, iteration: int) -> float:
        """Return the step size of an iteration, counted from 0."""
        return float(max(iteration - self.burn_in + 1, 1) ** -self.decay)


def step_sizes(iterations: int, burn_in: int, decay: float) -> StepSizes:
    """Return the step sizes of a fit; raise SettingError if none are left after the burn-in."""
    if burn_in >= iterations:
        raise SettingError(
            f"`burn_in` is {burn_in} of {iterations} iterations, which leaves none to average. "
            "Pass fewer, e.g. a third of `iterations`."
        )
    return StepSizes(burn_in=burn_in, decay=decay)


def add_draw(draws: Arrays, hidden: Mapping[str, NDArray[Any]], size: float) -> Arrays:
    r"""Return a weighted set of draws with one more.

    .. math:: Q \leftarrow (1 - \gamma)\, Q + \gamma\, q

    Parameters
    ----------
    draws : dict of numpy.ndarray
        ``weight`` (draw,) and hidden variables (draw, ...); empty at first.
    hidden : mapping of str to array
        The new draw.
    size : float
        Its share.

    Examples
    --------
    >>> one = add_draw({}, {"path": np.zeros(3)}, 1.0)
    >>> add_draw(one, {"path": np.ones(3)}, 0.25)["weight"]
    array([0.75, 0.25])
    """
    fresh = {name: np.asarray(value)[None] for name, value in hidden.items()}
    fresh[WEIGHT] = np.array([size])
    if not draws or size >= 1.0:
        return fresh
    shrunk = {**draws, WEIGHT: (1.0 - size) * draws[WEIGHT]}
    both = {name: np.concatenate([shrunk[name], value]) for name, value in fresh.items()}
    kept = both[WEIGHT] > _NEGLIGIBLE * both[WEIGHT].max()
    return {name: value[kept] for name, value in both.items()}


class HiddenDraws(ABC):
    """What stochastic EM needs of a model: draws of what is hidden, and the density given them.

    Parameters are one vector in unconstrained space. Hidden variables are named arrays of
    always the same shapes.
    """

    @abstractmethod
    def start(self, rng: np.random.Generator) -> tuple[Floats, Arrays]:
        """Return parameters and hidden variables to start from."""

    @abstractmethod
    def draw(
        self, position: Floats, hidden: Arrays, rng: np.random.Generator
    ) -> tuple[Arrays, float]:
        """Move the hidden variables by a step that leaves their posterior invariant.

        Returns
        -------
        tuple
            The hidden variables, and an estimate of the log density of parameters and data.
        """

    @abstractmethod
    def averaged(self, draws: Arrays) -> SmoothConditional:
        """Return the complete log density averaged over the draws of :func:`add_draw`."""

    @abstractmethod
    def variables(self, position: Floats) -> Arrays:
        """Return the parameters in their own space, by name."""


class StochasticEMKernel(Kernel):
    r"""One restart of stochastic-approximation EM.

    .. math::

        x_k \sim K_{\theta_k}(x_{k-1}, \cdot), \qquad
        Q_k(\theta) = (1 - \gamma_k)\, Q_{k-1}(\theta) + \gamma_k \log p(x_k, y, \theta), \qquad
        \theta_{k+1} = \arg\max_\theta Q_k(\theta)

    Its warm-up steps are these iterations; then the parameters stay at the mean of those
    after the burn-in, and further steps draw what is hidden given them.

    Parameters
    ----------
    model : HiddenDraws
        The model.
    iterations : int
        Iterations, burn-in included.
    sizes : StepSizes
        The weights of draws.
    maximisation_steps : int
        Most L-BFGS steps of a maximisation.

    Notes
    -----
    Source: Delyon, Lavielle and Moulines (1999), with a Markov kernel K as in Kuhn and Lavielle
    (2004); the mean of the parameters after the burn-in is that of Polyak and Juditsky (1992),
    taken in unconstrained space. For any model, Q is kept as the weighted draws themselves;
    those of negligible weight are forgotten.
    """

    def __init__(
        self, model: HiddenDraws, iterations: int, sizes: StepSizes, maximisation_steps: int
    ) -> None:
        self._model, self._iterations = model, iterations
        self._sizes, self._steps = sizes, maximisation_steps

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return the model's start."""
        position, hidden = self._model.start(rng)
        clock = {"iteration": np.array(0), "fitted": np.array(False)}
        return join(point={"position": position, "mean": position, **clock}, hidden=hidden)

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Make an iteration while fitting, and draw what is hidden afterwards."""
        parts = split(state)
        point, position = parts["point"], parts["point"]["position"]
        hidden, height = self._model.draw(position, parts["hidden"], rng)
        stats = {"log_density": np.array(height)}
        if not warmup:
            return join(point={**point, "fitted": np.array(True)}, hidden=hidden), stats
        size = self._sizes.at(int(point["iteration"]))
        draws = add_draw(parts.get("draws", {}), hidden, size)
        fresh = maximise(self._model.averaged(draws), position, self._steps)
        point = self._moved(point, fresh)
        if int(point["iteration"]) == self._iterations:
            draws = {}
        stats = {**stats, **self._model.variables(position)}
        return join(point=point, hidden=hidden, draws=draws), stats

    def draw(self, state: Arrays) -> Arrays:
        """Return the estimate and the hidden variables; nothing while fitting."""
        parts = split(state)
        if not parts["point"]["fitted"]:
            return {}
        return {**self._model.variables(parts["point"]["position"]), **parts["hidden"]}

    def _moved(self, point: Arrays, fresh: Floats) -> Arrays:
        """Return the parameters with the mean after the burn-in, which they end at."""
        done = int(point["iteration"]) + 1
        averaged = max(done - self._sizes.burn_in, 1)
        mean = point["mean"] + (fresh - point["mean"]) / averaged
        position = mean if done == self._iterations else fresh
        return {**point, "position": position, "mean": mean, "iteration": np.array(done)}
