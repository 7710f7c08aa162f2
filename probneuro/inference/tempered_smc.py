"""Tempered sequential Monte Carlo, for any Pyro program: posterior and evidence at once."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.core.engine import Arrays, Engine, RunOptions, RunsOnDevice
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.model import Model
from probneuro.core.names import CHAIN
from probneuro.core.results import FIT_HISTORY, build_result
from probneuro.core.rng import generator
from probneuro.inference.population_moves import (
    ensemble_root,
    hamiltonian_sweep,
    particles_at,
    rank_correlation,
    ranks,
    tuned_step_size,
)
from probneuro.inference.stages import StagedRun, StageKernel, Stopped, run_stages
from probneuro.inference.target import Floats
from probneuro.inference.tempering import TemperedDensity, read_tempered

log = logging.getLogger("probneuro")

EVIDENCE: Final = "log_marginal_likelihood"
EVIDENCE_ERROR: Final = "log_marginal_likelihood_error"
STAGE: Final = "stage"
_DECORRELATED: Final = 0.1
_PATIENCE: Final = 5
_PROGRESS: Final = 0.95
"""Moves that no longer forget, such as those between distant modes, are not repeated."""
_BISECTIONS: Final = 60
_FEWEST: Final = 10


@dataclass(frozen=True, kw_only=True)
class TemperedSMC(Engine, RunsOnDevice):
    r"""Moves particles from prior to posterior, and gives the evidence (Del Moral et al. 2006).

    Through temperatures :math:`0 = t_0 < \dots < t_S = 1`, with N particles,

    .. math::

        \pi_s(u) \propto p(u)\, p(y \mid u)^{t_s}, \qquad
        \hat p(y) = \prod_{s=1}^{S} \frac1N \sum_{i=1}^{N}
        p(y \mid u_i^{(s-1)})^{t_s - t_{s-1}}

    Each temperature is the highest that keeps the effective sample size (Jasra et al. 2011);
    then particles are resampled, and moved by Hamiltonian Monte Carlo with the ensemble's
    covariance until their ranks have forgotten where they started. A chain is a whole run of
    its own, so that four chains are four independent estimates of the evidence.

    Parameters
    ----------
    particles : int
        Particles of a run.
    effective_share : float
        Effective share of the particles that a new temperature leaves, in (0, 1). Higher
        means more temperatures, each an easier step.
    max_moves : int
        Most moves of each particle at a temperature.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    ``sample_stats.log_marginal_likelihood`` is a run's log evidence, the same at each of its
    draws, and ``log_marginal_likelihood_error`` its standard error, from how many particles
    descend from one draw of the prior (after Lee & Whiteley 2018, their equation 8, with
    the coalescence of systematic resampling in place of the multinomial one). It needs many
    surviving ancestors and particles that decorrelate; the scatter between chains needs
    neither. ``fit_history`` has each stage's temperature, effective sample size, acceptance
    rate, moves, step size, and the rank correlation that was left.

    Limits: priors must be proper; a mode that no prior draw comes near is not found; hundreds
    of variables take more particles than these defaults.

    Examples
    --------
    >>> TemperedSMC(particles=500).settings()["particles"]
    500
    """

    particles: int = 2000
    effective_share: float = 0.85
    max_moves: int = 30

    def __post_init__(self) -> None:
        if self.particles < _FEWEST:
            raise SettingError(
                f"`particles` must be at least {_FEWEST}; got {self.particles!r}. Pass e.g. 2000."
            )
        if not 0 < self.effective_share < 1:
            raise SettingError(
                f"`effective_share` must lie between 0 and 1; got {self.effective_share!r}. "
                "Pass e.g. 0.85."
            )
        if self.max_moves < 1:
            raise SettingError(
                f"`max_moves` must be at least 1; got {self.max_moves!r}. Pass e.g. 30."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run the populations on a program and return the result."""
        if options.draws < 1:
            raise SettingError(f"`draws` must be at least 1; got {options.draws}. Pass e.g. 1000.")
        program = model.model if isinstance(model, Model) else model
        where = torch.device(options.device)
        density = read_tempered(program, args, kwargs, num_places=self.particles, device=where)
        runs = run_stages(
            SMCKernel(density, self),
            chains=options.chains,
            first_chain=options.first_chain,
            seed=options.seed,
            workers=options.workers,
            progress=options.progress,
            checkpoint=options.checkpoint,
            fingerprint=options.fingerprint,
            label=options.label("SMC"),
        )
        return _result(density, runs, self, options)


