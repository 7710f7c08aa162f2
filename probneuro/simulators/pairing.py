"""Stimulation that makes two neurons fire at a chosen interval, pulse by pulse."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Brief pulses to the presynaptic neuron, each followed or led by one to the postsynaptic one.

    Parameters
    ----------
    rate : float
        Pairs of pulses a second (Hz), equally spaced; 0 for none.
    lag : float
        From the presynaptic to the postsynaptic pulse (s); negative where it comes first.
    strength : float
        What a pulse adds to the activation, in its units (Hz with a softplus link).
    width : float
        Length of a pulse (s).

    Raises
    ------
    SettingError
        If the rate is negative, or a pulse has no length or no strength.

    Examples
    --------
    >>> drive = Pairing(rate=10.0, lag=0.01).drive(1000, 1e-3)
    >>> drive.shape, np.flatnonzero(drive[:, 1])[:2].tolist()
    ((1000, 2), [60, 61])
    """

    rate: float
    lag: float = 0.01
    strength: float = 300.0
    width: float = 2e-3

    def __post_init__(self) -> None:
        if not self.rate >= 0.0 or not self.strength > 0.0 or not self.width > 0.0:
            raise SettingError(
                "A pairing needs a rate of 0 Hz or more, and pulses of positive strength and "
                f"width; got {self.rate!r} Hz, {self.strength!r} and {self.width!r} s."
            )

    def drive(self, num_bins: int, bin_width: float) -> Floats:
        """Return what the pulses add to the activations, shape (time, 2)."""
        out = np.zeros((num_bins, 2))
        if self.rate == 0.0:
            return out
        period = 1.0 / self.rate
        starts = np.arange(0.5 * period, num_bins * bin_width, period)
        for neuron, shift in ((0, 0.0), (1, self.lag)):
            first = np.round((starts + shift) / bin_width).astype(int)
            for offset in range(max(1, round(self.width / bin_width))):
                place = first + offset
                out[place[(place >= 0) & (place < num_bins)], neuron] = self.strength
        return out
