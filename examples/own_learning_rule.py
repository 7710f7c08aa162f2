"""A learning rule of your own, compared with weights that do not change.

python examples/own_learning_rule.py            # a few minutes
python examples/own_learning_rule.py --smoke    # seconds, too short to tell anything
"""

import sys
from collections.abc import Mapping
from typing import Any

from probneuro.compare_rules import compare_rules
from probneuro.core.priors import Gamma, Prior
from probneuro.learning_rules import SpikePairs, Static, UnboundedRule
from probneuro.simulators.plastic_glm import simulate_plastic_glm


class Homeostatic(UnboundedRule):
    """Pairs strengthen whatever their order, and every weight leaks towards zero."""

    name = "homeostatic"
    affine = True  # the drift is a straight line in the weight

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        return {
            "amplitude": Gamma(2.0, 100.0 / weight_scale),
            "tau": Gamma(2.0, 100.0),  # seconds
            "leak": Gamma(2.0, 20.0),  # share of the weight lost a window
        }

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        sums = pairs.post_after_pre(parameters["tau"]) + pairs.pre_after_post(parameters["tau"])
        return parameters["amplitude"] * sums - parameters["leak"] * weight


def main(smoke: bool) -> None:
    truth = {"amplitude": 0.01, "tau": 0.02, "leak": 0.2, "weight_noise": 0.05}
    spikes, _ = simulate_plastic_glm(
        Homeostatic(), parameters=truth, duration=6.0 if smoke else 60.0, synapses=[(0, 1)]
    )
    sizes = {"draws": 10, "warmup": 10, "chains": 2} if smoke else {"draws": 300, "warmup": 300}
    found = compare_rules(
        spikes, rules=(Static(), Homeostatic()), held_out=2.0 if smoke else 10.0, seed=1,
        progress=not smoke, **sizes,
    )  # fmt: skip
    print(found.table)
    for name in truth:
        draws = found.results["homeostatic"].posterior[name].values
        print(f"{name}: true {truth[name]:.3g}, found {draws.mean():.3g} +- {draws.std():.2g}")


if __name__ == "__main__":
    main("--smoke" in sys.argv[1:])
