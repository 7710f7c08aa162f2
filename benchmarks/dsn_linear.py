"""Engines of largest entropy on the 2D linear system, scored by the exact divergence.

Prints a line a run: CPU seconds, divergence to the exact optimum, mode shares, dual entropy and
whether it says that it converged. Run as
``OMP_NUM_THREADS=1 python benchmarks/dsn_linear.py --engine importance_dual --seeds 10``.
"""

import argparse
import time
from typing import Any

import numpy as np

from probneuro import infer
from probneuro.inference.augmented_lagrangian import AugmentedLagrangian
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import DSN
from probneuro.simulators.linear_2d import eigenvalues, exact_entropy, oscillation

ENGINES: dict[str, Any] = {
    "importance_dual": ImportanceDual,
    "augmented_lagrangian": AugmentedLagrangian,
}
TARGETS: dict[str, dict[str, float]] = {
    "epi": {},
    "seed": {"limit": 20.0, "frequency": 4 * np.pi, "real_sd": 1.0, "imaginary_sd": 1.0},
}


def main() -> None:
    """Run one engine over seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=sorted(ENGINES), default="importance_dual")
    parser.add_argument("--target", choices=sorted(TARGETS), default="epi")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="settings such as epochs=5")
    options = parser.parse_args()
    behaviour = oscillation(**TARGETS[options.target])
    exact = exact_entropy(behaviour)
    print(f"exact entropy {exact.entropy:.6f}, multipliers {exact.multipliers.round(5)}")
    model = DSN(eigenvalues, differentiable=True, swap=("a2", "a3"))
    pairs = [word.split("=") for word in options.set]
    kind = ENGINES[options.engine]
    settings = {name: type(getattr(kind, name))(float(value)) for name, value in pairs}
    engine = kind(**settings)
    rows = []
    for seed in range(options.first, options.first + options.seeds):
        start = time.process_time()
        result = infer(
            model, behaviour, engine=engine, draws=4000, chains=1, seed=seed, progress=False,
            workers=1,
        )  # fmt: skip
        seconds = time.process_time() - start
        found = result["max_entropy"].to_dataset().isel(chain=0)
        means = result["posterior_predictive/statistics"].values[0].mean(axis=0)
        divergence = exact.divergence(float(found.entropy), means)
        rows.append((seconds, divergence, abs(float(found.dual_entropy) - exact.entropy)))
        print(
            f"seed {seed}: {seconds:.1f} CPU s, KL {divergence:.4f} "
            f"(own estimate {float(found.divergence):.4f}), H {float(found.entropy):.4f}, "
            f"dual {float(found.dual_entropy):.4f}, mode {float(found.mode_share):.3f}, "
            f"weighted {float(found.weighted_mode_share):.3f}, "
            f"ESS {float(found.effective_share):.2f}, k {float(found.pareto_k):.2f}, "
            f"converged {int(found.converged)}",
            flush=True,
        )
    worst = np.array(rows).max(axis=0)
    print(f"worst: {worst[0]:.1f} CPU s, KL {worst[1]:.4f}, dual entropy off by {worst[2]:.4f}")


if __name__ == "__main__":
    main()
