"""How long decisions take: exact inversion over all patterns, and whole decisions by policy.

Exact inversion is held against brute force first: every pattern through every network, whole.

``python benchmarks/omiso_decisions.py --repeats 300``
"""

import argparse
import time
from typing import Any

import numpy as np

from probneuro import infer
from probneuro.components.bilinear import BilinearPosterior
from probneuro.control import (
    BayesianBilinear,
    ExactInverse,
    InverseNetwork,
    InversePolicy,
    PatternSet,
    Readout,
    SafetyLimits,
    SafetyState,
    make_safe,
)
from probneuro.data.latent_trials import LatentTrials
from probneuro.models.omiso import PatternCNN, ResponseModel, response_cache

STATES = 20


def compare(
    model: ResponseModel, result: Any, trials: LatentTrials, patterns: PatternSet,
    policy: ExactInverse, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Print how far the chosen patterns of some states are from the best by brute force."""
    gaps, away = [], []
    for _ in range(STATES):
        before, target = rng.normal(size=(5, 2)), rng.normal(size=2)
        every = LatentTrials(
            patterns.marks, np.broadcast_to(before, (len(patterns), 5, 2)),
            np.zeros((len(patterns), 2)), candidates=trials.candidates, grid=trials.grid,
        )  # fmt: skip
        whole = model.predict(result["posterior/weights"].values[0], every).mean(axis=0)
        errors = np.abs(whole - target).sum(axis=1)
        chosen = patterns.index(policy.choose(target, before, 0, rng).electrodes)
        gaps.append(errors[chosen] - errors.min())
        away.append(np.abs(policy.cache.predict(before) - whole).max())
    print(
        f"{len(patterns)} patterns, {STATES} states: the chosen pattern's error exceeds the least "
        f"by {max(gaps):.1e} at most; predictions differ by {max(away):.1e} at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--channels", type=int, nargs=2, default=(8, 8))
    settings = parser.parse_args()
    rng = np.random.default_rng(0)
    patterns = PatternSet(20, 5)
    trials = LatentTrials(
        patterns.marks[rng.integers(len(patterns), size=50)], rng.normal(size=(50, 5, 2)),
        rng.normal(size=(50, 2)), session=np.arange(50) % 5, candidates=rng.permutation(100)[:20],
        grid=(10, 10),
    )  # fmt: skip
    model = ResponseModel(pattern=PatternCNN(channels=tuple(settings.channels)), epochs=1)
    result = infer(model, trials, seed=0, progress=False)
    cache = response_cache(model, result, trials, patterns)
    compare(model, result, trials, patterns, ExactInverse(patterns, cache), rng)
    policies = {
        "exact inverse, 15,504 patterns x 5 models": ExactInverse(patterns, cache),
        "cloned inverse": InversePolicy(
            network=InverseNetwork.fresh(2, 5, 20, widths=(1024,)), num_stimulated=5
        ),
        "bayesian bilinear": BayesianBilinear(
            patterns=patterns, posterior=BilinearPosterior.prior(20, 2)
        ),
    }
    readout = Readout(rng.normal(size=(2, 96)), np.ones(96))
    limits, counts = SafetyLimits(allowed=range(20)), rng.poisson(1.0, (5, 96))
    for name, policy in policies.items():
        seconds, busy = np.empty(settings.repeats), np.empty(settings.repeats)
        for number in range(settings.repeats):
            start, worked = time.perf_counter(), time.process_time()
            before = readout.latents(counts)
            choice = policy.choose(np.zeros(2), before, number, rng)
            make_safe(choice.electrodes, now=number, limits=limits, state=SafetyState())
            seconds[number] = time.perf_counter() - start
            busy[number] = time.process_time() - worked
        median, high = np.percentile(1e3 * seconds, [50, 99])
        own = 1e3 * np.median(busy)
        print(f"{name}: median {median:.3f} ms, p99 {high:.3f} ms; processor {own:.3f} ms")


if __name__ == "__main__":
    main()
