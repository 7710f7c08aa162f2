"""Which electrodes can be used: coincident spikes first, then rate and Fano factor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Criterion = Literal["coincidence", "rate", "fano"]


@final
@dataclass(frozen=True, kw_only=True)
class UsableCriteria:
    """What makes an electrode usable, and in which order it is asked.

    Parameters
    ----------
    least_rate : float
        Hz.
    largest_fano : float
        Variance over mean of binned counts (one degree of freedom off).
    largest_coincidence : float
        Share of an electrode's spikes that coincide with those of another.
    window : float
        Seconds within which two spikes coincide.
    order : sequence of str
        ``"coincidence"``, ``"rate"``, ``"fano"``. Those left out are not asked. The order
        matters: a noisy electrode may take a good one with it.

    Raises
    ------
    SettingError
        If a criterion is unknown or a bound is negative.

    Notes
    -----
    Source: Minai et al. (2025), section S2, with the coincidences of Degenhart et al. (2020).
    """

    least_rate: float = 1.0
    largest_fano: float = 8.0
    largest_coincidence: float = 0.2
    window: float = 0.0005
    order: Sequence[Criterion] = ("coincidence", "rate", "fano")

    def __post_init__(self) -> None:
        unknown = [c for c in self.order if c not in ("coincidence", "rate", "fano")]
        if unknown:
            raise SettingError(
                f"`order` holds {unknown[0]!r}. Choose among 'coincidence', 'rate' and 'fano'."
            )
        for name in ("least_rate", "largest_fano", "largest_coincidence", "window"):
            if not getattr(self, name) >= 0:
                raise SettingError(
                    f"`{name}` must not be negative; got {getattr(self, name)!r}. Pass 0 or more."
                )


def coincidence(trains: Sequence[ArrayLike], window: float = 0.0005) -> Floats:
    """Return the share of each electrode's spikes that coincide with those of each other.

    Two trains are merged, and neighbours at most `window` apart counted:
    ``C[i, j] = count / spikes of i``.

    Parameters
    ----------
    trains : sequence of array_like
        Increasing spike times in seconds, one array an electrode.
    window : float
        Seconds.

    Returns
    -------
    ndarray
        Shape (electrode, electrode), zero on the diagonal.

    Examples
    --------
    >>> coincidence([[1.0, 2.0], [1.0001, 3.0, 4.0, 5.0]])
    array([[0.  , 0.5 ],
           [0.25, 0.  ]])
    """
    arrays = [np.asarray(train, dtype=np.float64) for train in trains]
    for index, train in enumerate(arrays):
        if train.ndim != 1 or (np.diff(train) < 0).any():
            raise DataError(
                f"`trains` of electrode {index} must be increasing times; got shape {train.shape}. "
                "Sort them."
            )
    size = len(arrays)
    found = np.zeros((size, size))
    for i in range(size):
        for j in range(i):
            if len(arrays[i]) and len(arrays[j]):
                count = _merged_count(arrays[i], arrays[j], window)
                found[i, j] = count / len(arrays[i])
                found[j, i] = count / len(arrays[j])
    return found


def usable_electrodes(
    counts: ArrayLike,
    bin_width: float,
    *,
    trains: Sequence[ArrayLike] | None = None,
    criteria: UsableCriteria | None = None,
) -> Bools:
    """Return which electrodes are usable.

    Parameters
    ----------
    counts : array_like
        Trials without stimulation, shape (trial, time, electrode).
    bin_width : float
        Seconds.
    trains : sequence of array_like, optional
        Spike times of the same trials in seconds; without them coincidence is not asked.
    criteria : UsableCriteria, optional
        Bounds and order.

    Returns
    -------
    ndarray
        Shape (electrode,).

    Raises
    ------
    DataError
        If shapes do not fit.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson([0.01, 0.5], size=(50, 30, 2))
    >>> usable_electrodes(counts, 0.05)
    array([False,  True])
    """
    array = np.asarray(counts, dtype=np.float64)
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(
            "`counts` must have shape (trial, time, electrode) and not be empty; got "
            f"{array.shape}. Reshape them."
        )
    if trains is not None and len(trains) != array.shape[2]:
        raise DataError(
            f"`trains` must hold one train an electrode, {array.shape[2]}; got {len(trains)}. "
            "Pass an empty one where an electrode was silent."
        )
    asked = criteria or UsableCriteria()
    flat = array.reshape(-1, array.shape[2])
    good = np.ones(array.shape[2], dtype=bool)
    for criterion in asked.order:
        if criterion == "rate":
            good &= flat.mean(axis=0) / bin_width >= asked.least_rate
        elif criterion == "fano":
            mean = flat.mean(axis=0)
            fano = flat.var(axis=0, ddof=1) / np.where(mean > 0, mean, np.inf)
            good &= fano <= asked.largest_fano
        elif trains is not None:
            kept = np.flatnonzero(good)
            shares = coincidence([trains[int(i)] for i in kept], asked.window)
            good[kept[_violators(shares, asked.largest_coincidence)]] = False
    return good


def _violators(shares: Floats, largest: float) -> list[int]:
    """Return the electrodes to drop: most violations first, larger sums break ties."""
    left = list(range(len(shares)))
    dropped: list[int] = []
    while True:
        part = shares[np.ix_(left, left)]
        bad = (part > largest).sum(axis=0) + (part > largest).sum(axis=1)
        if not len(left) or not bad.any():
            return dropped
        sums = part.sum(axis=0) + part.sum(axis=1)
        worst = max(range(len(left)), key=lambda i: (bad[i], sums[i], -i))
        dropped.append(left.pop(worst))


@nb.njit(cache=True)
def _merged_count(first: Floats, second: Floats, window: float) -> int:
    """Count neighbours of two merged trains that are at most a window apart."""
    i, j, count = 0, 0, 0
    last = -np.inf
    while i < first.size or j < second.size:
        if j >= second.size or (i < first.size and first[i] <= second[j]):
            now = first[i]
            i += 1
        else:
            now = second[j]
            j += 1
        if now - last <= window:
            count += 1
        last = now
    return count
