"""The integration loop of the pyloric circuit, on tables over the voltage."""

from typing import Final

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.fast_math import exp

Floats = NDArray[np.float64]

CELLS: Final = 3
LOWEST, HIGHEST, SPACING = -120.0, 80.0, 0.0125
"""Range and spacing of the voltage tables in mV; linear interpolation errs by less than 1e-7."""
_COLUMNS: Final = 26
_M, _H, _SYNAPSE = 0, 14, 22
"""Columns: target and decay of 7 activations and 4 inactivations, then the synapses' terms."""
_CAPACITANCE: Final = 0.6283e-3
_NERNST: Final = 8.31451e3 * 283.0 / (2.0 * 96485.3415)
_CALCIUM_OUT: Final = 3000.0
_CALCIUM_REST: Final = 0.05
_CALCIUM_GAIN: Final = 14961.0
_CALCIUM_TAU: Final = 200.0
_TO: Final = np.array([1, 1, 2, 2, 0, 2, 1])
_FROM: Final = np.array([0, 0, 0, 0, 1, 1, 2])
_CHOLINERGIC: Final = np.array([0, 1, 0, 1, 0, 0, 0])


def _sigmoid(v: Floats, shift: float, slope: float) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp((v + shift) / slope)))


def _bell(v: Floats, one: float, one_slope: float, two: float, two_slope: float) -> Floats:
    return np.asarray(1.0 / (np.exp((v + one) / one_slope) + np.exp((v + two) / two_slope)))


