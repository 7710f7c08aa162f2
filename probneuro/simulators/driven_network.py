"""A network of neurons with plastic synapses, each driven by hidden cells: what is simulated."""

from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.errors import SettingError
from probneuro.core.rng import generator
from probneuro.data import SpikeTrains

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@final
@dataclass(frozen=True, kw_only=True)
class LIFNetwork:
    r"""Constants of a network of integrate-and-fire neurons, each driven by hidden cells.

    Between events the potential above rest decays, :math:`\tau_m \dot V = -V`. An event adds its
    weight to V at once; V above threshold is a spike, after which the neuron takes no input for
    the refractory time and goes on from rest. Every synapse learns from all pairs of spikes:

    .. math::

        \Delta w = A_+ \sum_{t' < t} e^{-(t - t') / \tau_+} \text{ at a postsynaptic spike},
        \qquad
        \Delta w = -A_- \sum_{t' < t} e^{-(t - t') / \tau_-} \text{ at a presynaptic spike},

    with t' the times at which the other neuron fired, and w kept between 0 and its maximum.
    Times are those of spikes, not of arrivals; spikes at the same time are no pair.

    Parameters
    ----------
    num_neurons, num_synapses : int
        Visible neurons, and how many of their ordered pairs are joined.
    threshold : float
        Above rest (mV).
    membrane_tau, refractory, delay : float
        Seconds. Keep the refractory time off multiples of the delay: otherwise spikes that come
        back round a loop arrive at the very end of it, where the order of events decides.
    initial_weight, initial_spread, weight_max : float
        Mean and standard deviation of the weights at the start, and the upper bound (mV).
    amplitude_plus, amplitude_minus : float
        Change of weight of a pair of coincident spikes (mV).
    tau_plus, tau_minus : float
        Seconds.
    num_excitatory, num_inhibitory : int
        Hidden cells of each neuron.
    driver_probability : float
        Probability that a hidden cell is connected to its neuron.
    driver_weight, driver_spread : float
        Mean and standard deviation of the hidden cells' weights, negative for inhibition (mV).
    driver_rate : float
        Rate of each hidden cell, a Poisson process (Hz).

    Raises
    ------
    SettingError
        If a constant makes no sense.

    References
    ----------
    Linderman, Stock, Adams (2014), section 5.2; ``paper.toml`` of the model `stdp_glm` says
    which constants are the paper's and which are ours.

    Examples
    --------
    >>> wired = LIFNetwork(num_neurons=3, num_synapses=2).draw(duration=1.0, seed=0)
    >>> wired.pre.size
    2
    """

    num_neurons: int = 10
    num_synapses: int = 28
    threshold: float = 12.0
    membrane_tau: float = 15e-3
    refractory: float = 2.5e-3
    delay: float = 1e-3
    initial_weight: float = 6.0
    initial_spread: float = 0.25
    weight_max: float = 10.5
    amplitude_plus: float = 0.05
    amplitude_minus: float = 0.09
    tau_plus: float = 20e-3
    tau_minus: float = 20e-3
    num_excitatory: int = 13
    num_inhibitory: int = 5
    driver_probability: float = 0.8
    driver_weight: float = 3.0
    driver_spread: float = 0.3
    driver_rate: float = 12.0

    def __post_init__(self) -> None:
        most = self.num_neurons * (self.num_neurons - 1)
        if not 0 <= self.num_synapses <= most:
            raise SettingError(
                f"`num_synapses` must lie between 0 and {most}, the ordered pairs of "
                f"{self.num_neurons} neurons; got {self.num_synapses}. Choose fewer synapses, or "
                "more neurons."
            )
        for name in ("threshold", "membrane_tau", "refractory", "delay", "tau_plus", "tau_minus"):
            if not getattr(self, name) > 0:
                raise SettingError(
                    f"`{name}` must be positive; got {getattr(self, name)!r}. Pass seconds, or mV "
                    "above rest for the threshold."
                )
        if not 0 < self.initial_weight <= self.weight_max:
            raise SettingError(
                f"`initial_weight` must lie between 0 and `weight_max`, {self.weight_max} mV; got "
                f"{self.initial_weight!r}. Choose a weaker synapse, or a higher bound."
            )

    def draw(self, duration: float, seed: int) -> "WiredNetwork":
        """Draw the synapses, and when the hidden cells fire.

        Parameters
        ----------
        duration : float
            Seconds.
        seed : int
            Seed; the same one gives the same network.

        Returns
        -------
        WiredNetwork
        """
        rng = generator(seed, "lif_network", "synapses")
        pairs = np.argwhere(~np.eye(self.num_neurons, dtype=bool))
        joined = np.sort(rng.choice(len(pairs), self.num_synapses, replace=False))
        weight = rng.normal(self.initial_weight, self.initial_spread, self.num_synapses)
        drives = [
            self._drive(duration, generator(seed, "lif_network", "drivers", n))
            for n in range(self.num_neurons)
        ]
        times = np.concatenate([times for times, _ in drives])
        order = np.argsort(times, kind="stable")
        targets = np.repeat(np.arange(self.num_neurons), [times.size for times, _ in drives])
        return WiredNetwork(
            constants=self,
            duration=duration,
            pre=pairs[joined, 0],
            post=pairs[joined, 1],
            initial_weight=np.clip(weight, 0.0, self.weight_max),
            driver_time=times[order],
            driver_target=targets[order],
            driver_weight=np.concatenate([weights for _, weights in drives])[order],
        )

    def _drive(self, duration: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return times and weights of the events that the hidden cells send to one neuron."""
        sign = np.repeat([1.0, -1.0], [self.num_excitatory, self.num_inhibitory])
        weight = sign * rng.normal(self.driver_weight, self.driver_spread, sign.size)
        weight = weight[rng.random(sign.size) < self.driver_probability]
        number = rng.poisson(self.driver_rate * duration, weight.size)
        return rng.uniform(0.0, duration, number.sum()), np.repeat(weight, number)


@final
@dataclass(frozen=True, kw_only=True)
class WiredNetwork:
    """One network: what is joined to what, and everything that reaches it from outside.

    Parameters
    ----------
    constants : LIFNetwork
        The constants.
    duration : float
        Seconds.
    pre, post : ndarray
        Neurons on both sides of each synapse, shape (synapse,).
    initial_weight : ndarray
        Weights at the start, shape (synapse,), in mV.
    driver_time, driver_target, driver_weight : ndarray
        Events from hidden cells: when (s, sorted), to which neuron, by how much (mV).
    """

    constants: LIFNetwork
    duration: float
    pre: Integers
    post: Integers
    initial_weight: Floats
    driver_time: Floats = field(repr=False)
    driver_target: Integers = field(repr=False)
    driver_weight: Floats = field(repr=False)

    def recording(self, neuron: Integers, time: Floats, source: str) -> SpikeTrains:
        """Return spikes, given in order of time, as a recording.

        Parameters
        ----------
        neuron, time : ndarray
            Who fired, and when (s), shape (spike,).
        source : str
            Where they came from.

        Returns
        -------
        SpikeTrains
            Units "0", "1", ...
        """
        trains = {str(n): time[neuron == n] for n in range(self.constants.num_neurons)}
        return SpikeTrains(trains, start=0.0, stop=self.duration, source=source, unit_check=False)

    def truth(self, weight: Floats) -> Arrays:
        """Return what a fit is held against: edges, weights and the rule's parameters.

        Parameters
        ----------
        weight : ndarray
            Weights at the start of each window, shape (synapse, window), in mV.

        Returns
        -------
        dict of str to ndarray
            ``edge`` (pair,) and ``weight`` (pair, window) over all ordered pairs of neurons, in
            the order of the model's synapses, zero where there is no synapse; and the
            parameters of the rule, shape (1,), amplitudes in mV.
        """
        constants = self.constants
        pairs = np.argwhere(~np.eye(constants.num_neurons, dtype=bool))
        place = {(int(a), int(b)): i for i, (a, b) in enumerate(pairs)}
        rows = [place[int(a), int(b)] for a, b in zip(self.pre, self.post, strict=True)]
        edge = np.zeros(len(pairs), dtype=np.int8)
        edge[rows] = 1
        full = np.zeros((len(pairs), weight.shape[1]))
        full[rows] = weight
        parameters = {
            name: np.array([getattr(constants, name)])
            for name in (
                "amplitude_plus", "amplitude_minus", "tau_plus", "tau_minus", "weight_max",
            )
        }  # fmt: skip
        return {"edge": edge, "weight": full, **parameters, "weight_noise": np.zeros(1)}


def window_starts(duration: float, window: float) -> Floats:
    """Return the starts of the windows in which weights are told, shape (window,), in s.

    Raises
    ------
    SettingError
        If the recording does not hold a whole window.

    Examples
    --------
    >>> window_starts(2.5, 1.0)
    array([0., 1.])
    """
    if not 0 < window <= duration:
        raise SettingError(
            f"`window` must be positive and no longer than `duration`, {duration!r} s; got "
            f"{window!r} s. Choose shorter windows, or a longer recording."
        )
    return np.arange(int(duration / window + 1e-9), dtype=np.float64) * window
