"""Checkpoints: write-once segments of a chain, from which a killed run goes on as if unhurt."""

import errno
import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from probneuro.core.engine import Arrays
from probneuro.core.errors import CheckpointError, CheckpointInUse

log = logging.getLogger("probneuro")

FORMAT: Final = 1
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_UNREADABLE: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Segment:
    """What a chain did between two points of its run, and all it needs to go on.

    Parameters
    ----------
    start, stop : int
        First step held, and the first one not held; warm-up steps count.
    rng : dict
        State of the chain's bit generator after the last step.
    state : dict of numpy.ndarray
        The kernel's state after the last step.
    records : dict of dict of numpy.ndarray
        By kind of record (``posterior``, ``sample_stats``, ...), arrays whose first axis
        runs over the steps recorded.
    seconds : float
        Time spent on these steps.
    """

    start: int
    stop: int
    rng: Mapping[str, Any]
    state: Arrays
    records: dict[str, Arrays] = field(default_factory=dict)
    seconds: float = 0.0


def write_atomically(path: Path, content: bytes) -> None:
    """Put a file in place whole or not at all, whatever happens meanwhile.

    Parameters
    ----------
    path : pathlib.Path
        Final name; its folder exists.
    content : bytes
        What the file shall hold.

    Raises
    ------
    OSError
        If it cannot be written; nothing stands under the final name then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Ask the system to remember the names in a folder, where it can.

    Parameters
    ----------
    folder : pathlib.Path
        The folder a file was renamed in.
    """
    with suppress(OSError):  # Windows opens no folders; the rename is safe there without
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class ChainStore:
    """The segments of one chain, in the folder ``<run>/chain-<number>``.

    Parameters
    ----------
    run_folder : pathlib.Path
        The run's checkpoint folder.
    chain : int
        Number of the chain.
    """

    def __init__(self, run_folder: Path, chain: int) -> None:
        self.folder = run_folder / f"chain-{chain}"
        self._next = 0

    def read(self) -> list[Segment]:
        """Return the segments in order; a last one that cannot be read is passed over.

        Raises
        ------
        CheckpointError
            If a segment before the last is damaged or missing.
        """
        paths = sorted(self.folder.glob("segment-*.npz"))
        segments: list[Segment] = []
        for number, path in enumerate(paths):
            try:
                segment = _decode(path)
            except _UNREADABLE as error:
                if number < len(paths) - 1:
                    raise CheckpointError(
                        f"Checkpoint file `{path}` is damaged ({error}), and later ones follow it. "
                        "Delete it and the later ones of this chain to resume from before it."
                    ) from error
                log.warning("Checkpoint file %s is damaged and is passed over.", path)
                break
            expected = segments[-1].stop if segments else 0
            if path != self._path(number) or segment.start != expected:
                raise CheckpointError(
                    f"Checkpoint file `{path}` starts at step {segment.start}; "
                    f"step {expected} was expected, so one is missing. "
                    "Put it back, or delete this file and the later ones of this chain."
                )
            segments.append(segment)
        self._next = len(segments)
        return segments

    def append(self, segment: Segment) -> None:
        """Write the next segment.

        Parameters
        ----------
        segment : Segment
            Starts where the last one stopped.

        Raises
        ------
        CheckpointError
            If it cannot be written; earlier segments stay as they are.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(self._next), _encode(segment))
        except OSError as error:
            raise _cannot_write(self.folder, error, f"steps before {segment.start}") from error
        self._next += 1

    def _path(self, number: int) -> Path:
        return self.folder / f"segment-{number:05d}.npz"


def _cannot_write(folder: Path, error: OSError, kept: str) -> CheckpointError:
    reason = "the disk is full" if error.errno in _FULL else f"{error.strerror or error}"
    cure = "Free some space" if error.errno in _FULL else "Make it writable"
    return CheckpointError(
        f"Cannot write the checkpoint in `{folder}`: {reason}. "
        f"Kept on disk: {kept}. {cure}, or pass another `checkpoint` folder."
    )


def _encode(segment: Segment) -> bytes:
    about = {
        "format": FORMAT,
        "start": segment.start,
        "stop": segment.stop,
        "seconds": segment.seconds,
        "rng": segment.rng,
    }
    arrays: Arrays = {"about": np.array(json.dumps(about))}
    for kind, group in {"state": segment.state, **segment.records}.items():
        for name, values in group.items():
            if np.asarray(values).dtype == object:
                raise CheckpointError(
                    f"`{name}` in the chain's {kind} holds Python objects, which a checkpoint "
                    "cannot keep. Let the kernel return numbers or strings, as numpy arrays."
                )
            arrays[f"{kind}/{name}"] = np.asarray(values)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # no objects are left, so no pickle
    return buffer.getvalue()


def _decode(path: Path) -> Segment:
    with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop("about")))
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}; this version reads {FORMAT}")
    groups: dict[str, Arrays] = {"state": {}}
    for key, values in arrays.items():
        kind, _, name = key.partition("/")
        groups.setdefault(kind, {})[name] = values
    state = groups.pop("state")
    return Segment(about["start"], about["stop"], about["rng"], state, groups, about["seconds"])


@contextmanager
def open_run(folder: str | os.PathLike[str], fingerprint: Mapping[str, Any]) -> Iterator[Path]:
    """Hold a run's checkpoint folder, new or of the same run, for the time of a block.

    Parameters
    ----------
    folder : path
        The checkpoint folder; made if it is not there.
    fingerprint : mapping
        Everything the draws depend on, as JSON values.

    Yields
    ------
    pathlib.Path
        The folder.

    Raises
    ------
    CheckpointError
        If the folder belongs to another run, is in use, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, open_run(folder, {"seed": 1}) as path:
    ...     sorted(p.name for p in path.iterdir())
    ['lock', 'run.json']
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / "lock", "wb")  # noqa: SIM115 -- held over the yield, closed below
    except OSError as error:
        raise _cannot_write(path, error, "nothing yet") from error
    with lock:
        _take(lock, path)
        _match(path, _plain(fingerprint))
        yield path


