"""Self connections that may be absent: a neuron's spikes by the weight on itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from probneuro.components.point_process import gain_information, gained_log_likelihood
from probneuro.core.switched_scalars import ScalarLikelihood

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.conditionals import STDPGLMTarget

Floats = NDArray[np.float64]

SELF_EDGE = "self_edge"


def self_connected(values: Mapping[str, NDArray[Any]], neuron: int) -> bool:
    """Say whether a neuron acts on itself at a point; always, where self edges are not optional."""
    return SELF_EDGE not in values or bool(values[SELF_EDGE][neuron])


@final
class SelfWeightLikelihood(ScalarLikelihood):
    """The log likelihood of a neuron's spikes by its weight on itself, all else held.

    Parameters
    ----------
    target : STDPGLMTarget
        Model and data.
    neuron : int
        The neuron.
    base : ndarray
        Its activation without the self connection, shape (time,).
    drive : ndarray
        What a self weight of one adds, shape (time,).
    """

    def __init__(self, target: "STDPGLMTarget", neuron: int, base: Floats, drive: Floats) -> None:
        spikes, link = target.design.spikes[neuron], target.model.link
        self._spikes = (
            target.design.silent, spikes.bin, spikes.count, spikes.start, link.code,
            link.sharpness, target.data.bin_width,
        )  # fmt: skip
        self._base, self._drives = base, drive[None]
        self._windows = target.data.num_windows

    def __call__(self, value: float) -> float:
        """Return the log likelihood at a weight."""
        gains = np.full((1, self._windows), value)
        return float(gained_log_likelihood(self._base, self._drives, gains, *self._spikes))

    def slope_and_information(self, value: float) -> tuple[float, float]:
        """Return slope and Fisher information at a weight."""
        gains = np.full((1, self._windows), value)
        slope, information = np.empty((2, 1, self._windows))
        gain_information(self._base, self._drives, gains, *self._spikes, slope, information)
        return float(slope.sum()), float(information.sum())
