"""Stimulation trials in a latent space that all sessions share."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]


@final
@dataclass(frozen=True, init=False, repr=False, eq=False)
class LatentTrials:
    """What a response model is fitted to.

    Parameters
    ----------
    patterns : array_like
        1 where a candidate was stimulated, shape (trial, candidate).
    before : array_like
        Latents before stimulation, shape (trial, bin, latent).
    after : array_like
        Latents after stimulation, shape (trial, latent).
    session : array_like of int, optional
        Of each trial, shape (trial,); one for all by default.
    candidates : array_like of int, optional
        Grid index of the candidates; in order by default.
    grid : tuple of int, optional
        Height and width; one row by default.

    Raises
    ------
    DataError
        If shapes do not fit or numbers are missing.

    Examples
    --------
    >>> LatentTrials(np.eye(3), np.zeros((3, 5, 2)), np.zeros((3, 2)))
    LatentTrials: 3 trials, 3 candidates, 5 bins before, 2 latents, 1 session
    """

    patterns: Bools
    before: Floats
    after: Floats
    session: Integers
    candidates: Integers
    grid: tuple[int, int]

    def __init__(
        self,
        patterns: ArrayLike,
        before: ArrayLike,
        after: ArrayLike,
        *,
        session: ArrayLike | None = None,
        candidates: ArrayLike | None = None,
        grid: tuple[int, int] | None = None,
    ) -> None:
        marks = np.array(patterns, dtype=bool)
        early, late = np.array(before, dtype=np.float64), np.array(after, dtype=np.float64)
        number = np.zeros(len(marks), dtype=np.int64) if session is None else session
        sessions = np.array(number, dtype=np.int64)
        fits = marks.ndim == 2 and early.ndim == 3 and late.ndim == 2
        fits = fits and early.shape[::2] == late.shape and len(marks) == len(late)
        if not fits or sessions.shape != (len(late),):
            raise DataError(
                "`patterns`, `before`, `after` and `session` must have shapes (trial, candidate), "
                f"(trial, bin, latent), (trial, latent) and (trial,); got {marks.shape}, "
                f"{early.shape}, {late.shape} and {sessions.shape}. Leave incomplete trials out."
            )
        if not (np.isfinite(early).all() and np.isfinite(late).all()):
            raise DataError("`before` and `after` must be finite. Leave those trials out.")
        places = np.arange(marks.shape[1]) if candidates is None else np.array(candidates)
        shape = (1, marks.shape[1]) if grid is None else (int(grid[0]), int(grid[1]))
        fields = {"patterns": marks, "before": early, "after": late, "session": sessions}
        for name, value in {**fields, "candidates": places.astype(np.int64)}.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "grid", shape)

    def __len__(self) -> int:
        return len(self.after)

    def __repr__(self) -> str:
        number = len(set(self.session.tolist()))
        return (
            f"LatentTrials: {len(self)} trials, {self.patterns.shape[1]} candidates, "
            f"{self.before.shape[1]} bins before, {self.after.shape[1]} latents, {number} "
            f"session{'s' * (number != 1)}"
        )

    def take(self, trials: ArrayLike) -> "LatentTrials":
        """Return some of the trials, in any form that numpy's indexing takes.

        Raises
        ------
        DataError
            If none is left.
        """
        index = np.asarray(trials)
        if not len(self.after[index]):
            raise DataError("`trials` chooses none of the trials. Pass at least one.")
        return LatentTrials(
            self.patterns[index], self.before[index], self.after[index],
            session=self.session[index], candidates=self.candidates, grid=self.grid,
        )  # fmt: skip

    def select(self, latents: ArrayLike) -> "LatentTrials":
        """Return the trials with these latent dimensions only: the target dimensions."""
        index = np.asarray(latents, dtype=np.int64)
        return LatentTrials(
            self.patterns, self.before[..., index], self.after[:, index], session=self.session,
            candidates=self.candidates, grid=self.grid,
        )  # fmt: skip

    def hash(self) -> str:
        """Return the sha256 of the content, in hexadecimal."""
        import hashlib

        digest = hashlib.sha256(f"probneuro.LatentTrials.1{self.grid}".encode())
        for name in ("patterns", "before", "after", "session", "candidates"):
            array = getattr(self, name)
            digest.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
