"""Scalars that act on the data only while their switch is on: what a sampler asks for."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from probneuro.core.priors import Normal


class ScalarLikelihood(ABC):
    """The log likelihood of a scalar, up to a constant; at zero it is as if switched off."""

    @abstractmethod
    def __call__(self, value: float) -> float:
        """Return the log likelihood."""

    @abstractmethod
    def slope_and_information(self, value: float) -> tuple[float, float]:
        """Return the slope, and about how much data tell of the value, not negative.

        Both steer proposals; no result depends on how good they are.
        """


@dataclass(frozen=True)
class SwitchedScalar:
    """A scalar with a normal prior and a switch.

    Parameters
    ----------
    log_prior_odds : float
        Prior log odds of the switch being on, finite.
    prior : Normal
        Prior of the scalar, on or off.
    likelihood : ScalarLikelihood
        Log likelihood with the switch on.
    """

    log_prior_odds: float
    prior: Normal
    likelihood: ScalarLikelihood


class HasSwitchedScalars(ABC):
    """The capability of conditionals whose blocks may hold a switched scalar each."""

    @abstractmethod
    def switched_scalar(self, block: int) -> SwitchedScalar | None:
        """Return a block's scalar given all else; None where it has no switch."""

    @abstractmethod
    def scalar(self, block: int) -> tuple[bool, float]:
        """Return where switch and scalar are."""

    @abstractmethod
    def set_scalar(self, block: int, on: bool, value: float) -> None:
        """Move switch and scalar."""
