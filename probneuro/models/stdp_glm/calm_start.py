"""Where a chain starts: not at rule parameters that make weights run away."""

from typing import TYPE_CHECKING

import numpy as np

from probneuro.core.engine import Arrays

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.conditionals import STDPGLMTarget

# Weight scales that trajectories may go from zero at the start, how many draws of the prior are
# tried for that, and how many synapses of a group are looked at.
_FARTHEST, _TRIES, _LOOKS = 30.0, 20, 20


def calm_parameters(target: "STDPGLMTarget", values: Arrays, rng: np.random.Generator) -> None:
    """Redraw rule parameters under which weights would run far away; keep the calmest.

    Rates there are too large to compute. Nothing but the start depends on it, and parameters
    that are calm as they are stay as they are.
    """
    for group in range(len(target.groups)):
        own = {name: float(values[name][group]) for name in target.priors}
        calmest, least = own, weight_reach(target, group, own)
        for _ in range(_TRIES):
            if least <= _FARTHEST * target.model.link.weight_scale:
                break
            own = {name: float(prior.sample(rng, 1)[0]) for name, prior in target.priors.items()}
            reach = weight_reach(target, group, own)
            if reach < least:
                calmest, least = own, reach
        for name, value in calmest.items():
            values[name][group] = value


def weight_reach(target: "STDPGLMTarget", group: int, parameters: dict[str, float]) -> float:
    """Return how far from zero the weights of a group go without noise; zero within bounds.

    Zero for coupled rules too: no trajectory has a law of its own there.
    """
    if target.coupled or target.model.rule.weight_min is not None:
        return 0.0
    farthest = 0.0
    for law in target.laws(target.groups[group][:_LOOKS], parameters).values():
        state = np.zeros(1)
        for k in range(law.num_windows - 1):
            state = law.mean(state, k)
            farthest = max(farthest, abs(float(state[0])))
    return farthest
