"""A small real recording that comes with the package."""

from importlib.resources import as_file, files
from typing import Final

from probneuro.core.errors import unknown_name
from probneuro.data.readers.own import read_own_npz
from probneuro.data.spike_trains import SpikeTrains

_EXAMPLES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "v1_pair": ("v1_trio.npz", ("11", "14")),
    "v1_trio": ("v1_trio.npz", ("8", "11", "14")),
}


def example_names() -> tuple[str, ...]:
    """Return the names `load_example` knows.

    Examples
    --------
    >>> example_names()
    ('v1_pair', 'v1_trio')
    """
    return tuple(_EXAMPLES)


def load_example(name: str = "v1_pair") -> SpikeTrains:
    """Return a packaged recording of mouse primary visual cortex, 300 s.

    "v1_pair" holds two units, of which "14" tends to follow "11" by 1 ms; "v1_trio" adds unit
    "8", which is followed by "11". Neither is known to be a synapse.

    Parameters
    ----------
    name : str
        One of `example_names`.

    Returns
    -------
    SpikeTrains
        Spike times in seconds, from 0 to 300.

    Raises
    ------
    SettingError
        If the name is unknown.

    References
    ----------
    Recording distributed by SynaptiConn (MIT licence); published with
    doi:10.1016/j.celrep.2023.113475. See ``recordings/SOURCE.md``.

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
