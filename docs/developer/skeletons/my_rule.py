"""Skeleton of a learning rule: copy it, rename it, put your own equation in."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from probneuro.core.model import Reference
from probneuro.core.priors import Gamma, Prior
from probneuro.learning_rules import SpikePairs, UnboundedRule


@final
class MyRule(UnboundedRule):
    r"""Every pair strengthens, whatever its order.

    .. math:: \ell_k = A \left( P_k(\tau) + M_k(\tau) \right)

    Examples
    --------
    >>> sorted(MyRule().priors(1.0))
    ['amplitude', 'tau', 'weight_noise']
    """

    name: ClassVar[str] = "my_rule"
    affine: ClassVar[bool] = True  # the drift is a straight line in the weight (here: flat)
    references: ClassVar[tuple[Reference, ...]] = ()

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors: an amplitude in units of the weight, a time constant in s."""
        return {"amplitude": Gamma(2.0, 100.0 / weight_scale), "tau": Gamma(2.0, 100.0)}

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return A (P + M); use only what numpy arrays and torch tensors share."""
        tau = parameters["tau"]
        sums = pairs.post_after_pre(tau) + pairs.pre_after_post(tau)
        return parameters["amplitude"] * sums + 0.0 * weight
