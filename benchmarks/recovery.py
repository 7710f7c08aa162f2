"""Does the true learning rule predict best? 50 s to train, 10 s held out.

    python benchmarks/recovery.py --seeds 10 --out out/recovery.jsonl --processes 2
    python benchmarks/recovery.py --rules oja,additive --inputs 2 --seeds 6 --out out/oja.jsonl
    python benchmarks/recovery.py --table out/recovery.jsonl

Spikes are simulated under each rule, and every rule is fitted to each of them. One synapse joins
two neurons; with more inputs, all end on the last neuron, and are known to be there. A line a fit
goes to the file, so that a run that was stopped goes on from there.
"""

import argparse
import json
import multiprocessing
from pathlib import Path

import numpy as np

RULES = "static,additive,multiplicative"


def fit(job: tuple[str, str, int, int, int]) -> dict[str, object]:
    from probneuro.compare_rules import compare_rules
    from probneuro.core.priors import Normal
    from probneuro.core.registry import load
    from probneuro.models.stdp_glm import STDPGLM, Candidates
    from probneuro.reproductions.rule_recovery import START, TRUTH
    from probneuro.simulators.plastic_glm import simulate_plastic_glm

    truth, fitted, seed, steps, inputs = job
    spikes, _ = simulate_plastic_glm(
        load("learning_rule", truth)(), num_neurons=inputs + 1, duration=60.0, seed=seed,
        synapses=[(i, inputs) for i in range(inputs)], parameters=TRUTH.get(truth),
        initial_weight=START.get(truth, 0.2),
    )  # fmt: skip
    network = Candidates(
        tuple((str(i), str(inputs)) for i in range(inputs)), 0.5 if inputs == 1 else 1.0
    )
    model = STDPGLM(bias_prior=Normal(20.0, 5.0), network=network)
    found = compare_rules(
        spikes, rules=[fitted], held_out=10.0, model=model, draws=steps, warmup=steps, chains=1,
        seed=seed, workers=1, progress=False,
    ).results[fitted]  # fmt: skip
    levels = found["held_out"]["log_likelihood"].values[0].sum(-1)
    total = levels.sum(-1)
    sequence = np.logaddexp.accumulate(np.cumsum(levels, axis=1), axis=0)[-1] - np.log(len(levels))
    return {
        "truth": truth, "fitted": fitted, "seed": seed, "steps": steps, "inputs": inputs,
        "elpd": float(np.logaddexp.reduce(total) - np.log(total.size)),
        "blocks": np.diff(sequence, prepend=0.0).tolist(),
        "seconds": float(found.attrs["seconds"]),
        "rates": spikes.rates.tolist(),
    }  # fmt: skip


def table(lines: list[dict]) -> None:
    rules = list(dict.fromkeys(x["fitted"] for x in lines))
    for truth in rules:
        rows = {r: {x["seed"]: x["elpd"] for x in lines if (x["truth"], x["fitted"]) == (truth, r)}
                for r in rules}  # fmt: skip
        seeds = sorted(set.intersection(*(set(row) for row in rows.values())))
        if not seeds:
            continue
        values = np.array([[rows[r][s] for r in rules] for s in seeds])
        own = values[:, rules.index(truth)]
        first = (values.argmax(axis=1) == rules.index(truth)).mean()
        print(f"truth {truth}: {len(seeds)} seeds, true rule first in {first:.0%}")
        for i, rule in enumerate(rules):
            gap = values[:, i] - own
            error = gap.std(ddof=1) / np.sqrt(gap.size) if gap.size > 1 else np.nan
            print(f"  {rule:15s} mean {values[:, i].mean():10.2f}   minus true rule's "
                  f"{gap.mean():8.2f} +- {error:.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", default=RULES)
    parser.add_argument("--inputs", type=int, default=1)
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
            done.add((x["truth"], x["fitted"], x["seed"], x["steps"], x.get("inputs", 1)))
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    rules, how = arguments.rules.split(","), (arguments.steps, arguments.inputs)
    jobs = [(t, f, s, *how) for s in seeds for t in rules for f in rules]
    jobs = [job for job in jobs if job not in done]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for result in pool.imap_unordered(fit, jobs):
            with arguments.out.open("a") as file:
                file.write(json.dumps(result) + "\n")
    table([json.loads(line) for line in arguments.out.read_text().splitlines()])


if __name__ == "__main__":
    main()
