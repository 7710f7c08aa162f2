"""Small recordings that come with the package: a real one, and a simulated one with its truth."""

from importlib.resources import as_file, files
from typing import Final

import numpy as np
import xarray as xr

from probneuro.core import names
from probneuro.core.errors import SettingError, unknown_name
from probneuro.data.readers.own import read_own_npz
from probneuro.data.spike_trains import SpikeTrains

_EXAMPLES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "v1_pair": ("v1_trio.npz", ("11", "14")),
    "v1_trio": ("v1_trio.npz", ("8", "11", "14")),
    "neuron_network": ("neuron_network.npz", tuple("0123456789")),
}

_TRUTHS: Final = {"neuron_network": "neuron_network_truth.npz"}

_UNITS: Final = {
    "weight": "mV", "amplitude_plus": "mV", "amplitude_minus": "mV", "weight_max": "mV",
    "weight_noise": "mV", "tau_plus": "s", "tau_minus": "s",
}  # fmt: skip


def example_names() -> tuple[str, ...]:
    """Return the names `load_example` knows.

    Examples
    --------
    >>> example_names()
    ('v1_pair', 'v1_trio', 'neuron_network')
    """
    return tuple(_EXAMPLES)


def load_example(name: str = "v1_pair") -> SpikeTrains:
    """Return a packaged recording.

    "v1_pair" and "v1_trio" are 300 s of mouse primary visual cortex: two units, of which "14"
    tends to follow "11" by 1 ms, and a third, "8", which is followed by "11". None is known to
    be a synapse. "neuron_network" is 70 s of ten simulated neurons joined by 28 synapses under
    additive STDP, of which `example_truth` tells everything.

    Parameters
    ----------
    name : str
        One of `example_names`.

    Returns
    -------
    SpikeTrains
        Spike times in seconds, from 0 to 300, or to 70.

    Raises
    ------
    SettingError
        If the name is unknown.

    References
    ----------
    Mouse cortex: distributed by SynaptiConn (MIT licence); published with
    doi:10.1016/j.celrep.2023.113475. The network: Linderman, Stock, Adams (2014), section 5.2,
    simulated by us. See ``recordings/SOURCE.md``.

    Examples
    --------
    >>> load_example().units
    ('11', '14')
    """
    if name not in _EXAMPLES:
        raise unknown_name("example", name, _EXAMPLES)
    file, units = _EXAMPLES[name]
    with as_file(files("probneuro.data") / "recordings" / file) as path:
        return read_own_npz(path).trains().select(units)


def example_truth(name: str = "neuron_network") -> xr.Dataset:
    """Return what made a simulated recording.

    Weights are jumps of the membrane potential. What a spike adds to the rate of a fitted model
    grows with them, by a factor of its own: scale one to the other before you compare.

    Parameters
    ----------
    name : str
        An example that was simulated: "neuron_network".

    Returns
    -------
    xarray.Dataset
        ``edge`` (synapse,) and ``weight`` (synapse, window) in mV at the start of each window,
        over all ordered pairs of neurons; the parameters of the rule (rule_group,), amplitudes
        in mV and times in s. Names and labels are those of a result of the model `stdp_glm`.

    Raises
    ------
    SettingError
        If the name is unknown, or the recording is of neurons whose synapses nobody knows.

    Examples
    --------
    >>> truth = example_truth("neuron_network")
    >>> int(truth["edge"].sum()), truth["weight"].sizes["window"]
    (28, 70)
    """
    units = load_example(name).units
    if name not in _TRUTHS:
        raise SettingError(
            f"`name`: nobody knows the synapses of '{name}', which was recorded, not simulated. "
            f"Choose one of: {', '.join(_TRUTHS)}."
        )
    with (
        as_file(files("probneuro.data") / "recordings" / _TRUTHS[name]) as path,
        np.load(path, allow_pickle=False) as archive,
    ):
        arrays = {key: archive[key] for key in archive.files}
    dims = {"edge": (names.SYNAPSE,), "weight": (names.SYNAPSE, names.WINDOW)}
    pairs = [(a, b) for a in units for b in units if a != b]
    return xr.Dataset(
        {
            key: (dims.get(key, (names.RULE_GROUP,)), value, {"units": _UNITS.get(key, "")})
            for key, value in arrays.items()
        },
        coords={
            names.SYNAPSE: [names.synapse_name(a, b) for a, b in pairs],
            names.PRE: (names.SYNAPSE, [a for a, _ in pairs]),
            names.POST: (names.SYNAPSE, [b for _, b in pairs]),
            names.WINDOW: np.arange(arrays["weight"].shape[1], dtype=float),
            names.RULE_GROUP: ["all"],
        },
    )
