"""Synthetic multi-electrode recordings of known kind: spikes, bursts, cycles, network bursts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from probneuro.components.shifts import layout_323
from probneuro.core.errors import SettingError
from probneuro.core.rng import generator
from probneuro.data.wells import Wells

Marks = NDArray[np.bool_]
BIN_WIDTH: Final = 0.5
"""Seconds; the paper bins its recordings so, and leaves the synthetic ones without a unit."""

_DURATIONS: Final = (3, 4, 5)


@final
@dataclass(frozen=True, kw_only=True)
class BurstClass:
    """One kind of recording: the four switches of Algorithm B.1.

    Parameters
    ----------
    spike : float
        Probability of a sporadic spike in a bin; the paper uses 0.02 and 0.1.
    burst : float
        Probability that a single-electrode burst begins in a bin; 0.005 and 0.025.
    cycle, network : bool
        Whether there are cyclic and network bursts.
    """

    spike: float = 0.02
    burst: float = 0.005
    cycle: bool = False
    network: bool = False

    def __post_init__(self) -> None:
        for name in ("spike", "burst"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(
                    f"`{name}` must be a probability; got {getattr(self, name)!r}. Use 0 to 1."
                )

    @property
    def label(self) -> str:
        """The paper's label, ``spike-burst-cycle-network``."""
        return f"{self.spike:g}-{self.burst:g}-{int(self.cycle)}-{int(self.network)}"


def sixteen_classes() -> tuple[BurstClass, ...]:
    """Return the paper's 16 classes.

    Examples
    --------
    >>> len(sixteen_classes()), sixteen_classes()[0].label
    (16, '0.02-0.005-0-0')
    """
    levels = product((0.02, 0.1), (0.005, 0.025), (False, True), (False, True))
    return tuple(BurstClass(spike=s, burst=b, cycle=c, network=n) for s, b, c, n in levels)


def _filled(starts: Marks, chance: float, rng: np.random.Generator) -> Marks:
    """Return spikes of bursts that begin at the marks: bins d to d + Delta, cut at the end."""
    length = rng.choice(_DURATIONS, starts.shape)
    fired = np.zeros_like(starts)
    for lag in range(max(_DURATIONS) + 1):
        on = starts & (lag <= length) & (rng.random(starts.shape) < chance)
        fired[..., lag:] |= on[..., : starts.shape[-1] - lag]
    return fired


def _cycles(shape: tuple[int, int, int], rng: np.random.Generator) -> Marks:
    """Return starts at every period of 15 to 19 bins from a phase of 0 to 14."""
    period = rng.integers(15, 20, shape[:2])[..., None]
    phase = rng.integers(0, 15, shape[:2])[..., None]
    return (np.arange(shape[2]) - phase) % period == 0


def _network(
    shape: tuple[int, int, int], distance: NDArray[np.float64], rng: np.random.Generator
) -> Marks:
    """Return spikes of bursts that spread from a starting electrode and fade with distance."""
    _, electrodes, bins = shape
    starts = rng.random(shape) < 0.035 / electrodes
    fired = np.zeros(shape, dtype=bool)
    for n, e, d in zip(*np.nonzero(starts), strict=True):
        stop = min(d + int(rng.choice(_DURATIONS)) + 1, bins)
        chance = 0.9 * 0.8 ** distance[e]
        fired[n, :, d:stop] |= rng.random((electrodes, stop - d)) < chance[:, None]
    return fired


def simulate_mea_bursts(
    classes: Sequence[BurstClass] | None = None,
    *,
    num_recordings: int = 500,
    num_bins: int = 300,
    seed: int = 0,
) -> Wells:
    """Simulate recordings of eight electrodes by Algorithm B.1 of the paper.

    A bin fires if any of the four sources does. Sporadic spikes are Bernoulli; a burst fills the
    Delta + 1 bins d to d + Delta, Delta uniform on 3, 4, 5, each with probability 0.9, cut at the
    end; cyclic bursts repeat with a period of 15 to 19 bins; a network burst starts at an
    electrode with probability 0.035 / 8 a bin, and another electrode at distance a takes part with
    probability ``0.9 * 0.8**a``.

    Parameters
    ----------
    classes : sequence of BurstClass, optional
        The classes; all 16 of the paper by default.
    num_recordings : int
        Recordings of each class.
    num_bins : int
        Bins of a recording.
    seed : int
        Seed; each class has a stream of its own.

    Returns
    -------
    Wells
        Counts of 0 and 1; the class is the label ``treatment``, and each source's level a label
        too (``spike``, ``burst``, ``cycle``, ``network``). Not normalised: that is done with the
        training recordings' own mean and standard deviation, since by class it would tell the
        label.

    Raises
    ------
    SettingError
        If a size is not positive.

    References
    ----------
    Dey, Dreossi, Fox, Koller (2025), Appendix B. Distances are those of its 3-2-3 layout.

    Examples
    --------
    >>> simulate_mea_bursts(num_recordings=2, num_bins=50).counts.shape
    (32, 8, 50)
    """
    chosen = tuple(classes) if classes is not None else sixteen_classes()
    if not chosen or num_recordings < 1 or num_bins < 1:
        raise SettingError(
            f"`classes`, `num_recordings` and `num_bins` must be 1 or more; got {len(chosen)}, "
            f"{num_recordings} and {num_bins}."
        )
    places = layout_323()
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    shape = (num_recordings, len(places), num_bins)
    parts = []
    for kind in chosen:
        rng = generator(seed, "mea_bursts", kind.label)
        fired = rng.random(shape) < kind.spike
        fired |= _filled(rng.random(shape) < kind.burst, 0.9, rng)
        if kind.cycle:
            fired |= _filled(_cycles(shape, rng), 0.9, rng)
        if kind.network:
            fired |= _network(shape, distance, rng)
        parts.append(fired)
    repeated = [kind for kind in chosen for _ in range(num_recordings)]
    labels = {
        "well": [str(k) for k in range(len(repeated))],
        "treatment": [kind.label for kind in repeated],
        **{name: [f"{float(getattr(kind, name)):g}" for kind in repeated]
           for name in ("spike", "burst", "cycle", "network")},
    }  # fmt: skip
    counts = np.concatenate(parts).astype(np.uint8)
    return Wells(counts, BIN_WIDTH, labels=labels, source="Algorithm B.1")
