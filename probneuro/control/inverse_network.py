"""The inverse model: target and state to the suitability of every electrode, in numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.rng import generator

Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats]


@final
@dataclass(frozen=True, eq=False)
class InverseNetwork:
    r"""A multilayer perceptron whose outputs lie between 0 and 1.

    .. math:: \hat s = \pi_\theta(z^{targ}, Z^{pre}) \in [0, 1]^u

    Parameters
    ----------
    layers : tuple of pairs of ndarray
        Weights (out, in) and offsets (out,), rectifiers between them.

    Notes
    -----
    Source: Minai et al. (2025), section 2.4. The widths of its network are not published.

    Examples
    --------
    >>> network = InverseNetwork.fresh(2, 5, 20, widths=(8,), seed=0)
    >>> network.suitability(np.zeros(2), np.zeros((5, 2))).shape
    (20,)
    """

    layers: tuple[Layer, ...]

    @staticmethod
    def fresh(
        num_latents: int,
        num_bins: int,
        num_candidates: int,
        *,
        widths: Sequence[int] = (256, 256),
        seed: int = 0,
    ) -> "InverseNetwork":
        """Return a network with random weights (He's scale)."""
        rng = generator(seed, "inverse network")
        sizes = [num_latents * (1 + num_bins), *widths, num_candidates]
        layers = []
        for enter, leave in pairwise(sizes):
            weights = rng.normal(size=(leave, enter)) * np.sqrt(2.0 / enter)
            layers.append((weights.astype(np.float32), np.zeros(leave, dtype=np.float32)))
        return InverseNetwork(tuple(layers))

    @property
    def num_candidates(self) -> int:
        """Number of outputs."""
        return len(self.layers[-1][1])

    def logits(self, target: NDArray[Any], before: NDArray[Any]) -> Floats:
        """Return suitabilities before the sigmoid; inputs (..., latent) and (..., bin, latent)."""
        states = np.asarray(before, dtype=np.float32)
        flat = states.reshape(*states.shape[:-2], -1)
        value = np.concatenate([np.asarray(target, dtype=np.float32), flat], axis=-1)
        for number, (weights, offsets) in enumerate(self.layers):
            value = (np.maximum(value, 0) if number else value) @ weights.T + offsets
        return value

    def suitability(self, target: NDArray[Any], before: NDArray[Any]) -> Floats:
        """Return suitabilities, shape (..., candidate)."""
        found: Floats = 0.5 * (1 + np.tanh(0.5 * self.logits(target, before)))
        return found

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return weights and offsets by layer."""
        named: dict[str, NDArray[Any]] = {}
        for number, (weights, offsets) in enumerate(self.layers):
            named |= {f"weights_{number}": weights, f"offsets_{number}": offsets}
        return named

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> "InverseNetwork":
        """Return the network of `arrays`."""
        number = sum(name.startswith("weights_") for name in arrays)
        layers = [(arrays[f"weights_{i}"], arrays[f"offsets_{i}"]) for i in range(number)]
        return InverseNetwork(tuple(layers))
