"""Spike pairs of many synapses, summed per window under an exponential of their distance."""

from typing import Any, TypeVar

import numba as nb
import numpy as np
import torch
from numpy.typing import NDArray

from probneuro.core.fast_math import exp

Array = TypeVar("Array", NDArray[np.float64], torch.Tensor)
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _pair_sums(
    first: Integers,
    first_count: Floats,
    second: Integers,
    second_count: Floats,
    bin_width: float,
    tau: float,
    bins_per_window: int,
    sums: Floats,
    slopes: Floats,
) -> None:
    """Add sum over (first before second) of exp(-gap / tau), and its slope in tau, per window."""
    trace, moment, clock, i = 0.0, 0.0, 0, 0
    for j in range(second.size):
        while i < first.size and first[i] < second[j]:
            gap = (first[i] - clock) * bin_width
            decay = exp(-gap / tau)
            moment = decay * (moment + gap * trace)
            trace = decay * trace + first_count[i]
            clock = first[i]
            i += 1
        if i == 0:
            continue
        gap = (second[j] - clock) * bin_width
        decay = exp(-gap / tau)
        window = second[j] // bins_per_window
        sums[window] += second_count[j] * decay * trace
        slopes[window] += second_count[j] * decay * (moment + gap * trace) / (tau * tau)


class SpikePairs:
    r"""The spikes on both sides of some synapses, ready for pair sums.

    .. math::

        P_k(\tau) = \sum_{t \in k} s_{post}[t] \sum_{t' < t} s_{pre}[t'] e^{-(t - t')/\tau},
        \qquad
        M_k(\tau) = \sum_{t \in k} s_{pre}[t] \sum_{t' < t} s_{post}[t'] e^{-(t - t')/\tau}

    Sums are event driven: exact, with a cost that grows with the number of spikes. Spikes in
    the same bin count in neither sum.

    Parameters
    ----------
    counts : ndarray
        Spike counts, shape (time, neuron).
    pre, post : ndarray
        Index of the presynaptic and the postsynaptic neuron of each synapse, shape (synapse,).
    bin_width : float
        Width of a bin in seconds.
    bins_per_window : int
        Bins in a weight window.

    Examples
    --------
    >>> counts = np.zeros((10, 2), dtype=int); counts[2, 0] = 1; counts[4, 1] = 1
    >>> pairs = SpikePairs(counts, np.array([0]), np.array([1]), 1e-3, 5)
    >>> pairs.post_after_pre(np.array([[2e-3]])).round(4)
    array([[0.3679, 0.    ]])
    """

    def __init__(
        self,
        counts: NDArray[Any],
        pre: NDArray[Any],
        post: NDArray[Any],
        bin_width: float,
        bins_per_window: int,
    ) -> None:
        bins = [np.flatnonzero(column) for column in counts.T]
        self._spikes = [(b, counts[b, n].astype(np.float64)) for n, b in enumerate(bins)]
        self._pre = np.asarray(pre)
        self._post = np.asarray(post)
        self._bin_width = bin_width
        self._bins_per_window = bins_per_window
        self.num_windows = counts.shape[0] // bins_per_window

    def __len__(self) -> int:
        return self._pre.size

    def select(self, synapses: NDArray[Any]) -> "SpikePairs":
        """Return the pairs of some synapses, by index."""
        chosen = object.__new__(SpikePairs)
        chosen.__dict__.update(self.__dict__)
        chosen._pre, chosen._post = self._pre[synapses], self._post[synapses]
        return chosen

    def post_after_pre(self, tau: Array) -> Array:
        """Return P, shape (synapse, window), for tau in seconds, shape (synapse, 1).

        Takes numpy arrays or torch tensors; the tensor form has a gradient in tau.
        """
        return self._sums(tau, self._pre, self._post)

    def pre_after_post(self, tau: Array) -> Array:
        """Return M, shape (synapse, window), for tau in seconds, shape (synapse, 1)."""
        return self._sums(tau, self._post, self._pre)

    def _sums(self, tau: Array, first: NDArray[Any], second: NDArray[Any]) -> Array:
        if isinstance(tau, torch.Tensor):
            result: torch.Tensor = _PairSums.apply(tau, self, first, second)
            return result
        return self._numpy_sums(np.asarray(tau), first, second)[0]

    def _numpy_sums(
        self, tau: Floats, first: NDArray[Any], second: NDArray[Any]
    ) -> tuple[Floats, Floats]:
        sums, slopes = np.zeros((2, first.size, self.num_windows))
        taus = np.resize(tau, first.size) if tau.size != first.size else tau.ravel()
        for s in range(first.size):
            first_bin, first_count = self._spikes[first[s]]
            second_bin, second_count = self._spikes[second[s]]
            _pair_sums(
                first_bin, first_count, second_bin, second_count, self._bin_width,
                float(taus[s]), self._bins_per_window, sums[s], slopes[s],
            )  # fmt: skip
        return sums, slopes


class _PairSums(torch.autograd.Function):
    """Pair sums with their gradient in tau."""

    @staticmethod
    def forward(
        ctx: Any, tau: torch.Tensor, pairs: SpikePairs, first: NDArray[Any], second: NDArray[Any]
    ) -> torch.Tensor:
        sums, slopes = pairs._numpy_sums(tau.detach().numpy(), first, second)
        ctx.save_for_backward(torch.from_numpy(slopes))
        ctx.tau_shape = tau.shape
        return torch.from_numpy(sums)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        per_synapse = (grads[0] * slopes).sum(-1, keepdim=True)
        return per_synapse.sum_to_size(ctx.tau_shape), None, None, None
