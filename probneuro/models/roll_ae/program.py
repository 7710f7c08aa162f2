"""Roll-AE as a generative program: an embedding, an element of the group, a recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from probneuro.components.shifts import (
    ElectrodeGroup,
    GaussianValues,
    OrbitLikelihood,
    act,
    group_log_likelihood,
    mirror_flips_323,
    orbit_loss,
)
from probneuro.core.errors import SettingError
from probneuro.core.model import DescribesData, Model, Reference
from probneuro.data.wells import LABELS, RECORDING, Wells
from probneuro.models.roll_ae.embedder import Reconstructs, check_electrodes
from probneuro.models.roll_ae.networks import (
    Sizes,
    Weights,
    decode,
    encode_orbit,
    initial_weights,
    last_layer,
    pooled_orbit,
)
from probneuro.models.roll_ae.orbit_marginal import OrbitMarginal

LATENT: Final = "latent"

PAPER: Final = Reference(
    "Dey R, Dreossi T, Fox E, Koller D",
    2025,
    "ROLL-AE: a spatiotemporal invariant autoencoder for uncovering neuronal electrophysiological "
    "patterns",
    "insitro",
)


@final
@dataclass(frozen=True, kw_only=True)
class RollAE(Model, DescribesData, Reconstructs):
    """An autoencoder of recordings up to shifts in time and permutations of electrodes.

    .. math::

        e \\sim N(0, I), \\quad g \\sim U(G), \\quad x \\sim p(\\cdot \\mid g \\, h(e))

    with a decoder h; the encoder is the mean over G of a network. With ``objective="nearest"`` it
    is trained as in the paper: the smallest mean squared error over G, which is the most probable
    g under normal noise. With ``"marginal"`` g is summed out exactly.

    Parameters
    ----------
    group : ElectrodeGroup
        Permutations of electrodes; by default the paper's four mirror flips of eight electrodes.
    latent : int
        Length k of an embedding.
    kernel_width : int or None
        Bins that a unit of the first layer sees; None for all of them, as in the paper. Short
        kernels keep the same invariance with far fewer weights.
    likelihood : OrbitLikelihood
        `GaussianValues` for normalised values, or counts: Bernoulli, Poisson, negative binomial.
    objective : {"nearest", "marginal"}
        Training loss; ``"nearest"`` needs `GaussianValues`.
    guide_family : {"delta", "normal"}
        Under ``"marginal"``: a point embedding with its prior, or an amortised normal one.
    shift_rate : float
        Share tau of the group that one training step uses; embeddings always use all of it.
    summed : bool
        Whether the program sums g out by FFT, or has it as an enumerated site ``element``.

    Raises
    ------
    SettingError
        If a setting is out of range or two do not fit.

    References
    ----------
    Dey, Dreossi, Fox, Koller (2025), section 2, Lemma A.1, Appendix D. Deviations: the loss is
    the minimum itself, not D times it; flips are a group Z2 x Z2, any group is taken.

    Examples
    --------
    >>> RollAE(latent=8, kernel_width=5).shift_rate
    0.01
    """

    name = "roll_ae"
    references = (PAPER,)

    group: ElectrodeGroup = field(default_factory=mirror_flips_323)
    latent: int = 128
    kernel_width: int | None = None
    likelihood: OrbitLikelihood = field(default_factory=GaussianValues)
    objective: Literal["nearest", "marginal"] = "nearest"
    guide_family: Literal["delta", "normal"] = "delta"
    shift_rate: float = 0.01
    summed: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.shift_rate <= 1:
            raise SettingError(
                f"`shift_rate` must be above 0 and at most 1; got {self.shift_rate!r}. The paper "
                "uses 0.01."
            )
        if self.objective not in ("nearest", "marginal"):
            raise SettingError(
                f"`objective` must be 'nearest' or 'marginal'; got {self.objective!r}."
            )
        if self.guide_family not in ("delta", "normal"):
            raise SettingError(
                f"`guide_family` must be 'delta' or 'normal'; got {self.guide_family!r}."
            )
        if self.objective == "nearest" and not isinstance(self.likelihood, GaussianValues):
            raise SettingError(
                f"`objective` 'nearest' is a squared error; with {type(self.likelihood).__name__} "
                "choose objective='marginal'."
            )
        if self.objective == "nearest" and self.guide_family == "normal":
            raise SettingError(
                "`guide_family` 'normal' has no meaning under objective='nearest', which has no "
                "prior. Choose objective='marginal'."
            )

    def sizes(self, wells: Wells) -> Sizes:
        """Return the sizes of the networks for these recordings."""
        check_electrodes(wells, self.group)
        return Sizes(
            num_electrodes=wells.counts.shape[1], num_bins=wells.num_bins, latent=self.latent,
            kernel_width=self.kernel_width,
        )  # fmt: skip

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name."""
        scales = sizes.scale_shapes() if self.guide_family == "normal" else {}
        return {**sizes.encoder_shapes(), **sizes.decoder_shapes(), **scales}

    def encode(
        self, weights: Weights, x: Tensor, sizes: Sizes, elements: Tensor | None = None
    ) -> Tensor:
        """Return embeddings, shape (recording, latent), from the whole orbit or some elements."""
        return encode_orbit(weights, x, self.group, elements)

    def log_likelihood(
        self, weights: Weights, x: Tensor, embedding: Tensor, sizes: Sizes
    ) -> Tensor:
        """Return the exact log likelihood of recordings with g summed out, shape (recording,)."""
        output = decode(weights, embedding, sizes)
        return group_log_likelihood(self.likelihood, x, output, self.group)

    def noise(self) -> OrbitLikelihood:
        """Return the likelihood of a recording given the moved output."""
        return self.likelihood

    def loss(
        self,
        weights: Weights,
        x: Tensor,
        seen: Tensor,
        sizes: Sizes,
        stream: torch.Generator | None,
    ) -> Tensor:
        """Return the mean orbit loss, or the mean negative bound a value of a recording."""
        elements = self._elements(sizes, stream)
        pooled = pooled_orbit(weights, seen, self.group, elements)
        place = last_layer(weights, pooled)
        if self.objective == "nearest":
            return orbit_loss(x, decode(weights, place, sizes), self.group).mean()
        embedding, penalty = place, 0.5 * place.square().sum(-1)
        if self.guide_family == "normal":
            spread = self.spread(weights, pooled)
            if stream is not None:
                embedding = place + spread * torch.randn(
                    place.shape, generator=stream, dtype=place.dtype
                )
            penalty = 0.5 * (place.square() + spread.square() - 1.0 - 2.0 * spread.log()).sum(-1)
        exact = self.log_likelihood(weights, x, embedding, sizes)
        return (penalty - exact).mean() / (sizes.num_electrodes * sizes.num_bins)

    def _elements(self, sizes: Sizes, stream: torch.Generator | None) -> Tensor | None:
        """Return the elements of one step; without a stream the same at every call."""
        if self.shift_rate == 1:
            return None
        count = self.group.num_elements(sizes.num_bins)
        # Validation sees a share too: all of the group costs more than the epoch that it follows.
        source = torch.Generator().manual_seed(0) if stream is None else stream
        return torch.randperm(count, generator=source)[: max(1, round(self.shift_rate * count))]

    def observed(self, wells: Wells) -> tuple[Tensor, Tensor]:
        """Return what the likelihood sees and what the encoder sees, in torch's default type."""
        counts = torch.as_tensor(np.asarray(wells.counts)).to(torch.get_default_dtype())
        gaussian = isinstance(self.likelihood, GaussianValues)
        logs = counts if gaussian else torch.log1p(counts)
        seen = (logs - logs.mean()) / logs.std().clamp(min=1e-12)
        x = seen if gaussian else counts
        self.likelihood.check(x)
        return x, seen

    def _weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        start = initial_weights(shapes, 0, torch.get_default_dtype())
        return {name: pyro.param(name, value) for name, value in start.items()}

    def model(self, data: Wells) -> None:
        """Run the program over all recordings: sites ``embedding``, ``element`` and ``counts``."""
        sizes = self.sizes(data)
        x, _ = self.observed(data)
        weights = self._weights(sizes.decoder_shapes())
        with pyro.plate(RECORDING, len(data)):
            prior = dist.Normal(torch.zeros(self.latent), 1.0).to_event(1)
            output = decode(weights, pyro.sample("embedding", prior), sizes)
            if self.summed:
                pyro.sample("counts", OrbitMarginal(self.likelihood, output, self.group), obs=x)
                return
            even = dist.Categorical(logits=torch.zeros(self.group.num_elements(sizes.num_bins)))
            element = pyro.sample("element", even, infer={"enumerate": "parallel"})
            moved = act(output, self.group, element)
            pyro.sample("counts", self.likelihood.distribution(moved).to_event(2), obs=x)

    def guide(self, data: Wells) -> None:
        """Run the amortised guide: the encoder gives each embedding's place, and its spread."""
        sizes = self.sizes(data)
        _, seen = self.observed(data)
        scales = sizes.scale_shapes() if self.guide_family == "normal" else {}
        weights = self._weights({**sizes.encoder_shapes(), **scales})
        pooled = pooled_orbit(weights, seen, self.group)
        place = last_layer(weights, pooled)
        with pyro.plate(RECORDING, len(data)):
            if self.guide_family == "normal":
                spread = self.spread(weights, pooled)
                pyro.sample("embedding", dist.Normal(place, spread).to_event(1))
            else:
                pyro.sample("embedding", dist.Delta(place).to_event(1))

    def spread(self, weights: Weights, pooled: Tensor) -> Tensor:
        """Return the standard deviations of the normal guide, shape (recording, latent)."""
        raw = linear(pooled, weights["encoder_scale_weight"], weights["encoder_scale_bias"])
        return softplus(raw) + 1e-4

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the named dimensions of every site."""
        return {"embedding": [RECORDING, LATENT], "element": [RECORDING]}

    def coords(self, data: Wells) -> Mapping[str, Any]:
        """Return the labels of the recordings, riding on their dimension."""
        riders = {name: (RECORDING, data.labels[name].to_numpy()) for name in LABELS}
        texts = {k: (d, v.astype(str) if v.dtype == object else v) for k, (d, v) in riders.items()}
        return {RECORDING: np.arange(len(data)), LATENT: np.arange(self.latent), **texts}

    def data_groups(self, data: Wells) -> Mapping[str, Mapping[str, Any]]:
        """Return what is recorded of the data: the mean rate of each recording."""
        return {"constant_data": {"mean_rate": data.counts.mean((1, 2)) / data.bin_width}}

    def attributes(self) -> Mapping[str, Any]:
        """Return the settings as plain values."""
        likelihood = type(self.likelihood).__name__
        return {
            "latent": self.latent,
            "kernel_width": self.kernel_width,
            "permutations": [list(row) for row in self.group.permutations],
            "likelihood": {"name": likelihood, **vars(self.likelihood)},
            "objective": self.objective,
            "guide_family": self.guide_family,
            "shift_rate": self.shift_rate,
        }
