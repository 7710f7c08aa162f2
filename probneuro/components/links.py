"""Links from activation to rate, and the scales that come with each."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from probneuro.core.errors import SettingError, unknown_name

# How compiled kernels tell the links apart.
SOFTPLUS_CODE = 0
EXPONENTIAL_CODE = 1


class Link(ABC):
    """A nonlinearity from activation psi to rate in Hz.

    ``code`` and ``sharpness`` tell a compiled kernel which link it computes;
    ``weight_scale`` is the size of a strong synapse in the link's units, and
    ``bias_location``, ``bias_scale`` a weak prior for the bias.
    """

    code: int
    weight_scale: float
    bias_location: float
    bias_scale: float

    @property
    @abstractmethod
    def name(self) -> str:
        """The link's name, with its constants."""

    @property
    @abstractmethod
    def sharpness(self) -> float:
        """The constant that the kernel takes besides ``code``."""

    @abstractmethod
    def rate(self, activation: Tensor) -> Tensor:
        """Return the rate in Hz for an activation of any shape."""

    @abstractmethod
    def activation(self, rate: float) -> float:
        """Return the activation that gives a rate in Hz."""


@dataclass(frozen=True)
class Softplus(Link):
    r"""Softplus link, nearly a rectifier: :math:`g(\psi) = \beta \log(1 + e^{\psi/\beta})`.

    Parameters
    ----------
    beta : float
        Sharpness in Hz; the activation is in Hz too, and a synaptic weight is then (about)
        the number of extra postsynaptic spikes per presynaptic spike.

    Raises
    ------
    SettingError
        If ``beta`` is not positive.

    Examples
    --------
    >>> round(float(Softplus(1.0).rate(torch.tensor(20.0))), 3)
    20.0
    """

    beta: float = 1.0
    code = SOFTPLUS_CODE
    weight_scale = 1.0
    bias_location = 10.0
    bias_scale = 15.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise SettingError(f"`beta` of the softplus must be positive; got {self.beta} Hz.")

    @property
    def name(self) -> str:
        """The link's name with its sharpness."""
        return f"softplus({self.beta:g} Hz)"

    @property
    def sharpness(self) -> float:
        """The sharpness beta in Hz."""
        return self.beta

    def rate(self, activation: Tensor) -> Tensor:
        """Return beta log(1 + exp(psi / beta)) in Hz."""
        return self.beta * functional.softplus(activation / self.beta, threshold=700.0)

    def activation(self, rate: float) -> float:
        """Return the activation in Hz whose softplus is ``rate``."""
        ratio = torch.tensor(max(rate, 1e-12) / self.beta, dtype=torch.float64)
        return float(self.beta * (ratio + torch.log(-torch.expm1(-ratio))))


@dataclass(frozen=True)
class Exponential(Link):
    r"""Exponential link: :math:`g(\psi) = e^{\psi}` Hz, with psi in log-Hz.

    A weight w multiplies the rate by :math:`e^{w h(d)}` a lag d after a spike, where h is in
    1/s; strong synapses have weights near 0.03.

    Examples
    --------
    >>> round(float(Exponential().rate(torch.tensor(0.0))), 3)
    1.0
    """

    code = EXPONENTIAL_CODE
    weight_scale = 0.03
    bias_location = 2.0
    bias_scale = 1.5

    @property
    def name(self) -> str:
        """The link's name."""
        return "exp"

    @property
    def sharpness(self) -> float:
        """Unused by this link; one."""
        return 1.0

    def rate(self, activation: Tensor) -> Tensor:
        """Return exp(psi) in Hz."""
        return activation.exp()

    def activation(self, rate: float) -> float:
        """Return the logarithm of the rate."""
        return float(torch.log(torch.tensor(max(rate, 1e-12), dtype=torch.float64)))


def link_from_name(name: str) -> Link:
    """Return the link that a command line names: ``softplus``, ``softplus(10)`` or ``exp``.

    Examples
    --------
    >>> link_from_name("softplus(10)")
    Softplus(beta=10.0)
    """
    head, _, tail = name.replace(" ", "").removesuffix(")").partition("(")
    if head == "exp":
        return Exponential()
    if head == "softplus":
        try:
            return Softplus(float(tail.removesuffix("Hz")) if tail else 1.0)
        except ValueError:
            raise SettingError(
                f"`link` '{name}' has no number in its brackets. Write e.g. softplus(10)."
            ) from None
    raise unknown_name("link", name, ["softplus", "softplus(10)", "exp"])
