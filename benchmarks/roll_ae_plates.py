"""Days in vitro from counts of real plates, whole plates left out: embeddings and baselines.

    python benchmarks/roll_ae_plates.py COUNTS.npz [--latent 32] [--epochs 20] [--seeds 3]

COUNTS.npz has `counts` (recording, 16 electrodes, time), `plate`, `div` and `well`. Autoencoders
never see the plates they are tested on: a third of the plates is left out in turn.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from probneuro.components.embedding_tasks import classify
from probneuro.components.mea_features import (
    burst_metrics,
    correlation_features,
    firing_rates,
    metrics_of_bins,
)
from probneuro.components.shifts import NegativeBinomialCounts, PoissonCounts, grid_symmetries
from probneuro.core.rng import generator
from probneuro.data import Wells, read_wells
from probneuro.models.roll_ae import RollAE, Training, fit


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


def models(latent: int) -> dict[str, RollAE]:
    base = {"group": grid_symmetries(4, 4), "latent": latent, "shift_rate": 1.0}
    short = {**base, "kernel_width": 8, "objective": "marginal"}
    return {
        "Roll-AE": RollAE(**{**base, "shift_rate": 0.01}),
        "short, Poisson": RollAE(**short, likelihood=PoissonCounts()),
        "short, negative binomial": RollAE(**short, likelihood=NegativeBinomialCounts(0.5)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts")
    parser.add_argument("--bin-width", type=float, default=1.0)
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recordings", type=int, default=0, help="use only so many, for a try")
    given = parser.parse_args()
    wells = read_wells(given.counts, bin_width=given.bin_width)
    if given.recordings:
        rows = generator(0, "subset").permutation(len(wells))[: given.recordings]
        wells = wells.select(np.sort(rows))
    days, plates = wells.labels["div"].to_numpy(), wells.labels["plate"].to_numpy()
    found: dict[str, list[float]] = {}
    fixed = classical(wells)
    for seed in range(given.seeds):
        for train, test in folds(wells, seed):
            features = dict(fixed)
            for name, model in models(given.latent).items():
                for epochs, row in ((0, f"{name}, untrained"), (given.epochs, name)):
                    result = fit(model, wells.select(train), embed_wells=wells, seed=seed,
                                 training=Training(epochs=epochs, learning_rate=1e-3))  # fmt: skip
                    place = result["posterior/embedding"].values[0, 0]
                    features[row] = place
                    features[f"{row} + correlations"] = np.hstack(
                        [place, fixed["correlations of logs"]]
                    )
            for name, x in features.items():
                told = classify(x, days, train, test, groups=plates, seed=seed)
                found.setdefault(name, []).append(told.accuracy)
    for name, values in found.items():
        print(f"{name:45s} {np.mean(values):.3f} +- {np.std(values) / np.sqrt(len(values)):.3f}")


if __name__ == "__main__":
    main()
