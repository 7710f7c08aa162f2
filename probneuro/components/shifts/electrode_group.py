"""Which orders of a well's electrodes are the same well, seen from another side."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import SettingError

Integers = NDArray[np.int64]

_TOLERANCE = 1e-6


@final
@dataclass(frozen=True)
class ElectrodeGroup:
    """A group of electrode permutations; with the shifts it acts as ``(g x)[e, t] = x[p[e], t-s]``.

    Parameters
    ----------
    permutations : sequence of sequence of int
        One row a permutation, shape (permutation, electrode): row p says which electrode is read
        at each place. The rows must form a group: the identity is among them, and so is every
        product of two. The identity is put first.

    Raises
    ------
    SettingError
        If a row is no permutation, a row comes twice, or the rows are no group.

    Notes
    -----
    The paper calls the mirror flips of its 3-2-3 layout a class of *cyclic* permutations; they
    are Z2 x Z2. Its Lemma A.1 needs a group that acts by isometries, no more.

    Examples
    --------
    >>> ElectrodeGroup(((0, 1, 2), (2, 1, 0))).size
    2
    """

    permutations: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        rows = tuple(tuple(int(e) for e in row) for row in self.permutations)
        object.__setattr__(self, "permutations", rows)
        if not rows or not rows[0]:
            raise SettingError(
                "`permutations` is empty. Pass at least the identity, as no_permutation(8)."
            )
        known = list(range(len(rows[0])))
        for k, row in enumerate(rows):
            if sorted(row) != known:
                raise SettingError(
                    f"`permutations` must hold every electrode 0 to {known[-1]} once in each row; "
                    f"row {k} is {row}. Correct it."
                )
        self._check_group()
        # Element 0 is then the recording itself, whatever the order that was given.
        object.__setattr__(
            self, "permutations", tuple(sorted(rows, key=lambda r: r != tuple(known)))
        )

    def _check_group(self) -> None:
        rows = set(self.permutations)
        if len(rows) != len(self.permutations):
            raise SettingError("`permutations` has a row that comes twice. Leave one out.")
        for one, two in product(self.permutations, repeat=2):
            both = tuple(one[e] for e in two)
            if both not in rows:
                raise SettingError(
                    f"`permutations` must form a group; {one} after {two} gives {both}, which is "
                    "not among them. Add the missing products."
                )

    @property
    def size(self) -> int:
        """Number of permutations."""
        return len(self.permutations)

    @property
    def num_electrodes(self) -> int:
        """Number of electrodes."""
        return len(self.permutations[0])

    def table(self) -> Integers:
        """Return the permutations as an array, shape (permutation, electrode)."""
        return np.array(self.permutations, dtype=np.int64)

    def num_elements(self, num_bins: int) -> int:
        """Return the number of group elements: permutations times cyclic shifts of D bins."""
        return self.size * num_bins


def no_permutation(num_electrodes: int) -> ElectrodeGroup:
    """Return the group that leaves the electrodes as they are, so that only shifts remain.

    Examples
    --------
    >>> no_permutation(3).permutations
    ((0, 1, 2),)
    """
    if num_electrodes < 1:
        raise SettingError(
            f"`num_electrodes` must be 1 or more; got {num_electrodes}. Count the electrodes."
        )
    return ElectrodeGroup((tuple(range(num_electrodes)),))


def symmetries_of_positions(positions: ArrayLike) -> ElectrodeGroup:
    """Return every permutation of electrodes that keeps all distances between them.

    Found by placing one electrode after the other, so that only consistent orders are followed.

    Parameters
    ----------
    positions : array_like
        Coordinates, shape (electrode, axis), in any unit of length.

    Returns
    -------
    ElectrodeGroup
        The identity first.

    Raises
    ------
    SettingError
        If positions are not two-dimensional, not finite, or two electrodes share a place.

    Examples
    --------
    >>> symmetries_of_positions([[0, 0], [0, 1], [1, 0], [1, 1]]).size
    8
    """
    places = np.asarray(positions, dtype=np.float64)
    if places.ndim != 2 or not np.isfinite(places).all():
        raise SettingError(
            f"`positions` must be finite, shape (electrode, axis); got shape {places.shape}. "
            "Pass one row an electrode."
        )
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    scale = max(float(distances.max()), 1e-300)
    if len(places) > 1 and distances[~np.eye(len(places), dtype=bool)].min() < _TOLERANCE * scale:
        raise SettingError("`positions` has two electrodes at one place. Give each its own.")
    found: list[tuple[int, ...]] = [()]
    for e in range(len(places)):
        found = [
            (*row, candidate)
            for row in found
            for candidate in range(len(places))
            if candidate not in row and _fits(distances, row, candidate, e, scale)
        ]
    return ElectrodeGroup(tuple(sorted(found)))


def _fits(
    distances: NDArray[np.float64], row: tuple[int, ...], candidate: int, e: int, scale: float
) -> bool:
    """Whether reading ``candidate`` at place ``e`` keeps the distances to the places before."""
    gap = distances[candidate, list(row)] - distances[e, :e]
    return bool(np.all(np.abs(gap) <= _TOLERANCE * scale))


def grid_symmetries(rows: int, columns: int) -> ElectrodeGroup:
    """Return the symmetries of a full grid of electrodes, numbered row by row.

    Eight for a square grid (turns and mirrors), four for another, fewer for a single row.

    Examples
    --------
    >>> grid_symmetries(4, 4).size, grid_symmetries(2, 4).size
    (8, 4)
    """
    return symmetries_of_positions(list(product(range(rows), range(columns))))


def layout_323() -> NDArray[np.float64]:
    """Return positions of the paper's eight electrodes: rows of three, two and three (its Fig. 2).

    A 3 x 3 grid without its centre, spacing one. Source: Fig. 2 of Dey et al. (2025).

    Examples
    --------
    >>> layout_323().shape
    (8, 2)
    """
    grid: Sequence[Any] = [(r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)]
    return np.array(grid, dtype=np.float64)


def mirror_flips_323() -> ElectrodeGroup:
    """Return the paper's four mirror flips of the 3-2-3 layout: none, left-right, up-down, both.

    On the grid of `layout_323` all eight of ``symmetries_of_positions(layout_323())`` keep
    distances; the paper uses these four.

    Examples
    --------
    >>> mirror_flips_323().size
    4
    """
    places = [tuple(place) for place in layout_323().astype(int).tolist()]
    flips = []
    for up_down, left_right in product((False, True), repeat=2):
        moved = [(2 - r if up_down else r, 2 - c if left_right else c) for r, c in places]
        flips.append(tuple(places.index(place) for place in moved))
    return ElectrodeGroup(tuple(flips))


def group_of_electrodes(names: Sequence[str]) -> ElectrodeGroup:
    """Return the symmetries of electrodes named by column and row, as ``"23"``.

    Parameters
    ----------
    names : sequence of str
        As `probneuro.data.Wells.electrodes`. Names of another form tell no place, so that only
        shifts remain.

    Examples
    --------
    >>> group_of_electrodes(["11", "12", "21", "22"]).size, group_of_electrodes(["a", "b"]).size
    (8, 1)
    """
    if not all(len(name) == 2 and name.isdigit() for name in names):
        return no_permutation(len(names))
    return symmetries_of_positions([[int(name[0]), int(name[1])] for name in names])
