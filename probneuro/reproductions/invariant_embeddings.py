"""The synthetic table: each kind of features, learned or classical, by one protocol."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from probneuro.components.embedding_tasks import Classification, two_level_classification
from probneuro.components.mea_features import (
    autocorrelation,
    burst_metrics,
    correlation_features,
    firing_rates,
    metrics_of_bins,
    power_spectrum,
)
from probneuro.components.shifts import BernoulliCounts, ElectrodeGroup, mirror_flips_323
from probneuro.core.reproduction import Finding, Setting
from probneuro.core.rng import generator
from probneuro.data.wells import Wells
from probneuro.models.roll_ae import RollAE, StandardAE, Training, fit
from probneuro.plots import save_figures
from probneuro.plots.embeddings import accuracy_bars, confusion_matrices
from probneuro.reproductions.kept import kept
from probneuro.simulators.mea_bursts import simulate_mea_bursts

Floats = NDArray[np.float64]

TRAINED: Final = 0.7
"""Share of the recordings that autoencoders are trained on (Appendix D)."""
_PCA: Final = 64


def learned(latent: int, kernel_width: int) -> dict[str, RollAE | StandardAE]:
    """Return the models of the table by the names of its rows."""
    flips = mirror_flips_323()
    short: dict[str, Any] = {
        "latent": latent,
        "group": flips,
        "kernel_width": kernel_width,
        "shift_rate": 1.0,
    }
    return {
        "autoencoder": StandardAE(group=flips, latent=latent),
        "autoencoder, augmented": StandardAE(group=flips, latent=latent, augmentation="uniform"),
        "Roll-AE": RollAE(group=flips, latent=latent),
        "Roll-AE, short kernels": RollAE(**short),
        "Roll-AE, short kernels, marginal": RollAE(
            **short, likelihood=BernoulliCounts(), objective="marginal"
        ),
    }


def classical(train: Wells, wells: Wells, group: ElectrodeGroup) -> dict[str, Callable[[], Floats]]:
    """Return the classical features of the table by the names of its rows."""

    def components() -> Floats:
        flat = train.counts.reshape(len(train), -1).astype(np.float64)
        pca = PCA(min(_PCA, *flat.shape), svd_solver="randomized", random_state=0).fit(flat)
        return np.asarray(pca.transform(wells.counts.reshape(len(wells), -1).astype(np.float64)))

    lags = min(50, wells.num_bins // 2)
    return {
        "firing rates": lambda: firing_rates(wells),
        "principal components": components,
        "power spectrum": lambda: power_spectrum(wells),
        "autocorrelation": lambda: autocorrelation(wells, num_lags=lags),
        "correlations": lambda: correlation_features(wells, group, num_lags=lags),
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
        ``seeds``, ``recordings`` of each class, ``bins``, ``latent``, ``kernel_width``,
        ``epochs``, ``patience``, ``batch_size``, ``learning_rate`` (full width) and
        ``short_learning_rate``.
    setting : Setting
        Where and how.

    Yields
    ------
    Finding
        ``synthetic_accuracy``, ``synthetic_gain`` and ``learned_over_classical``.
    """
    rows: dict[str, list[Classification]] = {}
    for seed in range(setting.seed, setting.seed + int(preset["seeds"])):
        for name, features, kinds in _features(preset, setting.folder, seed):
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
    models = {n: v for n, v in mean.items() if "Roll-AE" in n and "untrained" not in n}
    best = max(models, key=lambda n: models[n])
    against = max(("autocorrelation", "correlations", "burst metrics"), key=lambda n: mean[n])
    yield Finding(
        "learned_over_classical",
        f"{best} {mean[best]:.3f}, {against} {mean[against]:.3f}, {num} seeds",
    )


def _features(
    preset: Mapping[str, Any], folder: Path, seed: int
) -> Iterator[tuple[str, Floats, NDArray[Any]]]:
    """Yield every row's features of the 30 % and their classes."""
    wells = simulate_mea_bursts(
        num_recordings=int(preset["recordings"]), num_bins=int(preset["bins"]), seed=seed
    )
    train, rest = split_by_class(wells, seed)
    kinds = rest.labels["treatment"].to_numpy()
    for name, features in classical(train, rest, mirror_flips_323()).items():
        yield name, features(), kinds
    for name, model in learned(int(preset["latent"]), int(preset["kernel_width"])).items():
        short = "short" in name
        rate = preset["short_learning_rate" if short else "learning_rate"]
        for kind, epochs in (("", int(preset["epochs"])), (", untrained", 0)):
            if kind and name not in ("Roll-AE", "Roll-AE, short kernels"):
                continue
            training = Training(
                epochs=epochs, patience=int(preset["patience"]), learning_rate=float(rate),
                batch_size=int(preset["batch_size"]),
            )  # fmt: skip
            slug = (name + kind).lower().replace(", ", "_").replace(" ", "_").replace("-", "_")
            result = kept(folder / f"{slug}_{seed}.nc", _maker(model, train, rest, training, seed))
            yield name + kind, result["posterior"].dataset["embedding"].values[0, 0], kinds


def _maker(
    model: RollAE | StandardAE, train: Wells, rest: Wells, training: Training, seed: int
) -> Callable[[Path], xr.DataTree]:
    def make(checkpoint: Path) -> xr.DataTree:
        result = fit(model, train, embed_wells=rest, training=training, seed=seed)
        # Weights are what fills the disk, and the table needs embeddings alone.
        return result.filter(lambda node: node.name != "parameters")

    return make
