"""Additive STDP between hard bounds."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from numpy.typing import ArrayLike

from probneuro.core.model import Reference
from probneuro.core.priors import Prior
from probneuro.learning_rules.additive import SONG, double_exponential
from probneuro.learning_rules.pair_curve import Floats, HasPairCurve, double_exponential_curve
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import BoundedRule, stdp_priors


@final
class AdditiveBounded(BoundedRule, HasPairCurve):
    r"""Additive STDP clipped to the bounds.

    .. math::

        w_{k+1} \sim \mathrm{TN}\bigl(\mathrm{clip}(w_k + A_+ P_k - A_- M_k),
        \sigma^2;\ w_{min}, w_{max}\bigr)

    Source: Linderman et al. (2014), section 3.1.

    Examples
    --------
    >>> "weight_max" in AdditiveBounded().priors(1.0)
    True
    """

    name: ClassVar[str] = "additive_bounded"
    affine: ClassVar[bool] = True
    references: ClassVar[tuple[Reference, ...]] = (SONG,)

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors of amplitudes (in weight units) and time constants (s)."""
        return stdp_priors(weight_scale)

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return A+ P - A- M; the bounds are applied to the sum of weight and drift."""
        up, down = double_exponential(pairs, parameters)
        return up - down + 0.0 * weight

    def curve(self, lags: ArrayLike, parameters: Mapping[str, ArrayLike]) -> Floats:
        """Return the double exponential, in weight units."""
        return double_exponential_curve(lags, parameters)
