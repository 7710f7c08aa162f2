"""A driven network of integrate-and-fire neurons with STDP, exact from event to event."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.data import SpikeTrains
from probneuro.simulators.driven_network import LIFNetwork, WiredNetwork, window_starts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def simulate_lif_network(
    constants: LIFNetwork | None = None,
    *,
    duration: float = 70.0,
    seed: int = 0,
    window: float = 1.0,
) -> tuple[SpikeTrains, Arrays]:
    """Simulate ten neurons near 10 Hz, joined by 28 excitatory synapses under additive STDP.

    Exact from event to event, without NEURON; given the same seed
    `probneuro.simulators.neuron_network.simulate_neuron_network` gives the same spikes.

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
        If `window` is not positive, or longer than `duration`.

    References
    ----------
    Linderman, Stock, Adams (2014), section 5.2.

    Examples
    --------
    >>> spikes, truth = simulate_lif_network(duration=2.0)
    >>> spikes.num_units, int(truth["edge"].sum()), truth["weight"].shape
    (10, 28, (90, 2))
    """
    wired = (constants or LIFNetwork()).draw(duration, seed)
    starts = window_starts(duration, window)
    neuron, time, weight = run_lif(wired, starts)
    source = f"a simulated network of {wired.constants.num_neurons} neurons, seed {seed}"
    return wired.recording(neuron, time, source), wired.truth(weight)


def run_lif(wired: WiredNetwork, starts: Floats) -> tuple[Integers, Floats, Floats]:
    """Run one network, event by event.

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
    """
    c = wired.constants
    # A neuron fires at most once a refractory time.
    most = c.num_neurons * (int(wired.duration / c.refractory) + 2)
    neuron, time = np.zeros(most, dtype=np.int64), np.zeros(most)
    weight = np.zeros((wired.pre.size, starts.size))
    order = np.lexsort((wired.post, wired.pre))
    first = np.searchsorted(wired.pre[order], np.arange(c.num_neurons + 1))
    number = _run(
        wired.duration, c.threshold, c.membrane_tau, c.refractory, c.delay,
        np.array([c.amplitude_plus, c.amplitude_minus]), np.array([c.tau_plus, c.tau_minus]),
        c.weight_max, wired.pre, wired.post, order, first, wired.initial_weight.copy(),
        wired.driver_time, wired.driver_target, wired.driver_weight, starts, neuron, time, weight,
    )  # fmt: skip
    return neuron[:number], time[:number], weight


@nb.njit(cache=True, nogil=True)
def _run(
    duration: float, threshold: float, membrane_tau: float, refractory: float, delay: float,
    amplitude: Floats, tau: Floats, weight_max: float, pre: Integers, post: Integers,
    order: Integers, first: Integers, w: Floats, driver_time: Floats, driver_target: Integers,
    driver_weight: Floats, starts: Floats, neuron: Integers, time: Floats, weight: Floats,
) -> int:  # fmt: skip
    """Fill in spikes and weights, and return the number of spikes."""
    neurons = first.size - 1
    v, since, ready = np.zeros(neurons), np.zeros(neurons), np.zeros(neurons)
    trace, last = np.zeros((neurons, 2)), np.full(neurons, -np.inf)
    spikes = sent = driver = window = 0
    while True:
        # One delay for all: spikes arrive in the order in which they were fired.
        arrival = time[sent] + delay if sent < spikes else np.inf
        drive = driver_time[driver] if driver < driver_time.size else np.inf
        t = min(arrival, drive)
        while window < starts.size and starts[window] <= t:
            weight[:, window] = w
            window += 1
        if t >= duration:
            return spikes
        if drive <= arrival:
            begin, end = 0, 1
        else:
            begin, end = first[neuron[sent]], first[neuron[sent] + 1]
        for i in range(begin, end):
            n = driver_target[driver] if drive <= arrival else post[order[i]]
            if t < ready[n]:
                continue
            jump = driver_weight[driver] if drive <= arrival else w[order[i]]
            v[n] = v[n] * np.exp(-(t - since[n]) / membrane_tau) + jump
            since[n] = t
            if v[n] > threshold:
                neuron[spikes], time[spikes] = n, t
                spikes += 1
                v[n], since[n], ready[n] = 0.0, t + refractory, t + refractory
                _learn(n, t, amplitude, tau, weight_max, pre, post, trace, last, w)
        if drive <= arrival:
            driver += 1
        else:
            sent += 1


@nb.njit(cache=True, nogil=True)
def _learn(
    n: int, t: float, amplitude: Floats, tau: Floats, weight_max: float, pre: Integers,
    post: Integers, trace: Floats, last: Floats, w: Floats,
) -> None:  # fmt: skip
    """Change the weights at a spike of neuron n.

    ``trace[m]`` sums over spikes of m before its last one, as seen at its last one.
    """
    for s in range(w.size):
        if pre[s] == n:
            down = _seen(post[s], 1, t, tau, trace, last)
            w[s] = max(w[s] - amplitude[1] * down, 0.0)
        elif post[s] == n:
            up = _seen(pre[s], 0, t, tau, trace, last)
            w[s] = min(w[s] + amplitude[0] * up, weight_max)
    for side in range(2):
        trace[n, side] = _seen(n, side, t, tau, trace, last)
    last[n] = t


@nb.njit(cache=True, nogil=True)
def _seen(m: int, side: int, t: float, tau: Floats, trace: Floats, last: Floats) -> float:
    """Return sum of exp(-(t - t') / tau) over the spikes t' < t of neuron m."""
    if last[m] == t:
        return trace[m, side]
    if last[m] == -np.inf:
        return 0.0
    return (trace[m, side] + 1.0) * np.exp(-(t - last[m]) / tau[side])
