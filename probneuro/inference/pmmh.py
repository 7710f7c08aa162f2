"""Particle marginal Metropolis-Hastings: parameters by a filter's evidence, paths with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions, RunsOnDevice
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.state_space import STATE, Series, StateSpaceModel
from probneuro.inference.runner import chains_result, run_as_asked
from probneuro.inference.state_space_parameters import FilteredPosterior
from probneuro.inference.state_space_steps import require_state_space, series_on

Floats = NDArray[np.float64]

# Roberts & Rosenthal 2009, section 2: the scale of a proposal of the target's own covariance,
# and the share and size of steps that do not depend on what was learnt.
_SCALE: Final = 2.38
_PLAIN_SHARE, _PLAIN_SIZE = 0.05, 0.1
_TARGET_ACCEPTANCE: Final = 0.234
_FIRST_VARIANCE: Final = 0.25
_DECAY: Final = 0.6
_MEMORY: Final = 20
_REPEATS: Final = 20
_RIDGE: Final = 1e-10


@dataclass(frozen=True, kw_only=True)
class PMMH(Engine, RunsOnDevice):
    r"""Metropolis-Hastings on global parameters, with a particle filter's evidence estimate.

    .. math::

        \alpha = \min\Bigl(1, \frac{p(\theta')\, \hat Z(\theta')}{p(\theta)\, \hat Z(\theta)}
        \Bigr)

    A step proposes parameters by a random walk in unconstrained space, runs a filter there,
    and moves to the parameters and to a trajectory of the filter's together. The posterior of
    both is exact for any number of particles; too few of them make the chain stick.

    Parameters
    ----------
    warmup : int
        Steps that learn the proposal; they are not draws.
    num_particles : int
        Particles of each filter. The log evidence's variance should be about 1 to 2: it is
        measured at the end of the warm-up (``log_evidence_variance`` of ``sample_stats``).

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: Andrieu, Doucet and Holenstein (2010), section 2.4.2; the adaptation is that of
    Haario, Saksman and Tamminen (2001) with the scales of Roberts and Rosenthal (2009). In
    the first half of the warm-up the size of the proposal follows the acceptance rate, and
    the present evidence is estimated anew at every step, so that a lucky estimate does not
    hold a chain where it began. Nothing adapts afterwards.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.testing.state_space import FiniteChain
    >>> engine = PMMH(warmup=20, num_particles=20)
    >>> sizes = {"draws": 10, "chains": 1, "seed": 1, "progress": False}
    >>> infer(FiniteChain(), [0, 1, 7, 5], engine=engine, **sizes).posterior["stay"].shape
    (1, 10)
    """

    warmup: int = 1000
    num_particles: int = 200

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise SettingError(f"`warmup` must not be negative; got {self.warmup}. Pass e.g. 1000.")
        if self.num_particles < 2:
            raise SettingError(
                f"`num_particles` must be at least 2; got {self.num_particles}. Pass e.g. 200."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the chains on a state-space model and return the result."""
        known = require_state_space(model, self.name)
        kernel = PMMHKernel(known, series_on(options.device, *args, **kwargs), self)
        chains = run_as_asked(kernel, options, warmup=self.warmup, label=self.name)
        return chains_result(chains, options, dims=kernel.dims)


