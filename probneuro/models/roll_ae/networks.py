"""Encoders and decoder as functions of named tensors: no module holds a weight of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.nn.functional import linear, pad, relu
from torch.utils.checkpoint import checkpoint

from probneuro.components.shifts import ElectrodeGroup, whole_orbit
from probneuro.components.shifts.orbit import permutation_table
from probneuro.core.errors import SettingError

Weights = Mapping[str, Tensor]

_FEW: Final = 0.1
"""Below this share of the group, its elements are gathered; above, all are had by FFT."""
_CHUNK: Final = 2**26
"""Bytes of one layer that are kept at a time; what is more is computed again for the gradient."""


@final
@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the networks.

    Parameters
    ----------
    num_electrodes, num_bins : int
        Of a recording.
    latent : int
        Length k of the embedding; hidden layers have 4k and 2k units (paper, Appendix D.2).
    kernel_width : int or None
        Bins that a unit of the encoder's first layer sees; None for all, as in the paper.

    Raises
    ------
    SettingError
        If a size is out of range.
    """

    num_electrodes: int
    num_bins: int
    latent: int = 128
    kernel_width: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_electrodes", "num_bins", "latent"):
            if getattr(self, name) < 1:
                raise SettingError(f"`{name}` must be 1 or more; got {getattr(self, name)}.")
        if self.kernel_width is not None and not 1 <= self.kernel_width <= self.num_bins:
            raise SettingError(
                f"`kernel_width` must be 1 to {self.num_bins}, the number of bins; got "
                f"{self.kernel_width}. Pass None for kernels over the whole recording."
            )

    def encoder_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the encoder's tensors by name."""
        k = self.latent
        return {
            "encoder_first_weight": (
                4 * k,
                self.num_electrodes,
                self.kernel_width or self.num_bins,
            ),
            "encoder_first_bias": (4 * k,),
            "encoder_second_weight": (2 * k, 4 * k),
            "encoder_second_bias": (2 * k,),
            "encoder_last_weight": (k, 2 * k),
            "encoder_last_bias": (k,),
        }

    def decoder_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the decoder's tensors by name."""
        k, out = self.latent, self.num_electrodes * self.num_bins
        return {
            "decoder_first_weight": (2 * k, k),
            "decoder_first_bias": (2 * k,),
            "decoder_second_weight": (4 * k, 2 * k),
            "decoder_second_bias": (4 * k,),
            "decoder_last_weight": (out, 4 * k),
            "decoder_last_bias": (out,),
        }

    def scale_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the guide's layer of log scales."""
        return {
            "encoder_scale_weight": (self.latent, 2 * self.latent),
            "encoder_scale_bias": (self.latent,),
        }


