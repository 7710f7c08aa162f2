"""What `probneuro reproduce` can run: one entry a model, each in a module of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from probneuro.core.errors import unknown_name


@dataclass(frozen=True)
class Row:
    """One number of a paper beside ours.

    Parameters
    ----------
    name : str
        Name of the target in ``expected.json``.
    ours : str
        What this run found.
    """

    name: str
    ours: str


@dataclass(frozen=True)
class Outcome:
    """What a reproduction leaves.

    Parameters
    ----------
    rows : tuple of Row
        Numbers to be printed beside the paper's and those on record.
    files : tuple of pathlib.Path
        What was written.
    """

    rows: tuple[Row, ...]
    files: tuple[Path, ...]


Reproduction = Callable[[Mapping[str, Any], Path, int, bool], Outcome]
"""Takes the preset's settings, the output folder, the seed, and whether to show progress."""

REPRODUCTIONS: Final[Mapping[str, str]] = {"dsn": "probneuro.cli.reproductions.dsn"}
"""Module by model; each has a function ``reproduce``. Add yours here."""


def reproduction_of(model: str) -> Reproduction:
    """Return the reproduction of a model.

    Raises
    ------
    SettingError
        If the model has none.

    Examples
    --------
    >>> reproduction_of("dsn").__name__
    'reproduce'
    """
    if model not in REPRODUCTIONS:
        raise unknown_name("model to reproduce", model, REPRODUCTIONS)
    found: Reproduction = import_module(REPRODUCTIONS[model]).reproduce
    return found
