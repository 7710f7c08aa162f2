"""ArviZ under one name, whichever generation is installed: ``from probneuro import az``.

Everything that ``arviz`` 1 offers at its top is found here, imported when it is first used.
"""

from typing import Any

from probneuro.core.arviz import lookup, public_names


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return lookup(name)


def __dir__() -> list[str]:
    return public_names()
