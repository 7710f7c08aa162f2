"""Seconds an iteration of the collapsed sampler on networks, every ordered pair a candidate.

One chain on all cores, 1 kHz, shared rule parameters, all variables sampled, self connections
included. Iterations are timed after the warm-up; effective draws are those of the same ones:

    OMP_NUM_THREADS=1 python benchmarks/networks.py [--neurons 10] [--seconds 60] [--rule additive]
"""

import argparse
import resource
import time

import arviz_stats
import numpy as np

from probneuro.inference.gibbs import CollapsedGibbs, CollapsedKernel
from probneuro.learning_rules import RULES
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.plastic_glm import simulate_plastic_glm


def measure(
    rule_name: str, neurons: int, seconds: float, warmup: int, draws: int, seed: int, workers: int
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    rule = RULES[rule_name]()
    spikes, _ = simulate_plastic_glm(rule, num_neurons=neurons, duration=seconds, seed=seed)
    target = STDPGLM(rule=rule).gibbs(spikes)
    with ThreadPoolExecutor(workers) as pool:
        kernel = CollapsedKernel(
            target, CollapsedGibbs(warmup=warmup), pool.map if workers > 1 else map
        )
        rng = np.random.default_rng(seed)
        state = kernel.init(rng)
        for _ in range(warmup):
            state, _ = kernel.step(state, rng, warmup=True)
        found: dict[str, list[float]] = {name: [] for name in target.priors}
        start, used = time.perf_counter(), time.process_time()
        for _ in range(draws):
            state, _ = kernel.step(state, rng, warmup=False)
            for name, values in found.items():
                values.append(float(kernel.draw(state)[name][0]))
    taken, used = time.perf_counter() - start, time.process_time() - used
    edges = int(state["values.edge"].sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{rule_name}: {neurons} neurons, {seconds:g} s, {int(spikes.counts.sum())} spikes, "
        f"{edges} edges: {taken / draws:.3f} s an iteration ({used / draws:.3f} s of CPU), "
        f"peak memory {peak:.2f} GiB", flush=True,
    )  # fmt: skip
    for name, values in found.items():
        effective = float(arviz_stats.ess(np.array(values)[None]))
        print(f"  {name:<18} ESS {effective / draws:.2f} an iteration, {effective / taken:.2f} /s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("neurons", 10), ("warmup", 200), ("draws", 100), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rule", default="additive", choices=list(RULES))
    own = parser.parse_args()
    measure(own.rule, own.neurons, own.seconds, own.warmup, own.draws, own.seed, own.workers)


if __name__ == "__main__":
    main()
