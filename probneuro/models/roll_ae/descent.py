"""Gradient descent over epochs: schedule, early stopping, checkpoints to resume from."""

import io
import json
import logging
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probneuro.core.checkpoint import write_atomically
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.rng import generator
from probneuro.models.roll_ae.embedder import Embedder
from probneuro.models.roll_ae.networks import Sizes, initial_weights

log = logging.getLogger("probneuro")

Weights = dict[str, Tensor]
_CHECKED_AT_ONCE: Final = 64
_RISE: Final = 0.1
"""Share of the steps over which an annealed step size rises from 0 (Smith & Topin 2019 use .3)."""


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
    annealed : bool
        Whether the step size rises over the first tenth of the steps and then falls as a cosine,
        to nothing at the end; `learning_rate` is its largest.

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
    annealed: bool = False

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

    def rate(self, step: int, steps: int) -> float:
        """Return the step size of one of so many steps.

        Examples
        --------
        >>> settings = Training(learning_rate=0.1, annealed=True)
        >>> [round(settings.rate(k, 101), 3) for k in (0, 10, 55, 100)]
        [0.01, 0.1, 0.05, 0.0]
        """
        if not self.annealed:
            return self.learning_rate
        rise = max(1.0, _RISE * (steps - 1))
        if step < rise:
            return self.learning_rate * max(step / rise, _RISE)
        fall = (step - rise) / max(steps - 1 - rise, 1.0)
        return 0.5 * self.learning_rate * (1.0 + math.cos(math.pi * fall))


@final
@dataclass(frozen=True)
class Task:
    """A model bound to recordings: what one step computes with."""

    model: Embedder
    sizes: Sizes
    x: Tensor
    seen: Tensor

    def loss(self, weights: Weights, rows: Tensor, stream: torch.Generator | None) -> Tensor:
        """Return the mean loss of some recordings."""
        return self.model.loss(weights, self.x[rows], self.seen[rows], self.sizes, stream)


@dataclass
class _State:
    """All that the next epoch needs."""

    weights: Weights
    kept: Weights
    adam: torch.optim.Adam
    rng: np.random.Generator
    stream: torch.Generator
    history: list[tuple[float, float]]
    best: float = math.inf
    waited: int = 0


def train(
    task: Task,
    settings: Training,
    seed: int,
    chain: int,
    *,
    checkpoint: Path | None = None,
    show: Callable[[int, float], None] | None = None,
) -> tuple[Weights, NDArray[np.float64]]:
    """Train one restart.

    Parameters
    ----------
    task : Task
        Model and recordings.
    settings : Training
        How.
    seed, chain : int
        Select the random streams.
    checkpoint : pathlib.Path, optional
        Folder in which the state after each epoch is kept; what is there is gone on from.
    show : callable, optional
        Is told the epochs done and the last validation loss, or training loss without one.

    Returns
    -------
    tuple
        The weights, best by validation if there is one, and losses of shape (epoch, 2).

    Raises
    ------
    InferenceError
        If the loss is not finite.
    """
    state = _fresh(task, settings, seed, chain)
    rows, held = _split(task, settings, generator(seed, "split", chain))
    path = None if checkpoint is None else checkpoint / f"restart-{chain}.npz"
    if path is not None and path.exists():
        _resume(state, path)
    tell = show or (lambda done, loss: None)
    tell(len(state.history), math.nan)
    while len(state.history) < settings.epochs and state.waited < settings.patience:
        trained = _epoch(task, settings, state, rows)
        if not math.isfinite(trained):
            raise InferenceError(
                f"The loss of {task.model.name} is {trained} in epoch {len(state.history)} of "
                f"restart {chain} (seed {seed}). Lower `learning_rate`, now "
                f"{settings.learning_rate:g}."
            )
        checked = _validation(task, state.weights, held)
        state.history.append((trained, checked))
        if not len(held) or checked < state.best:
            state.best, state.kept, state.waited = checked, _copy(state.weights), 0
        else:
            state.waited += 1
        if path is not None:
            write_atomically(path, _packed(state))
        tell(len(state.history), checked if len(held) else trained)
    return state.kept, np.array(state.history, dtype=np.float64).reshape(-1, 2)


