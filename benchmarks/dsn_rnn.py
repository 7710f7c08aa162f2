"""The Go/No-Go behaviour of rank-one networks: mean-field theory, a DSN, and real networks.

Run as ``OMP_NUM_THREADS=1 python benchmarks/dsn_rnn.py``.
"""

import argparse
import time

import numpy as np
import torch

from probneuro import infer
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.inference.sobol_dual import SobolDual
from probneuro.models.dsn import DSN
from probneuro.reproductions.dsn_circuits import responses
from probneuro.simulators.low_rank_rnn import PARAMETERS, MeanField, go_no_go, simulate_network

SETTINGS = (
    (3.5, 1.0, 1.0, 1.0, 0.8),
    (1.2, 0.8, 1.0, 1.0, 0.8),
    (2.0, 1.0, 0.5, 1.0, 0.5),
    (-1.0, -2.0, 0.5, 1.0, 0.8),
    (4.0, 0.2, 1.0, 2.0, 0.5),
    (0.5, 0.5, 0.5, 1.0, 0.5),
)


def theory(seeds: int) -> None:
    """Compare mean-field readouts with the mean over networks of 1500 neurons."""
    for values in SETTINGS:
        row = torch.tensor([values], dtype=torch.float64)
        named = dict(zip(PARAMETERS, values, strict=True))
        line = []
        for overlap in (1.0, 0.0):
            expected = MeanField().readout(row, overlap)[0].item()
            found = [simulate_network(named, overlap, seed=seed) for seed in range(seeds)]
            line.append(f"{expected:.3f} / {np.mean(found):.3f} +- {np.std(found):.3f}")
        print(f"{values}: Go theory / networks {line[0]}, No-Go {line[1]}", flush=True)


def main() -> None:
    """Check the theory, fit, and simulate draws as networks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--scrambles", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="seed of the fit")
    parser.add_argument("--exact", action="store_true", help="stop after the exact answer")
    options = parser.parse_args()
    if options.seeds:
        theory(options.seeds)
    behaviour, model = go_no_go(), DSN(MeanField(), differentiable=True)
    if options.scrambles:
        chains = options.scrambles
        exact = infer(model, behaviour, engine=SobolDual(), chains=chains, seed=0, progress=False)
        print("Sobol H*", exact["max_entropy/dual_entropy"].values)
        print("Sobol multipliers", exact["max_entropy/multipliers"].values)
        for drawn in exact["posterior/z"].values:
            right = responses(behaviour, drawn[: options.networks])
            share = right.mean(axis=0).round(2)
            print(f"its draws as networks: {share}, both {right.all(axis=1).mean():.2f}")
    if options.exact:
        return
    start = time.process_time()
    engine = ImportanceDual(rounds=60, simulations=1000)
    result = infer(model, behaviour, engine=engine, chains=1, seed=options.first, progress=False)
    print(f"ImportanceDual: {time.process_time() - start:.0f} CPU s")
    print(result["max_entropy"].to_dataset().isel(chain=0))
    print(result.attrs["diagnostics"])
    right = responses(behaviour, result["posterior/z"].values[0, : options.networks])
    print(
        f"networks: respond to Go {right[:, 0].mean():.2f}, not to No-Go {right[:, 1].mean():.2f}"
    )
    print(f"both {right.all(axis=1).mean():.2f} of {options.networks}")


if __name__ == "__main__":
    main()
