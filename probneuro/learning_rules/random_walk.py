"""Plasticity without a rule: weights drift at random."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from probneuro.core.model import Reference
from probneuro.core.priors import Prior
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import UnboundedRule

STEVENSON = Reference(
    "Stevenson IH, Koerding KP",
    2011,
    "Inferring spike-timing-dependent plasticity from spike train data",
    "Advances in Neural Information Processing Systems 24",
)


@final
class RandomWalk(UnboundedRule):
    r"""A Gaussian random walk: weights change, but spikes do not tell how.

    .. math:: \ell_k = 0, \qquad w_{k+1} \sim \mathcal N(w_k, \sigma^2)

    The null for "do these weights follow their spikes?", as the static rule is for "do they
    change?". The noise :math:`\sigma` (``weight_noise``, per window) is its only parameter, with
    the prior of every unbounded rule: log-normal with median 0.03 weight scales.

    Source: Stevenson and Koerding (2011), who track couplings by adaptive filtering.

    Examples
    --------
    >>> sorted(RandomWalk().priors(1.0))
    ['weight_noise']
    """

    name: ClassVar[str] = "random_walk"
    affine: ClassVar[bool] = True
    references: ClassVar[tuple[Reference, ...]] = (STEVENSON,)

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return no priors; the noise brings its own."""
        return {}

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return zero change."""
        return 0.0 * weight
