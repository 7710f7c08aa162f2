"""Additive STDP: every spike pair moves the weight by the same amount."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from numpy.typing import ArrayLike

from probneuro.core.model import Reference
from probneuro.core.priors import Prior
from probneuro.learning_rules.pair_curve import Floats, HasPairCurve, double_exponential_curve
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import UnboundedRule, stdp_priors

SONG = Reference(
    "Song S, Miller KD, Abbott LF",
    2000,
    "Competitive Hebbian learning through spike-timing-dependent synaptic plasticity",
    "Nature Neuroscience 3, 919-926",
    "doi:10.1038/78829",
)


def double_exponential(pairs: SpikePairs, parameters: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return potentiation A+ P and depression A- M, each of shape (synapse, window)."""
    up = parameters["amplitude_plus"] * pairs.post_after_pre(parameters["tau_plus"])
    down = parameters["amplitude_minus"] * pairs.pre_after_post(parameters["tau_minus"])
    return up, down


@final
class Additive(UnboundedRule, HasPairCurve):
    r"""Additive STDP without bounds.

    .. math:: \ell_k = A_+ P_k(\tau_+) - A_- M_k(\tau_-)

    Source: Song et al. (2000); Linderman et al. (2014), Eq. 3.

    Examples
    --------
    >>> sorted(Additive().priors(1.0))
    ['amplitude_minus', 'amplitude_plus', 'tau_minus', 'tau_plus', 'weight_noise']
    """

    name: ClassVar[str] = "additive"
    affine: ClassVar[bool] = True
    references: ClassVar[tuple[Reference, ...]] = (SONG,)

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors of amplitudes (in weight units) and time constants (s)."""
        return stdp_priors(weight_scale)

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return A+ P - A- M, the same for every weight."""
        up, down = double_exponential(pairs, parameters)
        return up - down + 0.0 * weight

    def curve(self, lags: ArrayLike, parameters: Mapping[str, ArrayLike]) -> Floats:
        """Return the double exponential, in weight units."""
        return double_exponential_curve(lags, parameters)
