"""Training of encoders over recordings, and their embeddings as a result."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from probneuro.components.shifts import GaussianValues
from probneuro.core.checkpoint import open_run
from probneuro.core.errors import DataError, SettingError
from probneuro.core.names import CHAIN, CONSTANT_DATA, LOG_LIKELIHOOD, PARAMETERS
from probneuro.core.progress import ChainStatus, progress_display
from probneuro.core.results import FIT_HISTORY, build_result, plain_attrs
from probneuro.core.rng import resolve_seed
from probneuro.data.wells import LABELS, RECORDING, Wells
from probneuro.models.roll_ae.descent import Task, Training, train
from probneuro.models.roll_ae.embedder import Embedder, Reconstructs, check_training
from probneuro.models.roll_ae.program import LATENT

Weights = dict[str, Tensor]
Scale = Mapping[str, Tensor]
_EMBED_BATCH: Final = 64
_EPOCH: Final = "epoch"


def fit(
    model: Embedder,
    wells: Wells,
    *,
    embed_wells: Wells | None = None,
    training: Training | None = None,
    chains: int = 1,
    seed: int | None = None,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
) -> xr.DataTree:
    """Train an encoder and return the embeddings.

    Parameters
    ----------
    model : RollAE, StandardAE, ContrastiveEncoder or StatisticsEncoder
        What is trained.
    wells : Wells
        Recordings to train on; mean and standard deviation are theirs.
    embed_wells : Wells, optional
        Recordings to embed, of as many electrodes and bins; those of the training by default.
    training : Training, optional
        Epochs, batches, step size and early stopping.
    chains : int
        Restarts from other initial weights.
    seed : int, optional
        Seed; a fresh one by default.
    dtype : torch.dtype
        Of the computation.
    progress : bool
        Whether to show progress.
    checkpoint : path, optional
        Folder to write the state after each epoch to. The same call made again goes on from
        there, to the numbers that an uninterrupted run gives.

    Returns
    -------
    xarray.DataTree
        ``posterior/embedding`` (chain, draw, recording, latent), chain being the restart;
        ``log_likelihood/counts``, exact, with the group element summed out, for models that have
        one; ``fit_history`` with ``loss`` and ``validation_loss`` by epoch; ``parameters`` with the
        weights, from which `embed` embeds other recordings; ``constant_data`` with labels and what
        inputs were scaled by.

    Raises
    ------
    DataError
        If the recordings do not fit the model.
    InferenceError
        If the loss is not finite.
    CheckpointError
        If the checkpoint is of another run, in use, or cannot be written.

    Examples
    --------
    >>> from probneuro.components.shifts import no_permutation
    >>> from probneuro.models.roll_ae import RollAE
    >>> wells = Wells(np.random.default_rng(0).poisson(1.0, (6, 2, 12)), 0.5)
    >>> model = RollAE(group=no_permutation(2), latent=3, kernel_width=4)
    >>> dict(fit(model, wells, training=Training(epochs=1), seed=0)["posterior"].sizes)
    {'chain': 1, 'draw': 1, 'recording': 6, 'latent': 3}
    """
    settings, root = training or Training(), resolve_seed(seed)
    if chains < 1:
        raise SettingError(f"`chains` must be 1 or more; got {chains}.")
    check_training(model, len(wells), settings.batch_size)
    if embed_wells is not None:
        _check_alike(
            "embed_wells", embed_wells, wells.counts.shape[1], wells.num_bins, wells.bin_width
        )
    begun = time.perf_counter()
    inputs = model.inputs(wells, root)
    scale = model.scale(inputs)
    task = _task(model, wells, inputs, scale, dtype)
    told = _fingerprint(model, wells, settings, chains, root, dtype)
    with _folder(checkpoint, told) as folder:
        fitted = _restarts(task, settings, root, chains, progress=progress, folder=folder)
    result = _result(model, embed_wells or wells, [w for w, _ in fitted], scale, dtype)
    result[FIT_HISTORY] = xr.DataTree(_history([history for _, history in fitted]))
    seconds = time.perf_counter() - begun
    more = {"seed": root, "training": vars(settings), "data_hash": wells.hash(), "seconds": seconds}
    result.attrs.update(plain_attrs(more))
    return result


def _fingerprint(
    model: Embedder, wells: Wells, settings: Training, chains: int, seed: int, dtype: torch.dtype
) -> dict[str, Any]:
    """Return everything that the weights depend on."""
    return {
        "model": model.name, "model_settings": dict(model.attributes()), "seed": seed,
        "training": vars(settings), "chains": chains, "data": wells.hash(), "dtype": str(dtype),
    }  # fmt: skip


@contextmanager
def _folder(
    checkpoint: str | os.PathLike[str] | None, told: dict[str, Any]
) -> Iterator[Path | None]:
    if checkpoint is None:
        yield None
    else:
        with open_run(checkpoint, told) as folder:
            yield folder


def _restarts(
    task: Task, settings: Training, seed: int, chains: int, *, progress: bool, folder: Path | None
) -> list[tuple[Weights, NDArray[np.float64]]]:
    """Train one restart after the other, and show how far they are."""
    board = [ChainStatus(settings.epochs, 0, note="waiting") for _ in range(chains)]
    fitted = []
    with progress_display(progress, task.model.name) as display:
        for chain, status in enumerate(board):

            def show(done: int, loss: float, status: ChainStatus = status) -> None:
                status.step, status.note = done, "" if np.isnan(loss) else f"loss {loss:.4g}"
                display.show(board)

            fitted.append(train(task, settings, seed, chain, checkpoint=folder, show=show))
            status.step, status.note = settings.epochs, f"{status.note}, done"
            display.show(board)
    return fitted


def embed(result: xr.DataTree, model: Embedder, wells: Wells) -> xr.DataTree:
    """Embed other recordings with the weights of a result.

    Parameters
    ----------
    result : xarray.DataTree
        From `fit`.
    model : RollAE, StandardAE, ContrastiveEncoder or StatisticsEncoder
        The model that was trained.
    wells : Wells
        One or more, of as many electrodes and bins, and of the same bin width.

    Returns
    -------
    xarray.DataTree
        As `fit` returns, without its history.

    Raises
    ------
    DataError
        If the result is of another model or version, or the recordings are of another size.
    """
    if result.attrs.get("model_settings") != json.dumps(model.attributes()):
        raise DataError(
            "`result` was trained with other settings than `model`. Pass the model it came from."
        )
    if not {"scaled_by", "bin_width"} <= set(result.attrs):
        raise DataError(
            "`result` does not tell what its inputs were scaled by and how wide its bins were; an "
            "older version wrote it. Call fit again."
        )
    known = result[PARAMETERS].dataset
    electrodes, bins = (int(result.attrs[name]) for name in ("num_electrodes", "num_bins"))
    _check_alike("wells", wells, electrodes, bins, float(result.attrs["bin_width"]))
    constant = result[CONSTANT_DATA].dataset
    names = json.loads(result.attrs["scaled_by"])
    scale = {name: torch.as_tensor(constant[name].values) for name in names}
    weights = [
        {str(n): torch.as_tensor(known[n].values[c, 0]) for n in known.data_vars}
        for c in range(known.sizes[CHAIN])
    ]
    return _result(model, wells, weights, scale, next(iter(weights[0].values())).dtype)


def _check_alike(name: str, wells: Wells, electrodes: int, bins: int, bin_width: float) -> None:
    """Raise unless recordings to embed are as those of the training."""
    same = wells.counts.shape[1:] == (electrodes, bins)
    if not (same and np.isclose(wells.bin_width, bin_width)):
        raise DataError(
            f"`{name}` has {wells.counts.shape[1]} electrodes and {wells.num_bins} bins of "
            f"{wells.bin_width:g} s, the training had {electrodes} and {bins} of {bin_width:g} s. "
            "Bin and cut the recordings alike."
        )


def _task(model: Embedder, wells: Wells, inputs: Tensor, scale: Scale, dtype: torch.dtype) -> Task:
    noise = model.noise()
    seen = model.scaled(inputs, scale).to(dtype)
    counts = torch.as_tensor(np.asarray(wells.counts, dtype=np.float64)).to(dtype)
    x = seen if isinstance(noise, GaussianValues) else counts
    if noise is not None:
        noise.check(x)
    return Task(model, model.sizes(wells), x, seen)


def _history(histories: list[NDArray[np.float64]]) -> xr.Dataset:
    longest = max(len(h) for h in histories)
    padded = np.full((len(histories), longest, 2), np.nan)
    for c, h in enumerate(histories):
        padded[c, : len(h)] = h
    dims = (CHAIN, _EPOCH)
    coords = {CHAIN: np.arange(len(histories)), _EPOCH: np.arange(longest)}
    return xr.Dataset(
        {"loss": (dims, padded[..., 0]), "validation_loss": (dims, padded[..., 1])}, coords=coords
    )


def _embedded(task: Task, weights: Weights) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return embeddings by the whole orbit, and exact log likelihoods if the model has them."""
    places, exact = [], []
    with torch.no_grad():
        for rows in torch.arange(len(task.x)).split(_EMBED_BATCH):
            place = task.model.encode(weights, task.seen[rows], task.sizes)
            places.append(place)
            if isinstance(task.model, Reconstructs):
                exact.append(task.model.log_likelihood(weights, task.x[rows], place, task.sizes))
    return torch.cat(places).numpy(), torch.cat(exact).numpy() if exact else None


