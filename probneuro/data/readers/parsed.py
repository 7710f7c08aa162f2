"""What a reader hands over, and how it speaks of a file it cannot read."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.data.spike_trains import SpikeTrains


@final
@dataclass(frozen=True, kw_only=True)
class Parsed:
    """Spike times as a file holds them.

    Parameters
    ----------
    times : mapping of str to array_like
        Times of every unit.
    start, stop : float, optional
        The recording interval, if the file tells it.
    epochs : sequence of (float, float), optional
        The observed intervals, if the file tells them.
    unit : str, optional
        The unit of time, if the file tells it; of all of the above.
    source : str
        Where the data came from.
    checked : bool
        Whether these were checked before they were written, so that what was allowed then
        passes now.
    """

    times: Mapping[str, ArrayLike]
    start: float | None = None
    stop: float | None = None
    epochs: Sequence[Sequence[float]] | None = None
    unit: str | None = None
    source: str = ""
    checked: bool = False

    def trains(
        self,
        unit: str | None = None,
        sampling_rate: float | None = None,
        *,
        unit_check: bool = True,
        allow_duplicates: bool = False,
    ) -> SpikeTrains:
        """Return the container, with the file's own unit of time or the one given.

        Raises
        ------
        SettingError
            If the file tells another unit of time than the one given.
        """
        if unit is not None and self.unit is not None and unit != self.unit:
            raise SettingError(
                f"`unit` is '{unit}', but the file says '{self.unit}'. Leave `unit` out."
            )
        return SpikeTrains(
            self.times,
            start=self.start,
            stop=self.stop,
            epochs=self.epochs,
            unit=unit or self.unit or "s",
            sampling_rate=sampling_rate,
            source=self.source,
            unit_check=unit_check and not self.checked,
            allow_duplicates=allow_duplicates or self.checked,
        )


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one clear message.

    Wrap the library's calls only, so that our own mistakes keep their traceback.
    """
    try:
        yield
    except (DataError, SettingError):
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0][:160]
        raise DataError(
            f"`path` cannot be read as {kind}: '{path}' is damaged, cut short or of another kind "
            f"({type(error).__name__}: {said}). Fetch or export it again."
        ) from None


def by_label(path: Path, times: ArrayLike, labels: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Return one train a label from two columns, in order of first appearance.

    Raises
    ------
    DataError
        If the columns differ in length.
    """
    stamps, names = np.ravel(np.asarray(times)), np.ravel(np.asarray(labels))
    if stamps.size != names.size:
        raise DataError(
            f"`labels` must have one entry a spike; '{path.name}' has {names.size} labels for "
            f"{stamps.size} times. Export it again."
        )
    if names.dtype.kind == "f" and np.array_equal(names, np.rint(names)):
        names = names.astype(np.int64)
    unique, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    return {str(unique[k]): stamps[inverse == k] for k in np.argsort(first)}


def scalar(values: Mapping[str, Any], name: str) -> float | None:
    """Return an optional single number of a file."""
    if name not in values:
        return None
    array = np.asarray(values[name], dtype=np.float64)
    return float(array.reshape(-1)[0]) if array.size == 1 else None


def no_units(path: Path, wanted: str) -> DataError:
    """Build the error for a file in which no spike times were found."""
    return DataError(
        f"`path` holds no spike times: '{path.name}' has none that we recognise. {wanted}"
    )
