"""Spike pairs and triplets of many synapses, summed per window under functions of their lags."""

from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from probneuro.learning_rules.lag_bumps import LagBumps
from probneuro.learning_rules.spike_gaps import (
    Gaps,
    add_bumps,
    add_pairs,
    add_triplets,
    gaps_between,
)

Array = TypeVar("Array", NDArray[np.float64], torch.Tensor)
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_NO_SLOPES: Final = np.empty((1, 0))


class SpikePairs:
    r"""The spikes on both sides of some synapses, ready for pair sums.

    .. math::

        P_k(\tau) = \sum_{t \in k} s_{post}[t] \sum_{t' < t} s_{pre}[t'] e^{-(t - t')/\tau},
        \qquad
        M_k(\tau) = \sum_{t \in k} s_{pre}[t] \sum_{t' < t} s_{post}[t'] e^{-(t - t')/\tau}

    Sums are event driven: exact, with a cost that grows with the number of spikes. Spikes in
    the same bin count in neither sum. Triplets and pairs under any shape are there too.

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
        self._gaps: dict[tuple[int, int], Gaps] = {}
        self._rates: dict[int, Floats] = {}
        self._bumps: dict[tuple[int, int, LagBumps], Floats] = {}
        # What is made once for all synapses: bump sums by side and bumps, and by name the rates.
        self._stacked: dict[Any, Floats] = {}
        self._edge: Any = np.ones((self._pre.size, 1))
        self._windows = slice(None)
        self.num_windows = counts.shape[0] // bins_per_window

    def __len__(self) -> int:
        return self._pre.size

    def select(self, synapses: NDArray[Any]) -> "SpikePairs":
        """Return the pairs of some synapses, by index."""
        chosen = object.__new__(SpikePairs)
        chosen.__dict__.update(self.__dict__)
        chosen._pre, chosen._post = self._pre[synapses], self._post[synapses]
        chosen._edge, chosen._stacked = self._edge[synapses], {}
        return chosen

    def joined(self, edge: Any) -> "SpikePairs":
        """Return the same pairs where synapses are present (1) or not (0), shape (synapse, 1)."""
        return self._with(_edge=edge)

    def during(self, windows: slice) -> "SpikePairs":
        """Return the same pairs, whose sums are those of some windows only."""
        return self._with(_windows=windows)

    def _with(self, **changes: Any) -> "SpikePairs":
        other = object.__new__(SpikePairs)
        other.__dict__.update(self.__dict__, **changes)
        return other

    @property
    def window(self) -> float:
        """Length of a window in seconds."""
        return self._bins_per_window * self._bin_width

    def pre_rate(self, like: Array) -> Array:
        """Return each presynaptic neuron's rate in Hz, shape (synapse, window).

        An array or a tensor, as ``like`` is.
        """
        if "pre_rate" not in self._stacked:
            rows = [self._rate_of(int(n)) for n in self._pre]
            self._stacked["pre_rate"] = np.array(rows).reshape(len(self), self.num_windows)
        rates = self._stacked["pre_rate"][:, self._windows]
        if isinstance(like, torch.Tensor):
            return torch.from_numpy(np.ascontiguousarray(rates))
        return rates

    def _rate_of(self, neuron: int) -> Floats:
        if neuron not in self._rates:
            bins, count = self._spikes[neuron]
            windows = bins // self._bins_per_window
            self._rates[neuron] = np.bincount(windows, count, self.num_windows) / self.window
        return self._rates[neuron]

    def incoming_sum(self, values: Array) -> Array:
        """Return the sum over all present synapses onto the same neuron, for each synapse.

        ``values`` has shape (..., synapse, window), and so has the sum.
        """
        if "same" not in self._stacked:
            self._stacked["same"] = (self._post[:, None] == self._post).astype(np.float64)
        same = self._stacked["same"]
        if isinstance(values, torch.Tensor):
            return torch.from_numpy(same) @ (values * torch.as_tensor(self._edge))
        total: Array = same @ (values * self._edge)
        return total

    def post_after_pre(self, tau: Array) -> Array:
        """Return P, shape (synapse, window), for tau in seconds, shape (synapse, 1).

        Takes numpy arrays or torch tensors; the tensor form has a gradient in tau.
        """
        return self._sums(tau, self._pre, self._post)

    def pre_after_post(self, tau: Array) -> Array:
        """Return M, shape (synapse, window), for tau in seconds, shape (synapse, 1)."""
        return self._sums(tau, self._post, self._pre)

    def post_after_both(self, tau_pre: Array, tau_post: Array) -> Array:
        r"""Return sums over triplets that end with a postsynaptic spike, shape (synapse, window).

        .. math::

            \sum_{t \in k} s_{post}[t] \sum_{t' < t} s_{pre}[t'] e^{-(t - t')/\tau_{pre}}
            \sum_{t'' < t} s_{post}[t''] e^{-(t - t'')/\tau_{post}}

        Time constants are in seconds, shape (synapse, 1).
        """
        return self._triplets(tau_pre, tau_post, self._pre, self._post)

    def pre_after_both(self, tau_post: Array, tau_pre: Array) -> Array:
        """Return the same with the two sides exchanged: triplets that end with a pre spike."""
        return self._triplets(tau_post, tau_pre, self._post, self._pre)

    def post_after_pre_in(self, bumps: LagBumps) -> Floats:
        r"""Return sums over pairs, the postsynaptic spike later, under each bump.

        .. math:: \sum_{t \in k} s_{post}[t] \sum_{t' < t} s_{pre}[t'] \phi_b(t - t')

        Shape (bump, synapse, window). They are made once for each synapse and kept.
        """
        return self._bump_sums(bumps, True)

    def pre_after_post_in(self, bumps: LagBumps) -> Floats:
        """Return the same over pairs with the presynaptic spike later."""
        return self._bump_sums(bumps, False)

    def _bump_sums(self, bumps: LagBumps, post_later: bool) -> Floats:
        key = post_later, bumps
        if key not in self._stacked:
            sides = (self._pre, self._post) if post_later else (self._post, self._pre)
            rows = [self._bumps_of(int(a), int(b), bumps) for a, b in zip(*sides, strict=True)]
            shape = (len(self), bumps.num_bumps, self.num_windows)
            stacked = np.array(rows).reshape(shape).transpose(1, 0, 2)
            self._stacked[key] = np.ascontiguousarray(stacked)
        return self._stacked[key][..., self._windows]

    def _bumps_of(self, first: int, second: int, bumps: LagBumps) -> Floats:
        key = first, second, bumps
        if key not in self._bumps:
            sums = np.zeros((bumps.num_bumps, self.num_windows))
            table = bumps.table(self._bin_width)
            spikes = *self._spikes[first], *self._spikes[second]
            add_bumps(*spikes, table, self._bins_per_window, sums)
            self._bumps[key] = sums
        return self._bumps[key]

    def _sums(self, tau: Array, first: NDArray[Any], second: NDArray[Any]) -> Array:
        if isinstance(tau, torch.Tensor):
            result: torch.Tensor = _PairSums.apply(tau, self, first, second)
            return result[:, self._windows]
        return self._numpy_sums(np.asarray(tau), first, second)[:, self._windows]

    def _numpy_sums(
        self, tau: Floats, first: NDArray[Any], second: NDArray[Any], slopes: Floats = _NO_SLOPES
    ) -> Floats:
        sums = np.zeros((first.size, self.num_windows))
        taus = _per_synapse(tau, first.size)
        for s in range(first.size):
            gaps = self._gaps_between(int(first[s]), int(second[s]))
            add_pairs(gaps, float(taus[s]), sums[s], slopes[s] if slopes.size else slopes[0])
        return sums

    def _triplets(
        self, tau: Array, own_tau: Array, first: NDArray[Any], second: NDArray[Any]
    ) -> Array:
        if isinstance(tau, torch.Tensor):
            result: torch.Tensor = _TripletSums.apply(tau, own_tau, self, first, second)
            return result[:, self._windows]
        taus = np.asarray(tau), np.asarray(own_tau)
        return self._numpy_triplets(*taus, first, second)[:, self._windows]

    def _numpy_triplets(
        self, tau: Floats, own_tau: Floats, first: NDArray[Any], second: NDArray[Any],
        slopes: tuple[Floats, Floats] = (_NO_SLOPES, _NO_SLOPES),
    ) -> Floats:  # fmt: skip
        sums = np.zeros((first.size, self.num_windows))
        taus, own_taus = _per_synapse(tau, first.size), _per_synapse(own_tau, first.size)
        for s in range(first.size):
            place = s if slopes[0].size else 0
            add_triplets(
                self._gaps_between(int(first[s]), int(second[s])),
                self._gaps_between(int(second[s]), int(second[s])),
                float(taus[s]), float(own_taus[s]), sums[s], slopes[0][place], slopes[1][place],
            )  # fmt: skip
        return sums

    def _gaps_between(self, first: int, second: int) -> Gaps:
        key = first, second
        if key not in self._gaps:
            spikes = *self._spikes[first], *self._spikes[second]
            self._gaps[key] = gaps_between(*spikes, self._bin_width, self._bins_per_window)
        return self._gaps[key]


def _per_synapse(tau: Floats, synapses: int) -> Floats:
    """Return one time constant a synapse, shape (synapse,)."""
    return np.resize(tau, synapses) if tau.size != synapses else tau.ravel()


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


class _TripletSums(torch.autograd.Function):
    """Triplet sums with their gradient in both time constants."""

    @staticmethod
    def forward(
        ctx: Any, tau: torch.Tensor, own_tau: torch.Tensor, pairs: SpikePairs,
        first: NDArray[Any], second: NDArray[Any],
    ) -> torch.Tensor:  # fmt: skip
        slopes, own_slopes = np.zeros((2, first.size, pairs.num_windows))
        taus = tau.detach().numpy(), own_tau.detach().numpy()
        sums = pairs._numpy_triplets(*taus, first, second, (slopes, own_slopes))
        ctx.save_for_backward(torch.from_numpy(slopes), torch.from_numpy(own_slopes))
        ctx.shapes = tau.shape, own_tau.shape
        return torch.from_numpy(sums)

    @staticmethod
    def backward(
        ctx: Any, *grads: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        per_tau = [
            (grads[0] * slopes).sum(-1, keepdim=True).sum_to_size(shape)
            for slopes, shape in zip(ctx.saved_tensors, ctx.shapes, strict=True)
        ]
        return per_tau[0], per_tau[1], None, None, None
