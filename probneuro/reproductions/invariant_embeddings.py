"""The synthetic table: each kind of features, learned or classical, by one protocol."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from probneuro.components.embedding_tasks import Classification, two_level_classification
from probneuro.components.invariant_statistics import invariant_statistics
from probneuro.components.mea_features import (
    autocorrelation,
    burst_metrics,
    correlation_features,
    cross_spectrum,
    firing_rates,
    metrics_of_bins,
    power_spectrum,
)
from probneuro.components.shifts import BernoulliCounts, ElectrodeGroup, mirror_flips_323
from probneuro.core.reproduction import Finding, Setting
from probneuro.core.rng import generator
from probneuro.data.wells import Wells
from probneuro.models.roll_ae import (
    ContrastiveEncoder,
    RollAE,
    Sizes,
    StandardAE,
    StatisticsEncoder,
    Training,
    fit,
)
from probneuro.models.roll_ae.embedder import Embedder
from probneuro.models.roll_ae.networks import first_layer_of_shifts, initial_weights
from probneuro.plots import save_figures
from probneuro.plots.embeddings import accuracy_bars, confusion_matrices
from probneuro.reproductions.kept import kept
from probneuro.simulators.mea_bursts import simulate_mea_bursts

Floats = NDArray[np.float64]

TRAINED: Final = 0.7
"""Share of the recordings that autoencoders are trained on (Appendix D)."""
_PCA: Final = 64
_HONEST: Final = ("autocorrelation", "correlations", "statistics", "burst metrics")
"""Classical features that the best learned embedding is held against."""


def learned(preset: Mapping[str, Any]) -> dict[str, tuple[Embedder, Training]]:
    """Return the models of the table and their training, by the names of its rows."""
    flips, latent = mirror_flips_323(), int(preset["latent"])
    width, narrow = int(preset["kernel_width"]), int(preset["short_latent"])
    contrast = ContrastiveEncoder(
        group=flips, latent=int(preset["contrast_latent"]),
        kernel_width=int(preset["contrast_kernel_width"]),
    )  # fmt: skip
    short = RollAE(group=flips, latent=narrow, kernel_width=width, shift_rate=1.0)
    marginal = replace(short, likelihood=BernoulliCounts(), objective="marginal")
    plain, stirred = (
        StandardAE(group=flips, latent=latent, augmentation=kind) for kind in (None, "uniform")
    )
    statistics = StatisticsEncoder(latent=int(preset["contrast_latent"]), silenced=0.0, views=8)
    return {
        "contrastive, short kernels": (contrast, _training(preset, "contrast_")),
        "contrastive, statistics": (statistics, _training(preset, "statistics_")),
        "Roll-AE, short kernels": (short, _training(preset, "short_")),
        "Roll-AE, short kernels, marginal": (marginal, _training(preset, "short_")),
        # Plain autoencoders learn slowly and cost little: trained as briefly, they look too bad.
        "autoencoder": (plain, _training(preset, "standard_")),
        "autoencoder, augmented": (stirred, _training(preset, "standard_")),
        "Roll-AE": (RollAE(group=flips, latent=latent), _training(preset, "")),
    }


def _training(preset: Mapping[str, Any], kind: str) -> Training:
    """Return how one kind of model is trained: annealed to the end, or stopped early."""
    epochs = int(preset[f"{kind}epochs"])
    annealed = kind in ("short_", "contrast_", "statistics_")
    return Training(
        epochs=epochs, learning_rate=preset[f"{kind}learning_rate"], annealed=annealed,
        batch_size=int(preset.get(f"{kind}batch_size", preset["batch_size"])),
        patience=max(1, epochs) if annealed else int(preset["patience"]),
    )  # fmt: skip


def random_kernels(wells: Wells, width: int, seed: int) -> Floats:
    """Return means over the orbit of rectified random kernels: an encoder's first layer alone."""
    sizes = Sizes(num_electrodes=wells.counts.shape[1], num_bins=wells.num_bins, kernel_width=width)
    drawn = initial_weights(sizes.encoder_shapes(), seed)
    x = torch.as_tensor(wells.counts, dtype=torch.float32)
    x = (x - x.mean()) / x.std()
    means = []
    for part in x.split(64):
        seen = [part[:, list(order)] for order in mirror_flips_323().permutations]
        layers = [first_layer_of_shifts(s, drawn["encoder_first_weight"]) for s in seen]
        biased = torch.stack([torch.relu(y + drawn["encoder_first_bias"]) for y in layers])
        means.append(biased.mean((0, 2)))
    return np.asarray(torch.cat(means).numpy(), dtype=np.float64)


