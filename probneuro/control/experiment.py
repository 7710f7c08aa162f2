"""An experiment: trials, decisions, safety, updates, and a log that replays to the same bit."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.control.adaptive import (
    AdaptivePolicy,
    Choice,
    Policy,
    Trial,
    is_finite,
    not_finite,
)
from probneuro.control.experiment_log import (
    Book,
    ExperimentLog,
    LoggedTrial,
    logged_trial,
    read_lines,
)
from probneuro.control.model_store import ModelStore
from probneuro.control.readout import Readout
from probneuro.control.safety import (
    SafetyLimits,
    SafetyState,
    make_safe,
    whole_numbers,
)
from probneuro.core.errors import CheckpointError, DataError, InferenceError, SettingError
from probneuro.core.rng import generator

_logger = logging.getLogger("probneuro")

Floats = NDArray[np.float64]

_LONGEST: Final = 200
"""Characters of a proposal that is no whole numbers, in a log."""


class Rig(ABC):
    """What stands between an experiment and a brain."""

    @abstractmethod
    def before(self) -> Floats:
        """Wait for the moment to stimulate, and return counts before it, (bin, electrode)."""

    @abstractmethod
    def after(self, electrodes: tuple[int, ...]) -> Floats:
        """Stimulate, or not if empty, and return counts after it, (electrode,)."""

    @abstractmethod
    def now(self) -> float:
        """Return the time in seconds."""


class StimulatedSession(Protocol):
    """A simulated session, as `probneuro.simulators.stim_population.BrainSession` is."""

    def before(self, num_bins: int = 5) -> tuple[Floats, Floats]:
        """Return counts and states before stimulation."""

    def after(self, electrodes: ArrayLike = ()) -> tuple[Floats, Floats]:
        """Return counts and state after stimulation."""


@final
@dataclass
class SimulatedRig(Rig):
    """A simulated session with a clock that counts trials.

    Parameters
    ----------
    session : StimulatedSession
        The brain.
    num_bins : int
        Bins before stimulation.
    trial_seconds : float
        From one trial to the next.
    """

    session: StimulatedSession
    num_bins: int = 5
    trial_seconds: float = 3.0
    _trials: int = 0

    def before(self) -> Floats:
        """Begin a trial."""
        self._trials += 1
        return self.session.before(self.num_bins)[0]

    def after(self, electrodes: tuple[int, ...]) -> Floats:
        """End it."""
        return self.session.after(electrodes)[0]

    def now(self) -> float:
        """Return the time of the trial."""
        return self._trials * self.trial_seconds


@final
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs a policy on a rig: decide, make safe, stimulate, log, update.

    Parameters
    ----------
    rig : Rig
        The brain, or a simulation.
    readout : Readout
        Counts to the latents that are controlled.
    limits : SafetyLimits
        What no policy can get past.
    target : array_like or callable
        Latents to reach, or a function of the trial's number.
    update_every : int
        Trials between updates; 5 in the paper.
    deadline : float
        Seconds for a decision; an overrun means no stimulation. 50 ms in the paper.
    folder : path, optional
        For the log ``trials.jsonl`` and models; needed where another process learns.
    learns_here : bool
        Whether this process updates the policy. Otherwise it takes what appears in the folder.
    delivered : SafetyState
        What the session had before this experiment, such as `safety` of another.

    Raises
    ------
    SettingError
        If a number is not positive, a learner elsewhere has no folder to share, or the target is
        not of the readout's latents.

    Notes
    -----
    Dose and least interval go on from one run to the next: an experiment is one session. Latents
    or a target that are not finite mean no stimulation; a trial with such numbers is never learned
    from, and an update that gives them leaves the last good model in use.
    """

    rig: Rig
    readout: Readout
    limits: SafetyLimits
    target: ArrayLike | Callable[[int], ArrayLike]
    update_every: int = 5
    deadline: float = 0.05
    folder: str | Path | None = None
    learns_here: bool = True
    delivered: SafetyState = field(default_factory=SafetyState)
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)
    _now: list[SafetyState] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.update_every < 1 or not self.deadline > 0:
            raise SettingError(
                "`update_every` and `deadline` must be positive; got "
                f"{self.update_every!r} and {self.deadline!r}. The paper has 5 and 0.05 s."
            )
        if not self.learns_here and self.folder is None:
            raise SettingError("`folder` is needed where another process learns. Name one.")
        if not callable(self.target):
            self._checked_target(self.target)
        self._now.append(self.delivered)

    @property
    def safety(self) -> SafetyState:
        """What has been delivered so far, over all runs."""
        return self._now[0]

    def run(self, policy: Policy, num_trials: int, *, seed: int = 0) -> ExperimentLog:
        """Run trials and return their log; the randomness of a decision is its trial's alone."""
        _check_first(policy)
        store = ModelStore(self.folder) if self.folder is not None else None
        book = Book(self.folder, seed)
        version, logged = 0, list[LoggedTrial]()
        try:
            if store is not None and isinstance(policy, AdaptivePolicy):
                store.write(0, policy.arrays())
            for trial in range(num_trials):
                entry = self._decision(policy, trial, version, seed)
                try:
                    entry = replace(entry, after=self._after(entry.delivered))
                finally:
                    # What went out must be on the disk even if what came after it cannot be read.
                    book.add(entry)
                logged.append(entry)
                policy, version = self._next(policy, version, logged, store)
        finally:
            book.close()
        return ExperimentLog(seed, tuple(logged))

    def _decision(self, policy: Policy, trial: int, version: int, seed: int) -> LoggedTrial:
        """Return a trial as it stands before stimulation, all of it fit for the log."""
        target = self._checked_target(self.target(trial) if callable(self.target) else self.target)
        counts = self.rig.before()
        start = self.clock()
        before = self.readout.latents(counts)
        if before.ndim != 2:
            raise DataError(
                f"`Rig.before` must return counts (bin, electrode); got shape {np.shape(counts)}. "
                "One bin still needs its axis: counts[None]."
            )
        choice, refused = _choice(policy, target, before, trial, seed)
        seconds, now = self.clock() - start, self.rig.now()
        safe = make_safe(
            choice.electrodes, now=now, limits=self.limits, state=self.safety,
            late=not seconds <= self.deadline,
        )  # fmt: skip
        entry = LoggedTrial(
            trial, version, target.tolist(), before.tolist(), _plain(choice.electrodes),
            safe.electrodes, bool(choice.explored), refused or safe.reason,
            [float("nan")] * len(target), float(seconds), _as_time(now),
        )  # fmt: skip
        self._now[0] = safe.state
        return entry

    def _after(self, electrodes: tuple[int, ...]) -> list[float]:
        """Stimulate, and return latents."""
        counts = self.rig.after(electrodes)
        after = self.readout.latents(counts)
        if after.ndim != 1:
            raise DataError(
                f"`Rig.after` must return counts (electrode,); got shape {np.shape(counts)}. Pass "
                "one count an electrode."
            )
        found: list[float] = after.tolist()
        return found

    def _checked_target(self, values: Any) -> Floats:
        wanted = self.readout.num_latents
        try:
            target = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            raise SettingError(f"`target` must be {wanted} numbers; got {values!r}.") from None
        if target.shape != (wanted,):
            raise SettingError(
                f"`target` must have one number a latent of the readout, shape ({wanted},); got "
                f"shape {target.shape}. Name every latent."
            )
        return target

    def _next(
        self, policy: Policy, version: int, logged: Sequence[LoggedTrial], store: ModelStore | None
    ) -> tuple[Policy, int]:
        """Return the policy of the next trial, and its version."""
        if not isinstance(policy, AdaptivePolicy):
            return policy, version
        if self.learns_here:
            if len(logged) % self.update_every:
                return policy, version
            fresh = _updated(policy, [t.as_trial() for t in logged[-self.update_every :]])
            if store is not None:
                store.write(version + 1, fresh.arrays())
            return fresh, version + 1
        found = None if store is None else store.newest(after=version)
        if store is None or found is None:
            return policy, version
        try:
            return policy.with_arrays(found[1]), found[0]
        except CheckpointError as error:
            # A session does not end for a model that cannot be used: the last good one goes on.
            name = store.path(found[0]).name
            if name not in store.refused:
                _logger.warning("%s is not used; the last good one stays: %s", name, error)
            store.refused[name] = str(error)
            return policy, version


