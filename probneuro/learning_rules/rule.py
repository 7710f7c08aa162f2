"""What a learning rule is, and the two families a rule of your own can belong to."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from probneuro.core.errors import SettingError
from probneuro.core.model import Reference
from probneuro.core.priors import Gamma, LogNormal, Prior
from probneuro.learning_rules.pairs import SpikePairs

WEIGHT_NOISE = "weight_noise"
WEIGHT_MAX = "weight_max"


class LearningRule(ABC):
    r"""How the weight of a synapse changes from one window to the next.

    .. math:: w_{k+1} = w_k + \ell(w_k, \text{spikes up to } k;\ \theta) + \text{noise}

    Subclass :class:`UnboundedRule` or :class:`BoundedRule`, not this class.

    Attributes
    ----------
    name : str
        How results and the command line call the rule.
    plastic : bool
        Whether weights change at all.
    affine : bool
        Promise that ``drift`` is affine in the weight; the exact filter then needs it at two
        weights only.
    coupled : bool
        Whether ``drift`` depends on the other synapses onto the same neuron, by
        :meth:`SpikePairs.incoming_sum`. It must not look at other neurons' synapses, nor at
        absent ones. Coupled rules are not affine and have no bounds.
    references : tuple of Reference
        Where the rule comes from.
    """

    name: ClassVar[str]
    plastic: ClassVar[bool] = True
    affine: ClassVar[bool] = False
    coupled: ClassVar[bool] = False
    references: ClassVar[tuple[Reference, ...]] = ()
    weight_min: float | None = None

    @abstractmethod
    def priors(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the prior of every parameter by its name.

        ``weight_scale`` is the size of a strong synapse under the link in use.
        """

    @abstractmethod
    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return the change of the weight over each window, before noise.

        Parameters
        ----------
        weight : array or tensor
            Weight in each window; its last axis is the window.
        pairs : SpikePairs
            Pair sums, shape (synapse, window).
        parameters : mapping
            The rule's parameters, each of shape (synapse, 1).

        Returns
        -------
        array or tensor
            Broadcasts to the shape of ``weight``. Use operators and methods that numpy
            arrays and torch tensors share (``+``, ``*``, ``.clip``), so that one definition
            serves the Pyro program and the compiled samplers.
        """


class UnboundedRule(LearningRule):
    """A rule whose weight may take any value, with Gaussian noise."""

    @abstractmethod
    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors of the rule's own parameters."""

    def priors(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the rule's own priors and that of the noise."""
        noise = LogNormal(0.03 * weight_scale, 0.5)
        return {**self.parameters(weight_scale), WEIGHT_NOISE: noise}


class BoundedRule(LearningRule):
    """A rule whose weight stays between ``weight_min`` and ``weight_max``.

    The noise is a Gaussian truncated to the bounds, about the clipped weight.

    Parameters
    ----------
    weight_min : float
        Lower bound, fixed, at most zero; the upper bound is inferred, and is positive.

    Raises
    ------
    SettingError
        If the lower bound is positive: the upper one could then lie below it.
    """

    def __init__(self, weight_min: float = 0.0) -> None:
        if not weight_min <= 0.0:
            raise SettingError(
                f"`weight_min` must not be positive; got {weight_min}, and the upper bound's "
                "prior reaches down to 0. Pass 0 or less."
            )
        self.weight_min: float = weight_min

    @abstractmethod
    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors of the rule's own parameters."""

    def priors(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the rule's own priors, that of the noise and that of the upper bound."""
        return {
            **self.parameters(weight_scale),
            WEIGHT_NOISE: LogNormal(0.03 * weight_scale, 0.5),
            WEIGHT_MAX: Gamma(4.0, 2.0 / weight_scale),
        }


def stdp_priors(amplitude_scale: float) -> dict[str, Prior]:
    """Return the priors of a double exponential: amplitudes and time constants.

    Time constants are Gamma(2, 100/s), mean 20 ms; Linderman et al. (2014) give gamma priors with
    that rate. The amplitudes' Gamma(2, 100 / amplitude_scale) is our choice.

    Parameters
    ----------
    amplitude_scale : float
        Unit of the amplitudes: the weight scale, or 1 where an amplitude is a fraction.

    Examples
    --------
    >>> sorted(stdp_priors(1.0))
    ['amplitude_minus', 'amplitude_plus', 'tau_minus', 'tau_plus']
    """
    return {
        "amplitude_plus": Gamma(2.0, 100.0 / amplitude_scale),
        "amplitude_minus": Gamma(2.0, 100.0 / amplitude_scale),
        "tau_plus": Gamma(2.0, 100.0),
        "tau_minus": Gamma(2.0, 100.0),
    }
