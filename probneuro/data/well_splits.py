"""Splits of multi-well recordings that keep what belongs together on one side."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probneuro.core.errors import SettingError
from probneuro.core.rng import generator

Rows = NDArray[np.int64]


def group_numbers(labels: pd.DataFrame, by: Sequence[str]) -> Rows:
    """Return for each recording the number of its group, equal where all columns agree.

    Parameters
    ----------
    labels : pandas.DataFrame
        One row a recording, as `Wells.labels`.
    by : sequence of str
        Columns, such as ``("plate",)`` or ``("plate", "well")``.

    Raises
    ------
    SettingError
        If a column is missing.

    Examples
    --------
    >>> group_numbers(pd.DataFrame({"plate": list("aab")}), ["plate"])
    array([0, 0, 1])
    """
    missing = [name for name in by if name not in labels]
    if missing or not by:
        raise SettingError(
            f"`by` names {missing or 'no column'}; known: {', '.join(map(str, labels))}. Choose "
            "among them."
        )
    return labels.groupby(list(by), sort=True, dropna=False).ngroup().to_numpy(dtype=np.int64)


def grouped_split(
    labels: pd.DataFrame,
    *,
    held_out: float = 0.3,
    by: Sequence[str] = ("plate", "well"),
    seed: int = 0,
) -> tuple[Rows, Rows]:
    """Split recordings in two so that no group has members on both sides.

    Recordings of one well on several days, or of one plate, resemble each other; a random split
    of them flatters whatever is tested.

    Parameters
    ----------
    labels : pandas.DataFrame
        As `Wells.labels`.
    held_out : float
        Share of groups for the second part, above 0 and below 1.
    by : sequence of str
        Columns that make a group.
    seed : int
        Seed.

    Returns
    -------
    tuple of array
        Positions of the first and of the second part, each sorted.

    Raises
    ------
    SettingError
        If the share is out of range, or there are fewer than two groups.

    Examples
    --------
    >>> labels = pd.DataFrame({"plate": list("aabbcc"), "well": [""] * 6})
    >>> first, second = grouped_split(labels, by=["plate"], held_out=0.3)
    >>> set(labels.plate[first]) & set(labels.plate[second])
    set()
    """
    if not 0 < held_out < 1:
        raise SettingError(f"`held_out` must lie between 0 and 1; got {held_out!r}. Try 0.3.")
    groups = group_numbers(labels, by)
    num = int(groups.max()) + 1
    if num < 2:
        raise SettingError(
            f"`by` {tuple(by)} gives a single group, which cannot be split. Choose finer columns."
        )
    order = generator(seed, "grouped_split").permutation(num)
    taken = order[: min(max(round(held_out * num), 1), num - 1)]
    second = np.isin(groups, taken)
    return np.flatnonzero(~second), np.flatnonzero(second)


def leave_one_group_out(
    labels: pd.DataFrame, *, by: Sequence[str] = ("plate",)
) -> Iterator[tuple[Rows, Rows]]:
    """Yield for each group the positions of all others, and its own.

    Examples
    --------
    >>> labels = pd.DataFrame({"plate": list("aab")})
    >>> [held.tolist() for _, held in leave_one_group_out(labels)]
    [[0, 1], [2]]
    """
    groups = group_numbers(labels, by)
    if groups.max() == 0:
        raise SettingError(
            f"`by` {tuple(by)} gives a single group, which cannot be left out. Choose "
            "finer columns."
        )
    for group in range(int(groups.max()) + 1):
        yield np.flatnonzero(groups != group), np.flatnonzero(groups == group)
