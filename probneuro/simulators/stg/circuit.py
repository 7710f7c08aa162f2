"""The pyloric circuit as a simulator of parameters by name, and the behaviour of a real crab."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_coeffs

from probneuro.core.errors import SettingError, unknown_name
from probneuro.data.behaviour import Behaviour
from probneuro.simulators.stg.kernels import find_spikes, gate_tables, integrate
from probneuro.simulators.stg.rhythm import FEATURES, Rhythm, rhythm_of

Floats = NDArray[np.float64]

CELLS: Final = ("AB", "LP", "PY")
CONDUCTANCES: Final = ("Na", "CaT", "CaS", "A", "KCa", "Kd", "H", "leak")
SYNAPSES: Final = ("AB->LP", "PD->LP", "AB->PY", "PD->PY", "LP->PD", "LP->PY", "PY->LP")
PARAMETERS: Final = (*(f"{cell}_{name}" for cell in CELLS for name in CONDUCTANCES), *SYNAPSES)
"""Conductances in mS/cm2, synapses as log10 of mS."""
AREA: Final = 0.628e-3
_STEP: Final = 0.025
_MOST_SPIKES: Final = 20_000

# Conductances of Prinz, Bucher and Marder (2004), their padding as in Goncalves et al. (2020).
_LEAST: Final = np.array(
    [
        [100, 2.5, 2, 10, 5, 50, 0.01, 0],
        [100, 0, 4, 20, 0, 25, 0, 0.02],
        [100, 2.5, 0, 40, 0, 75, 0, 0],
    ]
)
_MOST: Final = np.array(
    [
        [400, 5, 6, 50, 10, 125, 0.01, 0],
        [100, 0, 10, 50, 5, 100, 0.05, 0.03],
        [500, 10, 2, 50, 0, 125, 0.05, 0.03],
    ]
)
_PADDING: Final = np.array([100, 2.5, 2, 10, 5, 25, 0.01, 0.01])


def _bounds() -> dict[str, tuple[float, float]]:
    lower = np.maximum(_LEAST - _PADDING, 0.0).ravel()
    upper = (_MOST + _PADDING).ravel()
    found = {
        name: (float(a), float(b)) for name, a, b in zip(PARAMETERS, lower, upper, strict=False)
    }
    strong = {"AB->LP": -2.0}
    return found | {name: (-8.0, strong.get(name, -3.0)) for name in SYNAPSES}


BOUNDS: Final[Mapping[str, tuple[float, float]]] = _bounds()
"""The box of Goncalves et al. (2020)."""

REFERENCE: Final[Mapping[str, float]] = dict(
    zip(
        PARAMETERS,
        (
            *(286.921725, 0.0975099899, 5.53758392, 21.7553840, 12.1938578, 123.777092),
            *(0.00964585042, 0.00516584517),
            *(167.802913, 0.994858342, 7.71058188, 19.2827439, 7.30915903, 43.3907960),
            *(0.0503816170, 0.0212142250),
            *(477.249899, 5.10924385, 0.713955321, 39.6705037, 4.89271588, 59.2566636),
            *(0.0551743568, 0.0121729756),
            *(
                value / np.log(10.0)
                for value in (
                    *(-10.8318439, -10.5837408, -13.8916890, -9.07825715, -8.90034224),
                    *(-15.7819342, -7.23973359),
                )
            ),
        ),
        strict=True,
    )
)
"""A circuit with a pyloric rhythm, the one that the package pyloric tests itself on."""

CRAB_LIKE: Final[Mapping[str, float]] = dict(
    zip(
        PARAMETERS,
        (
            *(444.9, 3.6005, 5.5106, 47.509),
            *(12.281, 79.761, 0.0019231, 0.0013025),
            *(68.822, 2.0123, 5.2436, 20.534),
            *(8.4094, 110.11, 0.026673, 0.02926),
            *(571.42, 4.8764, 3.6533, 48.062),
            *(1.663, 148.32, 0.019413, 0.031959),
            *(-4.076, -5.3492, -5.4133, -4.0302),
            *(-5.8537, -6.6618, -6.3172),
        ),
        strict=True,
    )
)
"""A circuit with about the rhythm of `CRAB`, found by random search in `BOUNDS`: where a study of
some of the parameters can leave the others."""

CRAB: Final[Mapping[str, float]] = {
    "period": 1.17085859,
    "duty_ab": 0.175970382,
    "duty_lp": 0.183034085,
    "duty_py": 0.352597820,
    "phase_lp": 0.411600328,
    "phase_py": 0.630544893,
}
"""Features of a crab's rhythm, preparation 845_082_0044 of Haddad and Marder (Goncalves 2020)."""
_SPREAD: Final = {"period": 0.15, "duty": 0.04, "phase": 0.05}


