"""Models that go from a learner to the experiment by files: versioned, whole or not at all."""

import hashlib
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final, final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from probneuro.control.adaptive import not_finite
from probneuro.core.checkpoint import write_atomically
from probneuro.core.errors import CheckpointError, DataError, SettingError

_MAGIC: Final = b"probneuro.model.1\n"
_DIGEST: Final = 32
_NAME: Final = re.compile(r"model_([0-9]{8})\.bin")


@final
class ModelStore:
    """A folder of models; readers take the newest one that is whole.

    Parameters
    ----------
    folder : path
        It is made if it is not there.

    Notes
    -----
    Files hold a hash of their content and numpy arrays without pickle. A version, once written,
    never changes, so that a session's log can be replayed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = ModelStore(folder)
    ...     _ = store.write(3, {"table": np.zeros(2)})
    ...     store.newest(after=2)[0]
    3
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.refused: dict[str, str] = {}

    def path(self, version: int) -> Path:
        """Return the file of a version."""
        return self.folder / f"model_{version:08d}.bin"

    def write(self, version: int, arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Write a version.

        Raises
        ------
        SettingError
            If the version is there already.
        DataError
            If an array holds a number that is not finite.
        """
        path = self.path(version)
        if path.exists():
            raise SettingError(
                f"`version` {version} is there already: {path.name}. Versions never change; count "
                "on."
            )
        wrong = not_finite(arrays)
        if wrong:
            raise DataError(
                f"`arrays` must be finite; {', '.join(wrong)} of version {version} holds NaN or "
                "infinity. Keep the last good model."
            )
        stream = BytesIO()
        named: dict[str, Any] = dict(arrays)
        np.savez(stream, **named)
        content = stream.getvalue()
        write_atomically(path, _MAGIC + hashlib.sha256(content).digest() + content)
        return path

    def read(self, version: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of a version.

        Raises
        ------
        CheckpointError
            If the file is missing, torn, or of another kind.
        """
        path = self.path(version)
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"Model {version} cannot be read: {error}.") from error
        start = len(_MAGIC) + _DIGEST
        content = raw[start:]
        whole = hashlib.sha256(content).digest() == raw[len(_MAGIC) : start]
        if not raw.startswith(_MAGIC) or not whole:
            raise CheckpointError(
                f"Model {version} is torn or no model: {path.name} does not match its hash. Delete "
                "it; the last good one stays in use."
            )
        try:
            with np.load(BytesIO(content), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, BadZipFile) as error:
            raise CheckpointError(f"Model {version} holds no arrays: {error}.") from error

    def newest(self, after: int = -1) -> tuple[int, dict[str, NDArray[Any]]] | None:
        """Return the newest whole version above ``after``, or None; torn ones are passed over."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        for version in sorted((int(name[1]) for name in names if name), reverse=True):
            if version <= after:
                return None
            try:
                return version, self.read(version)
            except CheckpointError as error:
                self.refused[self.path(version).name] = str(error)
        return None
