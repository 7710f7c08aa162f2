"""The weights onto one neuron as trajectories that move together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.components.point_process import (
    WindowSpikes,
    add_gained,
    window_log_likelihoods,
    window_terms,
)
from probneuro.core.columns import ColumnLaw, ColumnObservation
from probneuro.core.engine import Arrays
from probneuro.learning_rules.rule import WEIGHT_NOISE

if TYPE_CHECKING:
    from probneuro.models.stdp_glm.conditionals import STDPGLMTarget

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def column_law(
    target: "STDPGLMTarget", synapses: Integers, on: NDArray[Any], values: Mapping[str, Any]
) -> ColumnLaw:
    """Return the law of some synapses' weights, which holds every one they depend on.

    Parameters
    ----------
    target : STDPGLMTarget
        Model and data.
    synapses : ndarray of int
        Synapses, by index: all present ones onto a neuron, or more.
    on : ndarray
        Which of them are present, shape (synapse,).
    values : mapping of str to ndarray
        Rule parameters, by group.
    """
    rule, pairs = target.model.rule, target.pairs.select(synapses)
    pairs = pairs.joined(np.asarray(on, dtype=np.float64)[:, None])
    groups = target.group[synapses]
    own = {name: np.asarray(values[name])[groups][:, None] for name in target.priors}

    def drift(states: Floats, windows: slice) -> Floats:
        change: Floats = rule.drift(states, pairs.during(windows), own)
        return change

    scale = target.model.link.weight_scale
    return ColumnLaw(own[WEIGHT_NOISE][:, 0], scale, target.data.num_windows, drift)


def absent_log_density(
    target: "STDPGLMTarget", synapses: Integers, on: NDArray[Any], values: Arrays
) -> float:
    """Return the log density of absent synapses' weights given those of present ones."""
    paths = values["weight"][synapses]
    whole = column_law(target, synapses, on, values).log_density(paths)
    present = column_law(target, synapses[on], np.ones(on.sum()), values)
    return whole - present.log_density(paths[on])


def absent_weights(
    target: "STDPGLMTarget", synapses: Integers, on: NDArray[Any], values: Arrays,
    rng: np.random.Generator,
) -> Floats:  # fmt: skip
    """Draw the weights of absent synapses given those of present ones, shape (synapse, window).

    Rows of present synapses are what they were.
    """
    law, paths = column_law(target, synapses, on, values), values["weight"][synapses].copy()
    absent = ~on
    paths[absent, 0] = law.initial(rng, 1)[0, absent]
    for k in range(law.num_windows - 1):
        paths[absent, k + 1] = law.step(paths[None, :, k], k, rng)[0, absent]
    return paths


class WeightObservation(ColumnObservation):
    """Log likelihood of a neuron's spikes, window by window, by the weights onto it.

    Parameters
    ----------
    target : STDPGLMTarget
        Model and data.
    neuron : int
        The neuron.
    base : ndarray
        Its activation without these synapses, shape (time,); from window ``first`` on.
    drives : ndarray
        What each synapse adds at weight one, shape (synapse, time).
    first : int
        Window in the recording that is the first here.
    """

    def __init__(
        self, target: "STDPGLMTarget", neuron: int, base: Floats, drives: Floats, first: int = 0
    ) -> None:
        self._model, self._data = target.model, target.data
        self._spikes: WindowSpikes = target.design.spikes[neuron]
        self._silent, self._first = target.design.silent, first
        self._base, self._drives = base, drives
        self.num_windows = target.data.num_windows - first

    def at(self, window: int, states: Floats) -> Floats:
        """Return one window's log likelihood, shape (particle,), at weights of the synapses."""
        size, spikes, recorded = self._data.bins_per_window, self._spikes, self._first + window
        span = slice(window * size, (window + 1) * size)
        own = slice(spikes.start[recorded], spikes.start[recorded + 1])
        out = np.empty(states.shape[0])
        particle_log_likelihoods(
            self._base[span], np.ascontiguousarray(self._drives[:, span]),
            np.ascontiguousarray(states), self._silent[recorded * size : (recorded + 1) * size],
            spikes.bin[own], spikes.count[own], recorded * size, self._model.link.code,
            self._model.link.sharpness, self._data.bin_width, out,
        )  # fmt: skip
        return out

    def along(self, paths: Floats) -> float:
        """Return the log likelihood of all windows at trajectories, shape (synapse, window)."""
        if self._first:
            return float(sum(self.at(k, paths[None, :, k])[0] for k in range(self.num_windows)))
        activation = self._base.copy()
        for drive, path in zip(self._drives, np.ascontiguousarray(paths), strict=True):
            add_gained(activation, drive, path, 1.0)
        terms = window_log_likelihoods(
            activation, self._silent, self._spikes, self._model.link, self._data.bin_width
        )
        return float(terms.sum())


@nb.njit(cache=True, nogil=True, error_model="numpy")
def particle_log_likelihoods(
    base: Floats, drives: Floats, weights: Floats, silent: NDArray[Any], spike_bin: Integers,
    spike_count: Floats, first: int, code: int, sharpness: float, bin_width: float, out: Floats,
) -> None:  # fmt: skip
    """Write one window's log likelihood for each particle's weights, shape (particle, synapse)."""
    activation, slope = np.empty(base.size), np.empty(base.size)
    for i in range(out.size):
        for t in range(base.size):  # a loop: numba takes seconds to compile the copy of a slice
            activation[t] = base[t]
        for s in range(drives.shape[0]):
            weight = weights[i, s]
            for t in range(base.size):
                activation[t] += weight * drives[s, t]
        out[i] = window_terms(
            activation, silent, spike_bin, spike_count, first, code, sharpness, bin_width, slope
        )
