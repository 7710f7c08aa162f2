"""Log likelihood of each window as a function of one weight, without touching bins again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from probneuro.components.links import SOFTPLUS_CODE, Link
from probneuro.components.point_process import WindowSpikes
from probneuro.components.window_kernels import (
    fill,
    interpolation_error,
    peaks,
    tabulate,
    window_values,
)
from probneuro.core.errors import InferenceError
from probneuro.core.gibbs import WindowObservation

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MAX_NODES = 1 << 15
# Nodes to tabulate beyond those asked for when a window is asked for again.
_MARGIN = 40


class WindowTable(WindowObservation):
    r"""The log likelihood of every window as a function of one synapse's weight.

    .. math::

        L_k(w) = \sum_{t \in k} s_t \log(\lambda_t\,\mathrm dt) - \log s_t!
        - \mathrm dt \sum_{t \in k} \lambda_t, \qquad \lambda_t = g(\psi_t + w\,x_t)

    The spikes' sum is evaluated exactly at any weight; the expected count (the last sum,
    over every bin) is tabulated on equispaced weights and interpolated by cubics. A window is
    tabulated only over the weights asked for. The step is halved until the interpolation
    error, read off the table's fourth differences, is below ``tolerance``.

    Parameters
    ----------
    base : ndarray
        Activation without the synapse, shape (time,), in the link's units.
    drive : ndarray
        Impulse response to the presynaptic spikes, shape (time,), not negative, in 1/s.
    silent : ndarray of bool
        Bins that were not observed, shape (time,).
    spikes : WindowSpikes
        The postsynaptic spikes by window.
    link : Link
        Activation to rate.
    bin_width : float
        Seconds.
    step : float
        Distance of the tabulated weights to start from.
    tolerance : float
        Largest interpolation error per window, in nats.

    Raises
    ------
    InferenceError
        If the tolerance cannot be met.
    """

    def __init__(
        self,
        base: Floats,
        drive: Floats,
        silent: NDArray[Any],
        spikes: WindowSpikes,
        link: Link,
        bin_width: float,
        step: float,
        tolerance: float = 1e-3,
    ) -> None:
        self._base, self._drive = base / link.sharpness, drive / link.sharpness
        self._silent, self._spikes = silent, spikes
        self._code, self._sharpness = link.code, link.sharpness
        self._scale = bin_width * (link.sharpness if link.code == SOFTPLUS_CODE else 1.0)
        self._spike_base = self._base[spikes.bin]
        self._spike_drive = self._drive[spikes.bin]
        self._constants = spikes.constants(bin_width)
        self._tolerance, self._bin_width = tolerance, bin_width
        self.num_windows = spikes.start.size - 1
        self.step = step
        self.error = 0.0
        self._clear()

    def _clear(self) -> None:
        self._offset = np.zeros(self.num_windows, dtype=np.int64)
        self._size = np.zeros(self.num_windows, dtype=np.int64)
        self._table = np.empty((self.num_windows, 0))

    def _ensure(self, used: NDArray[Any], lowest: Floats, highest: Floats) -> None:
        """Tabulate the used windows from their lowest to their highest weight."""
        low = np.floor(lowest / self.step).astype(np.int64) - 2
        high = np.floor(highest / self.step).astype(np.int64) + 4
        stale = used & (
            (self._size == 0) | (low < self._offset) | (high > self._offset + self._size)
        )
        if not stale.any():
            return
        known = stale & (self._size > 0)
        low[known] = np.minimum(low - _MARGIN, self._offset)[known]
        high[known] = np.maximum(high + _MARGIN, self._offset + self._size)[known]
        before = np.where(known, self._offset - low, 0)
        done = np.where(known, self._size, 0)
        self._offset[stale], self._size[stale] = low[stale], (high - low)[stale]
        self._make_room(before, done)
        args = (self._base, self._drive, self._silent, self.step, self._offset)
        rest = (self._code, self._scale, self._spikes.bins_per_window, self._table)
        none = np.zeros_like(before)
        tabulate(*args, none, np.where(stale, before, 0), *rest)
        tabulate(*args, before + done, np.where(stale, self._size, 0), *rest)
        error = interpolation_error(self._table, self._size, stale, self._code)
        if error > self._tolerance:
            self._refine(error, used, lowest, highest)
        self.error = max(self.error, min(error, self._tolerance))

    def _make_room(self, before: Integers, done: Integers) -> None:
        """Widen the table where rows grew, and shift what was tabulated to its new columns."""
        width = int(self._size.max())
        if width > self._table.shape[1]:
            wider = np.empty((self.num_windows, width + 4 * _MARGIN))
            wider[:, : self._table.shape[1]] = self._table
            self._table = wider
        for k in np.flatnonzero((before > 0) & (done > 0)):
            self._table[k, before[k] : before[k] + done[k]] = self._table[k, : done[k]].copy()

    def _refine(self, error: float, used: NDArray[Any], lowest: Floats, highest: Floats) -> None:
        if self._size.max() > _MAX_NODES:
            raise InferenceError(
                f"The window table reached {self._size.max()} nodes with an error of {error:.1g} "
                f"nats, above {self._tolerance:.1g}. Weights from {lowest.min():.3g} to "
                f"{highest.max():.3g} give rates too large to tabulate; use a smaller weight scale."
            )
        self.step *= 0.5
        self._clear()
        self._ensure(used, lowest, highest)

    def upper_bounds(self) -> Floats:
        """Return, per window, a number that no weight's log likelihood exceeds.

        The log likelihood is concave in the weight under both links, so two tangents on
        either side of its peak meet above it.
        """
        out = np.empty(self.num_windows)
        peaks(
            self._base, self._drive, self._silent, self._spikes.bin, self._spikes.count,
            self._spikes.start, self._spikes.bins_per_window, 4.0 * self.step, self._code,
            self._sharpness, self._bin_width, out,
        )  # fmt: skip
        return out

    def at(self, window: int, states: Floats) -> Floats:
        """Return the log likelihood of one window at some weights, shape (weight,)."""
        used = np.arange(self.num_windows) == window
        self._ensure(used, np.where(used, states.min(), 0.0), np.where(used, states.max(), 0.0))
        s = slice(self._spikes.start[window], self._spikes.start[window + 1])
        out = np.empty(states.size)
        window_values(
            self._table[window, : self._size[window]], self._offset[window] * self.step,
            self.step, self._spike_base[s], self._spike_drive[s], self._spikes.count[s],
            self._constants[window], states, self._code, self._sharpness, out,
        )  # fmt: skip
        return out

    def fill(
        self, start: float, spacing: float, low: Integers, high: Integers, out: Floats
    ) -> None:
        """Write the log likelihood at nodes ``start + spacing i``, low <= i < high per window."""
        used = high > low
        if not used.any():
            return
        last = (high - 1).astype(np.float64)
        self._ensure(used, start + spacing * low.astype(np.float64), start + spacing * last)
        fill(
            self._table, self._offset, self._size, self.step, self._spike_base,
            self._spike_drive, self._spikes.count, self._constants, self._spikes.start,
            self._code, self._sharpness, start, spacing, low, high, out,
        )  # fmt: skip
