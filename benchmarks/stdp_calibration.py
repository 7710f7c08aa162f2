"""Simulation-based calibration of the STDP-GLM's whole sampler (Talts et al., 2018).

Three neurons, every ordered pair a candidate, rule parameters shared: everything from the prior,
spikes from the network, a fit from a start of its own; ranks of what made the spikes among draws.
Recordings that run away or are nearly silent are refused by their spikes. One line a rule, with the
largest z-score of uniformity and the limit that as many independent scores exceed once in a
thousand runs, appended to a record; every simulation is kept in ``--out``, and not run again:

    OMP_NUM_THREADS=1 python benchmarks/stdp_calibration.py --rule additive --simulations 60
"""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from probneuro.core.detection import reliability
from probneuro.core.engine import Arrays
from probneuro.core.priors import Normal
from probneuro.inference.gibbs import CollapsedGibbs, CollapsedKernel
from probneuro.learning_rules import RULES
from probneuro.models.stdp_glm import STDPGLM
from probneuro.models.stdp_glm.prior import simulate_from_prior
from probneuro.testing.stats import uniform_score, worst

RECORD = Path(__file__).parent / "records" / "stdp_calibration.jsonl"
UNITS, WINDOWS = ("a", "b", "c"), 15
FEWEST, FASTEST = 20, 80.0
WARMUP, DRAWS, THIN = 100, 99, 2


def statistics(values: Arrays) -> dict[str, float]:
    """Return what is ranked: numbers that are defined whatever the edges are."""
    out = {}
    for name in ("bias", "self_weight"):
        out |= {f"{name} {n}": float(values[name][n]) for n in range(len(UNITS))}
    present = values["edge"] != 0
    out |= {"number of edges": float(present.sum())}
    for s in range(present.size):
        out |= {f"edge {s}": float(present[s])}
        out |= {f"weight {s} last": float(values["weight"][s, -1]) if present[s] else 0.0}
    carried = np.where(present[:, None], values["weight"], 0.0)
    out |= {"first weights": float(carried[:, 0].sum()), "all weights": float(carried.mean())}
    out |= {"steps": float((np.diff(carried, axis=1) ** 2).sum())}
    out |= {"first bumps": float(values["impulse"][present, 0].sum())}
    return out


def simulate(rule_name: str, seed: int) -> dict[str, Any]:
    """Return ranks of one network's truth among draws, and its edges with their probabilities."""
    rule = RULES[rule_name]()
    model = STDPGLM(rule=rule, bias_prior=Normal(20.0, 5.0))
    rng = np.random.default_rng([seed, 41])
    while True:
        spikes, truth = simulate_from_prior(model, UNITS, WINDOWS, rng)
        if spikes.counts.sum(axis=0).min() >= FEWEST and spikes.rates.max() <= FASTEST:
            break
    target = model.gibbs(spikes)
    kernel = CollapsedKernel(target, CollapsedGibbs(warmup=WARMUP))
    state = kernel.init(rng)
    rows = []
    for i in range(WARMUP + DRAWS * THIN):
        state, _ = kernel.step(state, rng, warmup=i < WARMUP)
        if i >= WARMUP and (i - WARMUP) % THIN == THIN - 1:
            rows.append(ranked(kernel.draw(state), list(target.priors)))
    own = ranked(truth, list(target.priors))
    edges = [name for name in own if name.startswith("edge ")]
    return {
        "ranks": {
            name: float(rank(own[name], np.array([row[name] for row in rows]), rng.random()))
            for name in own
        },
        "truth": [own[name] for name in edges],
        "probability": [float(np.mean([row[name] for row in rows])) for name in edges],
    }


def ranked(values: Arrays, parameters: list[str]) -> dict[str, float]:
    return statistics(values) | {name: float(values[name][0]) for name in parameters}


def rank(value: float, draws: NDArray[np.float64], uniform: float) -> float:
    ties = (draws == value).sum()
    share: float = ((draws < value).sum() + uniform * (ties + 1.0)) / (draws.size + 1.0)
    return share


def reliable(rows: list[dict[str, Any]]) -> list[list[float]]:
    """Return mean probability, share that is there, its 90 % interval and count, by fifths."""
    chance, truth = (
        np.concatenate([row[name] for row in rows]) for name in ("probability", "truth")
    )
    found = reliability(chance, truth, bins=5)
    kept = found.isel(bin=np.flatnonzero(found["count"].values))
    columns = ("probability", "frequency", "lower", "upper", "count")
    return np.round(np.array([kept[name].values for name in columns]).T, 3).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rule", default="additive", choices=list(RULES))
    parser.add_argument("--simulations", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("stdp_calibration"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(asked.seed, asked.seed + asked.simulations):
        place = asked.out / f"{asked.rule}-{seed}.json"
        if not place.exists():
            place.write_text(json.dumps(simulate(asked.rule, seed)) + "\n", encoding="utf-8")
        rows.append(json.loads(place.read_text(encoding="utf-8")))
        print(f"{asked.rule}: {len(rows)} of {asked.simulations}", flush=True)
    names = rows[0]["ranks"]
    scores = {name: uniform_score([row["ranks"][name] for row in rows]) for name in names}
    name, largest = worst(scores)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    line = {
        "rule": asked.rule, "simulations": len(rows), "largest": name, "z": round(largest, 2),
        "limit": round(float(norm.isf(0.0005 / len(scores))), 2), "scores": len(scores),
        "reliability": reliable(rows), "draws": DRAWS, "thin": THIN,
        "warmup": WARMUP, "commit": commit,
    }  # fmt: skip
    with RECORD.open("a", encoding="utf-8") as record:
        record.write(json.dumps(line) + "\n")
    print(json.dumps(line))
    for name, score in sorted(scores.items(), key=lambda item: -abs(item[1])):
        print(f"  {name:<20} {score:5.2f}")


if __name__ == "__main__":
    main()
