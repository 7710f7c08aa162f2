"""A simulated brain under stimulation: latents, spiking units that come and go, and drift."""

from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import SettingError
from probneuro.core.rng import generator

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SATURATION: Final = 6.0


@final
@dataclass(frozen=True, kw_only=True)
class BrainConstants:
    """Constants of the simulated brain, frozen before any method was compared.

    Parameters
    ----------
    height, width : int
        Electrodes of the grid.
    num_candidates : int
        Electrodes that may stimulate, u.
    num_units : int
        Recorded units, one an electrode.
    num_latents : int
        Dimension of the latent state.
    bin_width : float
        Seconds.
    persistence, angle : float
        Of the dynamics A: its scale, and its rotation in the first two dimensions (rad).
    state_noise : float
        Sd of the innovations.
    memory : float
        Distance of the two memory conditions from zero.
    saturation : float
        alpha: largest displacement by stimulation.
    drive_scale, state_scale : float
        Sd of B over the lattice, and of the entries of Gam.
    lattice_length : float
        Length of the smooth maps over the lattice, in electrodes.
    loading_scale : float
        Sd of units' loadings C.
    session_gain, session_drive : float
        Sd of what changes from session to session: log gain of electrodes h, and B.
    turnover : float
        Share of units replaced from session to session.
    rate_change : float
        Sd of log rates between sessions.
    kappa : float
        State dependence of responses; 0 for none.
    drift : float
        Sd of an electrode's log gain after 100 stimulation trials; 0 for none.
    suppression, suppression_length : float
        Log factor on the rate of a unit at a stimulated electrode, and the length (electrodes)
        over which it falls.
    """

    height: int = 10
    width: int = 10
    num_candidates: int = 20
    num_units: int = 90
    num_latents: int = 5
    bin_width: float = 0.05
    persistence: float = 0.8
    angle: float = 0.25
    state_noise: float = 0.42
    memory: float = 0.8
    saturation: float = 3.0
    drive_scale: float = 0.9
    state_scale: float = 0.35 * 1.5 / np.sqrt(5)
    lattice_length: float = 2.5
    loading_scale: float = 0.33
    session_gain: float = 0.3
    session_drive: float = 0.09
    turnover: float = 0.2
    rate_change: float = 0.2
    kappa: float = 2.5
    drift: float = 0.9
    suppression: float = 0.35
    suppression_length: float = 3.0

    def __post_init__(self) -> None:
        for name in ("turnover", "suppression", "kappa", "drift"):
            value = getattr(self, name)
            if not value >= 0 or (name == "turnover" and value > 1):
                raise SettingError(
                    f"`{name}` must not be negative (turnover: from 0 to 1); got {value!r}. "
                    "Pass 0 to leave it out."
                )
        sites = self.height * self.width
        if not (self.num_candidates <= sites and self.num_units <= sites):
            raise SettingError(
                f"`num_candidates` and `num_units` must fit on the grid of {sites} electrodes; got "
                f"{self.num_candidates} and {self.num_units}. Pass a larger grid."
            )