def _result(
    density: TemperedDensity, runs: list[StagedRun], settings: TemperedSMC, options: RunOptions
) -> xr.DataTree:
    posteriors, stats = [], []
    for run in runs:
        chosen = drawn(
            settings.particles, options.draws, generator(options.seed, "draws", run.number)
        )
        posteriors.append(density.variables(run.state["positions"][chosen]))
        lp = (run.state["log_prior"] + run.state["log_likelihood"])[chosen]
        error = np.sqrt(run.state["variance"])
        whole = {EVIDENCE: run.state["log_evidence"], EVIDENCE_ERROR: error}
        stats.append({"lp": lp, **{n: np.full(len(lp), value) for n, value in whole.items()}})
    history = _padded([run.history for run in runs])
    _warn(history, settings)
    own = {f"{FIT_HISTORY}/{name}": [CHAIN, STAGE] for name in history}
    return build_result(
        {name: np.stack([p[name] for p in posteriors]) for name in posteriors[0]},
        {name: np.stack([s[name] for s in stats]) for name in stats[0]},
        dims={**own, **density.dims, **options.dims},
        coords={CHAIN: [run.number for run in runs], **options.coords},
        groups={**options.groups, FIT_HISTORY: history},
    )


def _padded(histories: list[Arrays]) -> Arrays:
    longest = max(len(next(iter(h.values()))) for h in histories)
    return {
        name: np.stack([
            np.pad(h[name].astype(float), (0, longest - len(h[name])), constant_values=np.nan)
            for h in histories
        ])
        for name in histories[0]
    }  # fmt: skip


def _warn(history: Arrays, settings: TemperedSMC) -> None:
    left = history["rank_correlation"]
    stuck = left > 2 * _limit(settings.particles, 1)
    if stuck.any():
        log.warning(
            "In %d of %d stages the moves left particles where they were (rank correlation with "
            "their start up to %.2f). Modes far apart do this, and then only the scatter between "
            "chains tells the error; otherwise raise `max_moves` or `particles`, or rewrite the "
            "model so that its variables have less curved dependence.",
            stuck.sum(), np.isfinite(left).sum(), np.nanmax(left),
        )  # fmt: skip


