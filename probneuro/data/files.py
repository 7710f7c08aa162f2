"""Our own files of spike times, ``.npz`` and netCDF: written whole or not at all, no pickle."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.errors import DataError, SettingError

if TYPE_CHECKING:
    from probneuro.data.spike_trains import SpikeTrains

FORMAT: Final = "probneuro.SpikeTrains.1"
"""Stands in every file, so that a reader knows what it has before it."""


def checksum(
    times: NDArray[np.float64],
    sizes: NDArray[np.int64],
    units: Sequence[str],
    interval: NDArray[np.float64],
    epochs: NDArray[np.float64],
) -> str:
    """Return the sha256 that a file carries, so that a flipped bit cannot pass for a spike."""
    digest = hashlib.sha256("\0".join(units).encode())
    for values in (times, interval, epochs):
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    digest.update(np.ascontiguousarray(sizes, dtype="<i8").tobytes())
    return digest.hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Hand out a temporary file beside `path` and move it there once it is complete."""
    if not path.parent.is_dir():
        raise DataError(
            f"`path` names a folder that does not exist: {path.parent}. Create it, or choose "
            "another."
        )
    part = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_spikes(spikes: "SpikeTrains", path: Path) -> Path:
    """Write a recording to ``.npz`` or ``.nc``.

    Parameters
    ----------
    spikes : SpikeTrains
        What to write.
    path : Path
        Where to; an existing file is replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SettingError
        If the suffix is neither.
    DataError
        If the folder does not exist.
    """
    if path.suffix not in (".npz", ".nc"):
        raise SettingError(
            f"`path` must end in .npz or .nc; got '{path.name}'. Choose one of the two."
        )
    times = np.concatenate(spikes.times)
    sizes = np.array([train.size for train in spikes.times], dtype=np.int64)
    epochs = np.array(spikes.epochs, dtype=np.float64)
    interval = np.array([spikes.start, spikes.stop])
    proof = checksum(times, sizes, spikes.units, interval, epochs)
    with whole_file(path) as part:
        if path.suffix == ".npz":
            np.savez_compressed(
                part,
                format=np.array(FORMAT),
                times=times,
                sizes=sizes,
                units=np.array(spikes.units, dtype=np.str_),
                interval=interval,
                epochs=epochs,
                source=np.array(spikes.source),
                checksum=np.array(proof),
            )
        else:
            dataset = xr.Dataset(
                {
                    "times": ("spike", times, {"unit": "s"}),
                    "sizes": ("unit", sizes),
                    "epochs": (("epoch", "edge"), epochs, {"unit": "s"}),
                },
                coords={"unit": np.array(spikes.units, dtype=object)},
                attrs={
                    "format": FORMAT,
                    "interval": interval,
                    "source": spikes.source,
                    "checksum": proof,
                },
            )
            dataset.to_netcdf(part, engine="netcdf4")
    return path
