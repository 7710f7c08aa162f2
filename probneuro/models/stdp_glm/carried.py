"""The spikes' log likelihood as a function of many synapses' weights at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from probneuro.components.point_process import (
    WindowSpikes,
    add_gained,
    gain_information,
    gained_log_likelihood,
)
from probneuro.core.gibbs import TrajectoryLikelihood

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.conditionals import STDPGLMConditionals

Floats = NDArray[np.float64]

# Filtered spikes that are kept from call to call, all neurons together, in bytes.
_KEPT = 2**30


@final
class CarriedWeights(TrajectoryLikelihood):
    """The log likelihood of the neurons that some present synapses reach, all else held.

    Parameters
    ----------
    point : STDPGLMConditionals
        The point.
    synapses : sequence of int
        Synapses that are present.
    """

    def __init__(self, point: "STDPGLMConditionals", synapses: Sequence[int]) -> None:
        self._point = point
        self._places: dict[int, list[int]] = {}
        for place, s in enumerate(synapses):
            self._places.setdefault(int(point.target.post[s]), []).append(place)
        self._synapses = synapses
        self._drives: dict[int, Floats] = {}
        self._base: dict[int, Floats] = {}
        for neuron, places in self._places.items():
            base = point.activation(neuron).copy()
            for place in places:
                s = synapses[place]
                add_gained(base, point.drive(s), point.values["weight"][s], -1.0)
            self._base[neuron] = base
        self._keeps = len(synapses) * point.target.data.num_bins * 8 <= _KEPT

    def _drives_of(self, neuron: int) -> Floats:
        """Return what reaches a neuron by each synapse at a weight of 1, (synapse, time)."""
        if neuron in self._drives:
            return self._drives[neuron]
        own = [self._point.drive(self._synapses[place]) for place in self._places[neuron]]
        drives: Floats = np.array(own)
        if self._keeps:
            self._drives[neuron] = drives
        return drives

    def __call__(self, paths: Floats) -> float:
        """Return the log likelihood along some weights, shape (synapse, window).

        Terms that no weight changes are left out.
        """
        design, model = self._point.target.design, self._point.target.model
        return sum(
            gained_log_likelihood(
                self._base[neuron], self._drives_of(neuron), paths[places], design.silent,
                *_of(design.spikes[neuron]), model.link.code, model.link.sharpness,
                self._point.target.data.bin_width,
            )
            for neuron, places in self._places.items()
        )  # fmt: skip

    def slope_and_information(self, paths: Floats) -> tuple[Floats, Floats]:
        """Return the slope in each weight, and the Fisher information, (synapse, window)."""
        design, model = self._point.target.design, self._point.target.model
        slope, information = np.empty((2, *paths.shape))
        for neuron, places in self._places.items():
            own = np.empty((2, len(places), paths.shape[1]))
            gain_information(
                self._base[neuron], self._drives_of(neuron), paths[places], design.silent,
                *_of(design.spikes[neuron]), model.link.code, model.link.sharpness,
                self._point.target.data.bin_width, *own,
            )  # fmt: skip
            slope[places], information[places] = own
        return slope, information


def _of(spikes: WindowSpikes) -> tuple[Any, Any, Any]:
    return spikes.bin, spikes.count, spikes.start
