"""Where torch computes: a device by its name, what is moved there, and what comes back."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import torch
from numpy.typing import NDArray

from probneuro.core.errors import CapabilityError, SettingError

CPU: Final = torch.device("cpu")
_FOREIGN: Final = ("same device", "expected device", "to numpy", "on cpu", "on CPU")
"""Parts of torch's words where a program mixes tensors of two devices."""


def resolve_device(device: Any, *values: Any) -> torch.device:
    """Return the device that a name stands for, after trying it.

    Parameters
    ----------
    device : str, torch.device or None
        Such as ``"cuda"`` or ``"cuda:1"``; None for where the tensors among the values are.
    *values
        Arguments of a program, looked at where no device is named; CPU if they hold no tensors.

    Returns
    -------
    torch.device
        With its number, other than for the CPU.

    Raises
    ------
    SettingError
        If the name is unknown, the device is not to be had here or cannot hold float64, or no
        device is named and tensors are on several.

    Examples
    --------
    >>> resolve_device(None, [torch.zeros(2)])
    device(type='cpu')
    """
    if device is None:
        found = sorted({str(t.device) for t in _tensors(values)} - {"cpu"})
        if len(found) > 1:
            raise SettingError(
                f"The data are on several devices ({', '.join(found)}). Pass `device`, and all "
                "of them are moved there."
            )
        device = found[0] if found else CPU
    try:
        chosen = torch.device(device)
        if chosen.type == "cpu":
            return CPU
        # The value is read, since some devices take anything and hold nothing.
        held = float(torch.ones((), dtype=torch.float64, device=chosen))
    except Exception as error:  # each kind of device fails in its own way
        raise SettingError(
            f"`device` {str(device)!r} cannot be used here: {_first_line(error)}. Pass e.g. "
            '"cuda" where there is one, or leave `device` out to compute on the CPU.'
        ) from error
    if held != 1.0:
        raise SettingError(f"`device` {str(device)!r} does not compute. Leave `device` out.")
    return torch.ones((), device=chosen).device


def moved(value: Any, device: torch.device) -> Any:
    """Return a value with its tensors on a device; the same object where none had to move.

    Looks into lists, tuples, mappings and dataclasses. What a function closes over stays where
    it is.

    Examples
    --------
    >>> data = {"counts": torch.ones(2), "name": "a"}
    >>> moved(data, CPU) is data
    True
    """
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        parts = {key: moved(part, device) for key, part in value.items()}
        return _like(value, parts.values(), value.values(), lambda: _mapping(value, parts))
    if isinstance(value, list | tuple):
        items = [moved(part, device) for part in value]
        named = isinstance(value, tuple) and type(value) is not tuple
        return _like(
            value, items, value, lambda: type(value)(*items) if named else type(value)(items)
        )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _moved_fields(value, device)
    return value


def as_numpy(tensor: Any) -> NDArray[Any]:
    """Return a tensor's values as an array on the CPU, which may share its memory.

    Examples
    --------
    >>> as_numpy(torch.ones(2, requires_grad=True))
    array([1., 1.], dtype=float32)
    """
    array: NDArray[Any] = torch.as_tensor(tensor, device=CPU).detach().numpy()
    return array


@contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """Make fresh tensors on a device inside a block, and say what to do where a program does not.

    Raises
    ------
    CapabilityError
        If the work inside mixes tensors of this device with others.
    """
    home = CPU if device.type == "cpu" else device
    place: AbstractContextManager[Any] = nullcontext()
    if torch.get_default_device() != home:
        place = home
    try:
        with place:
            yield
    except (RuntimeError, TypeError) as error:
        if home is CPU or isinstance(error, CapabilityError) or not _is_foreign(error):
            raise
        raise CapabilityError(
            f"The program expected all tensors on {device}, and met one elsewhere: "
            f"{_first_line(error)}. Its arguments are moved there, but not what it closes over, "
            "nor what it computes by numpy: pass data as arguments, and compute in torch."
        ) from error


def seed_torch(seed: int, device: torch.device = CPU) -> None:
    """Seed torch's global stream of the CPU, and that of one other device.

    Unlike ``torch.manual_seed`` it leaves the streams of all other devices alone.

    Examples
    --------
    >>> seed_torch(3); a = torch.rand(1); seed_torch(3); bool(a == torch.rand(1))
    True
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        with module.device(device):
            module.manual_seed(seed)


def forked_streams(device: torch.device) -> AbstractContextManager[None]:
    """Return a context that leaves torch's streams of the CPU and of one device as found."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device.index], device_type=device.type)


def refuse_device(device: str, name: str, cure: str) -> None:
    """Refuse any device but the CPU.

    Raises
    ------
    CapabilityError
        If it is another.
    """
    if not device.startswith("cpu"):
        raise CapabilityError(
            f"`device` is {device!r}, and {name} computes on the CPU only. Leave `device` out, "
            f"with data on the CPU, or {cure}."
        )


def _like(value: Any, parts: Any, old: Any, build: Any) -> Any:
    same = all(a is b for a, b in zip(parts, old, strict=True))
    return value if same else build()


def _mapping(value: Mapping[Any, Any], parts: dict[Any, Any]) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        return parts
    fresh = copy.copy(value)
    fresh.update(parts)
    return fresh


def _moved_fields(value: Any, device: torch.device) -> Any:
    old = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    parts = {name: moved(part, device) for name, part in old.items()}
    if all(parts[name] is part for name, part in old.items()):
        return value
    fresh = copy.copy(value)  # its checks have been made, and may not know other devices
    for name, part in parts.items():
        object.__setattr__(fresh, name, part)
    return fresh


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _tensors([getattr(value, f.name) for f in dataclasses.fields(value)])


def _is_foreign(error: Exception) -> bool:
    return any(words in str(error) for words in _FOREIGN)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
