"""Predictions for all patterns at once: what hangs on the pattern alone is computed once."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError

Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats]

_BLOCK: Final = 1024


class StateEncoder(ABC):
    """What the state before stimulation gives to the heads of all networks of an ensemble."""

    @abstractmethod
    def hidden(self, before: Floats) -> Floats:
        """Return it for states (bin, latent), shape (model, width)."""


@final
@dataclass(frozen=True)
class NoState(StateEncoder):
    """Networks of the pattern alone.

    Parameters
    ----------
    shape : tuple of int
        Number of networks, and width of their heads.
    """

    shape: tuple[int, int]

    def hidden(self, before: Floats) -> Floats:
        """Return zeros."""
        return np.zeros(self.shape, dtype=np.float32)


@final
@dataclass(frozen=True)
class DenseEncoder(StateEncoder):
    """Linear layers with rectifiers between them.

    Parameters
    ----------
    layers : sequence of pairs of ndarray
        Weights (model, out, in) and offsets (model, out).
    bins : int
        Bins to look at, counted back.
    """

    layers: Sequence[Layer]
    bins: int

    def hidden(self, before: Floats) -> Floats:
        """Run the layers."""
        flat = before[-self.bins :].reshape(-1)
        weights, offsets = self.layers[0]
        value = weights @ flat + offsets
        for weights, offsets in self.layers[1:]:
            value = np.matmul(weights, np.maximum(value, 0)[:, :, None])[..., 0] + offsets
        return value


@final
@dataclass(frozen=True)
class RecurrentEncoder(StateEncoder):
    """A long short-term memory and a linear layer, as torch has them.

    Parameters
    ----------
    input_weights, state_weights : ndarray
        Shape (model, 4 * feature, latent) and (model, 4 * feature, feature).
    offsets : ndarray
        Both of torch's added, shape (model, 4 * feature).
    out : pair of ndarray
        Weights (model, width, feature) and offsets (model, width).
    bins : int
        Bins to look at, counted back.
    """

    input_weights: Floats
    state_weights: Floats
    offsets: Floats
    out: Layer
    bins: int

    def hidden(self, before: Floats) -> Floats:
        """Run the memory over the bins."""
        models, features = self.offsets.shape[0], self.offsets.shape[1] // 4
        state = np.zeros((models, features), dtype=np.float32)
        cell = np.zeros_like(state)
        for row in before[-self.bins :]:
            gates = self.input_weights @ row + self.offsets
            gates += np.matmul(self.state_weights, state[:, :, None])[..., 0]
            enter, forget, content, leave = np.split(gates, 4, axis=1)
            cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(content)
            state = _sigmoid(leave) * np.tanh(cell)
        weights, offsets = self.out
        found: Floats = np.matmul(weights, state[:, :, None])[..., 0] + offsets
        return found


def _sigmoid(value: Floats) -> Floats:
    found: Floats = 0.5 * (1 + np.tanh(0.5 * value))
    return found


@final
class ResponseCache:
    r"""Mean prediction of an ensemble for every pattern of a set.

    .. math:: \hat z(S) = \frac1R \sum_r W_{2,r}\, \mathrm{relu}(h_r(S) + g_r(Z)) + b_{2,r}

    Parameters
    ----------
    pattern_parts : array_like
        h, offsets included, shape (model, pattern, width).
    encoder : StateEncoder
        g.
    out_weights, out_offsets : array_like
        Shape (model, latent, width) and (model, latent).

    Raises
    ------
    DataError
        If shapes do not fit.

    Notes
    -----
    The paper holds a table over all inputs for infeasible, states being a continuum. Only a
    narrow head mixes pattern and state, so that a full search is a few million operations: exact
    inversion, which has no inversion error.
    """

    def __init__(
        self,
        pattern_parts: ArrayLike,
        encoder: StateEncoder,
        out_weights: ArrayLike,
        out_offsets: ArrayLike,
    ) -> None:
        parts = np.asarray(pattern_parts, dtype=np.float32)
        weights = np.asarray(out_weights, dtype=np.float32)
        offsets = np.asarray(out_offsets, dtype=np.float32)
        fits = parts.ndim == 3 and weights.ndim == 3 and weights.shape[2] == parts.shape[2]
        if not fits or len(weights) != len(parts) or offsets.shape != weights.shape[:2]:
            raise DataError(
                "`pattern_parts`, `out_weights` and `out_offsets` must have shapes (model, "
                f"pattern, width), (model, latent, width) and (model, latent); got {parts.shape}, "
                f"{weights.shape} and {offsets.shape}."
            )
        number, patterns, width = parts.shape
        self.encoder = encoder
        # Models side by side, so that one product sums over them too.
        self._parts = np.ascontiguousarray(
            parts.transpose(1, 0, 2).reshape(patterns, number * width)
        )
        self._weights = weights.transpose(0, 2, 1).reshape(number * width, -1) / number
        self._offsets = offsets.mean(axis=0)
        self._buffer = np.empty((min(_BLOCK, patterns), number * width), dtype=np.float32)

    def predict(self, before: ArrayLike) -> Floats:
        """Return expected latents of every pattern given states (bin, latent)."""
        hidden = self.encoder.hidden(np.asarray(before, dtype=np.float32)).reshape(-1)
        found = np.empty((len(self._parts), self._weights.shape[1]), dtype=np.float32)
        # In blocks that stay in the processor's cache: memory is what takes the time.
        for start in range(0, len(found), _BLOCK):
            part = self._parts[start : start + _BLOCK]
            buffer = self._buffer[: len(part)]
            np.add(part, hidden, out=buffer)
            np.maximum(buffer, 0, out=buffer)
            np.matmul(buffer, self._weights, out=found[start : start + _BLOCK])
        found += self._offsets
        return found

    def nearest(self, target: ArrayLike, before: ArrayLike) -> tuple[int, float]:
        """Return the pattern whose prediction is nearest to a target, and their L1 distance."""
        apart = np.abs(self.predict(before) - np.asarray(target, dtype=np.float32)).sum(axis=1)
        best = int(apart.argmin())
        return best, float(apart[best])
