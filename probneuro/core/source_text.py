"""What the source of a class says about it, read without importing it or what it needs."""

import ast
import inspect
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_MOST_HOPS: Final = 5


def class_docstring(module: str, name: str) -> str | None:
    """Return the docstring of a class from its source file.

    Parameters
    ----------
    module : str
        Where it is to be imported from, in full; packages that pass it on are followed.
    name : str
        The class.

    Returns
    -------
    str or None
        None if there is none to be found in a file of Python source.

    Examples
    --------
    >>> class_docstring("probneuro.core.errors", "DataError")
    'The data handed in cannot be used as they are.'
    """
    for _ in range(_MOST_HOPS):
        file = _source(module)
        if file is None:
            return None
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            return None
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                text = ast.get_docstring(node)
                return None if text is None else inspect.cleandoc(text)
        found = _passed_on(tree, module, name, is_package=file.name == "__init__.py")
        if found is None:
            return None
        module, name = found
    return None


def _source(module: str) -> Path | None:
    """Return a module's file; its packages, which import much, are not run to find it."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None:
        return None
    if not spec.submodule_search_locations:
        origin = spec.origin if not rest else None
        return Path(origin) if origin and origin.endswith(".py") else None
    for root in spec.submodule_search_locations:
        place = Path(root).joinpath(*rest)
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                return file
    return None


def _passed_on(
    tree: ast.Module, module: str, name: str, *, is_package: bool
) -> tuple[str, str] | None:
    """Return where a module has a name from, if it imports it by name."""
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) != name:
                continue
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            return ".".join([*base, *([node.module] if node.module else [])]), alias.name
    return None
