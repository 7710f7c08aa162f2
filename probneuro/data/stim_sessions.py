"""Sessions of stimulation trials on an electrode grid: counts before and after a pattern."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, final
from zipfile import BadZipFile

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from probneuro.core.checkpoint import write_atomically
from probneuro.core.errors import DataError, SettingError
from probneuro.core.results import load, save
from probneuro.data.usable import UsableCriteria, usable_electrodes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

FORMAT: Final = "probneuro.Sessions.1"
_LONGEST_BIN: Final = 5.0
_ARRAYS: Final = {
    "calibration": ("calibration_trial", "time", "electrode"),
    "before": ("trial", "bin", "electrode"),
    "patterns": ("trial", "candidate"),
    "after": ("trial", "electrode"),
    "electrodes": ("electrode",),
    "candidates": ("candidate",),
    "usable": ("electrode",),
}


@final
@dataclass(frozen=True, init=False, repr=False, eq=False)
class StimSession:
    """One session: trials without stimulation to find the latent space, and stimulation trials.

    Parameters
    ----------
    calibration : array_like
        Counts of trials without stimulation, shape (trial, time, electrode).
    before : array_like
        Counts before stimulation, shape (trial, bin, electrode).
    patterns : array_like
        1 where a candidate was stimulated, shape (trial, candidate); a row of zeros is a trial
        without stimulation.
    after : array_like
        Counts after stimulation, shape (trial, electrode).
    candidates : array_like
        Grid index (row times width plus column) of the candidates, shape (candidate,).
    electrodes : array_like, optional
        Grid index of the recorded electrodes; in order by default.
    grid : tuple of int
        Height and width.
    bin_width : float
        Seconds.
    usable : array_like of bool, optional
        Which recorded electrodes can be used; all by default, see `choose_usable`.
    name : str
        Of the session.

    Raises
    ------
    DataError
        If shapes do not fit, counts are negative or missing, or places lie off the grid.

    Examples
    --------
    >>> session = StimSession(np.ones((2, 3, 4)), np.ones((5, 2, 4)), np.eye(5, 6),
    ...                       np.ones((5, 4)), candidates=range(6), grid=(2, 3))
    >>> session.num_trials, session.stimulated.all()
    (5, np.True_)
    """

    calibration: Floats
    before: Floats
    patterns: Bools
    after: Floats
    candidates: Integers
    electrodes: Integers
    grid: tuple[int, int]
    bin_width: float
    usable: Bools
    name: str

    def __init__(
        self,
        calibration: ArrayLike,
        before: ArrayLike,
        patterns: ArrayLike,
        after: ArrayLike,
        *,
        candidates: ArrayLike,
        electrodes: ArrayLike | None = None,
        grid: tuple[int, int] = (10, 10),
        bin_width: float = 0.05,
        usable: ArrayLike | None = None,
        name: str = "0",
    ) -> None:
        counts = {
            "calibration": _counts("calibration", calibration, 3),
            "before": _counts("before", before, 3),
            "after": _counts("after", after, 2),
        }
        size = counts["after"].shape[1]
        stimulated = np.asarray(patterns)
        if stimulated.ndim != 2 or not np.isin(stimulated, (0, 1)).all():
            raise DataError(
                "`patterns` must hold 0 and 1, shape (trial, candidate); got shape "
                f"{stimulated.shape}. Mark each stimulated electrode by 1."
            )
        for other, array in counts.items():
            if array.shape[-1] != size:
                raise DataError(
                    f"`{other}` has {array.shape[-1]} electrodes, `after` has {size}. Pass the "
                    "same electrodes in the same order."
                )
        lengths = {len(counts["before"]), len(counts["after"]), len(stimulated)}
        if len(lengths) > 1:
            raise DataError(
                "`before`, `patterns` and `after` must have one row a trial; got "
                f"{len(counts['before'])}, {len(stimulated)} and {len(counts['after'])}. "
                "Leave incomplete trials out of all three."
            )
        places = _places("candidates", candidates, stimulated.shape[1], grid)
        recorded = np.arange(size) if electrodes is None else electrodes
        mask = _mask(usable, size)
        self._set(
            **counts, patterns=stimulated.astype(bool), candidates=places, usable=mask,
            electrodes=_places("electrodes", recorded, size, grid), name=str(name),
            grid=(int(grid[0]), int(grid[1])), bin_width=_seconds(bin_width),
        )  # fmt: skip

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def num_trials(self) -> int:
        """Number of trials after calibration."""
        return len(self.after)

    @property
    def stimulated(self) -> Bools:
        """Which trials had stimulation, shape (trial,)."""
        found: Bools = np.asarray(self.patterns.any(axis=1))
        return found

    def __repr__(self) -> str:
        return (
            f"StimSession {self.name}: {self.num_trials} trials ({int((~self.stimulated).sum())} "
            f"without stimulation), {self.before.shape[1]} bins before, {int(self.usable.sum())} "
            f"of {len(self.electrodes)} electrodes usable, {len(self.candidates)} candidates on "
            f"{self.grid[0]} x {self.grid[1]}"
        )

    def choose_usable(
        self,
        *,
        trains: Sequence[ArrayLike] | None = None,
        criteria: UsableCriteria | None = None,
    ) -> "StimSession":
        """Return the session with its usable electrodes chosen from the calibration trials.

        Raises
        ------
        DataError
            If none is left.
        """
        mask = usable_electrodes(self.calibration, self.bin_width, trains=trains, criteria=criteria)
        if not mask.any():
            raise DataError(
                f"`calibration` of session {self.name} leaves no usable electrode. Loosen the "
                "criteria, or check the bin width."
            )
        new = object.__new__(StimSession)
        new._set(**{**self.__dict__, "usable": mask})
        return new

    def hash(self) -> str:
        """Return the sha256 of the content, in hexadecimal."""
        digest = hashlib.sha256(f"{FORMAT}{self.name}{self.grid}{self.bin_width!r}".encode())
        for name in _ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@final
@dataclass(frozen=True, repr=False, eq=False)
class Sessions:
    """Sessions of one grid; the first is the reference.

    Parameters
    ----------
    sessions : sequence of StimSession
        With the same grid and candidates, and different names.

    Raises
    ------
    DataError
        If there is none, or they do not belong together.

    Examples
    --------
    >>> one = StimSession(np.ones((2, 3, 4)), np.ones((5, 2, 4)), np.eye(5, 6),
    ...                   np.ones((5, 4)), candidates=range(6), grid=(2, 3))
    >>> len(Sessions([one]))
    1
    """

    sessions: tuple[StimSession, ...]

    def __init__(self, sessions: Sequence[StimSession]) -> None:
        given = tuple(sessions)
        if not given:
            raise DataError("`sessions` holds none. Pass at least one StimSession.")
        for other in given[1:]:
            same = np.array_equal(other.candidates, given[0].candidates)
            if other.grid != given[0].grid or not same:
                raise DataError(
                    f"`sessions` must share grid and candidates; session {other.name} differs from "
                    f"{given[0].name}. Pass those of one array and one choice of electrodes."
                )
            bins = [(s.bin_width, s.before.shape[1]) for s in (given[0], other)]
            if bins[0] != bins[1]:
                raise DataError(
                    f"`sessions` must share bins; session {other.name} has {bins[1][1]} of "
                    f"{bins[1][0]:g} s before stimulation, {given[0].name} has {bins[0][1]} of "
                    f"{bins[0][0]:g} s. Bin all of them alike."
                )
        names = [session.name for session in given]
        if len(set(names)) < len(names):
            raise DataError(f"`sessions` must have different names; got {names}. Rename one.")
        object.__setattr__(self, "sessions", given)

    def __len__(self) -> int:
        return len(self.sessions)

    def __iter__(self) -> Iterator[StimSession]:
        return iter(self.sessions)

    def __getitem__(self, index: int) -> StimSession:
        return self.sessions[index]

    def __repr__(self) -> str:
        trials = sum(session.num_trials for session in self.sessions)
        grid = self.sessions[0].grid
        return f"Sessions: {len(self)} sessions, {trials} trials, grid {grid[0]} x {grid[1]}"

    def hash(self) -> str:
        """Return the sha256 of all sessions, in hexadecimal."""
        return hashlib.sha256("".join(s.hash() for s in self.sessions).encode()).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write to ``.npz`` or netCDF (``.nc``), whole or not at all; `read_sessions` reads it.

        Raises
        ------
        SettingError
            If the suffix is neither.
        DataError
            If the folder does not exist.
        """
        target = Path(path)
        if target.suffix not in (".npz", ".nc"):
            raise SettingError(
                f"`path` must end in .npz or .nc; got '{target.name}'. Choose one of the two."
            )
        tree = xr.DataTree.from_dict(
            {f"session_{number}": _as_dataset(s) for number, s in enumerate(self.sessions)}
        )
        tree.attrs.update(format=FORMAT, checksum=self.hash())
        if target.suffix == ".nc":
            return save(tree, target)
        return _save_npz(tree, target)


