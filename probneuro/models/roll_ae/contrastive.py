"""Roll-AE's encoder trained to tell which two halves belong to one recording."""

from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import linear, relu

from probneuro.components.shifts import (
    ElectrodeGroup,
    OrbitLikelihood,
    mirror_flips_323,
    no_permutation,
)
from probneuro.components.shifts.orbit import permutation_table
from probneuro.core.errors import DataError, SettingError
from probneuro.data.wells import Wells
from probneuro.models.roll_ae.embedder import Embedder, check_electrodes
from probneuro.models.roll_ae.halves import check_temperature, loss_of_halves
from probneuro.models.roll_ae.networks import (
    Sizes,
    Weights,
    encode_orbit,
    last_layer,
    pooled_orbit,
)


@final
@dataclass(frozen=True, kw_only=True)
class ContrastiveEncoder(Embedder):
    """The same invariant encoder, without a decoder: halves of a recording know each other.

    .. math::

        -\\log \\frac{\\exp(\\langle u_i, v_i \\rangle / T)}
                     {\\sum_j \\exp(\\langle u_i, v_j \\rangle / T)}

    averaged over recordings i of a batch and over both directions, with ``u`` and ``v`` the
    normalised outputs of a small network over the embeddings of two halves. What two halves of a
    recording share is how its cells fire, not when they fired: a decoder must spend its embedding
    on the latter.

    Parameters
    ----------
    group : ElectrodeGroup
        Permutations of electrodes; each half of a training step is seen through one of them.
    latent : int
        Length k of an embedding.
    kernel_width : int or None
        Bins that a unit of the first layer sees, at most half of the recording; None for half.
    temperature : float
        T above.

    Raises
    ------
    SettingError
        If the temperature is not positive.

    Notes
    -----
    Embeddings are invariant under the whole group, as those of `RollAE`; there is no likelihood.
    A batch must hold several recordings, since they are told from each other.

    References
    ----------
    van den Oord, Li, Vinyals (2018), Representation learning with contrastive predictive coding;
    Chen, Kornblith, Norouzi, Hinton (2020), A simple framework for contrastive learning of visual
    representations, whose head after the embedding this has. The encoder is that of Dey, Dreossi,
    Fox, Koller (2025), with short kernels.

    Examples
    --------
    >>> ContrastiveEncoder(latent=8).temperature
    0.2
    """

    group: ElectrodeGroup = field(default_factory=mirror_flips_323)
    latent: int = 32
    kernel_width: int | None = 24
    temperature: float = 0.2

    name = "contrastive_encoder"
    least_recordings = 2

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def sizes(self, wells: Wells) -> Sizes:
        """Return the sizes of the networks for these recordings."""
        check_electrodes(wells, self.group)
        half = wells.num_bins // 2
        if half < 1:
            raise DataError(
                f"`wells` has recordings of {wells.num_bins} bins, and half of one is none. Read "
                "longer recordings, or bin them finer."
            )
        width = half if self.kernel_width is None else self.kernel_width
        if width > half:
            raise SettingError(
                f"`kernel_width` must be at most {half}, half the bins; got {width}. Choose a "
                "shorter one, or bin finer."
            )
        return Sizes(
            num_electrodes=wells.counts.shape[1], num_bins=wells.num_bins, latent=self.latent,
            kernel_width=width,
        )  # fmt: skip

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name: the encoder's and the head's."""
        k = self.latent
        head = {"head_first_weight": (2 * k, k), "head_first_bias": (2 * k,),
                "head_last_weight": (k, 2 * k), "head_last_bias": (k,)}  # fmt: skip
        return {**sizes.encoder_shapes(), **head}

    def encode(
        self, weights: Weights, x: Tensor, sizes: Sizes, elements: Tensor | None = None
    ) -> Tensor:
        """Return embeddings, shape (recording, latent), from the whole orbit or some elements."""
        return encode_orbit(weights, x, self.group, elements)

    def loss(
        self,
        weights: Weights,
        x: Tensor,
        seen: Tensor,
        sizes: Sizes,
        stream: torch.Generator | None,
    ) -> Tensor:
        """Return the mean loss of two halves that begin at a common, random bin."""
        half = sizes.num_bins // 2
        begin, one, two = 0, 0, 0
        if stream is not None:
            begin = int(torch.randint(sizes.num_bins, (), generator=stream))
            one, two = torch.randint(self.group.size, (2,), generator=stream).tolist()
        orders = permutation_table(self.group, seen.device)
        moved = seen.roll(begin, -1)
        first = self._placed(weights, moved[:, orders[one], :half])
        second = self._placed(weights, moved[:, orders[two], sizes.num_bins - half :])
        return loss_of_halves(first, second, self.temperature)

    def _placed(self, weights: Weights, part: Tensor) -> Tensor:
        """Return what the head makes of a part."""
        shifts_alone = no_permutation(part.shape[1])
        place = last_layer(weights, pooled_orbit(weights, part, shifts_alone))
        hidden = relu(linear(place, weights["head_first_weight"], weights["head_first_bias"]))
        return linear(hidden, weights["head_last_weight"], weights["head_last_bias"])

    def noise(self) -> OrbitLikelihood | None:
        """Return None: there is no likelihood."""
        return None

    def attributes(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {
            "latent": self.latent,
            "kernel_width": self.kernel_width,
            "permutations": [list(row) for row in self.group.permutations],
            "temperature": self.temperature,
        }
