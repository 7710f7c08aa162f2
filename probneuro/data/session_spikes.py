"""Sessions of stimulation trials cut out of spike trains, and read from NWB."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.data.readers.dispatch import existing_file, read_spikes
from probneuro.data.readers.parsed import reading
from probneuro.data.spike_trains import SpikeTrains
from probneuro.data.stim_sessions import StimSession

Floats = NDArray[np.float64]

DELAY: Final = 0.05
"""Seconds from the onset of 40 ms of stimulation to the counts after it; Minai et al. (2025)."""


def session_from_spikes(
    spikes: SpikeTrains,
    onsets: ArrayLike,
    patterns: ArrayLike,
    *,
    calibration: ArrayLike,
    candidates: ArrayLike,
    electrodes: ArrayLike | None = None,
    grid: tuple[int, int] = (10, 10),
    bin_width: float = 0.05,
    num_bins: int = 5,
    calibration_bins: int = 30,
    delay: float = DELAY,
    name: str = "0",
) -> StimSession:
    """Count the spikes before and after stimulation, and in calibration trials.

    Parameters
    ----------
    spikes : SpikeTrains
        One train an electrode.
    onsets : array_like
        When stimulation began, or would have begun in a trial without (s), shape (trial,).
    patterns : array_like
        1 where a candidate was stimulated, shape (trial, candidate).
    calibration : array_like
        When trials without stimulation began from which latents are found (s), shape (trial,).
    candidates, electrodes, grid, name
        As of `StimSession`.
    bin_width : float
        Seconds.
    num_bins : int
        Bins that end at the onset.
    calibration_bins : int
        Bins of a calibration trial.
    delay : float
        Seconds from the onset to the bin after it, which stimulation and its artefact take.

    Returns
    -------
    StimSession

    Raises
    ------
    DataError
        If a trial reaches beyond the recording, or shapes do not fit.
    SettingError
        If a number is out of range.

    Notes
    -----
    Source of the layout: Minai et al. (2025), section 3 and table S1.

    Examples
    --------
    >>> trains = SpikeTrains({"a": [0.42, 0.48, 0.56], "b": [1.2, 1.3]}, start=0.0, stop=2.0)
    >>> session = session_from_spikes(
    ...     trains, [0.5], [[1, 0]], calibration=[1.0], candidates=[0, 1], grid=(1, 2),
    ...     num_bins=2, calibration_bins=10,
    ... )
    >>> session.before[0].tolist(), session.after.tolist()
    ([[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0]])
    """
    if not bin_width > 0 or num_bins < 1 or calibration_bins < 1 or not delay >= 0:
        raise SettingError(
            "`bin_width` must be positive, `num_bins` and `calibration_bins` at least 1, and "
            f"`delay` not negative; got {bin_width!r}, {num_bins!r}, {calibration_bins!r} and "
            f"{delay!r}. Pass seconds."
        )
    begin, first = _times("onsets", onsets), _times("calibration", calibration)
    width = {"width": bin_width}
    return StimSession(
        _counted(spikes, "calibration", first, bins=calibration_bins, **width),
        _counted(spikes, "onsets", begin - num_bins * bin_width, bins=num_bins, **width),
        patterns,
        _counted(spikes, "onsets", begin + delay, bins=1, **width)[:, 0],
        candidates=candidates, electrodes=electrodes, grid=grid, bin_width=bin_width, name=name,
    )  # fmt: skip


def read_nwb_session(
    path: str | Path,
    *,
    onset: str = "stim_time",
    stimulated: str = "stim_electrodes",
    calibration: str = "calibration",
    candidates: Sequence[int] | None = None,
    **settings: Any,
) -> StimSession:
    """Read a session from the units and the trials of an NWB file.

    Parameters
    ----------
    path : str or Path
        The file.
    onset : str
        Column of the trials table with the time of stimulation (s).
    stimulated : str
        Column with the grid indices that were stimulated, a list a trial, empty for none.
    calibration : str
        Column that is true for calibration trials, which begin at their ``start_time``.
    candidates : sequence of int, optional
        Grid indices that may be stimulated; by default those that ever were.
    **settings
        Further arguments of `session_from_spikes`.

    Returns
    -------
    StimSession
        Named after the file.

    Raises
    ------
    DataError
        If the file is damaged, has no such columns, or trials do not fit.

    Examples
    --------
    >>> read_nwb_session("session1.nwb", grid=(10, 10))  # doctest: +SKIP
    StimSession session1: 320 trials (64 without stimulation), ...
    """
    file = existing_file(Path(path).expanduser())
    rows = _trials(file, ("start_time", onset, stimulated, calibration))
    still = np.array([bool(row[calibration]) for row in rows])
    chosen = [row for row, no in zip(rows, still, strict=True) if not no]
    places = [sorted({int(place) for place in np.ravel(row[stimulated])}) for row in chosen]
    known = sorted(set().union(*places)) if candidates is None else [int(c) for c in candidates]
    strange = sorted(set().union(*places) - set(known))
    if strange:
        raise DataError(
            f"`candidates` leaves out {strange}, which were stimulated in '{file.name}'. Add them."
        )
    return session_from_spikes(
        read_spikes(file),
        [row[onset] for row in chosen],
        [[place in row for place in known] for row in places],
        calibration=[row["start_time"] for row, no in zip(rows, still, strict=True) if no],
        candidates=known,
        **{"name": file.stem, **settings},
    )


def _trials(file: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the trials of a file, each with the columns asked for."""
    try:
        import pynwb
    except ImportError:
        raise DataError(
            f"`path` is NWB, and pynwb, which reads it, is not installed: '{file.name}'. Run "
            "pip install 'probneuro[nwb]'."
        ) from None
    with reading(file, "NWB"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pynwb tells of every deprecated field of an older file
        with pynwb.NWBHDF5IO(file, "r") as io:
            trials = io.read().trials
            there = () if trials is None else tuple(trials.colnames)
            lost = [column for column in columns if column not in there]
            if lost:
                raise DataError(
                    f"`path` '{file.name}' has no column {', '.join(lost)} in its trials (there: "
                    f"{', '.join(there) or 'no trials'}). Name yours, e.g. onset='stim_on_time'."
                )
            return [{c: trials[c][n] for c in columns} for n in range(len(trials))]


def _times(name: str, values: ArrayLike) -> Floats:
    times = np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or not times.size or not np.isfinite(times).all():
        raise DataError(
            f"`{name}` must be times in seconds, one a trial, all known; got shape {times.shape}. "
            "Leave trials without a time out."
        )
    return times


def _counted(spikes: SpikeTrains, name: str, begin: Floats, *, bins: int, width: float) -> Floats:
    """Return counts from each time on, shape (trial, bin, electrode)."""
    edges = begin[:, None] + width * np.arange(bins + 1)
    inside = [any(a <= row[0] + 1e-9 and row[-1] <= b + 1e-9 for a, b in spikes.epochs)
              for row in edges]  # fmt: skip
    if not all(inside):
        trial = inside.index(False)
        raise DataError(
            f"`{name}`: trial {trial} needs {edges[trial, 0]:.9g} to {edges[trial, -1]:.9g} s, "
            f"which was not recorded ({spikes.start:.9g} to {spikes.stop:.9g} s). Leave it out."
        )
    counts = [np.diff(np.searchsorted(train, edges), axis=1) for train in spikes.times]
    return np.stack(counts, axis=2).astype(np.float64)
