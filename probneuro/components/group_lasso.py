"""Connectivity by a standard GLM with the group lasso."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from probneuro.components.basis import CosineBasis
from probneuro.components.edge_scorer import EdgeScorer
from probneuro.components.lagged import lagged_traces
from probneuro.components.links import Link, Softplus
from probneuro.components.penalised_glm import Regression, solve
from probneuro.core.errors import DataError, SettingError, unknown_name
from probneuro.data import BinnedSpikes

Floats = NDArray[np.float64]

# So large a penalty lets no group in.
_NO_GROUPS = 1e100
# After so many penalties without a better prediction the path ends.
_PATIENCE = 4
_MEASURES = ("norm", "area", "peak")


@dataclass(frozen=True)
class GroupLassoFit:
    """A network of standard GLMs.

    Parameters
    ----------
    coefficients : ndarray
        Of every bump, shape (pre, post, basis), in the link's units; from a neuron to itself too.
    bias : ndarray
        Shape (neuron,), in the link's units.
    penalty : float
        The penalty that predicted best, nats per second.
    penalties : ndarray
        The penalties tried, shape (penalty,).
    held_out : ndarray
        Log likelihood of the held-out part under each, all neurons together, in nats.
    """

    coefficients: Floats
    bias: Floats
    penalty: float
    penalties: Floats
    held_out: Floats


@dataclass(frozen=True, kw_only=True)
class GroupLasso(EdgeScorer):
    r"""Score of a pair: the size of its impulse response in a GLM with the group lasso.

    .. math::

        \min_\beta -\frac{1}{T} \log p(s_n \mid \beta)
        + \kappa \sum_{m \ne n} \sqrt{B}\, \lVert \sigma_m \beta_m \rVert_2

    with each neuron m's filtered spikes under B bumps as one group, :math:`\sigma_m` their
    standard deviations, and neither bias nor the neuron's own past penalised. The penalty is
    the one, of a path, under which the last part of the recording is most likely, all neurons
    together; the fit is then repeated on the whole.

    Parameters
    ----------
    link : Link
        Activation to rate.
    basis : CosineBasis
        Bumps of the impulse responses.
    num_penalties : int
        Length of the path.
    smallest : float
        The last penalty, as a share of the first, which is the smallest without any synapse.
    held_out : float
        Share of the recording, at its end, that chooses the penalty.
    measure : str
        What the score is: ``"norm"``, the root of the impulse response's integrated square,
        which is what the penalty shrinks; ``"area"``, its integral, where a rise and the dip
        that follows it cancel; or ``"peak"``, its largest value.

    Raises
    ------
    SettingError
        If a setting is out of range.

    Notes
    -----
    Source: the "standard GLM with MAP estimation" of Linderman et al. (2014), section 5.2. They
    score an edge by the area, which finds fewer synapses than the norm in networks such as
    theirs, so that it is not our default; their penalty is not told. All filtered spikes are
    held in memory: 8 bytes times bumps times neurons times bins.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> pre = rng.random(20000) < 0.02
    >>> post = (rng.random(20000) < 0.02) | (np.roll(pre, 3) & (rng.random(20000) < 0.3))
    >>> data = BinnedSpikes(np.column_stack([pre, post]))
    >>> area = GroupLasso().score(data)["area"]
    >>> bool(area[0, 1] > 0.15 > 0.05 > area[1, 0])
    True
    """

    link: Link = field(default_factory=Softplus)
    basis: CosineBasis = field(default_factory=CosineBasis)
    num_penalties: int = 30
    smallest: float = 1e-3
    held_out: float = 0.2
    measure: str = "norm"

    name = "group_lasso"

    def __post_init__(self) -> None:
        if self.measure not in _MEASURES:
            raise unknown_name("measure", self.measure, _MEASURES)
        if not (self.num_penalties >= 2 and 0 < self.smallest < 1 and 0 < self.held_out < 1):
            raise SettingError(
                "`num_penalties` must be 2 or more, `smallest` and `held_out` shares between 0 "
                f"and 1; got {self.num_penalties}, {self.smallest} and {self.held_out}. Use for "
                "example 30, 0.001 and 0.2."
            )

    def score(self, data: BinnedSpikes) -> dict[str, Floats]:
        """Score every ordered pair.

        Parameters
        ----------
        data : BinnedSpikes
            The recording.

        Returns
        -------
        dict of str to ndarray
            ``score``, ``area`` (with the softplus link, extra spikes a presynaptic spike),
            ``norm`` and ``peak``, each (pre, post); NaN from a neuron to itself.

        Raises
        ------
        DataError
            If a neuron is silent, in the whole or in the part that is fitted.
        """
        coefficients = self.fit(data).coefficients
        responses = coefficients @ self.basis.evaluate(data.bin_width)
        found = {
            "area": responses.sum(-1) * data.bin_width,
            "norm": np.sqrt((responses**2).sum(-1) * data.bin_width),
            "peak": responses.max(-1),
        }
        found["score"] = found[self.measure]
        own = np.eye(data.num_neurons, dtype=bool)
        return {name: np.where(own, np.nan, values) for name, values in found.items()}

    def fit(self, data: BinnedSpikes) -> GroupLassoFit:
        """Fit the network, with the penalty chosen by prediction.

        Parameters
        ----------
        data : BinnedSpikes
            The recording.

        Returns
        -------
        GroupLassoFit

        Raises
        ------
        DataError
            If a neuron is silent, in the whole or in the part that is fitted.
        """
        data.check_fittable()
        cut = round((1.0 - self.held_out) * data.num_bins)
        _check_training(data, cut)
        problem, mean, scale = self.problem(data)
        train, test = problem.part(0, cut), problem.part(cut, data.num_bins)
        penalties, scores, best = self._path(train, test)
        chosen = float(penalties[np.argmax(scores)])
        found = solve(problem, best, chosen)
        slopes = found / scale
        bias = slopes[:, 0] - slopes[:, 1:] @ mean[1:]
        shape = (data.num_neurons, data.num_neurons, self.basis.num_bumps)
        kernels = slopes[:, problem.group >= 0].reshape(shape)
        return GroupLassoFit(kernels.transpose(1, 0, 2), bias, chosen, penalties, scores)

    def problem(self, data: BinnedSpikes) -> tuple[Regression, Floats, Floats]:
        """Return the regression on standardised inputs, and their means and scales.

        Parameters
        ----------
        data : BinnedSpikes
            The recording.

        Returns
        -------
        problem : Regression
            Inputs: one, the stimulus under each bump, each neuron's spikes under each bump.
        mean, scale : ndarray
            What was taken off each input, and by what it was divided, shape (input,).
        """
        bumps = self.basis.evaluate(data.bin_width)
        traces = lagged_traces(data.counts, bumps).reshape(-1, data.num_bins)
        blocks = [np.ones((1, data.num_bins)), traces]
        if data.stimulus is not None:
            drive = [
                np.convolve(channel, bump * data.bin_width)[: data.num_bins - 1]
                for channel in data.stimulus.T
                for bump in bumps
            ]
            blocks.insert(1, np.pad(np.array(drive), ((0, 0), (1, 0))))
        inputs = np.ascontiguousarray(np.concatenate(blocks).T)
        seen = inputs[data.observed]
        mean, scale = seen.mean(0), seen.std(0)
        mean[0], scale[0] = 0.0, 1.0
        scale[scale == 0] = 1.0
        inputs -= mean
        inputs /= scale
        free = inputs.shape[1] - traces.shape[0]
        group = np.repeat(np.arange(data.num_neurons), self.basis.num_bumps)
        group = np.concatenate([np.full(free, -1), group]).astype(np.int64)
        counts = np.ascontiguousarray(data.counts.T, dtype=np.int64)
        rows = Regression(inputs, group, counts, data.observed, self.link, data.bin_width)
        return rows, mean, scale

    def _path(self, train: Regression, test: Regression) -> tuple[Floats, Floats, Floats]:
        """Return the penalties tried, their held-out likelihoods, and the best coefficients."""
        rates = train.counts.sum(axis=1) / train.seconds
        now = np.zeros((rates.size, train.inputs.shape[1]))
        now[:, 0] = [train.link.activation(rate) for rate in rates]
        now = solve(train, now, _NO_GROUPS, strict=False)
        shares = np.geomspace(1.0, self.smallest, self.num_penalties)
        penalties = _first_penalty(train, now) * shares
        scores: list[float] = []
        best = now
        for penalty in penalties:
            now = solve(train, now, float(penalty), strict=False)
            scores.append(float(test.log_likelihoods(now).sum()))
            if scores[-1] == max(scores):
                best = now
            if len(scores) - 1 - int(np.argmax(scores)) >= _PATIENCE:
                break
        return penalties[: len(scores)], np.array(scores), best


def _first_penalty(train: Regression, null: Floats) -> float:
    """Return the smallest penalty under which no neuron has a synapse."""
    gradient = train.gradient(null)
    roots = train.thresholds(1.0)
    largest = 0.0
    for g in range(roots.size):
        sizes = np.linalg.norm(gradient[:, train.group == g], axis=1) / roots[g]
        sizes[g] = 0.0
        largest = max(largest, float(sizes.max()))
    return largest


def _check_training(data: BinnedSpikes, cut: int) -> None:
    totals = data.counts[:cut].sum(axis=0)
    silent = [unit for unit, total in zip(data.units, totals, strict=True) if total < 2]
    if silent:
        raise DataError(
            f"`spikes` of unit {silent[0]} has fewer than two spikes in the first "
            f"{cut * data.bin_width:g} s, on which the group lasso is fitted. Leave the unit out."
        )