def _result(
    model: Embedder, wells: Wells, fitted: list[Weights], scale: Scale,
    dtype: torch.dtype,
) -> xr.DataTree:  # fmt: skip
    task = _task(model, wells, model.inputs(wells), scale, dtype)
    pairs = [_embedded(task, weights) for weights in fitted]
    exact = [told for _, told in pairs if told is not None]
    labels = {name: wells.labels[name].to_numpy() for name in LABELS}
    stacked = {n: np.stack([w[n].numpy() for w in fitted])[:, None] for n in fitted[0]}
    scales = {name: value.numpy() for name, value in scale.items()}
    axes = {n: [f"{n}_{k}" for k in range(v.ndim - 2)] for n, v in stacked.items()}
    axes |= {n: [f"{n}_{k}" for k in range(v.ndim)] for n, v in scales.items()}
    result = build_result(
        {"embedding": np.stack([place for place, _ in pairs])[:, None]},
        dims={"embedding": [RECORDING, LATENT], "counts": [RECORDING], "mean_rate": [RECORDING],
              **axes},
        coords={RECORDING: np.arange(len(wells)), LATENT: np.arange(model.latent),
                **{n: (RECORDING, v.astype(str) if v.dtype == object else v)
                   for n, v in labels.items()}},
        groups={
            LOG_LIKELIHOOD: {"counts": np.stack(exact)[:, None]} if exact else {},
            PARAMETERS: stacked,
            CONSTANT_DATA: {"mean_rate": wells.counts.mean((1, 2)) / wells.bin_width, **scales},
        },
    )  # fmt: skip
    told = {
        "model": model.name, "model_settings": json.dumps(model.attributes()),
        "num_electrodes": wells.counts.shape[1], "num_bins": wells.num_bins,
        "bin_width": float(wells.bin_width), "scaled_by": json.dumps(list(scales)),
    }  # fmt: skip
    result.attrs.update(plain_attrs(told))
    return result
