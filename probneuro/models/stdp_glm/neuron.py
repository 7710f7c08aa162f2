"""One neuron's real parameters given all else, with gradients."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from probneuro.components.point_process import log_likelihood_and_gradient
from probneuro.core.engine import Arrays
from probneuro.core.gibbs import SmoothConditional
from probneuro.models.stdp_glm.self_edges import self_connected

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.conditionals import STDPGLMTarget

Floats = NDArray[np.float64]

# Step of the central difference that gives the slope of a trajectory's prior.
_DIFFERENCE = 1e-4


def simplex(log_gamma: Floats) -> Floats:
    """Return gamma / sum(gamma) over the last axis."""
    gamma = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True))
    share: Floats = gamma / gamma.sum(axis=-1, keepdims=True)
    return share


class NeuronConditional(SmoothConditional):
    """One neuron's bias, self weight, bumps, stimulus filter and shifts of incoming weights.

    A shift moves a whole trajectory, so that the bias and the level of the weights, which the
    data hardly tell apart, move together. It is no parameter: it starts at zero.

    Parameters
    ----------
    target : STDPGLMTarget
        Model and data.
    values : dict of arrays
        The point.
    neuron : int
        Which neuron.
    """

    def __init__(self, target: "STDPGLMTarget", values: Arrays, neuron: int) -> None:
        self._target, self._neuron = target, neuron
        self._self = self_connected(values, neuron)
        self._edges = values["edge"][target.incoming[neuron]] != 0
        present = target.incoming[neuron][self._edges]
        self._sources = np.concatenate([[neuron], target.source[present]]).astype(np.int64)
        self._shifts = [target.shifts(int(s), values) for s in present]
        self._gains = np.ones((1 + present.size, target.data.num_windows))

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        """Return the log density in the position and its gradient."""
        model, synapses = self._target.model, self._edges.size
        bumps = model.basis.num_bumps
        tail, end = position.size - (bumps + 1) * synapses, position.size - synapses
        gammas = np.concatenate([position[2 : 2 + bumps], position[tail:end]]).reshape(-1, bumps)
        active = np.concatenate([[True], self._edges])  # the neuron itself, by a size of zero
        share = simplex(gammas[active])
        size = np.ones(share.shape[0])
        size[0] = position[1] if self._self else 0.0
        for i, shift in enumerate(position[end:][self._edges]):
            self._gains[1 + i] = self._shifts[i].weight(float(shift))
        value, slopes = self._likelihood(
            position[0], size[:, None] * share, position[2 + bumps : tail]
        )
        inner = (slopes.row * share).sum(axis=1)
        gradient = np.zeros_like(position)
        gradient[0], gradient[1] = slopes.bias, inner[0] if self._self else 0.0
        rows = model.concentration - np.exp(gammas)
        rows[active] += size[:, None] * share * (slopes.row - inner[:, None])
        gradient[2 : 2 + bumps], gradient[tail:end] = rows[0], rows[1:].ravel()
        gradient[2 + bumps : tail] = slopes.filter
        value += (model.concentration * gammas - np.exp(gammas)).sum()
        value += self._shift_terms(position[end:], slopes.gain, gradient[end:])
        return value + self._priors(position, gradient, tail), gradient

    def _shift_terms(self, shifts: Floats, gain: Floats, gradient: Floats) -> float:
        """Return the prior of the shifted weights, and add to the gradient in the shifts.

        Shifts of absent synapses move nothing; a standard normal keeps them in place.
        """
        value = -0.5 * float((shifts[~self._edges] ** 2).sum())
        gradient[~self._edges] = -shifts[~self._edges]
        for i, s in enumerate(np.flatnonzero(self._edges)):
            orbit, shift = self._shifts[i], float(shifts[s])
            above, here, below = (
                orbit.log_density(shift + step) for step in (_DIFFERENCE, 0.0, -_DIFFERENCE)
            )
            value += here
            gradient[s] = (above - below) / (2.0 * _DIFFERENCE)
            gradient[s] += gain[1 + i] @ orbit.slope(shift)
        return value

    def _priors(self, position: Floats, gradient: Floats, tail: int) -> float:
        """Return the log priors of bias, self weight and filter, and add their gradients."""
        model, value = self._target.model, 0.0
        for i, prior in ((0, model.bias), (1, model.self_weight)):
            z = (position[i] - prior.location) / prior.scale
            value -= 0.5 * z * z
            gradient[i] -= z / prior.scale
        filters = slice(2 + model.basis.num_bumps, tail)
        scale = model.stimulus_scale * model.link.bias_scale
        z = position[filters] / scale
        gradient[filters] -= z / scale
        return value - 0.5 * float(z @ z)

    def _likelihood(
        self, bias: float, coefficients: Floats, filters: Floats
    ) -> tuple[float, "_Slopes"]:
        target, design = self._target, self._target.design
        spikes, link = design.spikes[self._neuron], target.model.link
        windows = np.empty(target.data.num_windows)
        row, gain = np.empty_like(coefficients), np.empty_like(self._gains)
        own_filters = np.ascontiguousarray(filters)
        filter_slope = np.empty_like(own_filters)
        bias_slope = log_likelihood_and_gradient(
            bias, self._sources, coefficients, self._gains, design.traces, own_filters,
            design.stimulus, design.silent, spikes.bin, spikes.count, spikes.start, link.code,
            link.sharpness, target.data.bin_width, target.data.bins_per_window, windows, row,
            gain, filter_slope,
        )  # fmt: skip
        return float(windows.sum()), _Slopes(bias_slope, row, gain, filter_slope)


class _Slopes(NamedTuple):
    """Gradients of the log likelihood in bias, coefficients, gains and stimulus filters."""

    bias: float
    row: Floats
    gain: Floats
    filter: Floats
