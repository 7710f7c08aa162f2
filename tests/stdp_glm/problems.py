"""Small recordings and models that the tests of the STDP-GLM share."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from probneuro.components.links import Exponential, Link, Softplus
from probneuro.core.priors import Gamma, LogNormal, Prior
from probneuro.data import BinnedSpikes
from probneuro.learning_rules import RULES as ALL
from probneuro.learning_rules import LearningRule, SpikePairs
from probneuro.learning_rules.rule import WEIGHT_NOISE, stdp_priors

RULES: tuple[LearningRule, ...] = tuple(rule() for rule in ALL.values())
LINKS: tuple[Link, ...] = (Softplus(1.0), Softplus(10.0), Exponential())


def recording(
    seed: int,
    *,
    neurons: int = 3,
    windows: int = 4,
    size: int = 100,
    stimulus: bool = False,
    gap: bool = False,
    mean: float = 0.05,
) -> BinnedSpikes:
    """Return random counts, several in a bin at times."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean, (windows * size, neurons))
    counts[7] = 3
    observed = np.ones(windows * size, dtype=bool)
    if gap:
        observed[size // 2 : size + size // 3] = False
        counts[~observed] = 0
    drive = rng.normal(size=(windows * size, 2)) if stimulus else None
    return BinnedSpikes(counts, bins_per_window=size, observed=observed, stimulus=drive)


@final
class Lively(LearningRule):
    """A rule whose priors move weights visibly within a few short windows."""

    def __init__(self, inner: LearningRule, amplitude: float = 5.0, noise: float = 0.25) -> None:
        self.inner, self.amplitude, self.noise = inner, amplitude, noise
        self.name = inner.name  # type: ignore[misc]
        self.plastic, self.affine = inner.plastic, inner.affine  # type: ignore[misc]
        self.coupled = inner.coupled  # type: ignore[misc]
        self.weight_min = inner.weight_min

    def priors(self, weight_scale: float) -> Mapping[str, Prior]:
        priors = dict(self.inner.priors(weight_scale))
        if self.coupled:
            priors["learning_rate"] = Gamma(2.0, 2e3 / self.amplitude)
        else:
            priors.update(stdp_priors(self.amplitude * weight_scale))
        priors[WEIGHT_NOISE] = LogNormal(self.noise * weight_scale, 0.3)
        return priors

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        return self.inner.drift(weight, pairs, parameters)
