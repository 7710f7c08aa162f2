"""Stimulation trials with a known conditional mean: an OU process, paired pulses, and LFP."""

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from probneuro.core.errors import SettingError
from probneuro.core.rng import generator
from probneuro.data import StimTrials

Floats = NDArray[np.float64]

RATE: Final = 1000.0
"""Hz, as the paper's recordings."""

RUNWAY: Final = 20
HORIZON: Final = 164
"""Samples; Bryan et al. (2025), section 3.2."""

FIRST_PULSE: Final = 0.040
"""Seconds from the start of a trial; 20 ms of loop latency after the runway."""


@final
@dataclass(frozen=True, kw_only=True)
class SimulatedTrials:
    """Trials, and what the best possible forecast of each is.

    Parameters
    ----------
    trials : StimTrials
        What a recording would hold.
    expected : ndarray
        Mean of the response given everything that decides it up to the runway's end, shape
        (trial, channel, horizon).
    unstimulated : ndarray or None
        The same had no pulse come, where pulses do anything.
    """

    trials: StimTrials
    expected: Floats
    unstimulated: Floats | None = None

    def split(self, train: int) -> "tuple[SimulatedTrials, SimulatedTrials]":
        """Return the first trials and the others."""
        parts = []
        for part in (slice(0, train), slice(train, None)):
            rest = None if self.unstimulated is None else self.unstimulated[part]
            parts.append(
                SimulatedTrials(
                    trials=self.trials.take(part), expected=self.expected[part], unstimulated=rest
                )
            )
        return parts[0], parts[1]


def simulate_ou(
    num_trials: int,
    num_channels: int = 3,
    *,
    rate: float = 0.05,
    noise: float = 0.2,
    wavelength: float = 80.0,
    seed: int = 0,
) -> SimulatedTrials:
    r"""Simulate independent Ornstein-Uhlenbeck channels about a moving mean.

    .. math::

        \mathrm dx_c = \kappa (m_c(t) - x_c)\,\mathrm dt + \sigma\,\mathrm dW, \qquad
        m_c(t) = \sin(2\pi t / \lambda + 127 c)

    Parameters
    ----------
    num_trials, num_channels : int
        How many.
    rate, noise : float
        κ in 1/ms and σ, per square root of a ms.
    wavelength : float
        λ in ms.
    seed : int
        Seed.

    Returns
    -------
    SimulatedTrials
        Of 20 + 164 ms at 1 kHz. The conditional mean is exact: transitions are exact, and the
        process has no memory but its last value.

    Raises
    ------
    SettingError
        If a number is not positive.

    Notes
    -----
    The constants are those of the demonstration of the paper's own code, so that its figures and
    ours stand side by side.

    Examples
    --------
    >>> made = simulate_ou(50, 2, seed=1)
    >>> made.trials
    StimTrials: 50 trials, 2 channels, runway 20 ms, response 164 ms at 1000 Hz, 1 pulse pattern
    """
    _check_positive(num_trials=num_trials, num_channels=num_channels, rate=rate, noise=noise)
    rng = generator(seed, "ou")
    length = RUNWAY + HORIZON
    phase = 127.0 * np.arange(num_channels)[:, None]
    mean = np.sin(2 * np.pi * np.arange(length) / wavelength + phase)
    decay = np.exp(-rate)
    step = noise * np.sqrt((1 - decay**2) / (2 * rate))
    values = np.empty((num_trials, num_channels, length))
    values[:, :, 0] = mean[:, 0] + rng.normal(size=(num_trials, num_channels))
    for t in range(1, length):
        pull = mean[:, t - 1] + decay * (values[:, :, t - 1] - mean[:, t - 1])
        values[:, :, t] = pull + step * rng.normal(size=(num_trials, num_channels))
    expected = np.empty((num_trials, num_channels, HORIZON))
    now = values[:, :, RUNWAY - 1]
    for t in range(HORIZON):
        before = mean[:, RUNWAY + t - 1]
        now = before + decay * (now - before)
        expected[:, :, t] = now
    return SimulatedTrials(trials=_trials(values, [np.nan], f"OU, seed {seed}"), expected=expected)


