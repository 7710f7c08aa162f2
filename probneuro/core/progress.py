"""Progress of a run: bars on a terminal, an occasional plain line elsewhere, or nothing."""

import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

# Rich draws from the global stream while it is imported; give back what it took.
_STREAM = random.getstate()
from rich.console import Console  # noqa: E402
from rich.progress import (  # noqa: E402
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars  # noqa: E402
from rich.text import Text  # noqa: E402

random.setstate(_STREAM)
PLAIN_SECONDS = 10.0
"""Time between two plain lines: a log of an hour's run stays readable."""


@dataclass
class ChainStatus:
    """Where one chain stands; its thread writes it, the progress display reads it.

    Parameters
    ----------
    total : int
        Steps the chain will take, warm-up included.
    warmup : int
        How many of them are warm-up.
    step : int
        Steps done.
    divergences : int or None
        Divergent draws so far; None if the engine reports none.
    acceptance : float or None
        Running mean of the acceptance rate; None if the engine reports none.
    note : str or None
        What the engine says of itself, in place of all that.
    """

    total: int
    warmup: int
    step: int = 0
    divergences: int | None = None
    acceptance: float | None = None
    note: str | None = None

    def words(self) -> str:
        """Return the stage and what the engine reports, in a few words.

        Examples
        --------
        >>> ChainStatus(total=10, warmup=5, step=7, divergences=2, acceptance=0.8).words()
        'draws, accept 0.80, 2 divergent'
        """
        if self.note is not None:
            return self.note
        parts = ["warm-up" if self.step < self.warmup else "draws"]
        if self.acceptance is not None:
            parts.append(f"accept {self.acceptance:.2f}")
        if self.divergences:
            parts.append(f"{self.divergences} divergent")
        return ", ".join(parts)


class Progress(ABC):
    """A display of chains; a context manager that is shown the chains now and then."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def show(self, chains: Sequence[ChainStatus]) -> None:
        """Bring the display up to date; cheap enough to call ten times a second."""

    @abstractmethod
    def close(self) -> None:
        """Leave the terminal as it was found."""


class Silent(Progress):
    """No display."""

    def show(self, chains: Sequence[ChainStatus]) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:8.1f} it/s" if speed else "       – it/s", style="progress.data.speed")


class Terminal(Progress):
    """One bar a chain, with rate, time elapsed and time left.

    Parameters
    ----------
    label : str
        What the bars stand for.
    console : rich.console.Console
        Where to draw.
    """

    def __init__(self, label: str, console: Console) -> None:
        self._label = label
        self._tasks: list[TaskID] = []
        self._start: list[int] = []
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
            console=console,
            refresh_per_second=5,
        )
        self._bars.start()

    def show(self, chains: Sequence[ChainStatus]) -> None:
        """Move every bar to where its chain stands."""
        for number in range(len(self._tasks), len(chains)):
            name = f"{self._label} chain {number}".strip()
            task = self._bars.add_task(name, total=chains[number].total, words="")
            self._tasks.append(task)
        for task, chain in zip(self._tasks, chains, strict=True):
            self._bars.update(task, completed=chain.step, words=chain.words())

    def close(self) -> None:
        """Stop the bars; the last state stays on the screen."""
        self._bars.stop()


class Plain(Progress):
    """One line every ten seconds, for logs.

    Parameters
    ----------
    label : str
        What the lines stand for.
    write : callable
        Takes one line.
    seconds : float
        Time between lines in seconds.
    """

    def __init__(
        self, label: str, write: Callable[[str], object], seconds: float = PLAIN_SECONDS
    ) -> None:
        self._label = label or "run"
        self._write = write
        self._seconds = seconds
        self._started = self._last = time.monotonic()
        self._first: int | None = None
        self._said = ""

    def show(self, chains: Sequence[ChainStatus]) -> None:
        """Write a line if the last one is long enough ago."""
        done, total = sum(c.step for c in chains), sum(c.total for c in chains)
        now = time.monotonic()
        if self._first is None:
            self._first = done
        elapsed = now - self._started
        rate = (done - self._first) / elapsed if elapsed > 0 else 0.0
        left = f"{(total - done) / rate:.0f} s left" if rate else "time left unknown"
        self._said = (
            f"{self._label}: {done}/{total} steps, {rate:.1f} it/s, {elapsed:.0f} s, {left}; "
            + " | ".join(c.words() for c in chains)
        )
        if now - self._last >= self._seconds:
            self._last = now
            self._write(self._said)

    def close(self) -> None:
        """Write where the run ended, if it was long enough for lines at all."""
        if self._last > self._started:
            self._write(self._said)


def progress_display(progress: bool, label: str = "") -> Progress:
    """Return the display that suits the place: bars on a terminal or notebook, else lines.

    Bars and lines go to standard error, so that standard output stays free for results.

    Parameters
    ----------
    progress : bool
        False for no display at all.
    label : str
        What runs.

    Returns
    -------
    Progress
        To be used as a context manager.

    Examples
    --------
    >>> with progress_display(False) as display:
    ...     display.show([ChainStatus(total=10, warmup=5)])
    """
    if not progress:
        return Silent()
    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        return Terminal(label, console)
    return Plain(label, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
