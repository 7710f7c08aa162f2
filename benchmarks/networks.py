"""Seconds an iteration of the collapsed sampler on networks, every ordered pair a candidate.

One chain on all cores, 1 kHz, shared rule parameters, all variables sampled, self connections
included. Iterations are timed after the warm-up; effective draws are those of the same ones:

    OMP_NUM_THREADS=1 python benchmarks/networks.py [--neurons 10] [--seconds 60] [--rule additive]
"""

import argparse
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import arviz_stats
import numpy as np

from probneuro.core.gibbs import GibbsTarget
from probneuro.inference.gibbs import CollapsedGibbs, CollapsedKernel
from probneuro.learning_rules import RULES
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.plastic_glm import simulate_plastic_glm


def timed(
    target: GibbsTarget, warmup: int, draws: int, seed: int, workers: int
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Return what iterations cost after the warm-up, and the rule parameters of each."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in target.parameter_priors()}
    with ThreadPoolExecutor(workers) as pool:
        engine = CollapsedGibbs(warmup=warmup)
        kernel = CollapsedKernel(target, engine, pool.map if workers > 1 else map)
        state = kernel.init(rng)
        for _ in range(warmup):
            state, _ = kernel.step(state, rng, warmup=True)
        start, used = time.perf_counter(), time.process_time()
        for _ in range(draws):
            state, _ = kernel.step(state, rng, warmup=False)
            for name, values in found.items():
                values.append(float(kernel.draw(state)[name][0]))
        wall, used = time.perf_counter() - start, time.process_time() - used
    return {
        "edges": int(state["values.edge"].sum()),
        "wall": round(wall / draws, 4), "cpu": round(used / draws, 4),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }, found  # fmt: skip


def measure(
    rule_name: str, neurons: int, seconds: float, warmup: int, draws: int, seed: int, workers: int
) -> None:
    rule = RULES[rule_name]()
    spikes, _ = simulate_plastic_glm(rule, num_neurons=neurons, duration=seconds, seed=seed)
    cost, found = timed(STDPGLM(rule=rule).gibbs(spikes), warmup, draws, seed, workers)
    print(
        f"{rule_name}: {neurons} neurons, {seconds:g} s, {int(spikes.counts.sum())} spikes, "
        f"{cost['edges']} edges: {cost['wall']:.3f} s an iteration ({cost['cpu']:.3f} s of CPU), "
        f"peak memory {cost['peak_gib']:.2f} GiB", flush=True,
    )  # fmt: skip
    for name, values in found.items():
        each = float(arviz_stats.ess(np.array(values)[None])) / draws
        print(f"  {name:<18} ESS {each:.2f} an iteration, {each / cost['wall']:.2f} /s")


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
