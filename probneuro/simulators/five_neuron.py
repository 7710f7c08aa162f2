"""The five-neuron circuit of Gutierrez, O'Leary and Marder: when the hub keeps whose time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError
from probneuro.core.tilting import Tilt, tilt
from probneuro.data.behaviour import Behaviour

Floats = NDArray[np.float64]

BOUNDS: Final[Mapping[str, tuple[float, float]]] = {"g_el": (4.0, 8.0), "g_synA": (0.1, 4.0)}
"""Electrical coupling and synapse A in nS."""

_SAMPLE: Final = 0.025
_SKIPPED: Final = 20
_SMOOTHED: Final = 20
_SHARPNESS: Final = 500.0
_FREQUENCIES: Final = np.arange(101) / 100.0
_CALCIUM: Final = np.array([19.0, 19.0, 17.0, 8.5, 8.5])
_POTASSIUM: Final = np.array([39.0, 39.0, 19.0, 15.0, 15.0])
_H: Final = np.array([25.0, 25.0, 8.0, 10.0, 10.0])
_START: Final = np.array(
    [
        [-41.69771, -43.19491, 8.83992, -68.79824, 30.48103],
        [0.00151316, 0.19784773, 0.56514935, 0.12214069, 0.35290397],
        [0.08614699, 0.04938177, 0.05568701, 0.07007949, 0.05790969],
    ]
)
"""Voltages in mV, activations and inactivations that the published code starts from."""


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _hub(
    electric: float, synapse: float, step: float, every: int, out: Floats, start: Floats
) -> None:
    """Write the hub's voltage in mV, every so many steps of Euler's method (ms)."""
    v, n, h = start[0].copy(), start[1].copy(), start[2].copy()
    current, gate = np.empty(5), np.empty(5)
    out[0] = v[2]
    for i in range(1, (len(out) - 1) * every + 1):
        for c in range(5):
            gate[c] = 1.0 / (1.0 + np.exp((-25.0 - v[c]) / 5.0))
        for c in range(5):
            m = 0.5 * (1.0 + np.tanh(v[c] / 20.0))
            current[c] = (
                0.1 * (v[c] + 40.0)
                + _CALCIUM[c] * m * (v[c] - 100.0)
                + _POTASSIUM[c] * n[c] * (v[c] + 80.0)
                + _H[c] * h[c] * (v[c] + 20.0)
            )
        current[1] += electric * (v[1] - v[2])
        current[2] += electric * (2.0 * v[2] - v[1] - v[4])
        current[4] += electric * (v[4] - v[2])
        current[0] += 5.0 * gate[1] * (v[0] + 75.0)
        current[1] += 5.0 * gate[0] * (v[1] + 75.0)
        current[2] += synapse * (gate[0] + gate[3]) * (v[2] + 75.0)
        current[3] += 5.0 * gate[4] * (v[3] + 75.0)
        current[4] += 5.0 * gate[3] * (v[4] + 75.0)
        for c in range(5):
            target = 0.5 * (1.0 + np.tanh(v[c] / 15.0))
            n[c] += step * 0.002 * np.cosh(v[c] / 30.0) * (target - n[c])
            slow = 272.0 + 1499.0 / (1.0 + np.exp((-v[c] - 42.2) / 87.3))
            h[c] += step * (1.0 / (1.0 + np.exp((v[c] + 78.3) / 10.5)) - h[c]) / slow
            v[c] -= step * 1e-3 * current[c]
        if i % every == 0:
            out[i // every] = v[2]


@final
@dataclass(frozen=True)
class FiveNeurons:
    """The five-neuron circuit: give it ``g_el`` and ``g_synA`` in nS, it gives the hub's frequency.

    Parameters
    ----------
    step : float
        Time step of Euler's method in s. The published study's 0.025 s is too long: the
        frequency is then off by as much as the behaviours differ.
    duration : float
        Seconds simulated.

    Raises
    ------
    SettingError
        If the step does not divide the sampling interval of 0.025 s.

    Notes
    -----
    Gutierrez, O'Leary and Marder (2013), as simplified by Bittner et al. (2021): C = 1 nF, two
    fast, one hub and two slow cells. The frequency is the peak of the spectrum of the hub's
    rectified, smoothed voltage between 0 and 1 Hz, by their soft maximum.

    Examples
    --------
    >>> circuit = FiveNeurons(step=0.005)
    >>> found = circuit({"g_el": np.array([6.0]), "g_synA": np.array([2.0])})
    >>> bool(0.3 < found["hub_frequency"][0] < 0.8)
    True
    """

    step: float = 0.0005
    duration: float = 7.5

    def __post_init__(self) -> None:
        every = _SAMPLE / self.step if self.step > 0 else 0.0
        if abs(every - round(every)) > 1e-9 or every < 1:
            raise SettingError(
                f"`step` must divide {_SAMPLE} s, at which the hub is sampled; got {self.step}. "
                "Pass e.g. 0.0005."
            )

    def __call__(self, parameters: Mapping[str, Any]) -> dict[str, Floats]:
        """Return ``hub_frequency`` in Hz, shape (draw,); NaN where the hub never depolarises."""
        voltages = self.hub(np.asarray(parameters["g_el"]), np.asarray(parameters["g_synA"]))
        return {"hub_frequency": _frequency(voltages)}

    def hub(self, electric: Floats, synapse: Floats) -> Floats:
        """Return the hub's voltage in mV, every 0.025 s, shape (draw, time)."""
        every = round(_SAMPLE / self.step)
        samples = round(self.duration / _SAMPLE) + 1
        out = np.empty((len(electric), samples))
        for row, one, other in zip(out, electric, synapse, strict=True):
            _hub(float(one), float(other), self.step * 1e3, every, row, _START)
        return out


