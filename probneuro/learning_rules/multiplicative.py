"""Multiplicative STDP: steps shrink as the weight nears a bound."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from numpy.typing import ArrayLike

from probneuro.core.model import Reference
from probneuro.core.priors import Prior
from probneuro.learning_rules.additive import double_exponential
from probneuro.learning_rules.pair_curve import Floats, HasPairCurve, double_exponential_curve
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import WEIGHT_MAX, BoundedRule, stdp_priors

MORRISON = Reference(
    "Morrison A, Diesmann M, Gerstner W",
    2008,
    "Phenomenological models of synaptic plasticity based on spike timing",
    "Biological Cybernetics 98, 459-478",
    "doi:10.1007/s00422-008-0233-1",
)


@final
class Multiplicative(BoundedRule, HasPairCurve):
    r"""Multiplicative STDP.

    .. math::

        \ell_k = \min(A_+ P_k, 1)(w_{max} - w_k) - \min(A_- M_k, 1)(w_k - w_{min})

    with noise truncated to the bounds. Amplitudes are fractions of the distance to a bound.

    Source: Morrison et al. (2008); Linderman et al. (2014), Eq. 4.

    Examples
    --------
    >>> Multiplicative().weight_min
    0.0
    """

    name: ClassVar[str] = "multiplicative"
    affine: ClassVar[bool] = True
    references: ClassVar[tuple[Reference, ...]] = (MORRISON,)

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors of amplitudes (fractions) and time constants (s)."""
        return stdp_priors(1.0)

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return the change towards the upper bound less the change towards the lower."""
        up, down = double_exponential(pairs, parameters)
        rise = up.clip(max=1.0) * (parameters[WEIGHT_MAX] - weight)
        return rise - down.clip(max=1.0) * (weight - self.weight_min)

    def curve(self, lags: ArrayLike, parameters: Mapping[str, ArrayLike]) -> Floats:
        """Return the fraction of the distance to a bound that a pair closes, signed."""
        return double_exponential_curve(lags, parameters).clip(-1.0, 1.0)
