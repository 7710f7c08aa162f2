"""Days in vitro from counts of real plates, whole plates left out: embeddings and baselines.

    python benchmarks/roll_ae_plates.py COUNTS.npz... [--seeds 3] [--models statistics] [--parts 0]
                                        [--test OTHER.npz...]

COUNTS.npz has `counts` (recording, electrode, time), `plate`, `div` and `well`. No model and no
classifier ever sees the plates that it is tested on: each plate is left out in turn, or the plates
in so many parts, or with `--test` all of COUNTS.npz trains and OTHER.npz is tested.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from probneuro.components.embedding_tasks import classify
from probneuro.components.invariant_statistics import invariant_statistics
from probneuro.components.mea_features import (
    burst_metrics,
    correlation_features,
    firing_rates,
    metrics_of_bins,
)
from probneuro.components.shifts import PoissonCounts, group_of_electrodes
from probneuro.core.rng import generator
from probneuro.data import Wells, join_wells, read_wells
from probneuro.models.roll_ae import (
    ContrastiveEncoder,
    RollAE,
    StatisticsEncoder,
    Training,
    embed,
    fit,
)
from probneuro.models.roll_ae.embedder import Embedder

Fold = tuple[np.ndarray, np.ndarray]


def classical(wells: Wells) -> dict[str, np.ndarray]:
    """Return features on the scale of logs, which counts of several orders of magnitude need."""
    group = group_of_electrodes(wells.electrodes)
    logs = Wells(np.rint(8 * np.log1p(wells.counts)), wells.bin_width)
    rates = np.sort(np.log1p(firing_rates(wells)), axis=1)
    metrics = burst_metrics(wells, settings=metrics_of_bins(wells.bin_width))
    found = {
        "sorted log rates": rates,
        "correlations of logs": np.hstack([rates, correlation_features(logs, group)]),
        "metrics": np.sign(metrics) * np.log1p(np.abs(metrics)),
    }
    found["all of these"] = np.hstack(list(found.values()))
    return {**found, "statistics": invariant_statistics(wells)}


def folds(wells: Wells, seed: int, parts: int) -> Iterator[Fold]:
    """Yield what to train on and what to test on: each plate, or so many parts of all plates."""
    plates = wells.labels["plate"].to_numpy()
    names = sorted(set(plates))
    order = generator(seed, "plates").permutation(names)
    for part in np.array_split(order, parts or len(names)):
        out = np.isin(plates, part)
        yield np.flatnonzero(~out), np.flatnonzero(out)


def models(wells: Wells, latent: int) -> dict[str, tuple[Embedder, Training]]:
    group = group_of_electrodes(wells.electrodes)
    plain = Training(epochs=20, learning_rate=1e-3)
    rising = Training(epochs=40, learning_rate=3e-3, batch_size=128, annealed=True, patience=40)
    long = Training(epochs=300, learning_rate=2e-3, batch_size=256, annealed=True, patience=300)
    short = {"group": group, "latent": latent, "kernel_width": 8, "shift_rate": 1.0}
    poisson = RollAE(**short, likelihood=PoissonCounts(), objective="marginal")
    return {
        "statistics": (StatisticsEncoder(latent=latent), long),
        "halves": (ContrastiveEncoder(group=group, latent=latent, kernel_width=8), rising),
        "wide": (RollAE(group=group, latent=latent), plain),
        "poisson": (poisson, plain),
    }


def embeddings(
    wells: Wells, train: np.ndarray, seed: int, chosen: list[str], latent: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the embeddings of all recordings by models that saw the training plates alone."""
    for name in chosen:
        model, training = models(wells, latent)[name]
        for row, used in ((f"{name}, untrained", replace(training, epochs=0)), (name, training)):
            result = fit(model, wells.select(train), seed=seed, training=used)
            yield row, embed(result, model, wells)["posterior/embedding"].values[0, 0]


def told_right(
    wells: Wells, fold: Fold, features: dict[str, np.ndarray], embedded: dict[str, np.ndarray],
    seed: int,
) -> Iterator[tuple[str, np.ndarray]]:  # fmt: skip
    """Yield for each kind of features which of the recordings tested are told right."""
    train, test = fold
    days, plates = (wells.labels[n].to_numpy() for n in ("div", "plate"))
    known, rows = features["all of these"], {}
    for name, place in embedded.items():
        rows[f"{name} encoder"] = place
        if "untrained" not in name:
            rows[f"{name} encoder, and all of these"] = np.hstack([place, known])
    for name, x in {**features, **rows}.items():
        told = classify(x, days, train, test, groups=plates, seed=seed)
        yield name, told.predicted.astype(float) == days[test]
    # Not linear: whether it is the classifier that holds the features back.
    trees = ExtraTreesClassifier(400, min_samples_leaf=3, random_state=seed)
    every = np.hstack([known, features["statistics"]])
    trees.fit(every[train], days[train])
    yield "all and statistics, by trees", trees.predict(every[test]) == days[test]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="+")
    parser.add_argument("--test", nargs="+", default=[], help="counts of plates to test on alone")
    parser.add_argument("--bin-width", type=float, default=1.0)
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", type=int, default=0, help="parts of plates left out; 0 for each")
    parser.add_argument("--models", default="statistics", help="statistics, halves, wide, poisson")
    given = parser.parse_args()
    files = [*given.counts, *given.test]
    held = [read_wells(file, bin_width=given.bin_width) for file in files]
    wells, first = join_wells(held), sum(map(len, held[: len(given.counts)]))
    days = wells.labels["div"].to_numpy()
    shares = np.unique(days, return_counts=True)[1] / len(days)
    print(f"{wells!r}\nlargest share of a day {shares.max():.3f}", flush=True)
    features = classical(wells)
    found: dict[str, list[float]] = {}
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        cut = (np.arange(first), np.arange(first, len(wells)))
        right: dict[str, list[np.ndarray]] = {}
        for fold in [cut] if given.test else folds(wells, seed, given.parts):
            chosen = [name for name in given.models.split(",") if name]
            embedded = dict(embeddings(wells, fold[0], seed, chosen, given.latent))
            for name, told in told_right(wells, fold, features, embedded, seed):
                right.setdefault(name, []).append(told)
        for name, told in right.items():
            share = float(np.concatenate(told).mean())
            found.setdefault(name, []).append(share)
            by_plate = " ".join(f"{part.mean():.2f}" for part in told)
            print(f"{seed} {name:45s} {share:.4f} by part left out {by_plate}", flush=True)
    for name, values in found.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        print(f"{name:45s} {np.mean(values):.4f} +- {error:.4f} ({len(values)} seeds)")


if __name__ == "__main__":
    main()
