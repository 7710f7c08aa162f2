"""Summing log likelihoods over dimensions, or blocks of them, before they fill the memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from probneuro.core.errors import SettingError, unknown_name


@dataclass(frozen=True)
class Reduction:
    """Dimensions to sum over.

    Parameters
    ----------
    blocks : dict of str to int or None
        By dimension, the length of the blocks to sum; None for the whole dimension.
    """

    blocks: Mapping[str, int | None]

    @property
    def whole(self) -> set[str]:
        """Dimensions that vanish."""
        return {dim for dim, length in self.blocks.items() if length is None}

    def check(self, names: Iterable[Sequence[str]]) -> None:
        """Refuse dimensions that no variable has.

        Raises
        ------
        SettingError
            If there is such a dimension.
        """
        known = {dim for dims in names for dim in dims}
        for dim in self.blocks:
            if dim not in known:
                raise unknown_name("dimension in `reduce`", dim, known)

    def dims(self, names: Sequence[str]) -> list[str]:
        """Return the names of what is left."""
        return [dim for dim in names if dim not in self.whole]

    def apply(self, values: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
        """Return the sums; axes that vanish may have length one, or be missing on the left."""
        values = values.reshape((1,) * (len(names) - values.dim()) + tuple(values.shape))
        for axis in reversed(range(len(names))):
            if names[axis] not in self.blocks:
                continue
            length = self.blocks[names[axis]]
            if length is None:
                values = values.sum(axis)
                continue
            values = values.movedim(axis, -1)
            missing = -values.shape[-1] % length
            values = torch.nn.functional.pad(values, (0, missing))
            values = values.reshape(*values.shape[:-1], -1, length).sum(-1).movedim(-1, axis)
        return values

    def labels(self, coords: Mapping[str, Any]) -> dict[str, Any]:
        """Return labels of dimensions: a block is named after its first element."""
        return {
            dim: np.asarray(labels)[:: self.blocks.get(dim) or 1]
            for dim, labels in coords.items()
            if dim not in self.whole
        }


def parse_reduction(reduce: str | Sequence[str] | Mapping[str, int | None] | None) -> Reduction:
    """Read the argument ``reduce``.

    Parameters
    ----------
    reduce : str, sequence of str, mapping or None
        Dimensions to sum over; in a mapping, the length of the blocks to sum.

    Returns
    -------
    Reduction
        What to sum.

    Raises
    ------
    SettingError
        If a block's length is not a positive integer.

    Examples
    --------
    >>> parse_reduction({"time": 2}).apply(torch.ones(2, 5), ["neuron", "time"])
    tensor([[2., 2., 1.],
            [2., 2., 1.]])
    """
    if reduce is None:
        return Reduction({})
    if isinstance(reduce, str):
        return Reduction({reduce: None})
    if not isinstance(reduce, Mapping):
        return Reduction(dict.fromkeys(reduce))
    for dim, length in reduce.items():
        whole = isinstance(length, int | np.integer) and not isinstance(length, bool)
        if length is not None and not (whole and length >= 1):
            raise SettingError(
                f"`reduce` gives `{dim}` blocks of {length!r}; a positive whole number is needed. "
                f"Pass e.g. {{'{dim}': 1000}}, or None for the whole dimension."
            )
    return Reduction(dict(reduce))
