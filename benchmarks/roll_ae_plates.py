"""Days in vitro from counts of real plates, whole plates left out: embeddings and baselines.

    python benchmarks/roll_ae_plates.py COUNTS.npz [--epochs 40] [--seeds 3] [--models halves]

COUNTS.npz has `counts` (recording, 16 electrodes, time), `plate`, `div` and `well`. Autoencoders
never see the plates they are tested on: a third of the plates is left out in turn.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from probneuro.components.embedding_tasks import classify
from probneuro.components.mea_features import (
    burst_metrics,
    correlation_features,
    firing_rates,
    metrics_of_bins,
)
from probneuro.components.shifts import PoissonCounts, grid_symmetries
from probneuro.core.rng import generator
from probneuro.data import Wells, read_wells
from probneuro.models.roll_ae import ContrastiveEncoder, RollAE, Training, fit
from probneuro.models.roll_ae.embedder import Embedder


def classical(wells: Wells) -> dict[str, np.ndarray]:
    """Return features on the scale of logs, which counts of several orders of magnitude need."""
    group = grid_symmetries(4, 4)
    logs = Wells(np.rint(8 * np.log1p(wells.counts)), wells.bin_width)
    rates = np.sort(np.log1p(firing_rates(wells)), axis=1)
    metrics = burst_metrics(wells, settings=metrics_of_bins(wells.bin_width))
    return {
        "sorted log rates": rates,
        "correlations of logs": np.hstack([rates, correlation_features(logs, group)]),
        "metrics": np.sign(metrics) * np.log1p(np.abs(metrics)),
    }


def folds(wells: Wells, seed: int, num: int = 3) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    plates = wells.labels["plate"].to_numpy()
    order = generator(seed, "plates").permutation(sorted(set(plates)))
    for part in np.array_split(order, num):
        out = np.isin(plates, part)
        yield np.flatnonzero(~out), np.flatnonzero(out)


def models(latent: int, epochs: int) -> dict[str, tuple[Embedder, Training]]:
    group = grid_symmetries(4, 4)
    plain = Training(epochs=epochs, learning_rate=1e-3)
    wide = RollAE(group=group, latent=latent)
    short = {"group": group, "latent": latent, "kernel_width": 8, "shift_rate": 1.0}
    poisson = RollAE(**short, likelihood=PoissonCounts(), objective="marginal")
    halves = ContrastiveEncoder(group=group, latent=latent, kernel_width=8)
    rising = Training(
        epochs=epochs, learning_rate=3e-3, batch_size=128, annealed=True, patience=max(1, epochs)
    )
    return {"halves": (halves, rising), "wide": (wide, plain), "poisson": (poisson, plain)}


def embeddings(
    wells: Wells, train: np.ndarray, seed: int, chosen: list[str], latent: int, epochs: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the embeddings of all recordings by models that saw the training plates alone."""
    for name in chosen:
        model, training = models(latent, epochs)[name]
        for row, used in ((f"{name}, untrained", replace(training, epochs=0)), (name, training)):
            result = fit(model, wells.select(train), embed_wells=wells, seed=seed, training=used)
            yield row, result["posterior/embedding"].values[0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts")
    parser.add_argument("--bin-width", type=float, default=1.0)
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default="halves", help="halves, wide, poisson, by commas")
    parser.add_argument("--recordings", type=int, default=0, help="use only so many, for a try")
    given = parser.parse_args()
    wells = read_wells(given.counts, bin_width=given.bin_width)
    if given.recordings:
        rows = generator(0, "subset").permutation(len(wells))[: given.recordings]
        wells = wells.select(np.sort(rows))
    days, plates = wells.labels["div"].to_numpy(), wells.labels["plate"].to_numpy()
    found: dict[str, list[float]] = {}
    fixed = classical(wells)
    chosen = [name for name in given.models.split(",") if name]
    for seed in range(given.seeds):
        right: dict[str, int] = {}
        for train, test in folds(wells, seed):
            features = dict(fixed)
            for row, x in embeddings(wells, train, seed, chosen, given.latent, given.epochs):
                features[row] = x
                features[f"{row} + metrics"] = np.hstack([x, fixed["metrics"]])
            for name, x in features.items():
                told = classify(x, days, train, test, groups=plates, seed=seed)
                right[name] = right.get(name, 0) + round(told.accuracy * len(test))
        for name, num in right.items():
            found.setdefault(name, []).append(num / len(wells))
            print(f"{seed} {name:45s} {num / len(wells):.4f}", flush=True)
    for name, values in found.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        print(f"{name:45s} {np.mean(values):.4f} +- {error:.4f} ({len(values)} seeds)")


if __name__ == "__main__":
    main()
