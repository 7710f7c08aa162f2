"""Training of autoencoders over recordings, and their embeddings as a result."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from probneuro.components.shifts import GaussianValues, group_log_likelihood, orbit_loss
from probneuro.core.errors import DataError, InferenceError, SettingError
from probneuro.core.names import CHAIN, CONSTANT_DATA, LOG_LIKELIHOOD, PARAMETERS
from probneuro.core.results import FIT_HISTORY, build_result, plain_attrs
from probneuro.core.rng import generator, resolve_seed
from probneuro.data.wells import LABELS, RECORDING, Wells
from probneuro.models.roll_ae.networks import (
    Sizes,
    decode,
    initial_weights,
    last_layer,
    pooled_orbit,
)
from probneuro.models.roll_ae.program import LATENT, RollAE, scaled
from probneuro.models.roll_ae.standard import StandardAE

Model = RollAE | StandardAE
Weights = dict[str, Tensor]
_EMBED_BATCH: Final = 64
_EPOCH: Final = "epoch"


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """How an autoencoder is trained.

    Parameters
    ----------
    epochs : int
        Passes over the training recordings; 200 in the paper.
    batch_size : int
        Recordings a step.
    learning_rate : float
        Of Adam.
    validation : float
        Share of the recordings that is held out to decide when to stop; 0 to train to the end,
        as in the paper.
    patience : int
        Epochs without a better validation loss after which training stops; the best weights are
        kept.

    Raises
    ------
    SettingError
        If a setting is out of range.

    Examples
    --------
    >>> Training(epochs=5).batch_size
    64
    """

    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-4
    validation: float = 0.1
    patience: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "patience"):
            least = 0 if name == "epochs" else None
            value = getattr(self, name)
            if not (value > 0 or value == least):
                raise SettingError(
                    f"`{name}` must be positive; got {value!r}. Its default is "
                    f"{getattr(Training, name)}."
                )
        if not 0 <= self.validation < 1:
            raise SettingError(
                f"`validation` must be 0 or more and below 1; got {self.validation!r}. Try 0.1."
            )


@final
@dataclass(frozen=True)
class _Task:
    """A model bound to recordings: what one step computes with."""

    model: Model
    sizes: Sizes
    x: Tensor
    seen: Tensor

    def loss(self, weights: Weights, rows: Tensor, stream: torch.Generator | None) -> Tensor:
        """Return the mean loss of some recordings; without a stream, of the whole orbit."""
        x, seen = self.x[rows], self.seen[rows]
        if isinstance(self.model, StandardAE):
            given = seen if stream is None else self.model.augmented(seen, stream)
            out = decode(weights, self.model.encode(weights, given, self.sizes), self.sizes)
            return (out - x).square().mean()
        model, elements = self.model, None
        if stream is not None and model.shift_rate < 1:
            count = model.group.num_elements(self.sizes.num_bins)
            num = max(1, round(model.shift_rate * count))
            elements = torch.randperm(count, generator=stream)[:num]
        pooled = pooled_orbit(weights, seen, model.group, elements)
        place = last_layer(weights, pooled)
        if model.objective == "nearest":
            return orbit_loss(x, decode(weights, place, self.sizes), model.group).mean()
        return self._negative_elbo(weights, x, place, pooled, stream)

    def _negative_elbo(
        self, weights: Weights, x: Tensor, place: Tensor, pooled: Tensor,
        stream: torch.Generator | None,
    ) -> Tensor:  # fmt: skip
        """Return the negative bound (or log joint density) a value of a recording."""
        model = self.model
        embedding, penalty = place, 0.5 * place.square().sum(-1)
        if isinstance(model, RollAE) and model.guide_family == "normal":
            spread = model.spread(weights, pooled)
            if stream is not None:
                noise = torch.randn(place.shape, generator=stream, dtype=place.dtype)
                embedding = place + spread * noise
            penalty = 0.5 * (place.square() + spread.square() - 1.0 - 2.0 * spread.log()).sum(-1)
        output = decode(weights, embedding, self.sizes)
        exact = group_log_likelihood(model.likelihood, x, output, model.group)
        return (penalty - exact).mean() / (self.sizes.num_electrodes * self.sizes.num_bins)


def fit(
    model: Model,
    wells: Wells,
    *,
    embed_wells: Wells | None = None,
    training: Training | None = None,
    chains: int = 1,
    seed: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> xr.DataTree:
    """Train an autoencoder and return the embeddings.

    Parameters
    ----------
    model : RollAE or StandardAE
        What is trained.
    wells : Wells
        Recordings to train on; mean and standard deviation are theirs.
    embed_wells : Wells, optional
        Recordings to embed; those of the training by default.
    training : Training, optional
        Epochs, batches, step size and early stopping.
    chains : int
        Restarts from other initial weights.
    seed : int, optional
        Seed; a fresh one by default.
    dtype : torch.dtype
        Of the computation.

    Returns
    -------
    xarray.DataTree
        ``posterior/embedding`` (chain, draw, recording, latent), chain being the restart;
        ``log_likelihood/counts``, exact, with the group element summed out; ``fit_history``
        with ``loss`` and ``validation_loss`` by epoch; ``parameters`` with the weights, from which
        `embed` embeds other recordings; ``constant_data`` with labels, mean and sd.

    Raises
    ------
    DataError
        If the recordings do not fit the model.
    InferenceError
        If the loss is not finite.

    Examples
    --------
    >>> from probneuro.components.shifts import no_permutation
    >>> wells = Wells(np.random.default_rng(0).poisson(1.0, (6, 2, 12)), 0.5)
    >>> model = RollAE(group=no_permutation(2), latent=3, kernel_width=4)
    >>> dict(fit(model, wells, training=Training(epochs=1), seed=0)["posterior"].sizes)
    {'chain': 1, 'draw': 1, 'recording': 6, 'latent': 3}
    """
    settings, root = training or Training(), resolve_seed(seed)
    if chains < 1:
        raise SettingError(f"`chains` must be 1 or more; got {chains}.")
    begun = time.perf_counter()
    scale = _scale(model, wells)
    task = _task(model, wells, scale, dtype)
    fitted = [_train(task, settings, root, chain) for chain in range(chains)]
    result = _result(model, embed_wells or wells, [w for w, _ in fitted], scale, dtype)
    result[FIT_HISTORY] = xr.DataTree(_history([history for _, history in fitted]))
    seconds = time.perf_counter() - begun
    more = {"seed": root, "training": vars(settings), "data_hash": wells.hash(), "seconds": seconds}
    result.attrs.update(plain_attrs(more))
    return result


def embed(result: xr.DataTree, model: Model, wells: Wells) -> xr.DataTree:
    """Embed other recordings with the weights of a result.

    Parameters
    ----------
    result : xarray.DataTree
        From `fit`.
    model : RollAE or StandardAE
        The model that was trained.
    wells : Wells
        Of as many electrodes and bins.

    Returns
    -------
    xarray.DataTree
        As `fit` returns, without its history.

    Raises
    ------
    DataError
        If the result is of another model, or the recordings are of another size.
    """
    if result.attrs.get("model_settings") != json.dumps(model.attributes()):
        raise DataError(
            "`result` was trained with other settings than `model`. Pass the model it came from."
        )
    known = result[PARAMETERS].dataset
    sizes = (int(result.attrs["num_electrodes"]), int(result.attrs["num_bins"]))
    if sizes != wells.counts.shape[1:]:
        raise DataError(
            f"`wells` has {wells.counts.shape[1]} electrodes and {wells.num_bins} bins, the result "
            f"{sizes[0]} and {sizes[1]}. Bin and cut the recordings alike."
        )
    constant = result[CONSTANT_DATA].dataset
    scale = (float(constant["mean"]), float(constant["sd"]))
    weights = [
        {str(n): torch.as_tensor(known[n].values[c, 0]) for n in known.data_vars}
        for c in range(known.sizes[CHAIN])
    ]
    return _result(model, wells, weights, scale, next(iter(weights[0].values())).dtype)


def _counts(wells: Wells, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(np.asarray(wells.counts, dtype=np.float64)).to(dtype)


def _scale(model: Model, wells: Wells) -> tuple[float, float]:
    values = scaled(_counts(wells, torch.float64), model.likelihood, 0.0, 1.0)
    sd = float(values.std())
    if not sd > 0:
        raise DataError(
            "`wells` has the same count everywhere, so there is nothing to learn. Check how it was "
            "binned."
        )
    return float(values.mean()), sd


def _task(model: Model, wells: Wells, scale: tuple[float, float], dtype: torch.dtype) -> _Task:
    counts = _counts(wells, dtype)
    seen = scaled(counts, model.likelihood, *scale)
    x = seen if isinstance(model.likelihood, GaussianValues) else counts
    model.likelihood.check(x)
    return _Task(model, model.sizes(wells), x, seen)


def _start(task: _Task, seed: int, chain: int) -> Weights:
    """Return initial weights; counts start at their mean rate, not at one a bin."""
    stream = int(generator(seed, "weights", chain).integers(2**31))
    weights = initial_weights(task.model.shapes(task.sizes), stream, task.x.dtype)
    mean = task.x.mean().clamp(1e-4, None)
    likelihood = type(task.model.likelihood).__name__
    if likelihood == "BernoulliCounts":
        weights["decoder_last_bias"] += torch.logit(mean.clamp(max=1 - 1e-4))
    elif likelihood != "GaussianValues":
        weights["decoder_last_bias"] += mean.log()
    return weights


def _split(task: _Task, settings: Training, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return the rows to train on and those that decide when to stop."""
    order = torch.as_tensor(rng.permutation(len(task.x)))
    held = round(settings.validation * len(order))
    return (order[held:], order[:held]) if len(order) > held else (order, order[:0])


