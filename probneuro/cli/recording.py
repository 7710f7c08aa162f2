"""Read the recording that a command names."""

from pathlib import Path
from typing import TYPE_CHECKING

from probneuro.cli.options import comma_list

if TYPE_CHECKING:
    import xarray as xr

    from probneuro.data import SpikeTrains
    from probneuro.models.stdp_glm import STDPGLM

EXAMPLE = "example:"

FEWEST_SPIKES = 2
"""Fewer spikes of a unit say nothing about its rate."""


def read_recording(
    name: str,
    *,
    units: str = "",
    start: float | None = None,
    stop: float | None = None,
    unit: str | None = None,
    sampling_rate: float | None = None,
    unit_check: bool = True,
    allow_duplicates: bool = False,
) -> "SpikeTrains":
    """Read a file, or a packaged example.

    Parameters
    ----------
    name : str
        A path, or ``example:NAME``.
    units : str, optional
        Units to keep, separated by commas.
    start, stop : float, optional
        Part to keep (s).
    unit : str, optional
        Unit of time in the file.
    sampling_rate : float, optional
        Samples per second, for ``unit="samples"``.
    unit_check, allow_duplicates : bool, optional
        As in `probneuro.read_spikes`.

    Returns
    -------
    SpikeTrains

    Raises
    ------
    DataError
        If the file cannot be read.
    SettingError
        If the example or a unit is unknown.
    """
    from probneuro.data import load_example, read_spikes

    chosen = comma_list(units)
    if name.startswith(EXAMPLE):
        spikes = load_example(name.removeprefix(EXAMPLE))
        spikes = spikes.select(chosen) if chosen else spikes
        if start is not None or stop is not None:
            begin = spikes.start if start is None else start
            spikes = spikes.restrict(begin, spikes.stop if stop is None else stop)
        return check_spikes(spikes)
    return check_spikes(
        read_spikes(
            name,
            units=chosen or None,
            start=start,
            stop=stop,
            unit=unit,
            sampling_rate=sampling_rate,
            unit_check=unit_check,
            allow_duplicates=allow_duplicates,
        )
    )


def spike_model(spikes: "SpikeTrains", link: str, onto: str | None) -> "STDPGLM":
    """Return the STDP-GLM that the options ask for, whatever its rule.

    Parameters
    ----------
    spikes : SpikeTrains
        The part of a recording that is to be used.
    link : str
        Name of the link function.
    onto : str or None
        Units, separated by commas, on which synapses may end; None for all of them.

    Returns
    -------
    STDPGLM

    Raises
    ------
    SettingError
        If the link or a unit is unknown, or a unit comes twice.
    """
    from probneuro.components.links import link_from_name
    from probneuro.models.stdp_glm import STDPGLM, ErdosRenyi, InputsTo

    network = ErdosRenyi() if onto is None else InputsTo(tuple(comma_list(onto)))
    network.candidates(spikes.units)
    return STDPGLM(link=link_from_name(link), network=network)


def check_spikes(spikes: "SpikeTrains") -> "SpikeTrains":
    """Return the recording once every unit has spikes enough to be fitted.

    Parameters
    ----------
    spikes : SpikeTrains
        The part of a recording that is to be used.

    Returns
    -------
    SpikeTrains
        The same.

    Raises
    ------
    DataError
        If a unit has fewer than two spikes; it says which `--units` are left.
    """
    from probneuro.core.errors import DataError

    number = {name: train.size for name, train in zip(spikes.units, spikes.times, strict=True)}
    few = [f"{name} ({count})" for name, count in number.items() if count < FEWEST_SPIKES]
    if not few:
        return spikes
    rest = ",".join(name for name, count in number.items() if count >= FEWEST_SPIKES)
    advice = f"Pass --units {rest}" if rest else "Choose other --units, or a longer part"
    raise DataError(
        f"`--units`: every unit needs at least {FEWEST_SPIKES} spikes between "
        f"{spikes.start:.9g} and {spikes.stop:.9g} s to be fitted; too few have "
        f"{', '.join(few)}. {advice}."
    )


def check_held_out(spikes: "SpikeTrains", held_out: float) -> None:
    """Raise if the seconds held out at the end hold no spikes, so that no rule can be scored.

    Parameters
    ----------
    spikes : SpikeTrains
        The part of a recording that is to be used.
    held_out : float
        Seconds held out at its end.

    Raises
    ------
    DataError
        Naming the silent part.
    """
    from probneuro.core.errors import DataError

    begin = spikes.stop - held_out
    if spikes.start < begin < spikes.stop and not any((t >= begin).any() for t in spikes.times):
        raise DataError(
            f"`--held-out`: the last {held_out:.9g} s, {begin:.9g} to {spikes.stop:.9g} s, hold no "
            "spikes, so that nothing can be scored. Choose another --stop, or hold out more."
        )


def read_truth(path: Path | None) -> "xr.DataTree | None":
    """Read what a simulation was made with, None if no file is named.

    Parameters
    ----------
    path : pathlib.Path or None
        A file that `probneuro simulate` wrote, or ``example:NAME`` of a simulated example.

    Returns
    -------
    DataTree or None

    Raises
    ------
    DataError
        If the file cannot be read, or holds no truth.
    SettingError
        If the example is unknown, or has no truth.
    """
    if path is None:
        return None
    import xarray as xr

    from probneuro.core import names
    from probneuro.core.errors import DataError
    from probneuro.core.results import load
    from probneuro.data import example_truth

    if str(path).startswith(EXAMPLE):
        known = example_truth(str(path).removeprefix(EXAMPLE))
        return xr.DataTree.from_dict({names.TRUTH: known})
    tree = load(path)
    if names.TRUTH not in tree.children:
        raise DataError(
            f"`--truth` {path} has no group `truth` (groups: {', '.join(tree.children)}). Pass the "
            "file ..._truth.nc that `probneuro simulate` wrote."
        )
    return tree
