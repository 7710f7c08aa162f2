"""The synthetic table, row by row as it comes; what is in FOLDER already is not computed again.

    python benchmarks/roll_ae_table.py FOLDER [--first-seed 0] [--seeds 3] [--fast] [--rows 'A;B']

The same rows as `probneuro reproduce roll_ae --preset paper`. `--fast` lets the processor multiply
matrices in bfloat16 where it can; the difference is far below that between seeds.
"""

import argparse
import time
import tomllib
from pathlib import Path

import numpy as np
import torch

from probneuro.components.embedding_tasks import two_level_classification
from probneuro.reproductions.invariant_embeddings import features_of_seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--rows", default="", help="names of rows, separated by semicolons")
    given = parser.parse_args()
    rows = [name.strip() for name in given.rows.split(";") if name.strip()]
    if given.fast:
        torch.set_float32_matmul_precision("medium")
    shelf = Path(__file__).parents[1] / "models" / "roll_ae" / f"{given.preset}.toml"
    preset = tomllib.loads(shelf.read_text())["reproduce"]["synthetic"]
    found: dict[str, list[float]] = {}
    begun = time.process_time()
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for name, x, kinds in features_of_seed(preset, given.folder, seed, rows=rows):
            accuracy = two_level_classification(x, kinds, seed=seed).accuracy
            found.setdefault(name, []).append(accuracy)
            spent = time.process_time() - begun
            print(f"{seed} {name:40s} {accuracy:.4f}  {spent:.0f} CPU s", flush=True)
    for name, values in found.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        print(f"{name:40s} {np.mean(values):.4f} +- {error:.4f} ({len(values)} seeds)")


if __name__ == "__main__":
    main()
