"""Does a free kernel recover the double exponential? Two neurons, one synapse, additive truth.

    python benchmarks/free_kernel.py --seeds 6 --duration 60 --out out/free_kernel.jsonl
    python benchmarks/free_kernel.py --table out/free_kernel.jsonl

Spikes are simulated under additive STDP and the pair kernel is fitted to them. What counts is the
share of lags from 1 to 80 ms, on both sides, at which the pointwise 90 % band holds the curve that
was simulated. A line a fit goes to the file, so that a run that was stopped goes on from there.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import probneuro as pn
from probneuro.core.priors import Normal
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.learning_rules import Additive, PairKernel
from probneuro.models.stdp_glm import STDPGLM, Candidates
from probneuro.simulators.plastic_glm import simulate_plastic_glm

SIDE = np.arange(1, 81) * 1e-3
LAGS = np.concatenate([-SIDE[::-1], SIDE])


def fit(seed: int, duration: float, steps: int) -> dict[str, object]:
    began = time.process_time()
    spikes, truth = simulate_plastic_glm(
        Additive(), duration=duration, seed=seed, synapses=[(0, 1)]
    )
    rule = PairKernel()
    model = STDPGLM(rule=rule, bias_prior=Normal(20.0, 5.0), network=Candidates((("0", "1"),), 1.0))
    result = pn.infer(
        model, spikes, engine=CollapsedGibbs(warmup=steps), draws=steps, chains=2, seed=seed,
        workers=1, progress=False,
    )  # fmt: skip
    posterior = result["posterior"]
    draws = {name: posterior[name].values.ravel() for name in rule.coefficients}
    curves = rule.curve(LAGS, draws)
    low, high = np.quantile(curves, [0.05, 0.95], axis=0)
    own = {name: float(truth[name][0]) for name in Additive().priors(1.0)}
    true = Additive().curve(LAGS, own)
    inside = (low <= true) & (true <= high)
    middle, after = np.median(curves, axis=0), LAGS > 0
    r_hat = pn.az.rhat(posterior.to_dataset()[list(rule.coefficients)])
    return {
        "seed": seed, "duration": duration, "steps": steps,
        "inside": float(inside.mean()), "inside_after": float(inside[after].mean()),
        "inside_before": float(inside[~after].mean()),
        "width": float(np.median(high - low)),
        "error": float(np.sqrt(((middle - true) ** 2).mean())),
        "correlation": float(np.corrcoef(middle, true)[0, 1]),
        "r_hat": float(r_hat.to_array().max()), "rates": spikes.rates.tolist(),
        "seconds": time.process_time() - began,
    }  # fmt: skip


def table(lines: list[dict]) -> None:
    for duration in sorted({x["duration"] for x in lines}):
        rows = [x for x in lines if x["duration"] == duration]
        print(f"{duration:g} s, {len(rows)} seeds: mean +- standard error (smallest to largest)")
        for name in ("inside", "inside_after", "inside_before", "width", "error", "correlation"):
            values = np.array([x[name] for x in rows])
            error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else np.nan
            print(f"  {name:14s} {values.mean():8.4f} +- {error:.4f}   "
                  f"({values.min():.4f} to {values.max():.4f})")  # fmt: skip
        print(f"  largest R-hat of a coefficient {max(x['r_hat'] for x in rows):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--duration", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("out/free_kernel.jsonl"))
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if not arguments.table:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        old = arguments.out.read_text().splitlines() if arguments.out.exists() else []
        done = {(x["seed"], x["duration"], x["steps"]) for x in map(json.loads, old)}
        for seed in range(arguments.seeds):
            if (seed, arguments.duration, arguments.steps) in done:
                continue
            with arguments.out.open("a") as file:
                line = fit(seed, arguments.duration, arguments.steps)
                print(json.dumps(line), file=file, flush=True)
    path = arguments.table or arguments.out
    table([json.loads(line) for line in path.read_text().splitlines()])


if __name__ == "__main__":
    main()