def simulate_paired_pulses(
    num_trials: int,
    num_channels: int = 8,
    *,
    interval: float | tuple[float, ...] = 0.030,
    state_dependence: float = 1.0,
    nonlinearity: float = 1.0,
    num_resting: int = 0,
    seed: int = 0,
) -> SimulatedTrials:
    r"""Simulate rhythms whose response to paired pulses depends on their state.

    Each channel mixes latent AR(2) rhythms and follows, after pulse k at :math:`t_k`,

    .. math::

        y_{c,t} = b_{c,t} + \sum_k \Big(1 + s \tanh(\nu z_c)/\nu \Big)\, d^k\,
                  h_c(t - t_k)

    with b the rhythm without stimulation, h a double trough, d the paired-pulse depression, and
    z the channel's state at the end of the runway in standard deviations.

    Parameters
    ----------
    num_trials, num_channels : int
        How many.
    interval : float or tuple of float
        Seconds between both pulses; of several, each trial draws one.
    state_dependence : float
        s: 0 makes the response the same from every state.
    nonlinearity : float
        ν: towards 0, the response is linear in the state.
    num_resting : int
        Trials without pulses, for tests of state dependence.
    seed : int
        Seed.

    Returns
    -------
    SimulatedTrials
        Signals in µV. The conditional mean given the latent rhythms at the runway's end is exact;
        a forecast from the runway alone cannot be better.

    Raises
    ------
    SettingError
        If a number is out of range.

    Examples
    --------
    >>> made = simulate_paired_pulses(40, 3, num_resting=5, seed=2)
    >>> len(made.trials.resting), made.trials.patterns.round(3).tolist()
    (5, [[0.04, 0.07]])
    """
    _check_positive(num_trials=num_trials, num_channels=num_channels, nonlinearity=nonlinearity)
    gaps = np.atleast_1d(np.asarray(interval, dtype=np.float64))
    if not ((gaps > 0) & (gaps < 0.14)).all():
        raise SettingError(
            f"`interval` must be between 0 and 0.14 s, so that both pulses fall into the response; "
            f"got {interval!r}. The paper takes 0.010, 0.030 and 0.100."
        )
    rng = generator(seed, "paired_pulses")
    made = _Rhythms(num_channels, generator(seed, "paired_pulses", "network"))
    resting = made.draw(num_resting, rng)[0] if num_resting else None
    values, expected, state = made.draw(num_trials, rng)
    chosen = gaps[rng.integers(len(gaps), size=num_trials)]
    pulses = FIRST_PULSE + np.stack([np.zeros(num_trials), chosen], axis=1)
    change = np.tanh(nonlinearity * state) / nonlinearity
    gain = 1 + state_dependence * change
    evoked = _evoked(pulses, made.shape, gain)
    values[:, :, RUNWAY:] += evoked
    trials = _trials(values, pulses, f"paired pulses, seed {seed}", resting)
    return SimulatedTrials(trials=trials, expected=expected + evoked, unstimulated=expected)


def simulate_lfp(num_trials: int, num_channels: int = 80, *, seed: int = 0) -> StimTrials:
    """Simulate LFP-like trials: shared 1/f signals, local noise, and an evoked response.

    Parameters
    ----------
    num_trials, num_channels : int
        How many.
    seed : int
        Seed.

    Returns
    -------
    StimTrials
        In float32 µV, as a recording would be. The best forecast is not known.

    Examples
    --------
    >>> simulate_lfp(12, 4, seed=3).values.dtype
    dtype('float32')
    """
    _check_positive(num_trials=num_trials, num_channels=num_channels)
    rng = generator(seed, "lfp")
    length, settle = RUNWAY + HORIZON, 400
    # Leaky integrators of many time constants add up to a 1/f spectrum.
    constants = np.geomspace(0.004, 0.3, 6)
    sources = 12
    mixing = rng.normal(size=(num_channels, sources)) / np.sqrt(sources)
    values = np.empty((num_trials, num_channels, length), dtype=np.float32)
    shape = _Rhythms(num_channels, generator(seed, "lfp", "network")).shape
    evoked = 1.5 * np.sin(np.arange(HORIZON) / 25.0) * np.exp(-np.arange(HORIZON) / 60.0)
    for first in range(0, num_trials, 250):
        count = min(250, num_trials - first)
        shared = _pink(rng, (count, sources, length + settle), constants)[..., settle:]
        local = _pink(rng, (count, num_channels, length + settle), constants)[..., settle:]
        block = 40 * np.einsum("cs,nst->nct", mixing, shared) + 20 * local
        block[:, :, RUNWAY:] += shape[:, None] * evoked
        values[first : first + count] = block
    return _trials(values, [FIRST_PULSE, FIRST_PULSE + 0.03], f"simulated LFP, seed {seed}")


