"""No plasticity: the null every rule is compared with."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from probneuro.core.priors import Prior
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import LearningRule


@final
class Static(LearningRule):
    """A weight that never changes: no drift, no noise, no parameters.

    Examples
    --------
    >>> dict(Static().priors(1.0))
    {}
    """

    name: ClassVar[str] = "static"
    plastic: ClassVar[bool] = False
    affine: ClassVar[bool] = True

    def priors(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return no priors."""
        return {}

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return zero change."""
        return 0.0 * weight