def classical(
    train: Wells, wells: Wells, group: ElectrodeGroup, seed: int = 0
) -> dict[str, Callable[[], Floats]]:
    """Return the features of the table that are not learned, by the names of its rows."""

    def components() -> Floats:
        flat = train.counts.reshape(len(train), -1).astype(np.float64)
        pca = PCA(min(_PCA, *flat.shape), svd_solver="randomized", random_state=0).fit(flat)
        return np.asarray(pca.transform(wells.counts.reshape(len(wells), -1).astype(np.float64)))

    lags = min(50, wells.num_bins // 2)
    return {
        "firing rates": lambda: firing_rates(wells),
        "principal components": components,
        "power spectrum": lambda: power_spectrum(wells),
        "power and cross-spectrum": lambda: np.hstack(
            [power_spectrum(wells), cross_spectrum(wells)]
        ),
        "random kernels": lambda: random_kernels(wells, 8, seed),
        "autocorrelation": lambda: autocorrelation(wells, num_lags=lags, centred=False),
        "correlations": lambda: correlation_features(wells, group, num_lags=lags, centred=False),
        "statistics": lambda: invariant_statistics(wells),
        "burst metrics": lambda: burst_metrics(wells, settings=metrics_of_bins(wells.bin_width)),
    }


def split_by_class(wells: Wells, seed: int) -> tuple[Wells, Wells]:
    """Return 70 % of each class to train autoencoders on, and the rest to embed."""
    rng = generator(seed, "split_by_class")
    kinds = wells.labels["treatment"].to_numpy()
    first: list[int] = []
    for kind in sorted(set(kinds)):
        rows = rng.permutation(np.flatnonzero(kinds == kind))
        first += rows[: round(TRAINED * len(rows))].tolist()
    inside = np.isin(np.arange(len(wells)), first)
    return wells.select(inside), wells.select(~inside)


def tell_kinds(preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Simulate the 16 classes, train every model, and classify by every kind of features.

    No row sees the recordings that it is tested on: models stop by the loss of training
    recordings held out, and penalties are chosen by cross-validation inside the second level's
    training part.

    Parameters
    ----------
    preset : mapping
        ``seeds``, ``recordings`` of each class, ``bins``, ``patience``, ``batch_size``,
        ``kernel_width`` of short kernels; ``latent``, ``epochs`` and ``learning_rate`` of the
        paper's encoder; the last two after ``standard_`` of the plain autoencoders, all three after
        ``short_`` of short kernels; these and a ``batch_size`` of their own after ``contrast_``
        (with ``kernel_width``) and ``statistics_`` (but ``latent``) of halves told apart.
    setting : Setting
        Where and how.

    Yields
    ------
    Finding
        ``synthetic_accuracy``, ``synthetic_gain`` and ``learned_over_classical``.
    """
    rows: dict[str, list[Classification]] = {}
    for seed in range(setting.seed, setting.seed + int(preset["seeds"])):
        for name, features, kinds in features_of_seed(
            preset, setting.folder, seed, progress=setting.progress
        ):
            found = two_level_classification(features, kinds, seed=seed)
            rows.setdefault(name, []).append(found)
    accuracies = {name: [c.accuracy for c in found] for name, found in rows.items()}
    chosen = {n: rows[n][0].confusion for n in ("autoencoder", "Roll-AE", "burst metrics")}
    save_figures(
        {
            "accuracies": accuracy_bars(accuracies, chance=1 / 16),
            "confusions": confusion_matrices(chosen, rows["Roll-AE"][0].classes),
        },
        setting.figures,
    )
    yield from _findings(accuracies)


def _findings(accuracies: Mapping[str, list[float]]) -> Iterator[Finding]:
    mean = {name: float(np.mean(values)) for name, values in accuracies.items()}
    num = len(next(iter(accuracies.values())))
    told = ", ".join(f"{name} {value:.3f}" for name, value in mean.items())
    figures = ("accuracies", "confusions")
    yield Finding("synthetic_accuracy", f"{told}; mean over {num} seeds", figures)
    gain = 100.0 * (mean["Roll-AE"] - mean["autoencoder"])
    yield Finding("synthetic_gain", f"{gain:+.1f} points over the autoencoder, {num} seeds")
    models = {n: v for n, v in mean.items() if n.startswith("contr") and "untr" not in n}
    best = max(models, key=lambda n: models[n])
    against = max(_HONEST, key=lambda n: mean[n])
    yield Finding(
        "learned_over_classical",
        f"{best} {mean[best]:.3f}, {against} {mean[against]:.3f}, {num} seeds",
    )


def features_of_seed(
    preset: Mapping[str, Any], folder: Path, seed: int, *, rows: Collection[str] = (),
    progress: bool = True,
) -> Iterator[tuple[str, Floats, NDArray[Any]]]:  # fmt: skip
    """Yield features of the 30 % of recordings that no model is trained on, and their classes.

    Parameters
    ----------
    preset : mapping
        As in `tell_kinds`.
    folder : pathlib.Path
        What it holds already is not computed again.
    seed : int
        Of the recordings, the split and the models.
    rows : collection of str
        Rows of the table to yield; all by default.
    progress : bool
        Whether to show progress of training.

    Yields
    ------
    tuple
        Name of the row, features of shape (recording, feature), classes.
    """
    wells = simulate_mea_bursts(
        num_recordings=int(preset["recordings"]), num_bins=int(preset["bins"]), seed=seed
    )
    train, rest = split_by_class(wells, seed)
    kinds = rest.labels["treatment"].to_numpy()
    for name, features in classical(train, rest, mirror_flips_323(), seed).items():
        if name in rows or not rows:
            slug = name.replace(" ", "_")
            yield name, kept_features(folder / f"{slug}_{seed}.nc", features), kinds
    for name, (model, training) in with_untrained(learned(preset)).items():
        if name in rows or not rows:
            slug = name.lower().replace(", ", "_").replace(" ", "_").replace("-", "_")
            maker = _maker(model, train, rest, training, seed, progress=progress)
            result = kept(folder / f"{slug}_{seed}.nc", maker)
            yield name, result["posterior"].dataset["embedding"].values[0, 0], kinds


def with_untrained(
    models: Mapping[str, tuple[Embedder, Training]],
) -> dict[str, tuple[Embedder, Training]]:
    """Return the models, and those of an invariant encoder once more without training."""
    bare = {
        f"{name}, untrained": (model, replace(training, epochs=0))
        for name, (model, training) in models.items()
        if name in ("Roll-AE", "Roll-AE, short kernels") or name.startswith("contrastive")
    }
    return {**models, **bare}


def kept_features(path: Path, make: Callable[[], Floats]) -> Floats:
    """Return features from their file, or compute them and write it."""

    def wrapped(checkpoint: Path) -> xr.DataTree:
        held = xr.Dataset({"features": (("recording", "feature"), make())})
        return xr.DataTree(children={"posterior": xr.DataTree(held)})

    return np.asarray(kept(path, wrapped)["posterior"].dataset["features"].values)


def _maker(
    model: Embedder, train: Wells, rest: Wells, training: Training, seed: int, *, progress: bool
) -> Callable[[Path], xr.DataTree]:
    def make(checkpoint: Path) -> xr.DataTree:
        result = fit(
            model, train, embed_wells=rest, training=training, seed=seed, progress=progress,
            checkpoint=checkpoint if training.epochs else None,
        )  # fmt: skip
        # Weights are what fills the disk, and the table needs embeddings alone.
        return result.filter(lambda node: node.name != "parameters")

    return make
