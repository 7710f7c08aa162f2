"""Names of wells and electrodes in exports: ``A1_23`` is well A1, column 2, row 3."""

import re
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_AXION: Final = re.compile(r"^([A-Z]{1,2}\d{1,2})_(\d{2})$")
_CHANNEL: Final = re.compile(r"^ch_(\d{2})(?:_unit_\d+)?$")


def _grid(size: int, without: Iterable[str] = ()) -> tuple[str, ...]:
    names = (f"{c}{r}" for c, r in product(range(1, size + 1), repeat=2))
    return tuple(name for name in names if name not in set(without))


LAYOUTS: Final = (
    _grid(3, ["22"]),
    _grid(4),
    _grid(8, ["11", "18", "81", "88"]),
    _grid(8),
)
"""Electrodes of a well by layout: Axion 96 wells (3-2-3), Axion 24 and 48 wells (4 x 4), MCS 60
electrodes (8 x 8 without corners), Axion 6 and 12 wells (8 x 8)."""


def well_and_electrode(name: str) -> tuple[str, str] | None:
    """Return the well and the electrode that a name means, or None if it is of neither kind.

    Units of one electrode, as in ``ch_12_unit_0``, belong to the electrode; a name without a well
    is of the only well, called ``""``.

    Examples
    --------
    >>> well_and_electrode("A1_23"), well_and_electrode("ch_12_unit_0"), well_and_electrode("x")
    (('A1', '23'), ('', '12'), None)
    """
    axion = _AXION.match(name)
    if axion:
        return axion.group(1), axion.group(2)
    channel = _CHANNEL.match(name)
    return ("", channel.group(1)) if channel else None


def whole_layout(seen: Iterable[str], *, in_wells: bool = True) -> tuple[str, ...]:
    """Return every electrode of the smallest known layout that has those seen.

    An export names only electrodes that fired; the others were silent, or missing. Names without a
    well are those of one large array, 8 x 8, however few of its electrodes fired.

    Examples
    --------
    >>> len(whole_layout(["11", "22"])), len(whole_layout(["11", "33"])), whole_layout(["a"])
    (16, 8, ('a',))
    """
    names = set(seen)
    for layout in LAYOUTS if in_wells else LAYOUTS[-2:]:
        if names <= set(layout):
            return layout
    return tuple(sorted(names))


def by_well(
    trains: Mapping[str, Any],
) -> tuple[dict[str, dict[str, NDArray[np.float64]]], list[str]]:
    """Sort trains by well and electrode; names of neither kind make one well of their own.

    Returns
    -------
    tuple
        Times by well and electrode, and the names that fit no pattern.
    """
    wells: dict[str, dict[str, NDArray[np.float64]]] = {}
    odd = []
    for name, times in trains.items():
        place = well_and_electrode(str(name))
        if place is None:
            odd.append(str(name))
            place = ("", str(name))
        well, electrode = place
        before = wells.setdefault(well, {}).get(electrode, np.empty(0))
        wells[well][electrode] = np.concatenate([before, np.asarray(times, dtype=np.float64)])
    return wells, odd
