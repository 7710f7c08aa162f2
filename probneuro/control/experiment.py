"""An experiment: trials, decisions, safety, updates, and a log that replays to the same bit."""

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.control.adaptive import AdaptivePolicy, Choice, Policy, Trial
from probneuro.control.model_store import ModelStore
from probneuro.control.readout import Readout
from probneuro.control.safety import SafetyLimits, SafetyState, make_safe
from probneuro.core.errors import CheckpointError, DataError, SettingError
from probneuro.core.rng import generator

Floats = NDArray[np.float64]


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
@dataclass(frozen=True)
class LoggedTrial:
    """One line of a log; floats are kept to the last bit.

    Parameters
    ----------
    trial, version : int
        Number of the trial, and of the model that chose.
    target, before, after : list
        Latents.
    proposed, delivered : tuple of int
        What the policy wanted, and what went out.
    explored : bool
        Whether chance chose.
    reason : str
        Why a proposal was refused.
    seconds : float
        Of the decision.
    time : float
        On the rig's clock.
    """

    trial: int
    version: int
    target: list[float]
    before: list[list[float]]
    proposed: tuple[int, ...]
    delivered: tuple[int, ...]
    explored: bool
    reason: str
    after: list[float]
    seconds: float
    time: float

    def as_trial(self) -> Trial:
        """Return what a policy learns from."""
        return Trial(
            np.array(self.target), np.array(self.before), self.delivered, np.array(self.after)
        )


