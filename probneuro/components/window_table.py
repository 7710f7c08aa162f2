"""Log likelihood of each window as a function of one weight, without touching bins again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from probneuro.components.links import SOFTPLUS_CODE, Link
from probneuro.components.point_process import WindowSpikes
from probneuro.components.window_kernels import tabulate
from probneuro.core.errors import InferenceError
from probneuro.core.gibbs import WindowObservation
from probneuro.core.lattice import ABOVE, BELOW, Lattice, interpolation_error

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MAX_NODES = 1 << 17
# Nodes to tabulate beyond those asked for: enough to see how well the table interpolates.
_MARGIN = 10
# Expected or counted nats in a window beyond which errors are relative.
_MANY = 200.0
# Share of the tolerance below which a table twice as coarse will do: its error is 64 times this.
_COARSER = 1.0 / 256.0
# Distance of a sketch's weights, in weight scales.
_SKETCH_STEP = 1.0 / 16.0


class WindowTable(WindowObservation):
    r"""The log likelihood of every window as a function of one synapse's weight.

    .. math::

        L_k(w) = \sum_{t \in k} s_t \log(\lambda_t\,\mathrm dt) - \log s_t!
        - \mathrm dt \sum_{t \in k} \lambda_t, \qquad \lambda_t = g(\psi_t + w\,x_t)

    It is tabulated on equispaced weights and interpolated by polynomials of the fifth degree.
    A window is tabulated only over the weights asked for. The step is halved until the
    interpolation error, read off the table's sixth differences, is below ``tolerance``.

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
        self._spike_base = self._base[spikes.bin]
        self._spike_drive = self._drive[spikes.bin]
        self._constants = spikes.constants(bin_width)
        self._scale = bin_width * (link.sharpness if link.code == SOFTPLUS_CODE else 1.0)
        self._tolerance, self._weight_scale = tolerance, link.weight_scale
        self.num_windows = spikes.start.size - 1
        self.step = step
        self.error = 0.0
        self._clear()

    def _clear(self) -> None:
        none = np.zeros(self.num_windows, dtype=np.int64)
        self._table = Lattice(self.step, 0, none, none, np.empty((self.num_windows, 0)))

    def lattice(self, lowest: Floats, highest: Floats) -> Lattice:
        """Return the table, good between two weights a window."""
        used = highest >= lowest
        low = np.floor(np.where(used, lowest, 0.0) / self.step).astype(np.int64) - BELOW
        high = np.floor(np.where(used, highest, 0.0) / self.step).astype(np.int64) + ABOVE
        table = self._table
        known = table.high > table.low
        stale = used & (~known | (low < table.low) | (high > table.high))
        if stale.any():
            low, high = low - _MARGIN, high + _MARGIN
            low = np.where(known, np.minimum(low, table.low), low)
            high = np.where(known, np.maximum(high, table.high), high)
            error = self._extend(stale, low, high)
            if error > self._tolerance:
                self._refine(error, lowest, highest)
            self.error = max(self.error, min(error, self._tolerance))
        return self._table

    def _row(self, window: int) -> Floats:
        table = self._table
        columns = slice(table.low[window] - table.origin, table.high[window] - table.origin)
        return table.values[window, columns]

    def _extend(self, stale: NDArray[Any], low: Integers, high: Integers) -> float:
        """Tabulate the stale windows from low to high - 1; return the interpolation error."""
        old = self._table
        known = stale & (old.high > old.low)
        low, high = np.where(stale, low, old.low), np.where(stale, high, old.high)
        self._table = table = self._make_room(low, high)
        done_low, done_high = np.where(known, old.low, high), np.where(known, old.high, high)
        error = 0.0
        for start, stop in ((low, done_low), (done_high, high)):
            own = self._tabulate(table, np.where(stale, start, 0), np.where(stale, stop, 0))
            error = max(error, own)
        rows = [interpolation_error(self._row(int(k)), _MANY) for k in np.flatnonzero(stale)]
        return error + max(rows)

    def _tabulate(self, table: Lattice, start: Integers, stop: Integers) -> float:
        spikes = self._spikes
        error: float = tabulate(
            self._base, self._drive, self._silent, self._spike_base, self._spike_drive,
            spikes.count, spikes.start, self._constants, table.step, table.origin, start, stop,
            self._code, self._scale, self._sharpness, spikes.bins_per_window, _MANY,
            table.values,
        )  # fmt: skip
        return error

    def _make_room(self, low: Integers, high: Integers) -> Lattice:
        """Return the table with these ranges, moved to a wider array where it must be."""
        old, known = self._table, high > low
        first, last = int(low[known].min()), int(high[known].max())
        if old.values.shape[1] and first >= old.origin:
            first = old.origin
        if first == old.origin and last - first <= old.values.shape[1]:
            return old._replace(low=low, high=high)
        values = np.empty((self.num_windows, last - first + 8 * _MARGIN))
        origin = first - 4 * _MARGIN
        shift = old.origin - origin
        values[:, shift : shift + old.values.shape[1]] = old.values
        return Lattice(self.step, origin, low, high, values)

    def _refine(self, error: float, lowest: Floats, highest: Floats) -> None:
        size = int((self._table.high - self._table.low).max())
        if size > _MAX_NODES:
            raise InferenceError(
                f"The window table reached {size} nodes with an error of {error:.1g} "
                f"nats, above {self._tolerance:.1g}. Weights from {lowest.min():.3g} to "
                f"{highest.max():.3g} give rates too large to tabulate; use a smaller weight scale."
            )
        self.step *= 0.5
        self._clear()
        self.lattice(lowest, highest)

    @property
    def next_step(self) -> float:
        """The step that a table of a similar synapse should start from."""
        return self.step * (2.0 if self.error < _COARSER * self._tolerance else 1.0)

    @property
    def sketch_step(self) -> float:
        """A sixteenth of the weight scale."""
        return _SKETCH_STEP * self._weight_scale

    def sketch(self, low: Integers, high: Integers) -> Lattice:
        """Return a coarse table, each window from one point to another."""
        origin = int(low[high > low].min())
        values = np.empty((self.num_windows, int(high.max()) - origin))
        table = Lattice(self.sketch_step, origin, low, high, values)
        self._tabulate(table, low, high)
        return table
