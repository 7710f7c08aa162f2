"""The HDF5 layout of published MEA spikes: flat ``spikes``, ``sCount`` and ``names``."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import h5py
import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import DataError
from probneuro.data.readers.parsed import reading

_PER_WELL: Final = ("treatment", "dose", "size", "units")


@final
@dataclass(frozen=True)
class MeaFile:
    """What a file of this layout holds.

    Parameters
    ----------
    trains : dict of str to array
        Times in seconds by channel.
    positions : array or None
        Shape (channel, 2), in micrometres.
    wells : dict of str to dict of str to str
        Treatment, dose and so on by well, if the file tells them.
    array : str
        The kind of array.
    age : float
        Days in vitro, NaN if the file does not tell.
    """

    trains: dict[str, NDArray[np.float64]]
    positions: NDArray[np.float64] | None
    wells: dict[str, dict[str, str]] = field(default_factory=dict)
    array: str = ""
    age: float = float("nan")


def _texts(values: Any) -> list[str]:
    return [
        v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in np.ravel(values)
    ]


def read_mea_hdf5(path: Path) -> MeaFile:
    """Read one recording of this layout.

    Parameters
    ----------
    path : Path
        The file, with datasets ``spikes`` (flat), ``sCount`` (spikes of each channel) and
        ``names``; ``epos``, ``well``, ``treatment``, ``dose`` and ``meta/age`` are optional.

    Returns
    -------
    MeaFile

    Raises
    ------
    DataError
        If a dataset is missing, the counts do not add up, or a name comes twice.

    References
    ----------
    Eglen et al. (2014), A data repository and analysis framework for spontaneous neural activity
    recordings in developing retina. GigaScience 3:3.
    """
    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        found = {name: file[name][()] for name in file if isinstance(file[name], h5py.Dataset)}
        ages = _texts(file["meta/age"][()]) if "meta/age" in file else []
    missing = [name for name in ("spikes", "sCount", "names") if name not in found]
    if missing:
        raise DataError(
            f"`path` lacks {', '.join(missing)}: '{path.name}' has {', '.join(found) or 'none'}. "
            "We read `spikes`, `sCount` and `names`."
        )
    with reading(path, "HDF5"):
        spikes = np.ravel(found["spikes"]).astype(np.float64)
        sizes = np.ravel(found["sCount"]).astype(np.int64)
    names = _texts(found["names"])
    if not np.isfinite(spikes).all():
        raise DataError(
            f"`spikes` must be finite; '{path.name}' has NaN or infinity. Delete those spikes."
        )
    if (
        (sizes < 0).any()
        or sizes.sum() != spikes.size
        or len(sizes) != len(names)
        or len(set(names)) != len(names)
    ):
        raise DataError(
            f"`sCount` says {sizes.sum()} spikes of {len(sizes)} channels, but '{path.name}' has "
            f"{spikes.size} spikes and {len(set(names))} names. It is damaged; fetch it again."
        )
    ends = np.cumsum(sizes)
    trains = {
        name: spikes[end - size : end] for name, size, end in zip(names, sizes, ends, strict=True)
    }
    age = float(ages[0]) if ages and re.fullmatch(r"\d+(\.\d*)?", ages[0]) else float("nan")
    places = np.asarray(found["epos"], dtype=np.float64).T if "epos" in found else None
    return MeaFile(trains, places, _wells(found), "".join(_texts(found.get("array", "")))[:80], age)


def _wells(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    names = _texts(found["well"]) if "well" in found else []
    columns = {
        key: _texts(found[key])
        for key in _PER_WELL
        if key in found and len(np.ravel(found[key])) == len(names)
    }
    return {well: {k: v[i] for k, v in columns.items()} for i, well in enumerate(names)}
