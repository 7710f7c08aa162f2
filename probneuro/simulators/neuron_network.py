"""The driven network in the simulator NEURON: built-in cells, no compiled mechanisms."""

from math import exp
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.errors import SettingError
from probneuro.data import SpikeTrains
from probneuro.simulators.driven_network import LIFNetwork, WiredNetwork, window_starts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MS: Final = 1e3
"""Milliseconds, NEURON's unit of time, in a second."""


def simulate_neuron_network(
    constants: LIFNetwork | None = None,
    *,
    duration: float = 70.0,
    seed: int = 0,
    window: float = 1.0,
) -> tuple[SpikeTrains, Arrays]:
    """Simulate the driven network in NEURON, with its artificial cells `IntFire1`.

    Plasticity runs in Python whenever a neuron fires, so that no compiler is needed. NEURON
    keeps one simulation a process: call this where no other NEURON model is being run.
    `probneuro.simulators.lif_network.simulate_lif_network` gives the same spikes without
    NEURON, and much faster.

    Parameters
    ----------
    constants : LIFNetwork, optional
        The constants; by default those of the experiment in the paper, section 5.2.
    duration : float
        Seconds.
    seed : int
        Seed; the same one gives the same spikes.
    window : float
        Seconds between weights that are told.

    Returns
    -------
    tuple
        The spikes, and the truth: ``edge`` (pair,), ``weight`` (pair, window) in mV at the start
        of each window, and the rule's parameters, over all ordered pairs of neurons.

    Raises
    ------
    SettingError
        If NEURON is not installed, or `window` is not positive or longer than `duration`.

    References
    ----------
    Linderman, Stock, Adams (2014), section 5.2; NEURON: Carnevale and Hines (2006).

    Examples
    --------
    >>> spikes, truth = simulate_neuron_network(duration=2.0)  # doctest: +SKIP
    >>> spikes.num_units, int(truth["edge"].sum())  # doctest: +SKIP
    (10, 28)
    """
    wired = (constants or LIFNetwork()).draw(duration, seed)
    neuron, time, weight = run_in_neuron(wired, window_starts(duration, window))
    source = f"NEURON, a network of {wired.constants.num_neurons} neurons, seed {seed}"
    return wired.recording(neuron, time, source), wired.truth(weight)


def run_in_neuron(wired: WiredNetwork, starts: Floats) -> tuple[Integers, Floats, Floats]:
    """Run one network in NEURON.

    Parameters
    ----------
    wired : WiredNetwork
        The network.
    starts : ndarray
        Times at which weights are told, shape (window,), sorted, in s.

    Returns
    -------
    neuron, time : ndarray
        Who fired, and when (s), in order of time, shape (spike,).
    weight : ndarray
        Shape (synapse, window), in mV.

    Raises
    ------
    SettingError
        If NEURON is not installed.
    """
    try:
        from neuron import h
    except ImportError:
        raise SettingError(
            "`run_in_neuron` needs the simulator NEURON, which is not installed. Run "
            "pip install 'probneuro[sim]', or call `simulate_lif_network`, which gives the same "
            "spikes without it."
        ) from None
    network = _Network(h, wired)
    events = h.CVode()
    stepped = not events.active()
    events.active(True)  # from event to event; otherwise time goes in steps
    try:
        h.finitialize()
        weight = np.empty((wired.pre.size, starts.size))
        for k, start in enumerate(starts):
            events.solve(start * _MS)
            weight[:, k] = network.weights()
        events.solve(wired.duration * _MS)
    finally:
        events.active(not stepped)
        network.close()
    neuron = np.array([n for n, _ in network.spikes], dtype=np.int64)
    return neuron, np.array([t for _, t in network.spikes]) / _MS, weight


@final
class _Network:
    """The cells and connections, alive in NEURON until they are closed."""

    def __init__(self, h: Any, wired: WiredNetwork) -> None:
        c = wired.constants
        self.spikes: list[tuple[int, float]] = []
        self._h, self._wired = h, wired
        self._cells = [h.IntFire1() for _ in range(c.num_neurons)]
        for cell in self._cells:
            cell.tau, cell.refrac = c.membrane_tau * _MS, c.refractory * _MS
        self._watch = [h.NetCon(cell, None) for cell in self._cells]
        for n, watch in enumerate(self._watch):
            watch.record((self._fired, n))
        self._synapses = [
            self._connection(self._cells[a], b, w, c.delay)
            for a, b, w in zip(wired.pre, wired.post, wired.initial_weight, strict=True)
        ]
        self._traces = [(_Trace(c.tau_plus * _MS), _Trace(c.tau_minus * _MS)) for _ in self._cells]
        self._handler: Any = h.FInitializeHandler(1, self._start)
        # One connection for each weight a neuron is driven by: its hidden cells, told apart.
        cells: dict[tuple[int, float], list[float]] = {}
        for event in zip(wired.driver_target, wired.driver_weight, wired.driver_time, strict=True):
            cells.setdefault(event[:2], []).append(float(event[2]) * _MS)
        self._drivers = [
            (self._connection(None, n, weight, 0.0), times) for (n, weight), times in cells.items()
        ]

    def _connection(self, source: Any, target: int, weight: float, delay: float) -> Any:
        connection = self._h.NetCon(source, self._cells[target])
        connection.weight[0] = float(weight) / self._wired.constants.threshold
        connection.delay = delay * _MS
        return connection

    def _start(self) -> None:
        """Queue what the hidden cells send; NEURON empties its queue when a run begins."""
        for driver, times in self._drivers:
            for time in times:
                driver.event(time)

    def close(self) -> None:
        """Take everything out of NEURON, which would run it again with the next network."""
        self._handler = None
        for things in (self._watch, self._drivers, self._synapses, self._cells):
            things.clear()

    def weights(self) -> Floats:
        """Return the weights as they are now, shape (synapse,), in mV."""
        fractions = np.array([synapse.weight[0] for synapse in self._synapses])
        return fractions * self._wired.constants.threshold

    def _fired(self, n: int) -> None:
        """Note a spike of neuron n, and let its synapses learn."""
        c, wired, t = self._wired.constants, self._wired, float(self._h.t)
        self.spikes.append((n, t))
        highest = c.weight_max / c.threshold
        for synapse, a, b in zip(self._synapses, wired.pre, wired.post, strict=True):
            if a == n:
                down = c.amplitude_minus * self._traces[b][1].before(t) / c.threshold
                synapse.weight[0] = max(synapse.weight[0] - down, 0.0)
            elif b == n:
                up = c.amplitude_plus * self._traces[a][0].before(t) / c.threshold
                synapse.weight[0] = min(synapse.weight[0] + up, highest)
        for trace in self._traces[n]:
            trace.add(t)


@final
class _Trace:
    """The sum of exp(-(t - t') / tau) over the spikes t' of a neuron before t."""

    def __init__(self, tau: float) -> None:
        self._tau, self._level, self._last = tau, 0.0, 0.0
        self._new = 0.0

    def before(self, t: float) -> float:
        """Return the sum at t, a spike at t left out."""
        if t > self._last:
            gone = exp(-(t - self._last) / self._tau)
            self._level, self._new, self._last = (self._level + self._new) * gone, 0.0, t
        return self._level

    def add(self, t: float) -> None:
        """Add a spike at t."""
        self.before(t)
        self._new += 1.0
