"""Every way a run can fail, each saying what was wrong, what we got and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class DataError(ValueError):
    """The data handed in cannot be used as they are."""


class SettingError(ValueError):
    """A setting is out of its range, unknown, or at odds with another."""


class CapabilityError(TypeError):
    """An engine was asked to run a model that lacks what it needs."""


class InferenceError(RuntimeError):
    """Numbers went wrong during inference: names the step, the site and the seed."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, written, or belongs to another run."""


class CheckpointInUse(CheckpointError):
    """A checkpoint folder is held by a process that still runs."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SettingError:
    """Build the error for a name that is not in a list, with the nearest names that are.

    Parameters
    ----------
    kind : str
        What the name stands for, such as ``"rule"``.
    name : str
        The name that was given.
    known : iterable of str
        The names that exist.

    Returns
    -------
    SettingError
        To be raised by the caller.

    Examples
    --------
    >>> str(unknown_name("rule", "aditive", ["static", "additive"]))
    "Unknown rule 'aditive'. Did you mean 'additive'? Known: additive, static."
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return SettingError(f"Unknown {kind} '{name}'.{hint} Known: {', '.join(names)}.")