@final
@dataclass(frozen=True)
class ExperimentLog:
    """All trials of an experiment.

    Parameters
    ----------
    seed : int
        Of the decisions.
    trials : tuple of LoggedTrial
        In order.
    """

    seed: int
    trials: tuple[LoggedTrial, ...]

    @property
    def errors(self) -> Floats:
        """L1 distance from the target, shape (trial,)."""
        return np.array([logged.as_trial().error for logged in self.trials])

    @property
    def decision_seconds(self) -> Floats:
        """Time that decisions took, shape (trial,)."""
        return np.array([logged.seconds for logged in self.trials])

    @staticmethod
    def read(path: str | Path) -> "ExperimentLog":
        """Read a log; a last line that was cut short is left out.

        Raises
        ------
        DataError
            If it is no log.
        """
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        try:
            seed = int(json.loads(lines[0])["seed"])
            rows = [json.loads(line) for line in lines[1:-1]]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"`path` is no log of an experiment: '{path}' ({error}).") from error
        pairs = [{**r, **{n: tuple(r[n]) for n in ("proposed", "delivered")}} for r in rows]
        return ExperimentLog(seed, tuple(LoggedTrial(**row) for row in pairs))


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

    Raises
    ------
    SettingError
        If a number is not positive, or a learner elsewhere has no folder to share.
    """

    rig: Rig
    readout: Readout
    limits: SafetyLimits
    target: ArrayLike | Callable[[int], ArrayLike]
    update_every: int = 5
    deadline: float = 0.05
    folder: str | Path | None = None
    learns_here: bool = True
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)

    def __post_init__(self) -> None:
        if self.update_every < 1 or not self.deadline > 0:
            raise SettingError(
                "`update_every` and `deadline` must be positive; got "
                f"{self.update_every!r} and {self.deadline!r}. The paper has 5 and 0.05 s."
            )
        if not self.learns_here and self.folder is None:
            raise SettingError("`folder` is needed where another process learns. Name one.")

    def run(self, policy: Policy, num_trials: int, *, seed: int = 0) -> ExperimentLog:
        """Run trials and return their log; the randomness of a decision is its trial's alone."""
        store = ModelStore(self.folder) if self.folder is not None else None
        book = _Book(self.folder, seed)
        state, version, logged = SafetyState(), 0, list[LoggedTrial]()
        if store is not None and isinstance(policy, AdaptivePolicy):
            store.write(0, policy.arrays())
        try:
            for trial in range(num_trials):
                entry, state = self._trial(policy, trial, version, seed, state)
                logged.append(entry)
                book.add(entry)
                policy, version = self._next(policy, version, logged, store)
        finally:
            book.close()
        return ExperimentLog(seed, tuple(logged))

    def _trial(
        self, policy: Policy, trial: int, version: int, seed: int, state: SafetyState
    ) -> tuple[LoggedTrial, SafetyState]:
        target = np.asarray(self.target(trial) if callable(self.target) else self.target, float)
        counts = self.rig.before()
        start = self.clock()
        before = self.readout.latents(counts)
        choice = _choice(policy, target, before, trial, seed)
        seconds, now = self.clock() - start, self.rig.now()
        safe = make_safe(
            choice.electrodes, now=now, limits=self.limits, state=state,
            late=seconds > self.deadline,
        )  # fmt: skip
        after = self.readout.latents(self.rig.after(safe.electrodes))
        entry = LoggedTrial(
            trial, version, target.tolist(), before.tolist(), tuple(choice.electrodes),
            safe.electrodes, choice.explored, safe.reason, after.tolist(), seconds, now,
        )  # fmt: skip
        return entry, safe.state

    def _next(
        self, policy: Policy, version: int, logged: Sequence[LoggedTrial], store: ModelStore | None
    ) -> tuple[Policy, int]:
        """Return the policy of the next trial, and its version."""
        if not isinstance(policy, AdaptivePolicy):
            return policy, version
        if self.learns_here:
            if len(logged) % self.update_every:
                return policy, version
            fresh = policy.learned([t.as_trial() for t in logged[-self.update_every :]])
            if store is not None:
                store.write(version + 1, fresh.arrays())
            return fresh, version + 1
        found = None if store is None else store.newest(after=version)
        if found is None:
            return policy, version
        return policy.with_arrays(found[1]), found[0]


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
        As the experiment began with.
    folder : path
        Of the experiment.
    update_every : int
        Trials an update.
    until : callable
        Is asked after every look at the log, with the version so far.
    pause : float
        Seconds between looks.

    Returns
    -------
    int
        The last version written.
    """
    store, path, version = ModelStore(folder), Path(folder) / "trials.jsonl", 0
    while not until(version):
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        # The last piece is empty, or a line that is being written.
        if len(lines) - 2 < (version + 1) * update_every:
            time.sleep(pause)
            continue
        first = version * update_every + 1
        rows = [json.loads(line) for line in lines[first : first + update_every]]
        fresh = [
            Trial(
                np.array(r["target"]), np.array(r["before"]), tuple(r["delivered"]),
                np.array(r["after"]),
            )
            for r in rows
        ]  # fmt: skip
        policy = policy.learned(fresh)
        version += 1
        store.write(version, policy.arrays())
    return version


def replay(
    log: ExperimentLog, policy: Policy, store: ModelStore | None = None
) -> tuple[tuple[int, ...], ...]:
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
        If a model is missing.

    Returns
    -------
    tuple of tuple of int
        What the policy proposes in each trial: bit for bit what was logged.
    """
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
        found.append(_choice(current, target, before, entry.trial, log.seed).electrodes)
    return tuple(found)


def _choice(policy: Policy, target: Floats, before: Floats, trial: int, seed: int) -> Choice:
    return policy.choose(target, before, trial, generator(seed, "decision", trial))


@final
class _Book:
    """A log on disk, one line a trial; nothing where there is no folder."""

    def __init__(self, folder: str | Path | None, seed: int) -> None:
        self._file = None
        if folder is not None:
            path = Path(folder) / "trials.jsonl"
            if path.exists():
                raise SettingError(
                    f"`folder` holds a log already: '{path}'. Choose another; a log is never "
                    "written over."
                )
            self._file = path.open("w", encoding="utf-8")
            self._write({"seed": seed})

    def add(self, entry: LoggedTrial) -> None:
        """Write a trial."""
        self._write(asdict(entry))

    def close(self) -> None:
        """Close the file, and see that it is on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()

    def _write(self, values: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()
