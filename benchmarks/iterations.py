"""Iterations a second, and effective draws of A+ an iteration, of the collapsed sampler.

Two neurons, one plastic pair, 50 s at 1 kHz, all variables sampled, edges in both directions.
One run of two chains, each on its own thread; warm-up is counted with the draws:

    OMP_NUM_THREADS=1 python benchmarks/iterations.py [--draws 300] [--warmup 300] [--seed 2]
"""

import argparse
import time

import arviz_stats
import numpy as np

import probneuro as pn
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.learning_rules import RULES
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.plastic_glm import simulate_plastic_glm


def run(rule_name: str, draws: int, warmup: int, seed: int, chains: int) -> tuple[float, float]:
    """Return iterations a second of all chains, and the effective share of the draws of A+."""
    rule = RULES[rule_name]()
    spikes, _ = simulate_plastic_glm(rule, duration=50.0, synapses=[(0, 1)], seed=seed)
    model = STDPGLM(rule=rule)
    settings = {"chains": chains, "workers": chains, "seed": seed, "progress": False}
    pn.infer(model, spikes, engine=CollapsedGibbs(warmup=2), draws=2, **settings)
    start = time.perf_counter()
    result = pn.infer(model, spikes, engine=CollapsedGibbs(warmup=warmup), draws=draws, **settings)
    rate = chains * (warmup + draws) / (time.perf_counter() - start)
    if "amplitude_plus" not in result["posterior"]:
        return rate, np.nan
    found = result["posterior"]["amplitude_plus"].values[..., 0]
    return rate, float(arviz_stats.ess(found)) / found.size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("draws", 300), ("warmup", 300), ("seed", 2), ("chains", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    settings = vars(parser.parse_args())
    names = settings.pop("rules")
    print(f"{'rule':<18}{'iterations/s':>14}{'ESS of A+/iteration':>22}{'ESS of A+/s':>14}")
    for name in names:
        speed, share = run(name, **settings)
        print(f"{name:<18}{speed:>14.1f}{share:>22.2f}{speed * share:>14.1f}", flush=True)


if __name__ == "__main__":
    main()
