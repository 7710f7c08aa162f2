"""A DSN over synapses and conductances of the pyloric circuit, towards a real crab's rhythm.

Prints the share of tri-phasic draws, their features, and what it cost. Run as
``OMP_NUM_THREADS=1 python benchmarks/dsn_stg.py --parameters ten --seed 0``.
"""

import argparse
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from probneuro import infer, save
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import DSN, SplineSize
from probneuro.simulators.stg import CRAB_LIKE, PARAMETERS, SYNAPSES, Circuit, pyloric_behaviour

FREE: dict[str, tuple[str, ...]] = {
    "all": PARAMETERS,
    "synapses": SYNAPSES,
    "ten": (*SYNAPSES, "AB_KCa", "LP_A", "PY_A"),
}


class Reporting:
    """A circuit that prints how many of each batch were tri-phasic, and counts."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self.count = 0

    def __call__(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        start = time.process_time()
        found = self._circuit(parameters)
        size = len(found["period"])
        self.count += size
        print(
            f"{size} simulations, {100 * found['triphasic'].mean():.1f} % tri-phasic, "
            f"{100 * found['pyloric'].mean():.1f} % pyloric, "
            f"{time.process_time() - start:.0f} CPU s, {self.count} so far",
            flush=True,
        )
        return found


def main() -> None:
    """Fit, and look at draws simulated for the whole 11 s."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", choices=sorted(FREE), default="ten")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    names = FREE[options.parameters]
    behaviour = pyloric_behaviour(names)
    circuit = Reporting(Circuit(fixed=CRAB_LIKE, duration=6.0))
    model = DSN(circuit, spline=SplineSize(stages=1, hidden=96, bins=8))
    engine = ImportanceDual(
        rounds=options.rounds,
        simulations=options.simulations,
        first_simulations=options.first,
        steps=80,
        batch=256,
        learning_rate=3e-3,
        final_learning_rate=3e-4,
        uniform_share=0.05,
        buffer=12,
        averaging=0.9,
    )
    start = time.process_time()
    result = infer(
        model, behaviour, engine=engine, draws=options.draws, chains=1, seed=options.seed,
        progress=False, workers=1,
    )  # fmt: skip
    print(f"fit: {time.process_time() - start:.0f} CPU s, {circuit.count} simulations")
    print(result["fit_history"].to_dataset().isel(chain=0).to_dataframe().to_string())
    print(result["max_entropy"].to_dataset().isel(chain=0))
    draws = result["posterior/z"].values[0]
    found = Circuit(fixed=CRAB_LIKE)(dict(zip(names, draws.T, strict=True)))
    print(f"whole 11 s: {100 * found['triphasic'].mean():.1f} % tri-phasic")
    print(f"whole 11 s: {100 * found['pyloric'].mean():.1f} % pyloric")
    for name in behaviour.features:
        print(name, np.nanmean(found[name]).round(4), np.nanstd(found[name]).round(4))
    if options.out:
        save(result, options.out)


if __name__ == "__main__":
    main()
