"""Search for the settings of a policy by simulated experiments, before any real one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probneuro.control.adaptive import Exploration, Trial
from probneuro.control.inverse_policy import InversePolicy
from probneuro.control.inverse_training import ClippedUpdate, Predict
from probneuro.control.patterns import PatternSet
from probneuro.core.errors import DataError, SettingError
from probneuro.core.rng import generator

if TYPE_CHECKING:
    import optuna

Floats = NDArray[np.float64]

EVERY: Final = "update_every"
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "initial": (0.3, 0.7), "floor": (0.05, 0.15), "decay": (0.95, 0.99), "clip": (0.1, 0.3),
    "baseline": (0.5, 1.5), EVERY: (3, 10), "learning_rate": (1e-5, 1e-3),
}  # fmt: skip
"""Minai et al. (2025), section S7: `Exploration`, `ClippedUpdate`, trials between updates."""


@final
@dataclass(frozen=True)
class TunedPolicy:
    """What a search found.

    Parameters
    ----------
    policy : InversePolicy
        With the settings of the least error.
    update_every : int
        Trials between its updates.
    error : float
        Mean distance from the target in the simulations, L1.
    tried : DataFrame
        Settings and error of every set that was tried; the first row is what was started from.
    """

    policy: InversePolicy
    update_every: int
    error: float
    tried: pd.DataFrame


def tune_policy(
    policy: InversePolicy,
    members: Sequence[Predict],
    states: ArrayLike,
    targets: ArrayLike,
    patterns: PatternSet,
    *,
    update_every: int = 5,
    tries: int = 50,
    trials: int = 100,
    ranges: Mapping[str, tuple[float, float]] = RANGES,
    seed: int = 0,
) -> TunedPolicy:
    r"""Search exploration and updates by Bayesian optimisation over simulated experiments.

    .. math::

        \min \; \frac{1}{R\,T\,K} \sum_{r,t,k} \| z^{targ}_t - f_r(S_k, Z_k) \|_1

    Each member of the response models stands for the brain in turn, for each target. All settings
    meet the same states and the same chances, so that their errors can be compared.

    Parameters
    ----------
    policy : InversePolicy
        To start from.
    members : sequence of callable
        Response models, as `probneuro.models.omiso.member_predictions` returns them.
    states : array_like
        Observed states before stimulation, shape (trial, bin, latent).
    targets : array_like
        Shape (target, latent).
    patterns : PatternSet
        All patterns.
    update_every : int
        Trials between updates to start from.
    tries : int
        Sets of settings, the first of which is that of ``policy``.
    trials : int
        Trials of a simulated experiment.
    ranges : mapping of str to (low, high)
        Settings to search; others stay.
    seed : int
        Same seed, same search.

    Returns
    -------
    TunedPolicy

    Raises
    ------
    SettingError
        If Optuna is not installed (extra ``tune``), a range is of no setting or upside down, or
        there is nothing to try.
    DataError
        If shapes do not fit, or there is no member.

    Notes
    -----
    Source: Minai et al. (2025), section S7. Optuna's tree-structured Parzen estimator, as there.
    """
    before, goals = _checked(states, targets, members)
    _check_ranges(ranges, tries)
    first = _settings_of(policy, update_every)

    def error_of(settings: Mapping[str, float]) -> float:
        tuned, every = _with_settings(policy, settings)
        errors = [
            simulated_error(tuned, member, before, goal, patterns, trials=trials,
                            update_every=every, rng=generator(seed, "tuning", r, t))
            for r, member in enumerate(members)
            for t, goal in enumerate(goals)
        ]  # fmt: skip
        return float(np.mean(errors))

    start = {name: min(max(first[name], low), high) for name, (low, high) in ranges.items()}
    study = _searched(_objective(error_of, first, ranges), start, tries, seed)
    tried = pd.DataFrame([{**first, **t.params, "error": t.value} for t in study.trials])
    best, every = _with_settings(policy, {**first, **study.best_params})
    return TunedPolicy(best, every, float(study.best_value), tried)


def simulated_error(
    policy: InversePolicy,
    member: Predict,
    states: Floats,
    target: Floats,
    patterns: PatternSet,
    *,
    trials: int,
    update_every: int,
    rng: np.random.Generator,
) -> float:
    """Return the mean distance from a target when a response model stands for the brain.

    Parameters
    ----------
    policy : InversePolicy
        That chooses, and learns.
    member : callable
        The response model.
    states : ndarray
        States to draw from, shape (trial, bin, latent).
    target : ndarray
        Shape (latent,).
    patterns : PatternSet
        All patterns.
    trials, update_every : int
        Trials, and how many of them go into an update.
    rng : numpy.random.Generator
        For states and choices.

    Returns
    -------
    float
        Mean over trials, L1.
    """
    drawn = states[rng.integers(len(states), size=trials)]
    recent: list[Trial] = []
    errors = np.empty(trials)
    for number, before in enumerate(drawn):
        chosen = policy.choose(target, before, number, rng).electrodes
        after = member(np.array([patterns.index(chosen)]), before[None])[0]
        recent.append(Trial(target, before, chosen, after))
        errors[number] = recent[-1].error
        if len(recent) == update_every:
            policy, recent = policy.learned(recent), []
    return float(errors.mean())


def _settings_of(policy: InversePolicy, update_every: int) -> dict[str, float]:
    exploration, update = policy.exploration or Exploration(), policy.update or ClippedUpdate()
    return {
        "initial": exploration.initial, "floor": exploration.floor, "decay": exploration.decay,
        "clip": update.clip, "baseline": update.baseline, EVERY: update_every,
        "learning_rate": update.learning_rate,
    }  # fmt: skip


def _with_settings(
    policy: InversePolicy, settings: Mapping[str, float]
) -> tuple[InversePolicy, int]:
    """Return the policy with other settings, and its trials between updates."""
    exploration, update = policy.exploration or Exploration(), policy.update or ClippedUpdate()
    chances: dict[str, Any] = {n: settings[n] for n in ("initial", "floor", "decay")}
    steps: dict[str, Any] = {n: settings[n] for n in ("clip", "baseline", "learning_rate")}
    tuned = replace(
        policy, exploration=replace(exploration, **chances), update=replace(update, **steps)
    )
    return tuned, int(settings[EVERY])


def _objective(
    error_of: Callable[[Mapping[str, float]], float],
    first: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
) -> "Callable[[optuna.Trial], float]":
    def objective(trial: "optuna.Trial") -> float:
        found: dict[str, Any] = {}
        for name, (low, high) in ranges.items():
            if name == EVERY:
                found[name] = trial.suggest_int(name, int(low), int(high))
            else:
                found[name] = trial.suggest_float(name, low, high, log=name == "learning_rate")
        return error_of({**first, **found})

    return objective


def _searched(
    objective: "Callable[[optuna.Trial], float]", start: dict[str, float], tries: int, seed: int
) -> "optuna.Study":
    try:
        import optuna
    except ImportError as error:
        raise SettingError(
            "The search needs Optuna. Install it with `pip install 'probneuro[tune]'`."
        ) from error
    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.enqueue_trial(start)
        study.optimize(objective, n_trials=tries)
    finally:
        optuna.logging.set_verbosity(told)
    return study


def _check_ranges(ranges: Mapping[str, tuple[float, float]], tries: int) -> None:
    for name, bounds in ranges.items():
        if name not in RANGES or not bounds[0] < bounds[1]:
            raise SettingError(
                f"`ranges` must have (low, high) of {', '.join(RANGES)}; got {name}: {bounds}. "
                "Leave out what should stay."
            )
    if not ranges or tries < 1:
        raise SettingError(
            f"There is nothing to try: {len(ranges)} ranges and `tries` of {tries!r}. Pass at "
            "least one of each."
        )


def _checked(
    states: ArrayLike, targets: ArrayLike, members: Sequence[Predict]
) -> tuple[Floats, Floats]:
    before, goals = np.asarray(states, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if before.ndim != 3 or goals.ndim != 2 or before.shape[2] != goals.shape[1]:
        raise DataError(
            "`states` must have shape (trial, bin, latent) and `targets` (target, latent); got "
            f"{before.shape} and {goals.shape}. A single target still needs its axis: target[None]."
        )
    if not (len(before) and len(goals) and len(members)):
        raise DataError(
            f"`states`, `targets` and `members` must not be empty; got {len(before)}, "
            f"{len(goals)} and {len(members)}. Pass at least one of each."
        )
    return before, goals