def read_sessions(path: str | Path) -> Sessions:
    """Read sessions that `Sessions.save` wrote, or a numpy archive of the same names.

    Parameters
    ----------
    path : str or Path
        ``.nc``, or ``.npz`` with arrays ``session_0/calibration``, ``session_0/before``, ...

    Returns
    -------
    Sessions

    Raises
    ------
    DataError
        If the file is missing, damaged, or holds something else.

    Examples
    --------
    >>> import tempfile
    >>> one = StimSession(np.ones((2, 3, 4)), np.ones((5, 2, 4)), np.eye(5, 6),
    ...                   np.ones((5, 4)), candidates=range(6), grid=(2, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_sessions(Sessions([one]).save(f"{folder}/s.npz")).hash() == Sessions([one]).hash()
    True
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"`path` is no file: '{file}'. Check the name.")
    if file.suffix == ".npz":
        parts, facts = _load_npz(file)
    elif file.suffix == ".nc":
        tree = load(file)
        facts = {str(k): v for k, v in tree.attrs.items()}
        parts = {name: _contents(node.to_dataset()) for name, node in tree.children.items()}
    else:
        raise DataError(
            f"`path` is of a kind that holds no sessions: '{file.name}'. Pass .npz or .nc."
        )
    strange = [name for name in parts if not name.rpartition("_")[2].isdecimal()]
    if strange:
        raise DataError(
            f"`path` holds '{strange[0]}', which names no session: '{file.name}'. Name them "
            "session_0, session_1, ..."
        )
    order = sorted(parts, key=lambda name: int(name.rpartition("_")[2]))
    found = Sessions([_session(file, parts[name]) for name in order])
    if "checksum" in facts and str(facts["checksum"]) != found.hash():
        raise DataError(
            f"`path` is damaged: the checksum of '{file.name}' differs from its content. Write it "
            "again."
        )
    return found


def _as_dataset(session: StimSession) -> xr.Dataset:
    arrays = {name: (dims, np.asarray(getattr(session, name))) for name, dims in _ARRAYS.items()}
    for name in ("patterns", "usable"):
        arrays[name] = (arrays[name][0], arrays[name][1].astype(np.int8))
    facts = {"height": session.grid[0], "width": session.grid[1], "name": session.name}
    return xr.Dataset(arrays, attrs={**facts, "bin_width": session.bin_width})


def _contents(dataset: xr.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {str(key): value.values for key, value in dataset.data_vars.items()}
    return found | {str(key): value for key, value in dataset.attrs.items()}


def _save_npz(tree: xr.DataTree, target: Path) -> Path:
    from io import BytesIO

    if not target.parent.is_dir():
        raise DataError(
            f"`path` names a folder that does not exist: {target.parent}. Create it, or choose "
            "another."
        )
    arrays: dict[str, Any] = {str(n): np.asarray(value) for n, value in tree.attrs.items()}
    for name, node in tree.children.items():
        found = _contents(node.to_dataset())
        arrays |= {f"{name}/{key}": np.asarray(value) for key, value in found.items()}
    stream = BytesIO()
    np.savez_compressed(stream, **arrays)
    write_atomically(target, stream.getvalue())
    return target


def _load_npz(file: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    try:
        # Opened here, since numpy leaves a file open that turns out to be none of its own.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            flat = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"`path` is no numpy archive: '{file.name}' ({error}).") from error
    parts: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        group, _, key = name.partition("/")
        if key:
            parts.setdefault(group, {})[key] = value
    return parts, {name: value for name, value in flat.items() if "/" not in name}


def _session(file: Path, found: dict[str, Any]) -> StimSession:
    needed = ("calibration", "before", "patterns", "after", "candidates")
    lost = [name for name in needed if name not in found]
    if lost:
        raise DataError(
            f"`path` lacks {', '.join(lost)}: '{file.name}' holds {', '.join(sorted(found))}. Save "
            "the arguments of StimSession under their names."
        )
    return StimSession(
        *(found[name] for name in needed[:4]), candidates=found["candidates"],
        electrodes=found.get("electrodes"), usable=found.get("usable"),
        grid=(int(found.get("height", 10)), int(found.get("width", 10))),
        bin_width=float(found.get("bin_width", 0.05)), name=str(found.get("name", "0")),
    )  # fmt: skip


def _counts(name: str, values: ArrayLike, axes: int) -> Floats:
    array = np.array(values, dtype=np.float64)
    if array.ndim != axes or 0 in array.shape:
        shape = "(trial, bin, electrode)" if axes == 3 else "(trial, electrode)"
        raise DataError(
            f"`{name}` must have shape {shape} and not be empty; got {array.shape}. Reshape it."
        )
    if not np.isfinite(array).all() or (array < 0).any():
        raise DataError(
            f"`{name}` must hold counts; got negative or missing entries. Leave those trials out."
        )
    return array


def _seconds(bin_width: float) -> float:
    if not 0 < bin_width < _LONGEST_BIN:
        raise SettingError(
            f"`bin_width` must be positive and in seconds; got {bin_width!r}. Pass 0.05 for 50 ms."
        )
    return float(bin_width)


def _mask(usable: ArrayLike | None, size: int) -> Bools:
    given = np.ones(size, dtype=bool) if usable is None else np.asarray(usable)
    if given.shape != (size,) or not np.isin(given, (0, 1)).all():
        raise DataError(
            f"`usable` must be true or false for each of {size} electrodes; got {given.dtype} of "
            f"shape {given.shape}. Leave it out, and call choose_usable()."
        )
    return given.astype(bool)


def _places(name: str, values: ArrayLike, number: int, grid: tuple[int, int]) -> Integers:
    # Sets and generators are no arrays; their places are.
    given = np.array(list(cast(Iterable[int], values)))
    if len(grid) != 2:
        raise DataError(f"`grid` must be (height, width); got {grid!r}. Pass e.g. (10, 10).")
    sites = grid[0] * grid[1]
    whole = given.dtype.kind in "iuf" and bool((given == np.rint(given)).all())
    if given.shape != (number,) or not whole or len(set(given.tolist())) < number:
        raise DataError(
            f"`{name}` must be {number} different places on the grid, whole numbers; got "
            f"{given.dtype} of shape {given.shape}. Give one a column."
        )
    array = given.astype(np.int64)
    if number and (array.min() < 0 or array.max() >= sites):
        raise DataError(
            f"`{name}` must lie on the grid of {grid[0]} x {grid[1]}, 0 to {sites - 1}; got "
            f"{array.min()} to {array.max()}. Count rows first: row * width + column."
        )
    return array
