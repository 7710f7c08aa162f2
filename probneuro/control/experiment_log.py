"""The log of an experiment: one line a trial, in memory and on disk."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probneuro.control.adaptive import Trial
from probneuro.core.errors import DataError, SettingError

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class LoggedTrial:
    """One line of a log; floats are kept to the last bit.

    Parameters
    ----------
    trial, version : int
        Number of the trial, and of the model that chose.
    target, before, after : list
        Latents. `after` is NaN where nothing could be read after stimulation.
    proposed : tuple of int or str
        What the policy wanted; as Python writes it where it was no whole numbers.
    delivered : tuple of int
        What went out.
    explored : bool
        Whether chance chose.
    reason : str
        Why a proposal was refused, or not asked for.
    seconds : float
        Of the decision.
    time : float
        On the rig's clock; NaN where that gave no number.
    """

    trial: int
    version: int
    target: list[float]
    before: list[list[float]]
    proposed: tuple[int | str, ...]
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
            If it cannot be read, or is no log.
        """
        lines = read_lines(path)
        head = _parsed(lines[0], 1, path)
        seed = head.get("seed")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise _no_log(path, 1, f"its `seed` is {seed!r}")
        rows = enumerate(lines[1:-1], start=2)
        return ExperimentLog(seed, tuple(logged_trial(line, n, path) for n, line in rows))


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a log; the last is empty, or being written.

    Raises
    ------
    DataError
        If the file cannot be read, or is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"`path` is no log of an experiment: '{path}' cannot be read ({error}). Pass a "
            "`trials.jsonl`."
        ) from error


def logged_trial(line: str, number: int, path: str | Path) -> LoggedTrial:
    """Return the trial of a line.

    Parameters
    ----------
    line : str
        Of a log.
    number : int
        Of the line, from 1; for messages, as ``path`` is.
    path : path
        Of the log.

    Raises
    ------
    DataError
        If it is no trial.
    """
    row = _parsed(line, number, path)
    try:
        row |= {name: tuple(row[name]) for name in ("proposed", "delivered")}
        found = LoggedTrial(**row)
        trial = found.as_trial()
        whole = (found.trial, found.version, *found.delivered)
        sizes = trial.target.shape, trial.before.shape[1:], trial.after.shape
        fits = trial.before.ndim == 2 and trial.target.ndim == 1 and len(set(sizes)) == 1
        numbers = all(a.dtype.kind in "fi" for a in (trial.target, trial.before, trial.after))
        float(found.seconds), float(found.time)
    except (KeyError, TypeError, ValueError) as error:
        raise _no_log(path, number, f"{type(error).__name__}: {error}") from error
    if not (fits and numbers and all(type(n) is int for n in whole)):
        raise _no_log(path, number, f"its latents or numbers do not fit: {line[:80]}")
    return found


def _parsed(line: str, number: int, path: str | Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _no_log(path, number, str(error)) from error
    if not isinstance(row, dict):
        raise _no_log(path, number, f"it is a {type(row).__name__}")
    return row


def _no_log(path: str | Path, number: int, why: str) -> DataError:
    return DataError(
        f"`path` is no log of an experiment: '{path}', line {number} ({why}). Pass a "
        "`trials.jsonl` as it was written."
    )


@final
class Book:
    """A log on disk, one line a trial; nothing where there is no folder.

    Parameters
    ----------
    folder : path or None
        For ``trials.jsonl``.
    seed : int
        Of the decisions.

    Raises
    ------
    SettingError
        If there is a log already.
    """

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