def _batches(rows: Tensor, size: int, rng: np.random.Generator) -> Iterator[Tensor]:
    yield from rows[torch.as_tensor(rng.permutation(len(rows)))].split(size)


def _train(
    task: _Task, settings: Training, seed: int, chain: int
) -> tuple[Weights, NDArray[np.float64]]:
    """Return the weights, best by validation if there is one, and (epoch, 2) losses."""
    rng = generator(seed, "training", chain)
    stream = torch.Generator().manual_seed(int(rng.integers(2**31)))
    weights = {n: w.requires_grad_() for n, w in _start(task, seed, chain).items()}
    rows, held = _split(task, settings, rng)
    adam = torch.optim.Adam(list(weights.values()), lr=settings.learning_rate)
    best, kept, waited = np.inf, _copy(weights), 0
    history: list[tuple[float, float]] = []
    for epoch in range(settings.epochs):
        total = 0.0
        for batch in _batches(rows, settings.batch_size, rng):
            adam.zero_grad()
            loss = task.loss(weights, batch, stream)
            loss.backward()
            adam.step()
            total += float(loss.detach()) * len(batch)
        checked = _validation(task, weights, held)
        history.append((total / len(rows), checked))
        if not np.isfinite(history[-1][0]):
            raise InferenceError(
                f"The loss of roll_ae is {history[-1][0]} in epoch {epoch} of restart {chain} "
                f"(seed {seed}). Lower `learning_rate`, now {settings.learning_rate:g}."
            )
        if not len(held) or checked < best:
            best, kept, waited = checked, _copy(weights), 0
        else:
            waited += 1
        if waited >= settings.patience:
            break
    return kept, np.array(history, dtype=np.float64).reshape(-1, 2)


