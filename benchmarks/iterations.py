"""Iterations a second, and effective draws of A+ an iteration, of the collapsed sampler.

Two neurons, one plastic pair, 50 s at 1 kHz, all variables sampled, one chain and thread:

    OMP_NUM_THREADS=1 python benchmarks/iterations.py [--draws 400] [--warmup 300] [--seed 1]
"""

import argparse
import time

import arviz_stats
import numpy as np

from probneuro.inference.gibbs import CollapsedGibbs, CollapsedKernel
from probneuro.learning_rules import RULES
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.plastic_glm import simulate_plastic_glm


def run(rule_name: str, draws: int, warmup: int, seed: int) -> tuple[float, float]:
    """Return iterations a second and the effective share of the draws of A+."""
    rule = RULES[rule_name]()
    spikes, _ = simulate_plastic_glm(rule, duration=50.0, synapses=[(0, 1)], seed=seed)
    kernel = CollapsedKernel(STDPGLM(rule=rule).gibbs(spikes), CollapsedGibbs(warmup=warmup))
    rng = np.random.default_rng(seed)
    state = kernel.init(rng)
    for _ in range(warmup):
        state, _ = kernel.step(state, rng, warmup=True)
    found = np.empty(draws)
    start = time.perf_counter()
    for i in range(draws):
        state, _ = kernel.step(state, rng, warmup=False)
        found[i] = kernel.draw(state).get("amplitude_plus", np.array([np.nan]))[0]
    seconds = time.perf_counter() - start
    share = np.nan if np.isnan(found).any() else float(arviz_stats.ess(found[None, :])) / draws
    return draws / seconds, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("draws", 400), ("warmup", 300), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    settings = vars(parser.parse_args())
    print(f"{'rule':<18}{'iterations/s':>14}{'ESS of A+/iteration':>22}{'ESS of A+/s':>14}")
    for name in RULES:
        speed, share = run(name, settings["draws"], settings["warmup"], settings["seed"])
        print(f"{name:<18}{speed:>14.1f}{share:>22.2f}{speed * share:>14.1f}", flush=True)


if __name__ == "__main__":
    main()