def learn_from_folder(
    policy: AdaptivePolicy,
    folder: str | Path,
    *,
    update_every: int = 5,
    until: Callable[[int], bool] = lambda version: False,
    pause: float = 0.02,
) -> int:
    """Learn from the log of an experiment that another process runs, until told to stop.

    Parameters
    ----------
    policy : AdaptivePolicy
        As the experiment began with. What the folder's newest model knows takes the place of what
        it knows, so that a learner can be started again.
    folder : path
        Of the experiment.
    update_every : int
        Trials an update, the same whenever a learner is started again.
    until : callable
        Is asked after every look at the log, with the version so far.
    pause : float
        Seconds between looks.

    Returns
    -------
    int
        The last version written.

    Raises
    ------
    DataError
        If a line of the log is no trial.
    CheckpointError
        If the newest model in the folder is of another kind of policy.
    """
    store, path, version = ModelStore(folder), Path(folder) / "trials.jsonl", 0
    newest = store.newest()
    if newest is not None:
        version, policy = newest[0], policy.with_arrays(newest[1])
    while not until(version):
        lines = read_lines(path) if path.is_file() else []
        # The last piece is empty, or a line that is being written.
        if len(lines) - 2 < (version + 1) * update_every:
            time.sleep(pause)
            continue
        first = version * update_every + 1
        rows = enumerate(lines[first : first + update_every], start=first + 1)
        policy = _updated(policy, [logged_trial(row, n, path).as_trial() for n, row in rows])
        version += 1
        store.write(version, policy.arrays())
    return version