def pyloric_behaviour(parameters: tuple[str, ...] = PARAMETERS, *, scale: float = 1.0) -> Behaviour:
    """Return the rhythm of a real crab as a behaviour.

    Parameters
    ----------
    parameters : tuple of str
        Which parameters are free; the others are those of the simulator.
    scale : float
        Factor on the standard deviations, which are 0.15 s for the period, 0.04 for duty
        cycles and 0.05 for phases.

    Raises
    ------
    SettingError
        If a parameter is unknown.

    Examples
    --------
    >>> pyloric_behaviour(("AB->LP", "LP->PD")).features[:2]
    ('period', 'duty_ab')
    """
    for name in parameters:
        if name not in BOUNDS:
            raise unknown_name("parameter", name, BOUNDS)
    variances = {name: (scale * _SPREAD[name.partition("_")[0]]) ** 2 for name in CRAB}
    return Behaviour({name: BOUNDS[name] for name in parameters}, dict(CRAB), dict(variances))


@final
@dataclass(frozen=True)
class Circuit:
    """The pyloric circuit: give it parameters by name, it gives features of the rhythm.

    Parameters
    ----------
    fixed : mapping
        Values of the parameters that are not given; `REFERENCE` by default.
    duration, burn_in : float
        Seconds simulated, and seconds of these before the rhythm counts.
    seed : int
        Of the noise current, which is the same for all circuits: features are then a function
        of the parameters.
    noise : float
        Its standard deviation in each step, uA, not scaled with the step.
    patience : float
        Seconds after the burn-in in which every cell must spike; a silent circuit is given up.
        Zero never gives up.

    Raises
    ------
    SettingError
        If a time is out of its range, or a parameter unknown.

    Notes
    -----
    Prinz, Bucher and Marder (2004). Time step 0.025 ms; gates by tables over the voltage with
    linear interpolation, which move the voltage by less than the noise does.

    Examples
    --------
    >>> circuit = Circuit(duration=0.3, burn_in=0.1)
    >>> bool(np.isnan(circuit({"AB->LP": np.array([-5.0])})["phase_lp"][0]))
    True
    """

    fixed: Mapping[str, float] = field(default_factory=lambda: dict(REFERENCE))
    duration: float = 11.0
    burn_in: float = 1.0
    seed: int = 0
    noise: float = 0.001
    patience: float = 2.5

    def __post_init__(self) -> None:
        if not 0 <= self.burn_in < self.duration:
            raise SettingError(
                f"`burn_in` must be between 0 and `duration` ({self.duration} s); got "
                f"{self.burn_in}. Pass e.g. 1.0 of 11.0."
            )
        for name in self.fixed:
            if name not in BOUNDS:
                raise unknown_name("parameter", name, BOUNDS)

    def __call__(self, parameters: Mapping[str, Any]) -> dict[str, Floats]:
        """Return features by name, arrays of shape (draw,); see `Rhythm`."""
        for name in parameters:
            if name not in BOUNDS:
                raise unknown_name("parameter", name, BOUNDS)
        count = len(next(iter(parameters.values())))
        rows = np.stack(
            [
                np.broadcast_to(np.asarray(parameters.get(n, self.fixed[n]), dtype=float), count)
                for n in PARAMETERS
            ],
            axis=1,
        )
        found = [self.measure(row, current=None).values for row in rows]
        return {name: np.array([one[name] for one in found]) for name in FEATURES}

    def measure(self, row: Floats, current: Floats | None = None) -> Rhythm:
        """Simulate one circuit and measure its rhythm.

        Parameters
        ----------
        row : numpy.ndarray
            Shape (31,), in the order of `PARAMETERS`.
        current : numpy.ndarray, optional
            Noise current, shape (step, cell), uA, in place of the seed's.
        """
        spikes = self.spikes(row, current)
        return rhythm_of(spikes)

    def spikes(self, row: Floats, current: Floats | None = None) -> list[Floats]:
        """Return the spike times of every cell after the burn-in, in s."""
        voltage, steps = self.simulate(row, current)
        first = round(self.burn_in * 1e3 / _STEP)
        weights = savgol_coeffs(21, 3)
        found = []
        for cell in range(len(CELLS)):
            times = np.empty(_MOST_SPIKES, dtype=np.int64)
            trace = np.ascontiguousarray(voltage[:steps, cell])
            count = find_spikes(trace, first, weights, times) if steps == len(voltage) else 0
            found.append(np.asarray((times[:count] - first) * (_STEP * 1e-3), dtype=np.float64))
        return found

    def simulate(self, row: Floats, current: Floats | None = None) -> tuple[Floats, int]:
        """Return voltages, shape (step, cell) in mV, and the steps made before giving up."""
        steps = round(self.duration * 1e3 / _STEP)
        if current is None:
            current = _frozen(self.seed, self.noise, steps)
        conductances = np.ascontiguousarray(row[:24].reshape(3, 8) * AREA)
        synapses = 10.0 ** row[24:]
        look = np.array([self.burn_in, self.burn_in + self.patience]) * 1e3 / _STEP
        voltage = np.empty((steps, len(CELLS)))
        made = integrate(
            conductances, synapses, current, _table(), _STEP, look.astype(np.int64), voltage
        )
        return voltage, int(made)


@lru_cache(maxsize=1)
def _frozen(seed: int, noise: float, steps: int) -> Floats:
    """Return the noise current of a seed; the last one is kept, since every circuit takes it."""
    rng = np.random.default_rng(seed)
    return noise * rng.standard_normal((steps, len(CELLS)))


@cache
def _table() -> Floats:
    """Return the gates' tables, made once."""
    return gate_tables(_STEP)