@final
class _Rhythms:
    """Latent damped rhythms, mixed into channels, with their exact forecast."""

    def __init__(self, num_channels: int, rng: np.random.Generator) -> None:
        frequencies = np.array([4.0, 8.0, 14.0, 22.0])  # Hz: theta to beta
        damping = np.array([0.15, 0.10, 0.06, 0.05])  # s
        angle = 2 * np.pi * frequencies / RATE
        self._turn = np.exp(1j * angle - 1 / (damping * RATE))
        self._kick = np.sqrt(1 - np.abs(self._turn) ** 2)
        power = np.array([1.0, 0.7, 0.5, 0.35])
        self._mixing = 30.0 * rng.normal(size=(num_channels, 4)) * power
        self._phase = np.exp(1j * rng.uniform(0, 2 * np.pi, size=(num_channels, 4)))
        place = np.arange(num_channels) / max(1, num_channels - 1)
        self.shape: Floats = 60.0 * (0.4 + np.exp(-((place - 0.3) ** 2) / 0.1))
        self._local = 4.0

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """Return trials, their exact forecast, and the state at the runway's end in sd."""
        length = RUNWAY + HORIZON
        latent = np.empty((count, 4, length), dtype=np.complex128)
        shape = (count, 4)
        latent[:, :, 0] = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        for t in range(1, length):
            noise = rng.normal(size=shape) + 1j * rng.normal(size=shape)
            latent[:, :, t] = self._turn * latent[:, :, t - 1] + self._kick * noise
        weights = self._mixing * self._phase
        clean = np.einsum("cl,nlt->nct", weights, latent).real
        values = clean + self._local * rng.normal(size=clean.shape)
        steps = self._turn[:, None] ** np.arange(1, HORIZON + 1)
        ahead = latent[:, :, RUNWAY - 1, None] * steps
        expected = np.einsum("cl,nlt->nct", weights, ahead).real
        spread = np.sqrt((np.abs(weights) ** 2).sum(1))
        return values, expected, clean[:, :, RUNWAY - 1] / spread


def _evoked(pulses: Floats, shape: Floats, gain: Floats) -> Floats:
    """Return the response to the pulses, shape (trial, channel, horizon), in µV."""
    times = (RUNWAY + np.arange(HORIZON)) / RATE
    total = np.zeros((len(pulses), shape.size, HORIZON))
    for order in range(pulses.shape[1]):
        since = times - pulses[:, order, None]
        # A fast trough and a slow rebound, in seconds; the second pulse meets 70 % of the response.
        form = -np.exp(-since / 0.008) * np.sin(2 * np.pi * since / 0.040)
        form += 0.35 * np.exp(-since / 0.030) * np.sin(2 * np.pi * since / 0.120)
        form = np.where(since >= 0, form, 0.0) * 0.7**order
        total += (gain * shape)[:, :, None] * form[:, None, :]
    return total


def _pink(rng: np.random.Generator, shape: tuple[int, ...], constants: Floats) -> Floats:
    """Return a sum of leaky integrators of unit variance each, over the last axis."""
    total = np.zeros(shape)
    for constant in constants:
        keep = float(np.exp(-1 / (constant * RATE)))
        total += lfilter([np.sqrt(1 - keep**2)], [1.0, -keep], rng.normal(size=shape), axis=-1)
    return total / np.sqrt(len(constants))


def _trials(values: Any, pulses: Any, source: str, resting: Any = None) -> StimTrials:
    return StimTrials(
        values, sampling_rate=RATE, runway=RUNWAY, pulses=pulses, resting=resting, source=source
    )


def _check_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise SettingError(f"`{name}` must be positive; got {value!r}. Pass e.g. {name}=1.")
