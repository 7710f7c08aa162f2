"""A DSN over synapses and conductances of the pyloric circuit, towards a real crab's rhythm.

Prints the share of tri-phasic draws, their features, and what it cost. Run as
``OMP_NUM_THREADS=1 python benchmarks/dsn_stg.py --parameters ten --seed 0``.
"""

import argparse
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from probneuro import infer, save
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import DSN, SplineSize
from probneuro.simulators.stg import (
    CRAB,
    CRAB_LIKE,
    PARAMETERS,
    SYNAPSES,
    Circuit,
    pyloric_behaviour,
)

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
    """Fit, and look at the draws."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", choices=sorted(FREE), default="ten")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--first", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--buffer", type=int, default=20, help="rounds: all of them by default")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--scale", type=float, default=0.5, help="of the standard deviations")
    parser.add_argument("--duration", type=float, default=11.0, help="seconds simulated")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    names = FREE[options.parameters]
    behaviour = pyloric_behaviour(names, scale=options.scale)
    circuit = Reporting(Circuit(fixed=CRAB_LIKE, duration=options.duration))
    model = DSN(circuit, spline=SplineSize(stages=1, hidden=96, bins=8))
    engine = ImportanceDual(
        rounds=options.rounds,
        simulations=options.simulations,
        first_simulations=options.first,
        steps=options.steps,
        batch=256,
        learning_rate=3e-3,
        final_learning_rate=3e-4,
        uniform_share=0.05,
        buffer=options.buffer,
        averaging=0.9,
    )
    start = time.process_time()
    result = infer(
        model, behaviour, engine=engine, draws=options.draws, chains=1, seed=options.seed,
        progress=False, workers=1,
    )  # fmt: skip
    print(f"fit: {time.process_time() - start:.0f} CPU s, {circuit.count} simulations")
    report(result, options.draws)
    if options.out:
        save(result, options.out)


def report(result: xr.DataTree, draws: int) -> None:
    """Print the history and the checks, and simulate the draws anew, with other noise."""
    history = result["fit_history"].to_dataset().isel(chain=0).drop_vars("multipliers")
    print(history.to_dataframe().to_string())
    for name, value in result["max_entropy"].to_dataset().isel(chain=0).items():
        print(name, value.values.round(4))
    print(result.attrs["diagnostics"])
    drawn = result["posterior"].to_dataset()["z"]
    values, names = drawn.values[0], drawn.coords["parameter"].values
    found = Circuit(fixed=CRAB_LIKE, seed=1)(dict(zip(names, values.T, strict=True)))
    error = np.sqrt(found["triphasic"].var() / draws)
    print(
        f"{draws} draws over 11 s, other noise: {100 * found['triphasic'].mean():.1f} "
        f"+- {100 * error:.1f} % tri-phasic, {100 * found['pyloric'].mean():.1f} % pyloric"
    )
    for name, target in CRAB.items():
        print(f"{name} {np.nanmean(found[name]):.4f} +- {np.nanstd(found[name]):.4f}, {target:.4f}")


if __name__ == "__main__":
    main()
