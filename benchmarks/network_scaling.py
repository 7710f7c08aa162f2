"""How the seconds of an iteration grow with neurons, with spikes and with the length of recordings.

Networks of the model, two synapses a neuron on average, every ordered pair a candidate, bounded
additive rule, 1 kHz, one chain on all cores, all variables sampled. One setting is varied at a time
about 10 neurons, 60 s and 10 Hz. Writes a record and a figure:

    OMP_NUM_THREADS=1 python benchmarks/network_scaling.py [--figure network_cost.png]

With ``--largest``, instead: two iterations on 30 Poisson trains of 5 Hz and 30 minutes, and their
memory.
"""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from networks import timed

from probneuro.components.basis import CosineBasis
from probneuro.data import BinnedSpikes, SpikeTrains
from probneuro.learning_rules import AdditiveBounded
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.plastic_glm import PlasticGLM

RECORD = Path(__file__).parent / "records" / "network_scaling.jsonl"
VARIED: dict[str, tuple[float, ...]] = {
    "neurons": (3, 5, 10, 15),
    "rate": (5.0, 10.0, 20.0, 40.0),
    "seconds": (15, 30, 60, 120),
}
TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
UNIT = {"neurons": "neurons", "rate": "rate (Hz)", "seconds": "length (s)"}
USUAL = {"neurons": 10, "rate": 10.0, "seconds": 60}
LARGEST = {"neurons": 30, "rate": 5.0, "seconds": 1800}
MODEL = STDPGLM(rule=AdditiveBounded(), basis=CosineBasis(num_bumps=6, duration=0.04))
RULE = {
    "amplitude_plus": 0.01, "amplitude_minus": 0.014, "tau_plus": 0.02, "tau_minus": 0.02,
    "weight_noise": 0.015, "weight_max": 0.5,
}  # fmt: skip


def network(neurons: int, rate: float, seconds: int, seed: int) -> BinnedSpikes:
    """Return spikes of a network whose neurons fire at about a rate."""
    rng = np.random.default_rng([seed, 3])
    pre, post = np.nonzero(~np.eye(neurons, dtype=bool))
    edge = (rng.random(pre.size) < 2.0 / (neurons - 1)).astype(np.int8)
    made = PlasticGLM(
        rule=MODEL.rule, basis=MODEL.basis, pre=pre, post=post, edge=edge,
        bias=np.full(neurons, 0.7 * rate), self_weight=np.full(neurons, -0.2),
        self_impulse=rng.dirichlet(np.ones(6), neurons),
        impulse=rng.dirichlet(np.ones(6), pre.size),
        parameters={name: np.full(pre.size, value) for name, value in RULE.items()},
        initial_weight=np.full(pre.size, 0.2),
    )  # fmt: skip
    return made.simulate(seconds, rng)[0]


def poisson(neurons: int, rate: float, seconds: int, seed: int) -> BinnedSpikes:
    """Return trains of no network, which are drawn at once."""
    rng = np.random.default_rng(seed)
    trains = [np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds))) for _ in range(neurons)]
    return SpikeTrains(trains, start=0.0, stop=float(seconds)).bin(0.001, 1.0)


def draw(rows: list[dict[str, Any]], place: Path) -> None:
    """Draw seconds an iteration against each setting, with the power between the outer ones."""
    from matplotlib.figure import Figure

    matplotlib.use("Agg")
    figure = Figure(figsize=(10.0, 3.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for panel, name in zip(panels, VARIED, strict=True):
        own = [row for row in rows if row["varied"] == name]
        x, y = (np.array([row[key] for row in own]) for key in (name, "wall"))
        power = np.polyfit(np.log(x), np.log(y), 1)[0]
        panel.loglog(x, y, "o-", color="#1b6ca8")
        panel.set(xlabel=UNIT[name], title=f"grows as the power {power:.1f}")
        panel.set_xticks(x, [f"{v:g}" for v in x])
        panel.set_yticks(TICKS, [f"{v:g}" for v in TICKS])
        panel.minorticks_off()
        panel.set_ylim(0.1, 5.0)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("seconds an iteration")
    figure.savefig(place, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("warmup", 15), ("draws", 5), ("seed", 1), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--figure", type=Path, default=Path("network_cost.png"))
    parser.add_argument("--largest", action="store_true")
    asked = parser.parse_args()
    if asked.largest:
        spikes = poisson(**LARGEST, seed=asked.seed)
        print(f"{LARGEST}: {int(spikes.counts.sum())} spikes", flush=True)
        print(timed(MODEL.gibbs(spikes), 1, 1, asked.seed, asked.workers)[0])
        return
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    rows = []
    for varied, values in VARIED.items():
        for value in values:
            setting = {**USUAL, varied: value}
            spikes = network(**setting, seed=asked.seed)
            target = MODEL.gibbs(spikes)
            cost, _ = timed(target, asked.warmup, asked.draws, asked.seed, asked.workers)
            found = {"spikes": int(spikes.counts.sum()), **cost}
            rows.append(
                {"varied": varied, **setting, **found, "seed": asked.seed, "commit": commit}
            )
            print(json.dumps(rows[-1]), flush=True)
    with RECORD.open("a", encoding="utf-8") as record:
        record.writelines(json.dumps(row) + "\n" for row in rows)
    draw(rows, asked.figure)


if __name__ == "__main__":
    main()