class PMMHKernel(Kernel):
    """One chain of :class:`PMMH`.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    series : Series
        The data.
    settings : PMMH
        The engine's settings.
    """

    def __init__(self, model: StateSpaceModel, series: Series, settings: PMMH) -> None:
        self._settings = settings
        self._posterior = FilteredPosterior(model, series, settings.num_particles)

    @property
    def dims(self) -> Mapping[str, list[Any]]:
        """Names of the dimensions of the global sites."""
        return self._posterior.parameters.dims

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return the best of a few draws from the prior."""
        position, log_prior, history = self._posterior.start(rng)
        size = position.size
        state = {
            "position": position,
            "log_prior": np.array(log_prior),
            "log_evidence": np.array(history.log_evidence),
            "path": history.draw_path(rng),
            "mean": position,
            "covariance": _FIRST_VARIANCE * np.eye(size),
            "log_scale": np.array(0.0),
            "iteration": np.array(0),
            "variance": np.array(np.nan),
        }
        return state if self._settings.warmup else self._measured(state, rng)

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Propose parameters with a filter's trajectory, and accept or stay."""
        done = int(state["iteration"])
        state = {**state, "iteration": np.array(done + 1)}
        half = self._settings.warmup // 2
        if warmup and done < half:
            state = self._refreshed(state, rng)
        position = propose(state, rng)
        log_prior, history = self._posterior.filter(position, rng)
        change = -np.inf
        if history is not None:
            before = float(state["log_prior"] + state["log_evidence"])
            change = log_prior + history.log_evidence - before
        acceptance = float(np.exp(min(0.0, change))) if not np.isnan(change) else 0.0
        accepted = rng.random() < acceptance
        if accepted and history is not None:
            state = {
                **state,
                "position": position,
                "log_prior": np.array(log_prior),
                "log_evidence": np.array(history.log_evidence),
                "path": history.draw_path(rng),
            }
        if warmup:
            state = adapted(state, acceptance, done, half)
        if done == self._settings.warmup - 1:
            state = self._measured(state, rng)
        return state, {
            "lp": state["log_prior"] + state["log_evidence"],
            "acceptance_rate": np.array(acceptance),
            "accepted": np.array(accepted),
            "log_evidence": state["log_evidence"],
            "log_evidence_variance": state["variance"],
            "filter_died": np.array(history is None),
        }

    def draw(self, state: Arrays) -> Arrays:
        """Return the global parameters and the trajectory."""
        values = self._posterior.parameters.variables(state["position"])
        return {**values, STATE: state["path"]}

    def _refreshed(self, state: Arrays, rng: np.random.Generator) -> Arrays:
        """Estimate the evidence of the present parameters anew."""
        _, history = self._posterior.filter(state["position"], rng)
        if history is None:
            return state
        return {
            **state,
            "log_evidence": np.array(history.log_evidence),
            "path": history.draw_path(rng),
        }

    def _measured(self, state: Arrays, rng: np.random.Generator) -> Arrays:
        """Measure the variance of the log evidence estimate at the present parameters."""
        found = [self._posterior.filter(state["position"], rng)[1] for _ in range(_REPEATS)]
        alive = [history.log_evidence for history in found if history is not None]
        variance = float(np.var(alive, ddof=1)) if len(alive) == _REPEATS else np.inf
        return {**state, "variance": np.array(variance)}


def propose(state: Arrays, rng: np.random.Generator) -> Floats:
    """Return a step of the random walk: mostly of the learnt covariance, now and then plain."""
    size = state["position"].size
    noise = rng.standard_normal(size) / np.sqrt(size)
    position: Floats = state["position"]
    if rng.random() < _PLAIN_SHARE:
        return position + _PLAIN_SIZE * noise
    try:
        factor = np.linalg.cholesky(state["covariance"] + _RIDGE * np.eye(size))
    except np.linalg.LinAlgError as error:
        raise InferenceError(
            "The covariance learnt in the warm-up is not positive definite. Check that no "
            "global parameter runs away, or run a longer warm-up"
        ) from error
    return position + _SCALE * np.exp(float(state["log_scale"])) * factor @ noise


def adapted(state: Arrays, acceptance: float, done: int, half: int) -> Arrays:
    """Return the state with mean and covariance learnt from a step, and the scale until half."""
    early = done < half
    gain = (done + 2.0) ** -_DECAY if early else 1.0 / (_MEMORY + done + 1 - half)
    delta = state["position"] - state["mean"]
    spread = np.outer(delta, delta) - state["covariance"]
    scale = float(state["log_scale"]) + gain * (acceptance - _TARGET_ACCEPTANCE)
    return {
        **state,
        "mean": state["mean"] + gain * delta,
        "covariance": state["covariance"] + gain * spread,
        "log_scale": np.array(scale if early else 0.0),
    }