def _take(lock: IO[bytes], folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows: there two runs in one folder go unnoticed
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return  # some network file systems know no locks
        raise CheckpointInUse(
            f"The checkpoint folder `{folder}` is in use by another running process. "
            "Wait for it to end, or pass another `checkpoint` folder."
        ) from error


def _match(folder: Path, fingerprint: Mapping[str, Any]) -> None:
    path = folder / "run.json"
    if not path.exists():
        if any(folder.glob("chain-*/segment-*.npz")):
            raise CheckpointError(
                f"`{folder}` holds segments of a run but no `run.json` that says which. "
                "Pass another `checkpoint` folder, or empty this one."
            )
        try:
            write_atomically(path, json.dumps(fingerprint, indent=1, sort_keys=True).encode())
        except OSError as error:
            raise _cannot_write(folder, error, "nothing yet") from error
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({error}). "
            "Pass another `checkpoint` folder, or empty this one."
        ) from error
    ours, theirs = _flat(fingerprint), _flat(found)
    differing = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
    if differing:
        shown = "; ".join(
            f"`{k}` was {theirs.get(k, 'absent')!r}, is now {ours.get(k, 'absent')!r}"
            for k in differing[:4]
        )
        raise CheckpointError(
            f"The checkpoint in `{folder}` belongs to another run: {shown}. Repeat the call that "
            "made it to resume, or pass another `checkpoint` folder to start anew."
        )


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    def convert(item: Any) -> Any:
        return item.tolist() if isinstance(item, np.ndarray | np.generic) else repr(item)

    plain: dict[str, Any] = json.loads(json.dumps(value, default=convert))
    return plain


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(_flat(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat
