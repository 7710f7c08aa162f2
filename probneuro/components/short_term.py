"""Short-term plasticity: presynaptic spikes that count for less, or more, after others."""

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError
from probneuro.core.model import Reference

Floats = NDArray[np.float64]

TSODYKS = Reference(
    "Tsodyks M, Pawelzik K, Markram H",
    1998,
    "Neural networks with dynamic synapses",
    "Neural Computation 10, 821-835",
    "doi:10.1162/089976698300017502",
)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def release(count: int, time: float, constants: Floats, state: Floats) -> float:
    """Return how much the spikes of one bin count for, and move the neuron's state.

    ``constants`` are use, recovery and facilitation; ``state`` is u and R just after the last
    spike, and its time, negative before the first.
    """
    use, recovery, facilitation = constants[0], constants[1], constants[2]
    total = 0.0
    for _ in range(count):
        gap = time - state[2]
        if state[2] < 0.0:
            state[0], state[1] = 0.0, 1.0
        elif gap > 0.0:
            state[0] *= np.exp(-gap / facilitation)
            state[1] = 1.0 - (1.0 - state[1]) * np.exp(-gap / recovery)
        if facilitation == 0.0:
            state[0] = 0.0
        state[0] += use * (1.0 - state[0])
        total += state[0] * state[1]
        state[1] *= 1.0 - state[0]
        if recovery == 0.0:
            state[1] = 1.0
        state[2] = time
    return total / use


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _release_all(counts: NDArray[Any], bin_width: float, constants: Floats, out: Floats) -> None:
    for n in range(counts.shape[1]):
        state = np.array([0.0, 1.0, -1.0])
        for t in range(counts.shape[0]):
            if counts[t, n] > 0:
                out[t, n] = release(counts[t, n], t * bin_width, constants, state)


@dataclass(frozen=True, kw_only=True)
class ShortTermPlasticity:
    r"""Depression and facilitation with fixed constants, the same for all presynaptic neurons.

    .. math::

        \dot R = \frac{1 - R}{\tau_{rec}} - u R\,\delta(t - t_{spike}), \qquad
        \dot u = -\frac{u}{\tau_{facil}} + U (1 - u)\,\delta(t - t_{spike})

    A spike counts for :math:`u R / U`, with u just after its own jump and R just before: the
    first one after a long rest counts for one, so that weights keep their meaning. Neurons are
    at rest when a recording starts; several spikes in a bin follow one another at once.

    Parameters
    ----------
    use : float
        U, the share of resources that a first spike uses, above 0 and at most 1.
    recovery : float
        Time constant of the resources' recovery in seconds; 0 for no depression.
    facilitation : float
        Time constant of facilitation in seconds; 0 for none.

    Raises
    ------
    SettingError
        If a constant is outside its range.

    Notes
    -----
    Source: Tsodyks, Pawelzik and Markram (1998), Eq. 1 to 3, but for the division by U.

    Examples
    --------
    >>> counts = np.zeros((200, 1), dtype=int); counts[[0, 20]] = 1
    >>> short_term = ShortTermPlasticity(use=0.5, recovery=0.8)
    >>> short_term.release(counts, 1e-3)[[0, 20], 0].round(3)
    array([1.   , 0.512])
    """

    use: float = 0.5
    recovery: float = 0.8
    facilitation: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.use <= 1.0:
            raise SettingError(f"`use` must be above 0 and at most 1; got {self.use}.")
        for name in ("recovery", "facilitation"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise SettingError(
                    f"`{name}` must be a time in seconds, 0 or more; got {getattr(self, name)}."
                )

    @property
    def constants(self) -> Floats:
        """Use, recovery and facilitation, for compiled loops."""
        return np.array([self.use, self.recovery, self.facilitation])

    def release(self, counts: NDArray[Any], bin_width: float) -> Floats:
        """Return what the spikes of each bin count for, shape (time, neuron).

        Parameters
        ----------
        counts : ndarray
            Spike counts, shape (time, neuron).
        bin_width : float
            Seconds.
        """
        out = np.zeros(counts.shape)
        _release_all(np.ascontiguousarray(counts), bin_width, self.constants, out)
        return out
