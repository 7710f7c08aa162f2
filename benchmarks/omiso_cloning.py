"""How well an inverse model can do that gives each electrode a suitability of its own.

    OMP_NUM_THREADS=1 python benchmarks/omiso_cloning.py [--seeds 5]

A target is what the response models predict of one of the 15,504 patterns. Behavioural cloning fits
the chance that an electrode belongs to a pattern that reaches the target; the exact chance, from
all patterns with a Gaussian window on where they lead (the target's own pattern left out), shows
what training without end would reach. Prints Eq. 12, the L1 distance, in the paper's order: random
patterns, exact chances by window, networks by samples seen; exact inversion over all other
patterns last.
"""

import argparse

import numpy as np
import torch

from probneuro.control import InverseNetwork
from probneuro.control.inverse_training import Cloning
from probneuro.models.omiso import batch_prediction, response_cache
from probneuro.reproductions.omiso_setup import Budget, fit_models, prepare
from probneuro.simulators.stim_population import SimulatedBrain

STATE = "pattern_and_5_bins_lstm"
WINDOWS = (0.03, 0.1, 0.3)
EPOCHS = (20, 200, 1000, 5000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=100, help="not a seed of the comparison")
    parser.add_argument("--targets", type=int, default=300)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    budget = Budget(sessions=5, trials=400, channels=(32, 64))
    columns = [f"window {h:g}" for h in WINDOWS] + [f"{e * 1024:,} samples" for e in EPOCHS]
    print("seed | random | " + " | ".join(columns) + " | exact inversion")
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        trained = prepare(SimulatedBrain(seed=seed), budget)
        fit = fit_models(trained, budget, seed, STATE)[STATE]
        trials, patterns = trained.trials, trained.patterns
        cache = response_cache(*fit, trials, patterns)
        rng = np.random.default_rng(seed)
        rows = []
        for _ in range(chosen.targets):
            reached = np.asarray(cache.predict(trials.before[rng.integers(len(trials))]))
            own = rng.integers(len(reached))
            missed = np.abs(reached - reached[own]).sum(axis=1)
            others = np.delete(missed, own)
            row = [others.mean()]
            squares = ((reached - reached[own]) ** 2).sum(axis=1)
            squares[own] = np.inf
            for window in WINDOWS:
                weight = np.exp(-0.5 * (squares - squares.min()) / window**2)
                suitability = weight @ patterns.marks
                best = np.sort(np.argsort(-suitability, kind="stable")[: patterns.num_stimulated])
                row.append(missed[patterns.index(best)])
            rows.append([*row, others.min()])
        random, *windows, exact = np.mean(rows, axis=0)
        cloned = []
        for epochs in EPOCHS:
            start = InverseNetwork.fresh(
                2, trials.before.shape[1], patterns.num_candidates, widths=budget.widths, seed=seed
            )
            rule = Cloning(epochs=epochs, samples=1024, validate_every=max(epochs // 10, 20))
            predict = batch_prediction(*fit, trials, patterns)
            _, errors = rule.fit(start, predict, trials.before, patterns, seed=seed)
            cloned.append(min(errors))
        values = " | ".join(f"{v:.3f}" for v in (random, *windows, *cloned, exact))
        print(f"{seed} | {values}", flush=True)


if __name__ == "__main__":
    main()
