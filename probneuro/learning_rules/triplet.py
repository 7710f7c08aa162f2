"""Triplet STDP: pairs count more after other spikes of their own side."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from numpy.typing import ArrayLike

from probneuro.core.model import Reference
from probneuro.core.priors import Gamma, Prior
from probneuro.learning_rules.additive import double_exponential
from probneuro.learning_rules.pair_curve import Floats, HasPairCurve, double_exponential_curve
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import UnboundedRule, stdp_priors

PFISTER = Reference(
    "Pfister JP, Gerstner W",
    2006,
    "Triplets of spikes in a model of spike timing-dependent plasticity",
    "Journal of Neuroscience 26, 9673-9682",
    "doi:10.1523/JNEUROSCI.1425-06.2006",
)


@final
class Triplet(UnboundedRule, HasPairCurve):
    r"""Additive STDP by pairs and triplets of spikes, all with all, without bounds.

    .. math::

        \ell_k = \sum_{t \in k} s_{post}[t]\, r_1(t) \bigl(A_+ + A_+^{(3)} o_2(t)\bigr)
        - \sum_{t \in k} s_{pre}[t]\, o_1(t) \bigl(A_- + A_-^{(3)} r_2(t)\bigr)

    with the presynaptic traces :math:`r_1, r_2` and the postsynaptic ones :math:`o_1, o_2`,
    each the sum of :math:`e^{-(t - t')/\tau}` over its neuron's spikes in earlier bins, with time
    constants :math:`\tau_+`, :math:`\tau_x` (``tau_triplet_minus``), :math:`\tau_-` and
    :math:`\tau_y` (``tau_triplet_plus``). Without the triplet amplitudes it is the additive rule.

    All eight parameters are free. The pairs' priors are those of the additive rule; the
    triplets' amplitudes are Gamma(2, 400 / weight scale), mean 0.005 weight scales, since
    :math:`o_2` is about two at 20 Hz, and their time constants Gamma(2, 20/s), mean 100 ms: our
    choices; Pfister and Gerstner (2006) fit about 100 ms to visual cortex.

    A result's curve is that of an isolated pair.

    Source: Pfister and Gerstner (2006), Eq. 3 and 4. Traces are read just before the spike, as
    there; spikes of both neurons in one bin do not see each other.

    Examples
    --------
    >>> len(Triplet().parameters(1.0))
    8
    """

    name: ClassVar[str] = "triplet"
    affine: ClassVar[bool] = True
    references: ClassVar[tuple[Reference, ...]] = (PFISTER,)

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors of amplitudes (in weight units) and time constants (s)."""
        return {
            **stdp_priors(weight_scale),
            "amplitude_triplet_plus": Gamma(2.0, 400.0 / weight_scale),
            "amplitude_triplet_minus": Gamma(2.0, 400.0 / weight_scale),
            "tau_triplet_plus": Gamma(2.0, 20.0),
            "tau_triplet_minus": Gamma(2.0, 20.0),
        }

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return the change by pairs and triplets, the same for every weight."""
        up, down = double_exponential(pairs, parameters)
        more = pairs.post_after_both(parameters["tau_plus"], parameters["tau_triplet_plus"])
        less = pairs.pre_after_both(parameters["tau_minus"], parameters["tau_triplet_minus"])
        up = up + parameters["amplitude_triplet_plus"] * more
        down = down + parameters["amplitude_triplet_minus"] * less
        return up - down + 0.0 * weight

    def curve(self, lags: ArrayLike, parameters: Mapping[str, ArrayLike]) -> Floats:
        """Return the change by a pair with no other spikes around it."""
        return double_exponential_curve(lags, parameters)
