"""Classes of neurons, checked."""

from collections.abc import Iterable, Mapping

from probneuro.core.errors import SettingError


def as_classes(classes: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of the class of every unit, checked to be a mapping with something in it.

    Examples
    --------
    >>> as_classes({"a": "E"})
    {'a': 'E'}
    """
    if not isinstance(classes, Mapping) or not classes:
        raise SettingError(
            "`classes` must give each unit's class by the unit's name; got "
            f"{classes!r}. Pass e.g. {{'a': 'E', 'b': 'I'}}."
        )
    return {str(unit): str(name) for unit, name in classes.items()}


def unknown_unit(unit: str, classes: Iterable[str]) -> SettingError:
    """Return the error for a unit that has no class, or no place."""
    return SettingError(
        f"`classes` does not hold {unit}; got {', '.join(classes)}. Give every unit of the "
        "recording its class."
    )
