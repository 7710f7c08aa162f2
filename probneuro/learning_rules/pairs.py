"""Spike pairs of many synapses, summed per window under an exponential of their distance."""

from typing import Any, Final, NamedTuple, TypeVar

import numba as nb
import numpy as np
import torch
from numpy.typing import NDArray

from probneuro.core.fast_math import exp

Array = TypeVar("Array", NDArray[np.float64], torch.Tensor)
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_NO_SLOPES: Final = np.empty((1, 0))


class _Gaps(NamedTuple):
    """The spikes of two trains as gaps in time; gaps are given as places in ``lengths``.

    ``own[i]`` is the gap before spike i of the first train. Spike j of the second has the
    ``last[j]``-th one of the first before it, by ``since[j]``.
    """

    lengths: Floats
    own: Integers
    own_count: Floats
    last: Integers
    since: Integers
    second_count: Floats
    window: Integers


def _gaps(
    first: Integers, first_count: Floats, second: Integers, second_count: Floats,
    bin_width: float, bins_per_window: int,
) -> _Gaps:  # fmt: skip
    last = np.searchsorted(first, second) - 1
    used = last >= 0
    last, second = last[used], second[used]
    own, since = np.diff(first, prepend=first[:1]), second - first[last]
    lengths, place = np.unique(np.concatenate([own, since]), return_inverse=True)
    return _Gaps(
        lengths * bin_width, place[: own.size], first_count, last, place[own.size :],
        second_count[used], second // bins_per_window,
    )  # fmt: skip


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _pair_sums(gaps: _Gaps, tau: float, sums: Floats, slopes: Floats) -> None:
    """Add sum over (first before second) of exp(-gap / tau) per window.

    ``slopes`` gets its derivative in tau, unless it is empty.
    """
    decay = np.empty(gaps.lengths.size)
    rate = -1.0 / tau
    for g in range(decay.size):
        decay[g] = exp(gaps.lengths[g] * rate)
    trace = np.empty(gaps.own.size)
    level = 0.0
    for i in range(trace.size):
        level = decay[gaps.own[i]] * level + gaps.own_count[i]
        trace[i] = level
    for j in range(gaps.last.size):
        share = gaps.second_count[j] * decay[gaps.since[j]]
        sums[gaps.window[j]] += share * trace[gaps.last[j]]
    if slopes.size:
        _pair_slopes(gaps, tau, decay, trace, slopes)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _pair_slopes(gaps: _Gaps, tau: float, decay: Floats, trace: Floats, slopes: Floats) -> None:
    moment = np.zeros(trace.size)
    for i in range(1, trace.size):
        gap = gaps.lengths[gaps.own[i]]
        moment[i] = decay[gaps.own[i]] * (moment[i - 1] + gap * trace[i - 1])
    for j in range(gaps.last.size):
        i, gap = gaps.last[j], gaps.lengths[gaps.since[j]]
        share = gaps.second_count[j] * decay[gaps.since[j]] / (tau * tau)
        slopes[gaps.window[j]] += share * (moment[i] + gap * trace[i])


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
        self._gaps: dict[tuple[int, int], _Gaps] = {}
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
        return self._numpy_sums(np.asarray(tau), first, second)

    def _numpy_sums(
        self, tau: Floats, first: NDArray[Any], second: NDArray[Any], slopes: Floats = _NO_SLOPES
    ) -> Floats:
        sums = np.zeros((first.size, self.num_windows))
        taus = np.resize(tau, first.size) if tau.size != first.size else tau.ravel()
        for s in range(first.size):
            gaps = self._gaps_between(int(first[s]), int(second[s]))
            _pair_sums(gaps, float(taus[s]), sums[s], slopes[s] if slopes.size else slopes[0])
        return sums

    def _gaps_between(self, first: int, second: int) -> _Gaps:
        key = first, second
        if key not in self._gaps:
            spikes = *self._spikes[first], *self._spikes[second]
            self._gaps[key] = _gaps(*spikes, self._bin_width, self._bins_per_window)
        return self._gaps[key]


class _PairSums(torch.autograd.Function):
    """Pair sums with their gradient in tau."""

    @staticmethod
    def forward(
        ctx: Any, tau: torch.Tensor, pairs: SpikePairs, first: NDArray[Any], second: NDArray[Any]
    ) -> torch.Tensor:
        slopes = np.zeros((first.size, pairs.num_windows))
        sums = pairs._numpy_sums(tau.detach().cpu().numpy(), first, second, slopes)
        ctx.save_for_backward(torch.from_numpy(slopes).to(tau.device))
        ctx.tau_shape = tau.shape
        return torch.from_numpy(sums).to(tau.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        per_synapse = (grads[0] * slopes).sum(-1, keepdim=True)
        return per_synapse.sum_to_size(ctx.tau_shape), None, None, None