def _fresh(task: Task, settings: Training, seed: int, chain: int) -> _State:
    rng = generator(seed, "training", chain)
    stream = torch.Generator().manual_seed(int(rng.integers(2**31)))
    weights = {n: w.requires_grad_() for n, w in _start(task, seed, chain).items()}
    adam = torch.optim.Adam(list(weights.values()), lr=settings.learning_rate)
    return _State(weights, _copy(weights), adam, rng, stream, [])


def _start(task: Task, seed: int, chain: int) -> Weights:
    """Return initial weights; counts start at their mean rate, not at one a bin."""
    stream = int(generator(seed, "weights", chain).integers(2**31))
    weights = initial_weights(task.model.shapes(task.sizes), stream, task.x.dtype)
    mean = task.x.mean().clamp(1e-4, None)
    noise = type(task.model.noise()).__name__
    if noise == "BernoulliCounts":
        weights["decoder_last_bias"] += torch.logit(mean.clamp(max=1 - 1e-4))
    elif noise in ("PoissonCounts", "NegativeBinomialCounts"):
        weights["decoder_last_bias"] += mean.log()
    return weights


def _split(task: Task, settings: Training, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return the rows to train on and those that decide when to stop."""
    order = torch.as_tensor(rng.permutation(len(task.x)))
    held = round(settings.validation * len(order))
    return (order[held:], order[:held]) if len(order) > held else (order, order[:0])


def _batches(rows: Tensor, size: int, rng: np.random.Generator) -> Iterator[Tensor]:
    yield from rows[torch.as_tensor(rng.permutation(len(rows)))].split(size)


def _epoch(task: Task, settings: Training, state: _State, rows: Tensor) -> float:
    """Go once over the recordings, and return the mean loss."""
    each = math.ceil(len(rows) / settings.batch_size)
    done, total = len(state.history) * each, 0.0
    for k, batch in enumerate(_batches(rows, settings.batch_size, state.rng)):
        state.adam.param_groups[0]["lr"] = settings.rate(done + k, settings.epochs * each)
        state.adam.zero_grad()
        loss = task.loss(state.weights, batch, state.stream)
        loss.backward()
        state.adam.step()
        total += float(loss.detach()) * len(batch)
    return total / len(rows)


def _copy(weights: Weights) -> Weights:
    return {name: value.detach().clone() for name, value in weights.items()}


def _validation(task: Task, weights: Weights, held: Tensor) -> float:
    if not len(held):
        return float("nan")
    with torch.no_grad():
        parts = [
            (task.loss(weights, rows, None), len(rows)) for rows in held.split(_CHECKED_AT_ONCE)
        ]
    return float(sum(float(value) * n for value, n in parts) / len(held))


def _packed(state: _State) -> bytes:
    """Return the state as the bytes of an npz file of plain arrays."""
    about = {"rng": state.rng.bit_generator.state, "best": state.best, "waited": state.waited}
    arrays: dict[str, NDArray[Any]] = {
        "about": np.array(json.dumps(about)),
        "stream": state.stream.get_state().numpy(),
        "history": np.array(state.history, dtype=np.float64),
    }
    for name, value in state.weights.items():
        moments = state.adam.state[value]
        arrays |= {
            f"weights/{name}": value.detach().numpy(),
            f"kept/{name}": state.kept[name].numpy(),
            **{f"{kind}/{name}": moments[kind].numpy() for kind in _MOMENTS},
        }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # plain arrays, so no pickle
    return buffer.getvalue()


_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")
"""What torch's Adam keeps of each weight."""


def _resume(state: _State, path: Path) -> None:
    """Put the state back to that of a file; a file that cannot be read is passed over."""
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays["about"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        log.warning("Checkpoint file %s is damaged; this restart begins anew.", path)
        return
    state.rng.bit_generator.state = about["rng"]
    state.stream.set_state(torch.from_numpy(arrays["stream"]))
    state.best, state.waited = float(about["best"]), int(about["waited"])
    state.history = [(float(a), float(b)) for a, b in arrays["history"]]
    with torch.no_grad():
        for name, value in state.weights.items():
            value.copy_(torch.from_numpy(arrays[f"weights/{name}"]))
            state.kept[name] = torch.from_numpy(arrays[f"kept/{name}"].copy())
            kept = {kind: torch.from_numpy(arrays[f"{kind}/{name}"].copy()) for kind in _MOMENTS}
            state.adam.state[value] = kept
