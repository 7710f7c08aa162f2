"""An encoder of invariant statistics, trained to tell which two halves belong to one recording."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear, relu

from probneuro.components.invariant_statistics import invariant_statistics
from probneuro.components.shifts import OrbitLikelihood
from probneuro.core.errors import DataError, SettingError
from probneuro.core.rng import generator
from probneuro.data.wells import Wells
from probneuro.models.roll_ae.embedder import Embedder, nothing_to_learn
from probneuro.models.roll_ae.halves import check_temperature, loss_of_halves
from probneuro.models.roll_ae.networks import Sizes, Weights

_LEAST_BINS: Final = 16
_DECIMALS: Final = 9
_OFFSET: Final = 10**-_DECIMALS / math.pi
"""Added before rounding, so that no fraction lies where it rounds up or down by chance, as
1021 / 1024 does at nine decimals."""
_LEVELS: Final = 201
_FARTHEST: Final = 3.0
"""Normal scores are cut here, a little beyond the most extreme of a thousand recordings."""


@final
@dataclass(frozen=True, kw_only=True)
class StatisticsEncoder(Embedder):
    """A small network over statistics that no shift and no order of the electrodes changes.

    .. math::

        -\\log \\frac{\\exp(\\langle u_i, v_i \\rangle / T)}
                     {\\sum_j \\exp(\\langle u_i, v_j \\rangle / T)}

    averaged over recordings i of a batch and over both directions, with ``u`` and ``v`` the
    normalised embeddings of the statistics of two halves. In each half some electrodes are
    silenced at random: which electrodes are alive is the well's, and not what cells do.
    Statistics are seen by their ranks among those of the training.

    Parameters
    ----------
    latent : int
        Length k of an embedding.
    hidden : int
        Units of the layer before it.
    temperature : float
        T above.
    views : int
        Pairs of halves a recording, each cut at a random bin; all are computed before training.
    silenced : float
        Largest share of electrodes that is silenced in a half.
    dropout : float
        Share of a layer's inputs that a training step leaves out.

    Raises
    ------
    SettingError
        If a setting is out of range.

    Notes
    -----
    Embeddings are invariant under cyclic shifts and all permutations of electrodes, more than
    the groups of `RollAE`; there is no likelihood. A batch must hold several recordings, since they
    are told from each other. Statistics are those of
    `probneuro.components.invariant_statistics.invariant_statistics`.

    References
    ----------
    van den Oord, Li, Vinyals (2018), Representation learning with contrastive predictive coding.
    The encoder is our own; that of Dey, Dreossi, Fox, Koller (2025) is in `RollAE`.

    Examples
    --------
    >>> StatisticsEncoder(latent=8).views
    32
    """

    latent: int = 32
    hidden: int = 128
    temperature: float = 0.2
    views: int = 32
    silenced: float = 0.5
    dropout: float = 0.3

    name = "statistics_encoder"
    least_recordings = 2

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        for name in ("views", "hidden"):
            if getattr(self, name) < 1:
                raise SettingError(f"`{name}` must be 1 or more; got {getattr(self, name)!r}.")
        for name in ("silenced", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingError(
                    f"`{name}` must be 0 or more and below 1; got {getattr(self, name)!r}. Its "
                    f"default is {getattr(StatisticsEncoder, name)}."
                )

    def sizes(self, wells: Wells) -> Sizes:
        """Return the sizes of a recording and of its embedding."""
        if wells.num_bins < _LEAST_BINS:
            raise DataError(
                f"`wells` has recordings of {wells.num_bins} bins; halves are told apart from "
                f"{_LEAST_BINS} bins on. Read longer recordings, or bin them finer."
            )
        return Sizes(
            num_electrodes=wells.counts.shape[1], num_bins=wells.num_bins, latent=self.latent
        )

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name."""
        return {
            "encoder_first_weight": (self.hidden, _num_statistics(sizes)),
            "encoder_first_bias": (self.hidden,),
            "encoder_last_weight": (self.latent, self.hidden),
            "encoder_last_bias": (self.latent,),
        }

    def inputs(self, wells: Wells, seed: int | None = None) -> Tensor:
        """Return statistics of whole recordings, and with a seed those of halves after them.

        Shape (recording, 1 or 1 + 2 views, statistic).
        """
        self.sizes(wells)
        lag = _longest_lag(wells.num_bins)
        seen = [invariant_statistics(wells, longest_lag=lag)]
        if seed is not None:
            rng = generator(seed, "views")
            for _ in range(self.views):
                seen += [invariant_statistics(h, longest_lag=lag) for h in self._halves(wells, rng)]
        # Ranks tell apart what differs by rounding alone, and a shift may do that.
        return torch.as_tensor((np.stack(seen, axis=1) + _OFFSET).round(_DECIMALS))

    def _halves(self, wells: Wells, rng: np.random.Generator) -> list[Wells]:
        """Return both halves from a random bin on, with other electrodes silenced in each."""
        half = wells.num_bins // 2
        moved = np.roll(wells.counts, -int(rng.integers(wells.num_bins)), axis=2)
        parts = moved[:, :, :half], moved[:, :, wells.num_bins - half :]
        return [Wells(part * self._alive(part.shape, rng), wells.bin_width) for part in parts]

    def _alive(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
        num, electrodes, _ = shape
        most = int(self.silenced * electrodes)
        dead = rng.integers(most + 1, size=(num, 1))
        order = rng.random((num, electrodes)).argsort(axis=1)
        return (order >= dead)[:, :, None]

    def scale(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the quantiles of each statistic, of whole recordings and of halves.

        Shape (whole or half, level, statistic). Recordings to embed alone hold no halves.
        """
        levels = torch.linspace(0, 1, _LEVELS, dtype=inputs.dtype)
        parts = inputs[:, :1].flatten(0, 1), inputs[:, 1:].flatten(0, 1)
        tables = torch.stack([torch.as_tensor(np.quantile(part, levels, axis=0)) for part in parts])
        if not bool((tables[0, 0] < tables[0, -1]).any()):
            raise nothing_to_learn()
        return {"quantiles": tables}

    def scaled(self, inputs: Tensor, scale: Mapping[str, Tensor]) -> Tensor:
        """Return normal scores: each statistic by its rank among the training's."""
        tables = scale["quantiles"]
        return torch.cat(
            [_normal_scores(inputs[:, :1], tables[0]), _normal_scores(inputs[:, 1:], tables[1])], 1
        )

    def encode(
        self, weights: Weights, x: Tensor, sizes: Sizes, elements: Tensor | None = None
    ) -> Tensor:
        """Return embeddings of whole recordings, shape (recording, latent)."""
        return self._placed(weights, x[:, 0], None)

    def loss(
        self,
        weights: Weights,
        x: Tensor,
        seen: Tensor,
        sizes: Sizes,
        stream: torch.Generator | None,
    ) -> Tensor:
        """Return the mean loss of one pair of halves a recording."""
        pair = 0
        if stream is not None:
            pair = int(torch.randint(self.views, (), generator=stream))
        first, second = (self._placed(weights, seen[:, 1 + 2 * pair + k], stream) for k in (0, 1))
        return loss_of_halves(first, second, self.temperature)

    def _placed(self, weights: Weights, x: Tensor, stream: torch.Generator | None) -> Tensor:
        seen = self._thinned(x, stream)
        hidden = relu(linear(seen, weights["encoder_first_weight"], weights["encoder_first_bias"]))
        hidden = self._thinned(hidden, stream)
        return linear(hidden, weights["encoder_last_weight"], weights["encoder_last_bias"])

    def _thinned(self, x: Tensor, stream: torch.Generator | None) -> Tensor:
        """Return the inputs of a layer, in training with some of them left out."""
        if stream is None or not self.dropout:
            return x
        kept = torch.rand(x.shape, generator=stream).to(x) >= self.dropout
        return x * kept / (1.0 - self.dropout)

    def noise(self) -> OrbitLikelihood | None:
        """Return None: there is no likelihood."""
        return None

    def attributes(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def _longest_lag(num_bins: int) -> int:
    """Return the longest lag of whole recordings and of halves, a quarter of a half."""
    return max(1, num_bins // 8)


def _num_statistics(sizes: Sizes) -> int:
    silent = Wells(np.zeros((1, sizes.num_electrodes, sizes.num_bins), dtype=np.int64), 1.0)
    lag = _longest_lag(sizes.num_bins)
    return invariant_statistics(silent, longest_lag=lag).shape[1]


def _normal_scores(values: Tensor, table: Tensor) -> Tensor:
    """Return standard normal quantiles of the ranks of values, statistics last.

    Ties have the middle of their ranks, so that a statistic which never changes is 0.
    """
    ranks = np.empty(values.shape)
    levels = np.linspace(0, 1, len(table))
    for k, known in enumerate(table.T.numpy()):
        x = values[..., k].numpy()
        # From below and from above: the two differ where the table has ties.
        low, high = np.interp(x, known, levels), np.interp(-x, -known[::-1], levels)
        ranks[..., k] = 0.5 * (low + 1.0 - high)
    return torch.special.ndtri(torch.as_tensor(ranks)).clamp(-_FARTHEST, _FARTHEST)