def gate_tables(step: float) -> Floats:
    """Return what depends on the voltage alone, by voltage, for a time step in ms.

    Prinz, Bucher and Marder (2004), with the constants of Prinz, Billimoria and Marder (2003):
    seven activations (Na, CaT, CaS, A, KCa, Kd, H) and four inactivations (Na, CaT, CaS, A) as
    their target and what is left of a difference after a step; the synapses' target, and the
    share of the way to it that glutamatergic and cholinergic synapses go in a step.

    Returns
    -------
    numpy.ndarray
        Shape (voltage, 26).
    """
    v = np.arange(LOWEST, HIGHEST + 2 * SPACING, SPACING)
    h_rate = np.exp(-14.59 - 0.086 * v) + np.exp(-1.87 + 0.0701 * v)
    activations = (
        (_sigmoid(v, 25.5, -5.29), 2.64 - 2.52 * _sigmoid(v, 120.0, -25.0)),
        (_sigmoid(v, 27.1, -7.2), 43.4 - 42.6 * _sigmoid(v, 68.1, -20.5)),
        (_sigmoid(v, 33.0, -8.1), 2.8 + 14.0 * _bell(v, 27.0, 10.0, 70.0, -13.0)),
        (_sigmoid(v, 27.2, -8.7), 23.2 - 20.8 * _sigmoid(v, 32.9, -15.2)),
        (_sigmoid(v, 28.3, -12.6), 180.6 - 150.2 * _sigmoid(v, 46.0, -22.7)),
        (_sigmoid(v, 12.3, -11.8), 14.4 - 12.8 * _sigmoid(v, 28.3, -19.2)),
        (_sigmoid(v, 75.0, 5.5), 2.0 / h_rate),
    )
    na_tau = 1.34 * _sigmoid(v, 62.9, -10.0) * (1.5 + _sigmoid(v, 34.9, 3.6))
    inactivations = (
        (_sigmoid(v, 48.9, 5.18), na_tau),
        (_sigmoid(v, 32.1, 5.5), 210.0 - 179.6 * _sigmoid(v, 55.0, -16.9)),
        (_sigmoid(v, 60.0, 6.2), 120.0 + 300.0 * _bell(v, 55.0, 9.0, 65.0, -16.0)),
        (_sigmoid(v, 56.9, 4.9), 77.2 - 58.4 * _sigmoid(v, 38.9, -26.5)),
    )
    table = np.zeros((v.size, _COLUMNS))
    for place, (target, tau) in enumerate((*activations, *inactivations)):
        table[:, 2 * place] = target
        table[:, 2 * place + 1] = np.exp(-step / tau)
    open_share = 1.0 / (1.0 + np.exp((-35.0 - v) / 5.0))
    table[:, _SYNAPSE] = open_share
    for column, slow in ((1, 40.0), (2, 100.0)):
        table[:, _SYNAPSE + column] = np.minimum(1.0, step / (slow * (1.0 - open_share) + 1e-300))
    return table


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def _look_up(v: Floats, table: Floats, row: Floats) -> None:
    """Write what depends on each cell's voltage, by linear interpolation."""
    for c in range(CELLS):
        place = min(max((v[c] - LOWEST) / SPACING, 0.0), (HIGHEST - LOWEST) / SPACING)
        below = int(place)
        share = place - below
        for k in range(_COLUMNS):
            low = table[below, k]
            row[c, k] = low + share * (table[below + 1, k] - low)


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def _follow(open_share: Floats, row: Floats) -> None:
    """Move every synapse towards its target, by forward Euler."""
    for k in range(7):
        pre = row[_FROM[k]]
        rate = pre[_SYNAPSE + 1 + _CHOLINERGIC[k]]
        open_share[k] += (pre[_SYNAPSE] - open_share[k]) * rate


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def integrate(
    conductances: Floats,
    synapses: Floats,
    noise: Floats,
    table: Floats,
    step: float,
    look: NDArray[np.int64],
    voltage: Floats,
) -> int:
    """Integrate one circuit by exponential Euler, and write its voltages.

    Parameters
    ----------
    conductances : numpy.ndarray
        Shape (cell, 8) in mS: Na, CaT, CaS, A, KCa, Kd, H, leak.
    synapses : numpy.ndarray
        Shape (7,) in mS.
    noise : numpy.ndarray
        Current added in a step, uA, shape (step, cell).
    table : numpy.ndarray
        Of `gate_tables`.
    step : float
        Time step in ms.
    look : numpy.ndarray
        Two steps: a circuit of which a cell has no voltage above -10 mV between them is given
        up at the second. Equal ones never give up.
    voltage : numpy.ndarray
        Shape (step, cell) in mV, written to.

    Returns
    -------
    int
        Steps made.
    """
    gates = np.zeros((CELLS, 11))
    v = np.full(CELLS, -50.0)
    calcium = np.full(CELLS, _CALCIUM_REST)
    open_share = np.zeros(7)
    row = np.empty((CELLS, _COLUMNS))
    highest = np.full(CELLS, -100.0)
    kept = np.exp(-step / _CALCIUM_TAU)
    voltage[0, :] = v
    for i in range(1, len(voltage)):
        _look_up(v, table, row)
        for c in range(CELLS):
            g, m = conductances[c], gates[c]
            na = g[0] * m[0] * m[0] * m[0] * m[7]
            ca = g[1] * m[1] * m[1] * m[1] * m[8] + g[2] * m[2] * m[2] * m[2] * m[9]
            potassium = g[3] * m[3] ** 3 * m[10] + g[4] * m[4] ** 4 + g[5] * m[5] ** 4
            h = g[6] * m[6]
            e_ca = _NERNST * np.log(_CALCIUM_OUT / calcium[c])
            total = na + ca + potassium + h + g[7]
            drive = 50.0 * na + e_ca * ca - 80.0 * potassium - 20.0 * h - 50.0 * g[7] + noise[i, c]
            for k in range(7):
                if _TO[k] == c:
                    s = synapses[k] * open_share[k]
                    total += s
                    drive -= s * (80.0 if _CHOLINERGIC[k] else 70.0)
            rest = _CALCIUM_REST - _CALCIUM_GAIN * ca * (v[c] - e_ca)
            row[c, 8] *= calcium[c] / (calcium[c] + 3.0)
            calcium[c] = rest + (calcium[c] - rest) * kept
            if total > 0.0:
                aim = drive / total
                v[c] = aim + (v[c] - aim) * exp(-step * total / _CAPACITANCE)
            else:
                v[c] += step * drive / _CAPACITANCE
            for k in range(11):
                m[k] = row[c, 2 * k] + (m[k] - row[c, 2 * k]) * row[c, 2 * k + 1]
            voltage[i, c] = v[c]
        _follow(open_share, row)
        if look[0] <= i < look[1]:
            highest = np.maximum(highest, v)
        elif i == look[1] and look[1] > look[0] and highest.min() < -10.0:
            return i
    return len(voltage)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def find_spikes(
    voltage: Floats, first: int, filter_weights: Floats, times: NDArray[np.int64]
) -> int:
    """Find maxima above -10 mV of one cell's smoothed voltage; return how many.

    Parameters
    ----------
    voltage : numpy.ndarray
        Shape (step,), mV.
    first : int
        Step from which spikes count.
    filter_weights : numpy.ndarray
        A symmetric Savitzky-Golay filter.
    times : numpy.ndarray
        The spikes' steps, written to.
    """
    half = len(filter_weights) // 2
    count = 0
    last_index = -10
    before, now = 0.0, 0.0
    for i in range(first + half, len(voltage) - half):
        if voltage[i] < -20.0:
            continue
        smooth = 0.0
        for k in range(len(filter_weights)):
            smooth += filter_weights[k] * voltage[i + k - half]
        if last_index == i - 1:
            if now > -10.0 and now >= before and smooth <= now and count < len(times):
                times[count] = i - 1
                count += 1
        else:
            now = -100.0
        before, now = now, smooth
        last_index = i
    return count