def drawn(particles: int, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which particles become draws, in random order, each as often as the others.

    Examples
    --------
    >>> sorted(drawn(3, 6, np.random.default_rng(0)).tolist())
    [0, 0, 1, 1, 2, 2]
    """
    rounds = [rng.permutation(particles) for _ in range(-(-draws // particles))]
    return np.concatenate(rounds)[:draws]


class SMCKernel(StageKernel):
    """One run of tempered SMC; a stage is one temperature.

    Parameters
    ----------
    density : TemperedDensity
        Prior and likelihood.
    settings : TemperedSMC
        The engine's settings.
    """

    def __init__(self, density: TemperedDensity, settings: TemperedSMC) -> None:
        self._density = density
        self._settings = settings

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return particles from the prior."""
        count = self._settings.particles
        positions = self._density.prior_positions(count, rng)
        start = self._density.at(positions, 0.0)
        possible = np.isfinite(start.log_likelihood) & np.isfinite(start.log_prior)
        if possible.sum() < _FEWEST:
            raise InferenceError(
                f"only {possible.sum()} of {count} prior draws have a finite log likelihood, too "
                "few to start from. Raise `particles`, or look for data outside the support, "
                "or for priors far too wide"
            )
        if not possible.all():
            log.info(
                "The data are impossible under %d of %d prior draws.", (~possible).sum(), count
            )
        return {
            "positions": positions,
            "log_prior": start.log_prior,
            "log_likelihood": np.where(possible, start.log_likelihood, -np.inf),
            "ancestor": np.arange(count),
            "temperature": np.array(0.0),
            "log_evidence": np.array(0.0),
            "log_distinct": np.array(np.log1p(-1 / count)),
            "variance": np.array(0.0),
            "step_size": np.array(self._density.dimension**-0.25),
            "first_temperature": np.array(1.0),
            "stage": np.array(0),
        }

    def stage(
        self, state: Arrays, rng: np.random.Generator, stop: threading.Event
    ) -> tuple[Arrays, Arrays]:
        """Raise the temperature, resample, and move until the particles decorrelate."""
        old, likelihood = float(state["temperature"]), state["log_likelihood"]
        temperature = next_temperature(likelihood, old, self._settings.effective_share)
        log_weights = (temperature - old) * likelihood
        total = logsumexp(log_weights)
        weights = np.exp(log_weights - total)
        chosen = systematic(weights, rng)
        ancestor = state["ancestor"]
        fresh = {
            "ancestor": ancestor[chosen],
            "temperature": np.array(temperature),
            "log_evidence": state["log_evidence"] + total - np.log(len(weights)),
            "variance": evidence_variance(weights, ancestor, float(state["log_distinct"])),
            "log_distinct": state["log_distinct"] + np.log1p(-_coalescence(weights)),
            "first_temperature": np.array(temperature) if old == 0 else state["first_temperature"],
            "stage": state["stage"] + 1,
        }
        moved, figures = self._moved(
            state["positions"][chosen], temperature, float(state["step_size"]), rng, stop
        )
        figures |= {
            "temperature": np.array(temperature),
            "ess": np.array(1 / (weights**2).sum()),
            "log_marginal_likelihood": fresh["log_evidence"],
            "ancestors": np.array(len(np.unique(fresh["ancestor"]))),
        }
        return fresh | moved, figures

    def share(self, state: Arrays) -> float:
        """Return how far the temperature has come, as its logarithm: it rises geometrically."""
        temperature = float(state["temperature"])
        if temperature in (0.0, 1.0):
            return temperature
        return 1.0 - float(np.log(temperature) / np.log(state["first_temperature"]))

    def words(self, state: Arrays) -> str:
        """Return stage, temperature and acceptance."""
        return f"stage {int(state['stage'])}, temperature {float(state['temperature']):.3g}"

    def _moved(
        self, positions: Floats, temperature: float, step_size: float, rng: np.random.Generator,
        stop: threading.Event,
    ) -> tuple[Arrays, Arrays]:  # fmt: skip
        root = ensemble_root(positions)
        particles = particles_at(self._density, positions, temperature)
        start, left = ranks(particles), [1.0]
        for move in range(1, self._settings.max_moves + 1):
            if stop.is_set():
                raise Stopped
            used = step_size
            particles, acceptance = hamiltonian_sweep(
                self._density, particles, temperature, root, used, rng
            )
            step_size = tuned_step_size(used, acceptance)
            left.append(rank_correlation(start, particles))
            idle = move > _PATIENCE and left[-1] > _PROGRESS * left[-1 - _PATIENCE]
            if idle or left[-1] < _limit(*positions.shape):
                break
        state = {
            "positions": particles.positions,
            "log_prior": particles.log_prior,
            "log_likelihood": particles.log_likelihood,
            "step_size": np.array(step_size),
        }
        return state, {
            "acceptance_rate": np.array(acceptance.mean()),
            "moves": np.array(move),
            "step_size": np.array(used),
            "rank_correlation": np.array(left[-1]),
        }


def next_temperature(log_likelihood: Floats, temperature: float, share: float) -> float:
    """Return the highest temperature that leaves an effective share of the possible particles.

    Parameters
    ----------
    log_likelihood : numpy.ndarray
        Of equally weighted particles, shape (particle,); minus infinity where impossible.
    temperature : float
        Where they are.
    share : float
        Effective sample size to keep, over the number of possible particles.

    Raises
    ------
    InferenceError
        If no step is small enough.

    Examples
    --------
    >>> next_temperature(np.array([0.0, -1.0, -2.0]), 0.0, share=0.5)
    1.0
    >>> round(next_temperature(np.array([0.0, -10.0, -20.0]), 0.0, share=0.5), 3)
    0.157
    """
    possible = log_likelihood[np.isfinite(log_likelihood)]
    relative = possible - possible.max()

    def effective(step: float) -> float:
        weights = np.exp(step * relative)
        return float(weights.sum() ** 2 / (weights**2).sum())

    if effective(1.0 - temperature) >= share * len(possible):
        return 1.0
    low, high = 0.0, 1.0 - temperature
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= share * len(possible) else (low, middle)
    if temperature + low <= temperature:
        raise InferenceError(
            f"no temperature above {temperature:.3g} keeps {share:.0%} of the particles effective: "
            f"their log likelihoods span {-relative.min():.3g}. Look for outliers in the data, or "
            "give the program a likelihood with heavier tails"
        )
    return temperature + low


def systematic(weights: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which particle takes each place: within one of its expected number of places.

    Parameters
    ----------
    weights : numpy.ndarray
        Normalised, shape (particle,).
    rng : numpy.random.Generator
        The run's stream.

    Examples
    --------
    >>> systematic(np.array([0.5, 0.0, 0.5, 0.0]), np.random.default_rng(0)).tolist()
    [0, 0, 2, 2]
    """
    count = len(weights)
    ends = np.cumsum(weights)
    places = (rng.random() + np.arange(count)) / count * ends[-1]
    return np.minimum(np.searchsorted(ends, places, side="right"), count - 1)


def evidence_variance(
    weights: Floats, ancestor: NDArray[np.int64], log_distinct: float
) -> NDArray[np.float64]:
    r"""Return an estimate of the evidence's relative variance from one run's genealogy.

    .. math::

        V = 1 - \frac{1 - \sum_a \bigl(\sum_{i: A_i = a} w_i\bigr)^2}{\prod_p (1 - c_p)}

    with :math:`c_p` the chance that resampling p alone makes two particles siblings.

    Parameters
    ----------
    weights : numpy.ndarray
        Normalised weights of the last step, shape (particle,).
    ancestor : numpy.ndarray
        Which draw of the prior each particle descends from, shape (particle,).
    log_distinct : float
        Logarithm of the denominator.

    Returns
    -------
    numpy.ndarray
        Not negative.

    Examples
    --------
    >>> w = np.random.default_rng(0).exponential(size=1000)  # the variance of a mean: 1 / n
    >>> v = evidence_variance(w / w.sum(), np.arange(1000), np.log(0.999))
    >>> float(v.round(4))
    0.001
    """
    families = np.bincount(ancestor, weights)
    same = float((families**2).sum())
    return np.array(max(1 - (1 - same) / np.exp(log_distinct), 0.0))


def _coalescence(weights: Floats) -> float:
    """Return the chance of siblings that systematic resampling has beyond the weights' own."""
    count = len(weights)
    part = count * weights % 1.0
    return float((part * (1 - part)).sum() / (count * (count - 1)))


def _limit(particles: int, dimension: int) -> float:
    """Return the rank correlation at which particles count as decorrelated, noise allowed for."""
    return float(_DECORRELATED + np.sqrt(2 * np.log(2 + dimension) / particles))
