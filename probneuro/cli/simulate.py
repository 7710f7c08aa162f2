"""`probneuro simulate`: spikes from a model, and the truth they came from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probneuro.cli import options
from probneuro.cli.compare import check_rules
from probneuro.cli.fit import ModelName, Rule
from probneuro.cli.terminal import say

if TYPE_CHECKING:
    from probneuro.data import BinnedSpikes, SpikeTrains

OutFile = Annotated[
    Path, typer.Option("--out", help="File for the spikes (.npz); the truth goes beside it (.nc).")
]

MAX_RATE = 500.0
"""Hz; an absolute refractory period of 2 ms allows no more."""


def simulate(
    model: ModelName,
    out: OutFile,
    rule: Rule = "additive",
    neurons: Annotated[int, typer.Option(help="Number of neurons.")] = 2,
    duration: Annotated[float, typer.Option(help="Length of the recording (s).")] = 60.0,
    seed: options.Seed = None,
    debug: options.Debug = False,
) -> None:
    """Simulate spikes from a model with known weights and learning rule."""
    from probneuro.core import names, registry
    from probneuro.core.errors import SettingError, unknown_name
    from probneuro.core.results import build_result, save
    from probneuro.core.rng import resolve_seed

    if model not in registry.names("model"):
        raise unknown_name("model", model, registry.names("model"))
    check_rules([rule])
    if out.suffix != ".npz":
        raise SettingError(f"`--out` must end in .npz; got '{out.name}'. Name it {out.stem}.npz.")
    from probneuro.simulators.plastic_glm import simulate_plastic_glm

    seed = resolve_seed(seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    built = registry.load("learning_rule", rule)()
    counts, truth = simulate_plastic_glm(
        built,
        num_neurons=neurons,
        duration=duration,
        seed=seed,
        # The input to a neuron starts the same whatever the size of the network.
        initial_weight=0.5 / max(neurons - 1, 1),
    )
    check_rates(counts, seed)
    spikes = spike_trains(counts, f"a simulation of {model}, rule {rule}, seed {seed}")
    spikes.save(out)
    described: Any = registry.load("model", model)(rule=built)
    tree = build_result(
        {},
        groups={names.TRUTH: truth},
        dims=described.dims(),
        coords=described.coords(counts),
        attrs={"model": model, "rule": rule, "seed": seed, "duration": duration},
    )
    file = save(tree, out.with_name(f"{out.stem}_truth.nc"))
    say(
        repr(spikes),
        "",
        f"Seed {seed}. Spikes in {out}, truth in {file}.",
        f"Compare rules on it: probneuro compare {out} --truth {file} --out {out.stem}_compared",
    )


def check_rates(counts: "BinnedSpikes", seed: int) -> None:
    """Refuse a simulation whose synapses drive the network beyond what neurons can fire.

    Parameters
    ----------
    counts : BinnedSpikes
        What was simulated.
    seed : int
        Its seed, for the message.

    Raises
    ------
    SettingError
        If a unit fires above 500 Hz.
    """
    from probneuro.core.errors import SettingError

    fastest = float(counts.rates.max())
    if fastest > MAX_RATE:
        raise SettingError(
            f"The simulated network ran away: a unit fires at {fastest:.0f} Hz (seed {seed}). "
            "Choose fewer neurons, a shorter duration, another rule or another seed."
        )


def spike_trains(counts: "BinnedSpikes", source: str = "") -> "SpikeTrains":
    """Return spike times that fall into the bins they were counted in.

    Several spikes of a bin are spread evenly inside it.

    Parameters
    ----------
    counts : BinnedSpikes
        Counts with dims (time, neuron).
    source : str, optional
        Where they came from.

    Returns
    -------
    SpikeTrains
        Binned again at the same width, it gives the same counts.

    Examples
    --------
    >>> from probneuro.data import BinnedSpikes
    >>> binned = BinnedSpikes([[1], [0], [2], [0]], bin_width=0.1, bins_per_window=2)
    >>> [round(float(time), 3) for time in spike_trains(binned)["0"]]
    [0.05, 0.225, 0.275]
    """
    import numpy as np

    from probneuro.data import SpikeTrains

    times = {}
    for column, unit in enumerate(counts.units):
        number = np.asarray(counts.counts[:, column])
        bins = np.repeat(np.arange(number.size), number)
        place = np.concatenate([(np.arange(n) + 0.5) / n for n in number[number > 0]] or [[]])
        times[unit] = counts.start + (bins + place) * counts.bin_width
    return SpikeTrains(times, start=counts.start, stop=counts.stop, source=source, unit_check=False)
