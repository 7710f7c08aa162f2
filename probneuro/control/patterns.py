"""All patterns of a fixed number of electrodes among the candidates."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError

MOST: Final = 1_000_000


@final
@dataclass(frozen=True, init=False, eq=False)
class PatternSet:
    """Every choice of ``num_stimulated`` of the electrodes that are allowed.

    Parameters
    ----------
    num_candidates : int
        u.
    num_stimulated : int
        k electrodes at a time.
    allowed : sequence of int, optional
        The candidates that may be used; all by default.

    Raises
    ------
    SettingError
        If sizes do not fit, or there are more patterns than can be listed.

    Examples
    --------
    >>> PatternSet(20, 5).members.shape
    (15504, 5)
    >>> PatternSet(64, 1).members.shape
    (64, 1)
    """

    num_candidates: int
    num_stimulated: int
    members: NDArray[np.int64]
    marks: NDArray[np.bool_]
    weights: NDArray[np.float64]

    def __init__(
        self, num_candidates: int, num_stimulated: int, allowed: Sequence[int] | None = None
    ) -> None:
        places = sorted(set(range(num_candidates) if allowed is None else map(int, allowed)))
        if places and not 0 <= places[0] <= places[-1] < num_candidates:
            raise SettingError(
                f"`allowed` must be candidates, 0 to {num_candidates - 1}; got {places}. Leave "
                "others out."
            )
        if not 1 <= num_stimulated <= len(places):
            raise SettingError(
                f"`num_stimulated` must be between 1 and {len(places)} (allowed candidates); got "
                f"{num_stimulated!r}. Pass fewer, or allow more."
            )
        number = comb(len(places), num_stimulated)
        if number > MOST:
            raise SettingError(
                f"`num_stimulated` of {num_stimulated} among {len(places)} gives {number} "
                f"patterns, more than {MOST}. Use an InversePolicy, which lists none."
            )
        members = np.array(list(combinations(places, num_stimulated)), dtype=np.int64)
        marks = np.zeros((number, num_candidates), dtype=bool)
        np.put_along_axis(marks, members, True, axis=1)
        # By columns, so that sums over latents run along memory: five times as fast for 15,504.
        arrays = {"members": members, "marks": marks, "weights": marks.astype(np.float64, "F")}
        for name, value in arrays.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "num_candidates", num_candidates)
        object.__setattr__(self, "num_stimulated", num_stimulated)

    def __len__(self) -> int:
        return len(self.members)

    def index(self, electrodes: Sequence[int]) -> int:
        """Return the place of a pattern in the list.

        Raises
        ------
        SettingError
            If it is none of them.
        """
        wanted = np.sort(np.asarray(electrodes, dtype=np.int64))
        if wanted.shape == (self.num_stimulated,):
            found = np.flatnonzero((self.members == wanted).all(axis=1))
            if found.size:
                return int(found[0])
        raise SettingError(f"`electrodes` {tuple(electrodes)} is no pattern of this set.")
