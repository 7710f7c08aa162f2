"""Multi-well recordings: spike times of wells, and their counts by electrode and bin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.core.hashing import stable_hash

RECORDING: Final = "recording"
ELECTRODE: Final = "electrode"
LABELS: Final = ("plate", "well", "treatment", "div")
"""What is known of each recording: plate, well, treatment, days in vitro."""

_FORMAT: Final = "probneuro.wells.1"
_SHOWN: Final = 3


def label_table(labels: Mapping[str, Any] | pd.DataFrame | None, num: int) -> pd.DataFrame:
    """Return the labels of recordings as a table with every column of `LABELS`.

    Parameters
    ----------
    labels : mapping of str to sequence, DataFrame or None
        One value a recording; unknown text becomes ``""``, unknown days in vitro NaN.
    num : int
        Number of recordings.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        If a column has another length, or days in vitro are no numbers.
    """
    given = {
        str(k): np.asarray(v).ravel() for k, v in dict({} if labels is None else labels).items()
    }
    for name, values in given.items():
        if len(values) != num:
            raise DataError(
                f"`{name}` has {len(values)} values for {num} recordings. Give one a recording."
            )
    table: dict[str, Any] = {}
    for name in (*LABELS, *(k for k in given if k not in LABELS)):
        if name == "div":
            days = given.get(name, np.full(num, np.nan))
            try:
                table[name] = days.astype(np.float64)
            except ValueError:
                raise DataError(
                    f"`div` must be days in vitro, as numbers; got {days[0]!r}. Write 7 for DIV 7."
                ) from None
        else:
            table[name] = given.get(name, np.full(num, "")).astype(str).astype(object)
    return pd.DataFrame(table)


@final
@dataclass(frozen=True, eq=False)
class Wells:
    """Spike counts of many recordings, one a well and a day.

    Parameters
    ----------
    counts : array_like
        Shape (recording, electrode, time), counts of 0 or more.
    bin_width : float
        Seconds.
    electrodes : sequence of str, optional
        Names such as ``"23"`` (column 2, row 3 of the well); numbered by default.
    labels : mapping of str to sequence or DataFrame, optional
        ``plate``, ``well``, ``treatment``, ``div`` (days in vitro) and any other, one value a
        recording.
    source : str
        Where the data came from.

    Raises
    ------
    DataError
        If counts are not three-dimensional, finite, whole and non-negative, or labels do not fit.

    Examples
    --------
    >>> wells = Wells(np.ones((4, 2, 10)), 0.5, labels={"plate": list("aabb")})
    >>> wells
    Wells: 4 recordings, 2 electrodes, 10 bins of 0.5 s
      plates: a, b
    """

    counts: NDArray[Any]
    bin_width: float
    electrodes: Sequence[str] = ()
    labels: Any = field(default=None)
    source: str = ""

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts)
        _check_counts(counts)
        if not (np.isfinite(self.bin_width) and self.bin_width > 0):
            raise DataError(
                f"`bin_width` must be positive seconds; got {self.bin_width!r}. For 1 ms "
                "write 0.001."
            )
        names = tuple(str(e) for e in self.electrodes) or tuple(map(str, range(counts.shape[1])))
        if len(names) != counts.shape[1] or len(set(names)) != len(names):
            raise DataError(
                f"`electrodes` must be {counts.shape[1]} different names; got {len(names)}, "
                f"{len(set(names))} of them different. Name each electrode once."
            )
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "electrodes", names)
        object.__setattr__(self, "labels", label_table(self.labels, len(counts)))

    def __len__(self) -> int:
        return len(self.counts)

    def __repr__(self) -> str:
        num, electrodes, bins = self.counts.shape
        lines = [
            f"Wells: {num} recordings, {electrodes} electrodes, {bins} bins of {self.bin_width:g} s"
        ]
        for name, column in self.labels.items():
            known = [str(v) for v in pd.unique(column) if str(v) not in ("", "nan")]
            if known:
                more = ", ..." if len(known) > _SHOWN else ""
                lines.append(f"  {name}s: {', '.join(known[:_SHOWN])}{more}")
        return "\n".join(lines)

    @property
    def num_bins(self) -> int:
        """Number of bins."""
        return int(self.counts.shape[2])

    @property
    def duration(self) -> float:
        """Length of a recording in seconds."""
        return self.num_bins * self.bin_width

    def hash(self) -> str:
        """Return a stable hash of the content."""
        columns = {str(k): v.astype(str).to_numpy() for k, v in self.labels.items()}
        return stable_hash(self.counts, float(self.bin_width), list(self.electrodes), columns)

    def select(self, which: ArrayLike) -> "Wells":
        """Return some of the recordings.

        Parameters
        ----------
        which : array_like of bool or int
            One truth value a recording, or positions.

        Raises
        ------
        DataError
            If none is left.
        """
        rows = np.asarray(which)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        if not rows.size:
            raise DataError("`which` selects no recording. Check the labels it was made from.")
        table = self.labels.iloc[rows].reset_index(drop=True)
        return replace(self, counts=self.counts[rows], labels=table)

    def rebin(self, factor: int) -> "Wells":
        """Return the counts in bins that are ``factor`` times as wide; a last part bin is dropped.

        Raises
        ------
        SettingError
            If the factor is not between 1 and the number of bins.

        Examples
        --------
        >>> Wells(np.ones((1, 1, 5)), 0.5).rebin(2).counts
        array([[[2., 2.]]])
        """
        if not 1 <= factor <= self.num_bins:
            raise SettingError(
                f"`factor` must be 1 to {self.num_bins}, the number of bins; got {factor}."
                " Choose fewer bins to join."
            )
        num = self.num_bins // factor
        parts = self.counts[..., : num * factor].reshape(*self.counts.shape[:2], num, factor)
        return replace(self, counts=parts.sum(-1), bin_width=self.bin_width * factor)

    def to_dataset(self) -> xr.Dataset:
        """Return counts and labels as a dataset with named dimensions."""
        labels = {str(k): (RECORDING, v.to_numpy()) for k, v in self.labels.items()}
        counts = ((RECORDING, ELECTRODE, "time"), self.counts)
        coords = {
            RECORDING: np.arange(len(self)),
            ELECTRODE: list(self.electrodes),
            "time": np.arange(self.num_bins) * self.bin_width,
        }
        return xr.Dataset({"counts": counts}, coords={**coords, **labels})

    def save(self, path: str | Path) -> Path:
        """Write the container to ``.npz``; `read_wells` reads it.

        Raises
        ------
        SettingError
            If the name ends otherwise.
        """
        file = Path(path)
        if file.suffix != ".npz":
            raise SettingError(f"`path` must end in .npz; got '{file.name}'. Rename it.")
        labels: dict[str, Any] = {
            str(k): v.to_numpy()
            if v.dtype.kind == "f"
            else np.asarray(v.astype(str), dtype=np.str_)
            for k, v in self.labels.items()
        }
        np.savez_compressed(
            file,
            format=np.array(_FORMAT),
            counts=self.counts,
            bin_width=np.array(self.bin_width),
            electrodes=np.array(self.electrodes, dtype=np.str_),
            **labels,
        )
        return file


def _check_counts(counts: NDArray[Any]) -> None:
    if counts.ndim != 3 or 0 in counts.shape:
        raise DataError(
            f"`counts` must have shape (recording, electrode, time); got {counts.shape}. "
            "Add the missing axis, or bin the spike times first."
        )
    if counts.dtype.kind not in "biuf":
        raise DataError(f"`counts` must be numbers; got {counts.dtype}. Pass counts of spikes.")
    if counts.dtype.kind == "f" and not np.isfinite(counts).all():
        raise DataError("`counts` must be finite; got NaN or infinity. Drop those recordings.")
    if counts.min() < 0 or (counts.dtype.kind == "f" and (counts != np.floor(counts)).any()):
        raise DataError(
            f"`counts` must be whole numbers of 0 or more; the smallest is {counts.min():g}. "
            "Pass counts before any normalisation."
        )


@final
@dataclass(frozen=True, eq=False)
class WellSpikes:
    """Spike times of many recordings, by electrode.

    Parameters
    ----------
    times : sequence of mapping of str to array_like
        For each recording the times of its electrodes, in seconds; an electrode that is left out
        was silent.
    duration : float
        Seconds, from ``start``.
    electrodes : sequence of str
        Every electrode of a well, silent ones included.
    labels : mapping of str to sequence or DataFrame, optional
        As in `Wells`.
    start : float
        Where the recordings begin, in seconds.
    source : str
        Where the data came from.

    Raises
    ------
    DataError
        If a time lies outside the recording or is not finite, or an electrode is unknown.

    Examples
    --------
    >>> spikes = WellSpikes([{"11": [0.1, 0.7]}], 1.0, electrodes=["11", "12"])
    >>> spikes.bin(0.5).counts
    array([[[1, 1],
            [0, 0]]])
    """

    times: Sequence[Mapping[str, Any]]
    duration: float
    electrodes: Sequence[str]
    labels: Any = field(default=None)
    start: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if not self.times:
            raise DataError("`times` holds no recording. Pass one mapping a well.")
        if not (np.isfinite(self.duration) and self.duration > 0):
            raise DataError(
                f"`duration` must be positive seconds; got {self.duration!r}. State how long the "
                "recording lasted."
            )
        names = tuple(str(e) for e in self.electrodes)
        clean = [self._sorted(k, well, names) for k, well in enumerate(self.times)]
        object.__setattr__(self, "times", clean)
        object.__setattr__(self, "electrodes", names)
        object.__setattr__(self, "labels", label_table(self.labels, len(clean)))

    def _sorted(
        self, k: int, well: Mapping[str, Any], names: tuple[str, ...]
    ) -> dict[str, NDArray[np.float64]]:
        found = {}
        for name, raw in well.items():
            times = np.sort(np.asarray(raw, dtype=np.float64).ravel())
            if str(name) not in names:
                raise DataError(
                    f"`times` of recording {k} names electrode '{name}', which is not among "
                    f"{', '.join(names[:_SHOWN])}, ... Add it to `electrodes`."
                )
            if not np.isfinite(times).all():
                raise DataError(
                    f"`times` of recording {k}, electrode {name}, must be finite; got NaN or "
                    "infinity. Delete those rows."
                )
            end = self.start + self.duration
            if times.size and (times[0] < self.start or times[-1] > end):
                outside = times[0] if times[0] < self.start else times[-1]
                raise DataError(
                    f"`times` of recording {k}, electrode {name}, has a spike at {outside:g} s, "
                    f"outside {self.start:g} to {end:g} s. Correct `start` or `duration`; times in "
                    "ms must be divided by 1000."
                )
            found[str(name)] = times
        return found

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        total = sum(t.size for well in self.times for t in well.values())
        return (
            f"WellSpikes: {len(self)} recordings, {len(self.electrodes)} electrodes, "
            f"{total} spikes, {self.duration:g} s"
        )

    def hash(self) -> str:
        """Return a stable hash of the content."""
        columns = {str(k): v.astype(str).to_numpy() for k, v in self.labels.items()}
        trains = [dict(well) for well in self.times]
        return stable_hash(trains, self.start, self.duration, list(self.electrodes), columns)

    def select(self, which: ArrayLike) -> "WellSpikes":
        """Return some of the recordings; see `Wells.select`."""
        rows = np.asarray(which)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        if not rows.size:
            raise DataError("`which` selects no recording. Check the labels it was made from.")
        table = self.labels.iloc[rows].reset_index(drop=True)
        return replace(self, times=[self.times[int(r)] for r in rows], labels=table)

    def train(self, recording: int, electrode: str) -> NDArray[np.float64]:
        """Return the times of one electrode, empty if it was silent."""
        return np.asarray(self.times[recording].get(electrode, np.empty(0)))

    def bin(self, bin_width: float) -> Wells:
        """Return spike counts in bins that begin at ``start``; a last part bin is dropped.

        Parameters
        ----------
        bin_width : float
            Seconds.

        Raises
        ------
        SettingError
            If it is not positive, or longer than the recording.
        """
        if not 0 < bin_width <= self.duration:
            raise SettingError(
                f"`bin_width` must be positive and at most the {self.duration:g} s recorded; got "
                f"{bin_width!r}. Give seconds."
            )
        # The small number keeps 0.3 s at 0.1 s a bin three bins, whatever the rounding.
        num = int(self.duration / bin_width + 1e-9)
        counts = np.zeros((len(self), len(self.electrodes), num), dtype=np.int64)
        for r, well in enumerate(self.times):
            for name, times in well.items():
                bins = np.floor((times - self.start) / bin_width + 1e-9).astype(np.int64)
                inside = bins[bins < num]
                counts[r, self.electrodes.index(name)] = np.bincount(inside, minlength=num)
        return Wells(
            counts, bin_width, electrodes=self.electrodes, labels=self.labels, source=self.source
        )