def _frequency(voltages: Floats) -> Floats:
    """Return the frequency of each row, by the soft maximum of its spectrum."""
    high = np.maximum(voltages[:, _SKIPPED:], 0.0) * 1e-3
    total = np.cumsum(np.pad(high, ((0, 0), (1, 0))), axis=1)
    smooth = (total[:, _SMOOTHED:] - total[:, :-_SMOOTHED]) / _SMOOTHED
    smooth = smooth - smooth.mean(axis=1, keepdims=True)
    times = np.arange(smooth.shape[1]) * _SAMPLE
    spectrum = np.abs(smooth @ np.exp(-2j * np.pi * times[:, None] * _FREQUENCIES))
    weights = np.exp(_SHARPNESS * (spectrum - spectrum.max(axis=1, keepdims=True)))
    found = weights @ _FREQUENCIES / weights.sum(axis=1)
    return np.where(high.max(axis=1) > 0, found, np.nan)


def hub_behaviour(frequency: float = 0.55, sd: float = 0.025) -> Behaviour:
    """Return a hub frequency as a behaviour.

    Parameters
    ----------
    frequency, sd : float
        Mean and standard deviation in Hz.

    Examples
    --------
    >>> hub_behaviour().log_volume.__round__(3)
    2.747
    """
    return Behaviour(BOUNDS, means={"hub_frequency": frequency}, variances={"hub_frequency": sd**2})


def grid_entropy(behaviour: Behaviour, circuit: FiveNeurons, points: int = 60) -> Tilt:
    """Return the exact largest entropy of the circuit, on a grid of midpoints.

    Parameters
    ----------
    behaviour : Behaviour
        Of `hub_behaviour`.
    circuit : FiveNeurons
        The simulator.
    points : int
        Points along each parameter.
    """
    middle = (np.arange(points) + 0.5) / points
    axes = behaviour.lower + (behaviour.upper - behaviour.lower) * middle[:, None]
    one, other = (axis.ravel() for axis in np.meshgrid(axes[:, 0], axes[:, 1], indexing="ij"))
    found = circuit(dict(zip(behaviour.parameters, (one, other), strict=True)))
    features = np.stack([found[name] for name in behaviour.features], axis=1)
    base = np.full(one.size, behaviour.log_volume - np.log(one.size))
    return tilt(base, behaviour.statistics(features), behaviour.targets)