@final
@dataclass
class BrainSession:
    """One session of a simulated brain: it answers stimulation, trial by trial.

    Parameters
    ----------
    constants : BrainConstants
        Of the brain.
    number : int
        Of the session; 0 is the first.
    candidates : ndarray
        Grid index of the electrodes that may stimulate, shape (u,).
    unit_sites : ndarray
        Grid index of each unit's electrode, shape (unit,).
    unit_names : ndarray
        A unit that is replaced by another changes its number, shape (unit,).
    loading, rates : ndarray
        C, shape (unit, latent), and rates in Hz, shape (unit,).
    drive, modulation : ndarray
        B with this session's change, shape (u, latent), and Gam, shape (u, latent, latent).
    gain : ndarray
        Log gain h of each candidate, shape (u,); it drifts as trials pass.
    rng : numpy.random.Generator
        Of the session's noise.
    """

    constants: BrainConstants
    number: int
    candidates: Integers
    unit_sites: Integers
    unit_names: Integers
    loading: Floats
    rates: Floats
    drive: Floats
    modulation: Floats
    gain: Floats
    rng: np.random.Generator
    _state: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    _condition: int = 0

    def calibrate(self, num_trials: int = 120, num_bins: int = 30) -> tuple[Floats, Floats]:
        """Return trials without stimulation.

        Returns
        -------
        counts : ndarray
            Shape (trial, time, unit).
        latents : ndarray
            The true states, shape (trial, time, latent).
        """
        latents = np.empty((num_trials, num_bins, self.constants.num_latents))
        for trial in range(num_trials):
            self._begin()
            for time in range(num_bins):
                latents[trial, time] = self._state
                self._state = self._advance(self._state)
        return self._count(latents), latents

    def before(self, num_bins: int = 5) -> tuple[Floats, Floats]:
        """Begin a trial, and return counts and states before stimulation.

        Returns
        -------
        counts : ndarray
            Shape (time, unit).
        latents : ndarray
            Shape (time, latent).
        """
        self._begin()
        latents = np.empty((num_bins, self.constants.num_latents))
        for time in range(num_bins):
            self._state = self._advance(self._state)
            latents[time] = self._state
        return self._count(latents), latents

    def after(self, electrodes: ArrayLike = ()) -> tuple[Floats, Floats]:
        r"""Stimulate, and return counts and state after it.

        .. math::

            z' = c + A^2(z - c) + \alpha \tanh(G / \alpha) + e, \qquad
            G = \sum_{e} e^{h_e} [B_e + dB_e + \kappa \Gamma_e z]

        Parameters
        ----------
        electrodes : array_like of int
            Places among the candidates; none for no stimulation.

        Returns
        -------
        counts : ndarray
            Shape (unit,).
        latents : ndarray
            Shape (latent,).
        """
        chosen = np.asarray(electrodes, dtype=np.int64).reshape(-1)
        constants = self.constants
        mean = self.expected(self._state, chosen)
        after = mean + constants.state_noise * self.rng.normal(size=len(mean))
        counts = self._count(after, self._suppressed(chosen))
        step = constants.drift / 10.0
        self.gain = self.gain + step * self.rng.normal(size=len(self.gain))
        return counts, after

    def expected(self, state: Floats, electrodes: ArrayLike) -> Floats:
        """Return the mean state after stimulation, shape (latent,)."""
        chosen = np.asarray(electrodes, dtype=np.int64).reshape(-1)
        centre, dynamics = self._centre(), self._dynamics()
        rest = centre + dynamics @ dynamics @ (state - centre)
        terms = self.drive[chosen] + self.constants.kappa * (self.modulation[chosen] @ state)
        push = (np.exp(self.gain[chosen])[:, None] * terms).sum(axis=0)
        alpha = self.constants.saturation
        moved: Floats = rest + alpha * np.tanh(push / alpha)
        return moved

    def expected_all(self, state: Floats, patterns: Integers) -> Floats:
        """Return the mean state after each of many patterns, shape (pattern, latent)."""
        centre, dynamics = self._centre(), self._dynamics()
        rest = centre + dynamics @ dynamics @ (state - centre)
        terms = self.drive + self.constants.kappa * (self.modulation @ state)
        push = (np.exp(self.gain)[:, None] * terms)[patterns].sum(axis=1)
        alpha = self.constants.saturation
        moved: Floats = rest + alpha * np.tanh(push / alpha)
        return moved

    def expected_counts(self, state: Floats, patterns: Integers) -> Floats:
        """Return the counts of the mean state after each of many patterns, (pattern, unit)."""
        near = np.stack([self._suppressed(np.array([e])) for e in range(len(self.candidates))])
        return self._rate(self.expected_all(state, patterns), near[patterns].sum(axis=1))

    @property
    def state(self) -> Floats:
        """The true state now, shape (latent,)."""
        return self._state

    def _begin(self) -> None:
        self._condition = int(self.rng.integers(2))
        spread = self.constants.state_noise / np.sqrt(1 - self.constants.persistence**2)
        self._state = self._centre() + spread * self.rng.normal(size=self.constants.num_latents)

    def _centre(self) -> Floats:
        """Return where the memory condition of this trial pulls the state to."""
        centre = np.zeros(self.constants.num_latents)
        turn = (0.75 + self._condition) * np.pi
        centre[:2] = self.constants.memory * np.array([np.cos(turn), np.sin(turn)])
        return centre

    def _dynamics(self) -> Floats:
        matrix = np.eye(self.constants.num_latents)
        cos, sin = np.cos(self.constants.angle), np.sin(self.constants.angle)
        matrix[:2, :2] = [[cos, -sin], [sin, cos]]
        return self.constants.persistence * matrix

    def _advance(self, state: Floats) -> Floats:
        centre, noise = self._centre(), self.constants.state_noise
        drawn = noise * self.rng.normal(size=state.shape)
        moved: Floats = centre + self._dynamics() @ (state - centre) + drawn
        return moved

    def _count(self, latents: Floats, suppressed: Floats | float = 0.0) -> Floats:
        return self.rng.poisson(self._rate(latents, suppressed)).astype(np.float64)

    def _rate(self, latents: Floats, suppressed: Floats | float) -> Floats:
        """Return expected counts in a bin."""
        level = latents @ self.loading.T - 0.5 * (self.loading**2).sum(axis=1)
        raw = np.exp(level)
        soft = raw * (1 + 1 / _SATURATION) / (1 + raw / _SATURATION)
        mean: Floats = self.constants.bin_width * self.rates * soft * np.exp(-suppressed)
        return mean

    def _suppressed(self, chosen: Integers) -> Floats:
        """Return what stimulation takes from each unit's log rate, falling with distance."""
        width = self.constants.width
        here = np.stack(np.divmod(self.unit_sites, width), axis=1).astype(float)
        there = np.stack(np.divmod(self.candidates[chosen], width), axis=1).astype(float)
        apart = np.linalg.norm(here[:, None] - there[None], axis=-1)
        near = np.exp(-((apart / self.constants.suppression_length) ** 2))
        return self.constants.suppression * near.sum(axis=1)


