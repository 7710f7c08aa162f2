"""Finds models, learning rules and engines by name, ours and those of other packages.

A package declares what it offers as entry points in its ``pyproject.toml``; nothing is imported
until it is asked for, and nothing registers itself on import::

    [project.entry-points."probneuro.learning_rules"]
    my_rule = "my_package.rules:MyRule"

A package ships the cards of its models and engines inside itself, as
``my_package/shelf/models/<name>/card.md`` and ``my_package/shelf/inference/<name>/card.md``.
"""

import inspect
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from probneuro.core.errors import SettingError, unknown_name
from probneuro.core.source_text import class_docstring

Kind = Literal["model", "learning_rule", "engine", "reproduction"]
"""What can be looked up by name."""

GROUPS: Final[Mapping[Kind, str]] = {
    "model": "probneuro.models",
    "learning_rule": "probneuro.learning_rules",
    "engine": "probneuro.engines",
    "reproduction": "probneuro.reproductions",
}
"""The entry point group of each kind."""

SHELVES: Final[Mapping[Kind, str]] = {"model": "models", "engine": "inference"}
"""The folder that holds the cards of each kind that has cards."""


@cache
def _entries(kind: Kind) -> Mapping[str, EntryPoint]:
    """Return the entry points of a kind by name; a name claimed twice is a user mistake."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUPS[kind]):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise SettingError(
                f"Two packages declare the {_words(kind)} '{entry.name}': {other.value} and "
                f"{entry.value}. Uninstall one of them, or ask its author to rename it."
            )
    return found


def _words(kind: Kind) -> str:
    """Return a kind as it reads in a sentence."""
    return kind.replace("_", " ")


def _check_kind(kind: str) -> None:
    """Raise when a kind does not exist."""
    if kind not in GROUPS:
        raise unknown_name("kind", kind, GROUPS)


def _entry(kind: Kind, name: str) -> EntryPoint:
    """Return one entry point, or raise with the nearest name there is."""
    _check_kind(kind)
    entries = _entries(kind)
    if name not in entries:
        raise unknown_name(_words(kind), name, entries)
    return entries[name]


def names(kind: Kind) -> tuple[str, ...]:
    """Return the names of all installed models, learning rules or engines, sorted.

    Parameters
    ----------
    kind : {"model", "learning_rule", "engine", "reproduction"}
        What to list.

    Returns
    -------
    tuple of str
        The names that `load` understands.

    Raises
    ------
    SettingError
        If there is no such kind, or two packages declare the same name.

    Examples
    --------
    >>> "stdp_glm" in names("model")
    True
    """
    _check_kind(kind)
    return tuple(sorted(_entries(kind)))


def load(kind: Kind, name: str) -> type[Any]:
    """Import and return the class behind a name.

    Parameters
    ----------
    kind : {"model", "learning_rule", "engine", "reproduction"}
        What the name stands for.
    name : str
        One of ``names(kind)``.

    Returns
    -------
    type
        The class; construct it with its settings.

    Raises
    ------
    SettingError
        If the name is unknown, or its package cannot be imported.

    Examples
    --------
    >>> load("learning_rule", "aditive")
    Traceback (most recent call last):
        ...
    probneuro.core.errors.SettingError: Unknown learning rule 'aditive'. Did you mean 'additive'?...
    """
    entry = _entry(kind, name)
    try:
        loaded: type[Any] = entry.load()
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"The {_words(kind)} '{name}' is declared as {entry.value}, which fails to import: "
            f"{error}. Reinstall the package that declares it."
        ) from error
    return loaded


def summary(kind: Kind, name: str) -> str:
    """Return the first line on a name, from its source where that is to be had without importing.

    Parameters
    ----------
    kind : {"model", "learning_rule", "engine", "reproduction"}
        What the name stands for.
    name : str
        One of ``names(kind)``.

    Returns
    -------
    str
        The first line of its docstring; empty if it has none.

    Raises
    ------
    SettingError
        If the name is unknown, or its package cannot be imported.

    Examples
    --------
    >>> summary("learning_rule", "static")
    'A weight that never changes: no drift, no noise, no parameters.'
    """
    entry = _entry(kind, name)
    text = class_docstring(entry.module, entry.attr) or inspect.getdoc(load(kind, name)) or ""
    return text.partition("\n")[0]


def shelf_path(kind: Kind, name: str, file: str) -> Path:
    """Return a file on the shelf of a model or an engine.

    A wheel carries the shelves inside the package; a checkout has them beside it.

    Parameters
    ----------
    kind : {"model", "engine"}
        What the name stands for; learning rules have no shelf.
    name : str
        One of ``names(kind)``.
    file : str
        The file's name, such as ``"expected.json"``.

    Returns
    -------
    pathlib.Path
        A file that exists.

    Raises
    ------
    SettingError
        If the kind has no shelf, the name is unknown, or the file is missing.

    Examples
    --------
    >>> shelf_path("model", "stdp_glm", "expected.json").name
    'expected.json'
    """
    entry = _entry(kind, name)
    if kind not in SHELVES:
        raise SettingError(
            f"A {_words(kind)} has no shelf; got '{name}'. Only {' and '.join(SHELVES)} kinds do: "
            "read the docstring of its class instead."
        )
    package = entry.module.partition(".")[0]
    spec = find_spec(package)
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    for root in roots:
        for shelf in (root / "shelf", root.parent):
            path = shelf / SHELVES[kind] / name / file
            if path.is_file():
                return path
    raise SettingError(
        f"The {_words(kind)} '{name}' has no `{file}`; looked in {package}/shelf/{SHELVES[kind]} "
        f"and beside the package {package}. Add it, or reinstall {package}."
    )


def card_path(kind: Kind, name: str) -> Path:
    """Return the card of a model or an engine: what it does, where it ends, how it was checked.

    Parameters
    ----------
    kind : {"model", "engine"}
        What the name stands for.
    name : str
        One of ``names(kind)``.

    Returns
    -------
    pathlib.Path
        A Markdown file that exists.

    Raises
    ------
    SettingError
        If the kind has no cards, the name is unknown, or the card is missing.

    Examples
    --------
    >>> card_path("model", "stdp_glm").name
    'card.md'
    """
    return shelf_path(kind, name, "card.md")
