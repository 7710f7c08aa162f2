"""Results that are computed once, and truths in the form that figures take."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from probneuro.core import names
from probneuro.core.results import load, save


def kept(path: Path, make: Callable[[Path], xr.DataTree]) -> xr.DataTree:
    """Return a result from its file, or make it and write it there, whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        The file, ``<name>.nc``.
    make : callable
        Makes the result; gets a folder to resume from, which goes once the file is there.

    Returns
    -------
    xarray.DataTree
    """
    if path.exists():
        return load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = path.parent / "checkpoint" / path.stem
    result = make(checkpoint)
    save(result, path)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return result


def labelled_weights(result: xr.DataTree, weight: ArrayLike) -> dict[str, xr.DataArray]:
    """Return true weights with the labels of a result's synapses, for figures.

    Parameters
    ----------
    result : DataTree
        A fit of a recording, or of its first windows.
    weight : array_like
        True weights, shape (synapse, window), synapses as in the result.

    Returns
    -------
    dict of str to DataArray
    """
    values = np.asarray(weight, dtype=float)
    own = result["posterior"].to_dataset()
    start = own[names.WINDOW].values
    width = start[1] - start[0] if start.size > 1 else 1.0
    window = start[0] + width * np.arange(values.shape[1])
    coords = {names.SYNAPSE: own[names.SYNAPSE].values, names.WINDOW: window}
    return {"weight": xr.DataArray(values, coords, (names.SYNAPSE, names.WINDOW))}