def initial_weights(
    shapes: Mapping[str, tuple[int, ...]], seed: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return weights drawn uniformly within one over the root of a layer's inputs.

    PyTorch's own default for linear layers, drawn from a stream of its own.

    Examples
    --------
    >>> initial_weights({"a_weight": (2, 4), "a_bias": (2,)}, 0)["a_weight"].abs().max() <= 0.5
    tensor(True)
    """
    stream = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    bound = 1.0
    for name, shape in shapes.items():
        if name.endswith("_weight"):
            inputs = 1
            for size in shape[1:]:
                inputs *= size
            bound = inputs**-0.5
        drawn = torch.rand(shape, generator=stream, dtype=torch.float64)
        weights[name] = ((2.0 * drawn - 1.0) * bound).to(dtype)
    return weights


def decode(weights: Weights, embedding: Tensor, sizes: Sizes) -> Tensor:
    """Return what the decoder puts out, shape (..., electrode, time)."""
    hidden = relu(linear(embedding, weights["decoder_first_weight"], weights["decoder_first_bias"]))
    hidden = relu(linear(hidden, weights["decoder_second_weight"], weights["decoder_second_bias"]))
    out = linear(hidden, weights["decoder_last_weight"], weights["decoder_last_bias"])
    return out.reshape(*out.shape[:-1], sizes.num_electrodes, sizes.num_bins)


def _upper(weights: Weights, first: Tensor) -> Tensor:
    """Return the second hidden layer from the sums of the first, units last."""
    hidden = relu(first + weights["encoder_first_bias"])
    return relu(linear(hidden, weights["encoder_second_weight"], weights["encoder_second_bias"]))


def first_layer_of_shifts(x: Tensor, kernel: Tensor) -> Tensor:
    """Return the sums of the first layer for every shift, by one circular correlation.

    .. math:: a_{s, h} = \\sum_{e, t} x_{e, t - s} \\, W_{h, e, t}

    Parameters
    ----------
    x : Tensor
        Shape (recording, electrode, time).
    kernel : Tensor
        Shape (unit, electrode, width), width at most the number of bins.

    Returns
    -------
    Tensor
        Shape (recording, shift, unit).
    """
    bins = x.shape[-1]
    # Frequencies first: one small matrix product a frequency.
    spectrum = torch.fft.rfft(x).conj().permute(2, 0, 1)
    other = torch.fft.rfft(kernel, n=bins).permute(2, 1, 0)
    sums = torch.fft.irfft(spectrum @ other, n=bins, dim=0).permute(1, 0, 2)
    # In order, so that the next layer keeps no copy of its own for the gradient.
    return sums.contiguous()


def _short_layer(x: Tensor, kernel: Tensor) -> Tensor:
    """Return the same for a narrow kernel: one matrix product over windows, laid out side by side.

    A convolution of so few channels takes a fifth to two thirds more time than that.
    """
    width = kernel.shape[-1]
    windows = pad(x, (0, width - 1), mode="circular").unfold(-1, width, 1)
    sums = linear(windows.transpose(1, 2).flatten(2), kernel.flatten(1))
    # The window that begins at bin j is shift -j.
    return sums.flip(1).roll(1, 1)


def _all_shifts(x: Tensor, kernel: Tensor) -> Tensor:
    narrow = 4 * kernel.shape[-1] <= x.shape[-1]
    return _short_layer(x, kernel) if narrow else first_layer_of_shifts(x, kernel)


def _pooled_orbit(weights: Weights, x: Tensor, group: ElectrodeGroup) -> Tensor:
    """Return the second hidden layer averaged over the whole orbit."""
    kernel = weights["encoder_first_weight"]
    bins, units = x.shape[-1], kernel.shape[0]
    at_once = max(1, _CHUNK // (bins * units * x.element_size()))
    spare = torch.is_grad_enabled() and group.size * x.shape[0] > at_once

    def pooled(part: Tensor) -> Tensor:
        return _upper(weights, _all_shifts(part, kernel)).mean(1)

    rows = []
    for part in x.split(at_once):
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for order in permutation_table(group, x.device):
            seen = part[:, order]
            # Above the limit nothing of the orbit is kept: it is computed again, chunk by chunk.
            total = total + (
                checkpoint(pooled, seen, use_reentrant=False) if spare else pooled(seen)
            )
        rows.append(total / group.size)
    return torch.cat(rows)


def _pooled_elements(
    weights: Weights, x: Tensor, group: ElectrodeGroup, elements: Tensor
) -> Tensor:
    """Return the second hidden layer averaged over some elements of the orbit."""
    kernel = weights["encoder_first_weight"]
    bins = x.shape[-1]
    if len(elements) <= _FEW * group.num_elements(bins):
        few = whole_orbit(x, group, elements.tolist())
        wide = pad(kernel, (0, bins - kernel.shape[-1]))
        return _upper(weights, linear(few.flatten(-2), wide.flatten(1))).mean(1)
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for p, order in enumerate(permutation_table(group, x.device)):
        shifts = (elements[elements // bins == p] % bins).to(x.device)
        if len(shifts):
            total = total + _upper(weights, _all_shifts(x[:, order], kernel)[:, shifts]).sum(1)
    return total / len(elements)


def pooled_orbit(
    weights: Weights, x: Tensor, group: ElectrodeGroup, elements: Tensor | None = None
) -> Tensor:
    """Return the encoder's second hidden layer, averaged over the orbit or a part of it.

    Parameters
    ----------
    weights : mapping of str to Tensor
        As `Sizes.encoder_shapes` names them.
    x : Tensor
        Shape (recording, electrode, time).
    group : ElectrodeGroup
        The permutations.
    elements : Tensor, optional
        Numbers of the elements to use; all by default.

    Returns
    -------
    Tensor
        Shape (recording, 2 latent). The last layer is linear, so it comes after the mean.
    """
    if elements is None:
        return _pooled_orbit(weights, x, group)
    return _pooled_elements(weights, x, group, elements)


def last_layer(weights: Weights, pooled: Tensor) -> Tensor:
    """Return the embedding of pooled hidden units."""
    return linear(pooled, weights["encoder_last_weight"], weights["encoder_last_bias"])


def encode_orbit(
    weights: Weights, x: Tensor, group: ElectrodeGroup, elements: Tensor | None = None
) -> Tensor:
    """Return the mean over the orbit of the encoder's output, shape (recording, latent).

    .. math:: g(x) = \\frac{1}{|G|} \\sum_{g \\in G} \\tilde g(g x)

    Exactly what the paper's encoder gives for each element by itself, without building the orbit.
    """
    return last_layer(weights, pooled_orbit(weights, x, group, elements))


def encode_plain(weights: Weights, x: Tensor) -> Tensor:
    """Return the output of the same network for the recordings as they are: the autoencoder."""
    first = linear(x.flatten(1), weights["encoder_first_weight"].flatten(1))
    return last_layer(weights, _upper(weights, first))
