"""One synapse of a simulated STDP-GLM, at the truth, for tests of filters and samplers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probneuro.core.gibbs import ChainLaw, Conditionals, SwitchedChain
from probneuro.learning_rules import LearningRule
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.plastic_glm import simulate_plastic_glm


@dataclass(frozen=True)
class Synapse:
    """A synapse's conditional, its law's parameters, and the true weights."""

    point: Conditionals
    chain: SwitchedChain
    parameters: Mapping[str, float]
    weight: NDArray[np.float64]

    def law(self, **changes: float) -> ChainLaw:
        return self.point.law(self.chain.index, {**self.parameters, **changes})


def synapse_of(rule: LearningRule, duration: float = 20.0, seed: int = 1) -> Synapse:
    data, truth = simulate_plastic_glm(rule, duration=duration, seed=seed)
    target = STDPGLM(rule=rule).gibbs(data)
    values = target.start(np.random.default_rng(seed))
    names = ("bias", "self_weight", "edge", "weight", *target.parameter_priors())
    values |= {name: truth[name].copy() for name in names}
    values["log_gamma"] = np.log(truth["impulse"])
    values["self_log_gamma"] = np.log(truth["self_impulse"])
    point = target.at(values)
    parameters = {name: float(truth[name][0]) for name in target.parameter_priors()}
    return Synapse(point, point.chain(0), parameters, truth["weight"][0])
