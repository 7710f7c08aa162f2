"""The paper's two baselines: the same networks without the group, plain and with augmentation."""

from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from probneuro.components.shifts import (
    ElectrodeGroup,
    GaussianValues,
    OrbitLikelihood,
    act,
    mirror_flips_323,
)
from probneuro.core.errors import SettingError
from probneuro.data.wells import Wells
from probneuro.models.roll_ae.embedder import Reconstructs
from probneuro.models.roll_ae.networks import Sizes, Weights, decode, encode_plain


@final
@dataclass(frozen=True, kw_only=True)
class StandardAE(Reconstructs):
    """An autoencoder with mean squared error, as the paper's baselines.

    Parameters
    ----------
    group : ElectrodeGroup
        Permutations that augmentation draws from, beside shifts.
    latent : int
        Length k of an embedding.
    augmentation : {None, "uniform", "half_mass"}
        None for the standard autoencoder. With augmentation the input is an element of the orbit,
        drawn anew each time, and the target the recording itself: any element alike, or the
        recording itself with probability 1/2 (Appendix D.2).

    Examples
    --------
    >>> StandardAE(latent=8, augmentation="half_mass").latent
    8
    """

    group: ElectrodeGroup = field(default_factory=mirror_flips_323)
    latent: int = 128
    augmentation: Literal["uniform", "half_mass"] | None = None

    name = "standard_ae"

    def __post_init__(self) -> None:
        if self.augmentation not in (None, "uniform", "half_mass"):
            raise SettingError(
                f"`augmentation` must be None, 'uniform' or 'half_mass'; got {self.augmentation!r}."
            )

    def noise(self) -> OrbitLikelihood:
        """Return normal noise: the squared error."""
        return GaussianValues()

    def sizes(self, wells: Wells) -> Sizes:
        """Return the sizes of the networks for these recordings."""
        return Sizes(
            num_electrodes=wells.counts.shape[1], num_bins=wells.num_bins, latent=self.latent
        )

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name."""
        return {**sizes.encoder_shapes(), **sizes.decoder_shapes()}

    def encode(
        self, weights: Weights, x: Tensor, sizes: Sizes, elements: Tensor | None = None
    ) -> Tensor:
        """Return embeddings of the recordings as they are."""
        return encode_plain(weights, x)

    def log_likelihood(
        self, weights: Weights, x: Tensor, embedding: Tensor, sizes: Sizes
    ) -> Tensor:
        """Return the log likelihood under normal noise of scale one, shape (recording,)."""
        output = decode(weights, embedding, sizes)
        return self.noise().distribution(output).log_prob(x).sum((-2, -1))

    def loss(
        self,
        weights: Weights,
        x: Tensor,
        seen: Tensor,
        sizes: Sizes,
        stream: torch.Generator | None,
    ) -> Tensor:
        """Return the mean squared error."""
        given = seen if stream is None else self.augmented(seen, stream)
        out = decode(weights, self.encode(weights, given, sizes), sizes)
        return (out - x).square().mean()

    def augmented(self, x: Tensor, stream: torch.Generator) -> Tensor:
        """Return the inputs of one step."""
        if self.augmentation is None:
            return x
        count = self.group.num_elements(x.shape[-1])
        element = torch.randint(count, x.shape[:1], generator=stream)
        if self.augmentation == "half_mass":
            element = element * (torch.rand(x.shape[:1], generator=stream) < 0.5)
        return act(x, self.group, element.to(x.device))

    def attributes(self) -> dict[str, object]:
        """Return the settings as plain values."""
        return {
            "latent": self.latent,
            "permutations": [list(row) for row in self.group.permutations],
            "augmentation": self.augmentation,
        }
