"""Does the true learning rule predict best? Two neurons, 50 s to train, 10 s held out.

    python benchmarks/recovery.py --seeds 10 --out out/recovery.jsonl --processes 2
    python benchmarks/recovery.py --table out/recovery.jsonl

Spikes are simulated under each rule with one synapse, and every rule is fitted to each of
them. A line a fit goes to the file, so that a run that was stopped goes on from there.
"""

import argparse
import json
import multiprocessing
from pathlib import Path

import numpy as np

RULES = ("static", "additive", "multiplicative")


def fit(job: tuple[str, str, int, int]) -> dict[str, object]:
    from probneuro.compare_rules import compare_rules
    from probneuro.core.priors import Normal
    from probneuro.core.registry import load
    from probneuro.models.stdp_glm import STDPGLM, Candidates
    from probneuro.reproductions.rule_recovery import START, TRUTH
    from probneuro.simulators.plastic_glm import simulate_plastic_glm

    truth, fitted, seed, steps = job
    spikes, _ = simulate_plastic_glm(
        load("learning_rule", truth)(), duration=60.0, seed=seed, synapses=[(0, 1)],
        parameters=TRUTH[truth], initial_weight=START[truth],
    )  # fmt: skip
    model = STDPGLM(bias_prior=Normal(20.0, 5.0), network=Candidates((("0", "1"),)))
    found = compare_rules(
        spikes, rules=[fitted], held_out=10.0, model=model, draws=steps, warmup=steps, chains=1,
        seed=seed, workers=1, progress=False,
    ).results[fitted]  # fmt: skip
    levels = found["held_out"]["log_likelihood"].values[0].sum(-1)
    total = levels.sum(-1)
    sequence = np.logaddexp.accumulate(np.cumsum(levels, axis=1), axis=0)[-1] - np.log(len(levels))
    return {
        "truth": truth, "fitted": fitted, "seed": seed, "steps": steps,
        "elpd": float(np.logaddexp.reduce(total) - np.log(total.size)),
        "blocks": np.diff(sequence, prepend=0.0).tolist(),
        "seconds": float(found.attrs["seconds"]),
        "rates": spikes.rates.tolist(),
    }  # fmt: skip


def table(lines: list[dict]) -> None:
    for truth in RULES:
        rows = {r: {x["seed"]: x["elpd"] for x in lines if (x["truth"], x["fitted"]) == (truth, r)}
                for r in RULES}  # fmt: skip
        seeds = sorted(set.intersection(*(set(row) for row in rows.values())))
        if not seeds:
            continue
        values = np.array([[rows[r][s] for r in RULES] for s in seeds])
        own = values[:, RULES.index(truth)]
        first = (values.argmax(axis=1) == RULES.index(truth)).mean()
        print(f"truth {truth}: {len(seeds)} seeds, true rule first in {first:.0%}")
        for i, rule in enumerate(RULES):
            gap = values[:, i] - own
            error = gap.std(ddof=1) / np.sqrt(gap.size) if gap.size > 1 else np.nan
            print(f"  {rule:15s} mean {values[:, i].mean():10.2f}   minus true rule's "
                  f"{gap.mean():8.2f} +- {error:.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/recovery.jsonl"))
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        table([json.loads(line) for line in arguments.table.read_text().splitlines()])
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    done = set()
    if arguments.out.exists():
        for line in arguments.out.read_text().splitlines():
            x = json.loads(line)
            done.add((x["truth"], x["fitted"], x["seed"], x["steps"]))
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    jobs = [(t, f, s, arguments.steps) for s in seeds for t in RULES for f in RULES]
    jobs = [job for job in jobs if job not in done]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for result in pool.imap_unordered(fit, jobs):
            with arguments.out.open("a") as file:
                file.write(json.dumps(result) + "\n")
    table([json.loads(line) for line in arguments.out.read_text().splitlines()])


if __name__ == "__main__":
    main()