@final
class SimulatedBrain:
    """A brain with several sessions: units are replaced, electrodes and rates change.

    Parameters
    ----------
    constants : BrainConstants
        Of the brain.
    seed : int
        Of the brain; sessions follow from it and from their number.

    Notes
    -----
    Source: latents, their noise (sd 0.7 at rest) and two memory conditions after Minai et al.
    (2025); the map from stimulation to displacement is ours. Suppression near stimulated
    electrodes stands for the net negative responses of real recordings.

    Examples
    --------
    >>> session = SimulatedBrain(seed=1).session(0)
    >>> counts, latents = session.before()
    >>> counts.shape, session.after([0, 3, 7])[0].shape
    ((5, 90), (90,))
    """

    def __init__(self, constants: BrainConstants | None = None, *, seed: int = 0) -> None:
        self.constants = constants or BrainConstants()
        self.seed = seed
        rng = generator(seed, "brain")
        c = self.constants
        sites = c.height * c.width
        self.candidates: Integers = np.sort(rng.choice(sites, c.num_candidates, replace=False))
        self.unit_sites: Integers = np.sort(rng.choice(sites, c.num_units, replace=False))
        root = self._lattice_root()
        self.drive = c.drive_scale * root @ rng.normal(size=(c.num_candidates, c.num_latents))
        flat = root @ rng.normal(size=(c.num_candidates, c.num_latents**2))
        shape = (c.num_candidates, c.num_latents, c.num_latents)
        self.modulation = c.state_scale * flat.reshape(shape)

    def session(self, number: int) -> BrainSession:
        """Return a session; the same number gives the same session, trial for trial."""
        c, rng = self.constants, generator(self.seed, "session", number)
        loading, rates, names = self._units(number)
        change = c.session_drive * self._lattice_root() @ rng.normal(size=self.drive.shape)
        gain = c.session_gain * rng.normal(size=c.num_candidates)
        return BrainSession(
            c, number, self.candidates, self.unit_sites, names, loading, rates,
            self.drive + change, self.modulation, gain, rng,
        )  # fmt: skip

    def _units(self, number: int) -> tuple[Floats, Floats, Integers]:
        """Return loadings, rates and names of the units of a session."""
        c, rng = self.constants, generator(self.seed, "units")
        loading = c.loading_scale * rng.normal(size=(c.num_units, c.num_latents))
        rates = rng.gamma(2.0, 4.0, c.num_units) + 1.0
        names = np.arange(c.num_units)
        for session in range(1, number + 1):
            rng = generator(self.seed, "units", session)
            new = rng.permutation(c.num_units)[: round(c.turnover * c.num_units)]
            loading[new] = c.loading_scale * rng.normal(size=(len(new), c.num_latents))
            rates[new] = rng.gamma(2.0, 4.0, len(new)) + 1.0
            names[new] = session * c.num_units + new
            rates = rates * np.exp(c.rate_change * rng.normal(size=c.num_units))
        return loading, rates, names

    def _lattice_root(self) -> Floats:
        """Return a square root of the covariance of maps over the candidates."""
        width = self.constants.width
        place = np.stack(np.divmod(self.candidates, width), axis=1).astype(float)
        apart = ((place[:, None] - place[None]) ** 2).sum(axis=-1)
        covariance = np.exp(-0.5 * apart / self.constants.lattice_length**2)
        root: Floats = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(place)))
        return root
