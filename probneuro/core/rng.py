"""Random streams: one seed, the same numbers, whatever the number of workers."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from probneuro.core.errors import SettingError


def resolve_seed(seed: int | None) -> int:
    """Return the seed given, or a fresh one when it is None.

    Parameters
    ----------
    seed : int or None
        A non-negative integer, or None for one drawn from the operating system.

    Returns
    -------
    int
        The seed to use and to record.

    Raises
    ------
    SettingError
        If the seed is negative or not an integer.

    Examples
    --------
    >>> resolve_seed(7)
    7
    """
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingError(
            f"`seed` must be a non-negative integer; got {seed!r}. Pass e.g. seed=0."
        )
    return int(seed)


def generator(seed: int, *path: int | str) -> np.random.Generator:
    """Return the random stream that belongs to a seed and a path below it.

    Streams of different paths are independent, so a chain draws the same numbers
    whether it runs alone or beside others.

    Parameters
    ----------
    seed : int
        The run's seed.
    *path : int or str
        Where the stream is used, for example ``("chain", 2)``.

    Returns
    -------
    numpy.random.Generator
        A PCG64 stream.

    Examples
    --------
    >>> a = generator(1, "chain", 0).random(); b = generator(1, "chain", 0).random()
    >>> a == b
    True
    """
    keys = [zlib.crc32(p.encode()) if isinstance(p, str) else int(p) for p in path]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *keys])))


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Seed torch inside a block and leave the global stream as it was found.

    Parameters
    ----------
    seed : int
        The seed used inside the block.

    Examples
    --------
    >>> with torch_seed(3):
    ...     x = torch.rand(1)
    >>> with torch_seed(3):
    ...     bool(torch.rand(1) == x)
    True
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
