"""The last thing before any output: a pure function that lets safe stimulation through, or none."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

import numpy as np

from probneuro.core.errors import SettingError

_MOST_LOOKED_AT: Final = 4096


@final
@dataclass(frozen=True, kw_only=True)
class SafetyLimits:
    r"""What stimulation may do, and what a pulse is.

    Parameters
    ----------
    allowed : collection of int
        Electrodes that may stimulate.
    most_electrodes : int
        At a time.
    amplitude : float
        Microamperes an electrode.
    phase : float
        Seconds of one phase of a biphasic pulse.
    frequency, duration : float
        Hz, and seconds of a train.
    electrode_area : float
        Square centimetres.
    most_charge : float
        Nanocoulombs a phase on one electrode.
    most_total_charge : float
        Nanocoulombs a phase on all electrodes.
    shannon : float
        k of Shannon's limit :math:`\log_{10}(Q D) \le k`, with Q in microcoulombs a phase and D in
        microcoulombs per square centimetre a phase.
    least_interval : float
        Seconds from one train to the next.
    most_dose : float
        Nanocoulombs over the session: charge a phase times pulses times electrodes.

    Raises
    ------
    SettingError
        If a number is not positive and finite, its own pulse breaks a limit, trains overlap, or
        electrodes are not whole numbers.

    Notes
    -----
    Source: pulse after Minai et al. (2025), table S1 (25 microamperes, 250 microseconds, 50 Hz,
    40 ms); Shannon (1992), IEEE Trans. Biomed. Eng. 39, with the k of 1.75 that is usual. Area
    and doses are defaults to be set for one's own array, and no advice.
    """

    allowed: Collection[int]
    most_electrodes: int = 5
    amplitude: float = 25.0
    phase: float = 250e-6
    frequency: float = 50.0
    duration: float = 0.04
    electrode_area: float = 2e-5
    most_charge: float = 10.0
    most_total_charge: float = 50.0
    shannon: float = 1.75
    least_interval: float = 0.5
    most_dose: float = 1e5
    _whitelist: frozenset[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in (
            "amplitude", "phase", "frequency", "duration", "electrode_area", "most_charge",
            "most_total_charge", "least_interval", "most_dose",
        ):  # fmt: skip
            value = getattr(self, name)
            if not (_is_finite(value) and value > 0):
                raise SettingError(f"`{name}` must be positive and finite; got {value!r}.")
        if not (_is_whole(self.most_electrodes) and self.most_electrodes >= 1):
            raise SettingError(
                f"`most_electrodes` must be a whole number, 1 or more; got "
                f"{self.most_electrodes!r}. Pass 5."
            )
        if not _is_finite(self.shannon):
            raise SettingError(
                f"`shannon` must be a finite number; got {self.shannon!r}. 1.75 is usual."
            )
        object.__setattr__(self, "_whitelist", _whitelist(self.allowed))
        self._check_pulse()

    def _check_pulse(self) -> None:
        """Raise if the pulse itself breaks a limit; comparisons with NaN must raise."""
        if not self.charge <= self.most_charge:
            raise SettingError(
                f"`amplitude` and `phase` give {self.charge:g} nC a phase, more than `most_charge` "
                f"of {self.most_charge:g}. Lower one of them."
            )
        if not self.shannon_number <= self.shannon:
            raise SettingError(
                f"`amplitude`, `phase` and `electrode_area` give a Shannon number of "
                f"{self.shannon_number:.2f}, more than {self.shannon:g}. Lower the charge."
            )
        if not self.duration <= self.least_interval:
            raise SettingError(
                f"`duration` of {self.duration:g} s is longer than `least_interval` of "
                f"{self.least_interval:g} s, so that trains would overlap. Shorten the train, or "
                "raise the interval."
            )

    @property
    def charge(self) -> float:
        """Nanocoulombs a phase on one electrode."""
        return self.amplitude * self.phase * 1e3

    @property
    def shannon_number(self) -> float:
        """Logarithm of charge times charge density."""
        micro = self.charge * 1e-3
        return float(np.log10(micro * micro / self.electrode_area))

    @property
    def pulses(self) -> int:
        """Pulses in a train."""
        # A train has a pulse at its start, however short it is: a dose of nothing is never right.
        return max(1, int(np.ceil(self.frequency * self.duration - 1e-9)))


@final
@dataclass(frozen=True)
class SafetyState:
    """What has been delivered so far.

    Parameters
    ----------
    last : float
        Time of the last train (s); minus infinity before the first.
    dose : float
        Nanocoulombs so far.
    """

    last: float = -np.inf
    dose: float = 0.0


@final
@dataclass(frozen=True)
class SafeOutput:
    """What goes to the stimulator.

    Parameters
    ----------
    electrodes : tuple of int
        Empty for no stimulation.
    reason : str
        Why a proposal was refused; empty where it was not.
    state : SafetyState
        To be handed to the next call.
    """

    electrodes: tuple[int, ...]
    reason: str
    state: SafetyState


def make_safe(
    proposal: Any,
    *,
    now: float,
    limits: SafetyLimits,
    state: SafetyState,
    late: bool = False,
) -> SafeOutput:
    """Let a proposal through whole, or not at all.

    Nothing is repaired: a proposal that breaks any rule means no stimulation, never a guess.

    Parameters
    ----------
    proposal : any
        What a policy wants: whole numbers, in a sequence or an array. Anything else is refused.
    now : float
        Time (s) on the clock of `state`. A proposal is refused where this is no number.
    limits : SafetyLimits
        The rules.
    state : SafetyState
        What has been delivered.
    late : bool
        Whether the deadline was overrun.

    Returns
    -------
    SafeOutput

    Examples
    --------
    >>> limits = SafetyLimits(allowed=range(20))
    >>> make_safe([1, 2, 3], now=0.0, limits=limits, state=SafetyState()).electrodes
    (1, 2, 3)
    >>> make_safe([1, 1, float("nan")], now=0.0, limits=limits, state=SafetyState()).reason
    'electrodes must be whole numbers'
    """
    electrodes, reason = whole_numbers(proposal)
    if not reason and late:
        reason = "the deadline was overrun"
    if not reason and electrodes:
        reason = _broken_rule(electrodes, now, limits, state)
    if reason or not electrodes:
        return SafeOutput((), reason, state)
    dose = limits.charge * limits.pulses * len(electrodes)
    return SafeOutput(electrodes, "", replace(state, last=float(now), dose=state.dose + dose))


def _broken_rule(
    electrodes: tuple[int, ...], now: float, limits: SafetyLimits, state: SafetyState
) -> str:
    """Return the first rule that electrodes break, empty if none."""
    if len(set(electrodes)) < len(electrodes):
        return "an electrode is named twice"
    if len(electrodes) > limits.most_electrodes:
        return f"more than {limits.most_electrodes} electrodes"
    if not limits._whitelist.issuperset(electrodes):
        return "an electrode is not allowed"
    if limits.charge * len(electrodes) > limits.most_total_charge:
        return "the total charge is too large"
    if not _is_finite(now):
        return "the time is no finite number"
    # Comparisons that are false for what is not a number must refuse.
    if not now - state.last >= limits.least_interval:
        return "too soon after the last train"
    if not state.dose + limits.charge * limits.pulses * len(electrodes) <= limits.most_dose:
        return "the session's dose is used up"
    return ""


def whole_numbers(proposal: Any) -> tuple[tuple[int, ...], str]:
    """Return a proposal as plain integers, and what was wrong with it."""
    wrong = (), "electrodes must be whole numbers"
    if isinstance(proposal, np.ndarray):
        if proposal.ndim != 1 or proposal.dtype.kind not in "iu":
            return wrong
        if proposal.size > _MOST_LOOKED_AT:
            return (), "too many electrodes"
        return tuple(int(e) for e in proposal), ""
    if not isinstance(proposal, list | tuple):
        return wrong
    if len(proposal) > _MOST_LOOKED_AT:
        return (), "too many electrodes"
    if not all(_is_whole(entry) for entry in proposal):
        return wrong
    return tuple(int(e) for e in proposal), ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_)


def _is_finite(value: Any) -> bool:
    """Whether a value is a real number that a float can hold."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        return False
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:
        return False


def _whitelist(allowed: Any) -> frozenset[int]:
    """Return electrodes that may stimulate.

    Raises
    ------
    SettingError
        If they are not whole numbers from 0 on.
    """
    entries: list[Any] = list(allowed) if isinstance(allowed, Iterable) else [None]
    wrong = [entry for entry in entries if not (_is_whole(entry) and entry >= 0)]
    if wrong:
        raise SettingError(
            f"`allowed` must be electrodes, whole numbers from 0 on; got {allowed!r}. Pass their "
            "numbers as integers, such as range(20)."
        )
    return frozenset(int(entry) for entry in entries)