def _copy(weights: Weights) -> Weights:
    return {name: value.detach().clone() for name, value in weights.items()}


def _validation(task: _Task, weights: Weights, held: Tensor) -> float:
    if not len(held):
        return float("nan")
    with torch.no_grad():
        parts = [(task.loss(weights, rows, None), len(rows)) for rows in held.split(_EMBED_BATCH)]
    return float(sum(float(value) * n for value, n in parts) / len(held))


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


def _embedded(task: _Task, weights: Weights) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return embeddings by the whole orbit, and exact log likelihoods."""
    places, exact = [], []
    with torch.no_grad():
        for rows in torch.arange(len(task.x)).split(_EMBED_BATCH):
            place = task.model.encode(weights, task.seen[rows], task.sizes)
            places.append(place)
            exact.append(task.model.log_likelihood(weights, task.x[rows], place, task.sizes))
    return torch.cat(places).numpy(), torch.cat(exact).numpy()


def _result(
    model: Model, wells: Wells, fitted: list[Weights], scale: tuple[float, float],
    dtype: torch.dtype,
) -> xr.DataTree:  # fmt: skip
    task = _task(model, wells, scale, dtype)
    pairs = [_embedded(task, weights) for weights in fitted]
    labels = {name: wells.labels[name].to_numpy() for name in LABELS}
    stacked = {n: np.stack([w[n].numpy() for w in fitted])[:, None] for n in fitted[0]}
    result = build_result(
        {"embedding": np.stack([place for place, _ in pairs])[:, None]},
        dims={"embedding": [RECORDING, LATENT], "counts": [RECORDING], "mean_rate": [RECORDING],
              "mean": [], "sd": [], **{n: [f"{n}_{k}" for k in range(v.ndim - 2)]
                                       for n, v in stacked.items()}},
        coords={RECORDING: np.arange(len(wells)), LATENT: np.arange(model.latent),
                **{n: (RECORDING, v.astype(str) if v.dtype == object else v)
                   for n, v in labels.items()}},
        groups={
            LOG_LIKELIHOOD: {"counts": np.stack([exact for _, exact in pairs])[:, None]},
            PARAMETERS: stacked,
            CONSTANT_DATA: {"mean_rate": wells.counts.mean((1, 2)) / wells.bin_width,
                            "mean": np.array(scale[0]), "sd": np.array(scale[1])},
        },
    )  # fmt: skip
    sizes = {"num_electrodes": wells.counts.shape[1], "num_bins": wells.num_bins}
    told = {"model": model.name, "model_settings": json.dumps(model.attributes()), **sizes}
    result.attrs.update(plain_attrs(told))
    return result
