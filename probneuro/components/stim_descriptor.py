"""Stimulation descriptors: what a network is told of the pulses at every sample."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError
from probneuro.data import StimTrials

Floats = NDArray[np.float64]

_ONE_SITE = (0.0,)


@final
@dataclass(frozen=True, kw_only=True)
class StimDescriptor:
    r"""A clock and the pulses over the response, for any pulse pattern.

    The clock goes from 0 at the trial's start to 1 at its end. A pulse has a column that is 1 at
    its onset; an onset between two samples is shared by both, so that the descriptor changes
    smoothly with timing. Amplitudes take the place of the 1; each further site has columns of its
    own.

    Parameters
    ----------
    sampling_rate : float
        Samples a second.
    runway, horizon : int
        Samples before the forecast, and of it.
    num_pulses : int
        Pulses of a pattern.
    amplitudes : bool
        Whether patterns tell amplitudes.
    sites : tuple of float or None
        Sites that may be stimulated; None where patterns do not tell.

    Notes
    -----
    Source: Bryan et al. (2025), section 6.2.1; onsets between samples, amplitudes and sites are
    ours.

    Examples
    --------
    >>> trials = StimTrials(np.ones((3, 1, 8)), sampling_rate=1000, runway=2, pulses=[0.004])
    >>> StimDescriptor.of(trials)(trials.patterns)[0].T.round(2).tolist()
    [[0.25, 0.38, 0.5, 0.62, 0.75, 0.88], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
    """

    sampling_rate: float
    runway: int
    horizon: int
    num_pulses: int
    amplitudes: bool = False
    sites: tuple[float, ...] | None = None

    @classmethod
    def of(cls, trials: StimTrials) -> "StimDescriptor":
        """Return the descriptor of trials: their clock, and all sites that occur in them."""
        sites = None
        if trials.site is not None:
            sites = tuple(np.unique(trials.site[np.isfinite(trials.site)]).tolist())
        return cls(
            sampling_rate=trials.sampling_rate, runway=trials.runway, horizon=trials.horizon,
            num_pulses=trials.pulses.shape[1], amplitudes=trials.amplitude is not None,
            sites=sites,
        )  # fmt: skip

    @property
    def num_columns(self) -> int:
        """Columns of a descriptor: the clock's, and one a pulse and site."""
        return 1 + self.num_pulses * (1 if self.sites is None else len(self.sites))

    def __call__(self, patterns: ArrayLike) -> Floats:
        """Return what is told of pulse patterns, shape (pattern, horizon, column).

        Parameters
        ----------
        patterns : array_like
            Onsets in seconds from the trial's start, then amplitudes and sites where there are
            any, NaN for a pulse that is not there; shape (pattern, pulse descriptor).

        Raises
        ------
        DataError
            If their columns are not these, or a site is unknown.
        """
        rows = np.atleast_2d(np.asarray(patterns, dtype=np.float64))
        onsets, amplitude, site = self._parts(rows)
        samples = np.arange(self.runway, self.runway + self.horizon)
        clock = samples / (self.runway + self.horizon)
        near = np.maximum(0.0, 1 - np.abs(samples[:, None] - onsets[:, None] * self.sampling_rate))
        marks = np.nan_to_num(near) * np.nan_to_num(amplitude)[:, None]
        parts = [np.broadcast_to(clock[:, None], (len(rows), len(samples), 1))]
        for place in _ONE_SITE if self.sites is None else self.sites:
            parts.append(marks * (site == place).astype(np.float64)[:, None])
        return np.concatenate(parts, axis=2)

    def _parts(self, rows: Floats) -> tuple[Floats, Floats, Floats]:
        """Return onsets, amplitudes and sites, each (pattern, pulse)."""
        told = 1 + self.amplitudes + (self.sites is not None)
        if rows.shape[1] != self.num_pulses * told:
            raise DataError(
                f"`patterns` must have {self.num_pulses * told} columns, as the trials trained on; "
                f"got {rows.shape[1]}. Give NaN for a pulse that is not there."
            )
        onsets, *rest = np.split(rows, told, axis=1)
        site = np.zeros_like(onsets) if self.sites is None else rest.pop()
        known = _ONE_SITE if self.sites is None else self.sites
        strange = sorted(set(site[np.isfinite(site)].tolist()) - set(known))
        if strange:
            raise DataError(
                f"`patterns` stimulate the sites {strange}, which were not trained on: "
                f"{list(known)}. Train on them too."
            )
        return onsets, rest[0] if rest else np.ones_like(onsets), site