def replay(
    log: ExperimentLog, policy: Policy, store: ModelStore | None = None
) -> tuple[tuple[int | str, ...], ...]:
    """Return the decisions that a log's models make of its states again.

    Parameters
    ----------
    log : ExperimentLog
        Of the session.
    policy : Policy
        As the session began.
    store : ModelStore, optional
        Its models, for a policy that learned.

    Raises
    ------
    CheckpointError
        If a model is missing, or the store's first is not what the policy knows.

    Returns
    -------
    tuple of tuple of int
        What the policy proposes in each trial: bit for bit what was logged.
    """
    _check_began(policy, store)
    current, version, found = policy, 0, []
    for entry in log.trials:
        if entry.version != version:
            if store is None or not isinstance(current, AdaptivePolicy):
                raise CheckpointError(
                    f"Trial {entry.trial} was chosen by model {entry.version}. Pass the store that "
                    "holds it."
                )
            current, version = current.with_arrays(store.read(entry.version)), entry.version
        target, before = np.array(entry.target), np.array(entry.before)
        choice, _ = _choice(current, target, before, entry.trial, log.seed)
        found.append(_plain(choice.electrodes))
    return tuple(found)


def _choice(
    policy: Policy, target: Floats, before: Floats, trial: int, seed: int
) -> tuple[Choice, str]:
    """Return what a policy wants, and why it was not asked; empty if it was."""
    if not is_finite(target):
        return Choice(()), "the target is not finite"
    if not is_finite(before):
        return Choice(()), "the latents before stimulation are not finite"
    return policy.choose(target, before, trial, generator(seed, "decision", trial)), ""


def _updated(policy: AdaptivePolicy, trials: Sequence[Trial]) -> AdaptivePolicy:
    """Return a policy that has learned, or as it was if numbers go wrong."""
    useful = [trial for trial in trials if trial.is_finite]
    if not useful:
        return policy
    try:
        fresh = policy.learned(useful)
    except (InferenceError, np.linalg.LinAlgError) as error:
        _logger.warning("An update failed, and the last good model stays in use: %s", error)
        return policy
    wrong = not_finite(fresh.arrays())
    if wrong:
        _logger.warning(
            "An update gave %s that is not finite; the last good model stays in use.",
            ", ".join(wrong),
        )
        return policy
    return fresh


def _plain(proposal: Any) -> tuple[int | str, ...]:
    """Return a proposal as a log holds it."""
    electrodes, wrong = whole_numbers(proposal)
    return (repr(proposal)[:_LONGEST],) if wrong else electrodes


def _as_time(now: Any) -> float:
    try:
        return float(now)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _check_first(policy: Policy) -> None:
    wrong = not_finite(policy.arrays()) if isinstance(policy, AdaptivePolicy) else []
    if wrong:
        raise DataError(
            f"`policy` knows {', '.join(wrong)} with NaN or infinity. Begin with a policy whose "
            "numbers are finite."
        )


def _check_began(policy: Policy, store: ModelStore | None) -> None:
    """Raise unless a policy is what a session began with, as far as its store can tell."""
    if store is None or not isinstance(policy, AdaptivePolicy) or not store.path(0).exists():
        return
    first, known = store.read(0), policy.arrays()
    same = set(first) == set(known) and all(np.array_equal(first[n], known[n]) for n in known)
    if not same:
        raise CheckpointError(
            "`policy` is not the one that the session began with: its arrays differ from those of "
            "model 0 in the store. Pass that policy, or policy.with_arrays(store.read(0))."
        )
