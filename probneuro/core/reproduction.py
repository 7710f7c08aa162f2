"""How the paper of a model is reproduced: experiments by preset, held against printed numbers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final


@final
@dataclass(frozen=True)
class Finding:
    """What one experiment found, beside what the paper prints.

    Parameters
    ----------
    target : str
        Name of a target of the model's ``expected.json``.
    found : str
        The number or the sentence, with its error and its size of sample.
    figures : tuple of str
        Names of figures in the folder that show it, without ``.png``.
    """

    target: str
    found: str
    figures: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how a reproduction runs.

    Parameters
    ----------
    folder : pathlib.Path
        For results, checkpoints and ``figures``; what is there already is not computed again.
    seed : int
        Of the first repetition; the others count on from it.
    workers : int or None
        Chains at a time.
    progress : bool
        Whether to show progress.
    """

    folder: Path
    seed: int = 0
    workers: int | None = None
    progress: bool = field(default=True)

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.folder / "figures"


class Reproduction(ABC):
    """A model's experiments; found by its entry point in ``probneuro.reproductions``."""

    @abstractmethod
    def run(self, preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
        """Run the experiments of a preset, and say what each found as it ends.

        Parameters
        ----------
        preset : mapping
            The table ``[reproduce]`` of the model's ``demo.toml`` or ``paper.toml``.
        setting : Setting
            Where and how.

        Yields
        ------
        Finding
            One for every target that the preset reaches. Results go to files as they come, so
            that a run that was stopped goes on.
        """
