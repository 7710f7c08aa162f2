"""Running a program that draws random numbers at many draws: by torch's vmap, else one by one."""

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from probneuro.convert.replay import Tensors
from probneuro.core.device import as_numpy, seed_torch

log = logging.getLogger("probneuro")

_ROW = "row."


def fresh_over_draws(
    one: Callable[[Tensors], Tensors],
    draws: Mapping[str, NDArray[Any]],
    count: int,
    size: int,
    seed: int,
) -> dict[str, NDArray[Any]]:
    """Apply a function that draws random numbers to every draw, several at once where torch can.

    Inside it every tensor has the shape that it has for a single draw, so that no axis of the
    program can be taken for that of the draws, and each draw gets random numbers of its own.

    Parameters
    ----------
    one : callable
        Takes one draw, returns tensors of always the same shapes.
    draws : mapping of str to array
        Shape (chain * draw, ...).
    count, size : int
        Draws in all, and at a time.
    seed : int
        Of torch's stream.

    Returns
    -------
    dict of str to numpy.ndarray
        Shape (chain * draw, ...).

    Examples
    --------
    >>> noisy = lambda values: {"y": values["x"] + 0 * torch.rand(())}
    >>> fresh_over_draws(noisy, {"x": np.arange(3.0)}, 3, 2, seed=0)["y"]
    array([0., 1., 2.])
    """
    rows = {name: torch.as_tensor(values) for name, values in draws.items()}
    rows[_ROW] = torch.arange(count)  # there may be no draws at all, before the data
    where = rows[_ROW].device

    def several(start: int) -> Tensors:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about speed
            block = {name: values[start : start + size] for name, values in rows.items()}
            found: Tensors = torch.func.vmap(one, randomness="different")(block)
        return found

    seed_torch(seed, where)
    if size > 1 and count > 1:
        try:
            return _joined([several(start) for start in range(0, count, size)], np.concatenate)
        except Exception as error:  # any program may hold what cannot be batched
            log.info("The program runs draw by draw, and slower: %s", error)
            seed_torch(seed, where)
    each = [one({name: values[i] for name, values in rows.items()}) for i in range(count)]
    return _joined(each, np.stack)


def _joined(
    parts: list[Tensors], join: Callable[[list[NDArray[Any]]], NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    return {name: join([as_numpy(part[name]) for part in parts]) for name in parts[0]}
