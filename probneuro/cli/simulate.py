"""`probneuro simulate`: spikes from a model, and the truth they came from."""

from pathlib import Path
from typing import Annotated

import typer

from probneuro.cli import options
from probneuro.cli.compare import check_rules
from probneuro.cli.fit import ModelName, Rule
from probneuro.cli.terminal import say

OutFile = Annotated[
    Path, typer.Option("--out", help="File for the spikes (.npz); the truth goes beside it (.nc).")
]


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
    from probneuro.core import registry
    from probneuro.core.errors import SettingError, unknown_name
    from probneuro.core.results import save
    from probneuro.core.rng import resolve_seed

    if model not in registry.names("model"):
        raise unknown_name("model", model, registry.names("model"))
    check_rules([rule])
    if out.suffix != ".npz":
        raise SettingError(f"`--out` must end in .npz; got '{out.name}'. Name it {out.stem}.npz.")
    from probneuro.simulators.plastic_glm import simulate_plastic_glm

    seed = resolve_seed(seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = simulate_plastic_glm(
        rule=registry.load("learning_rule", rule)(),
        num_neurons=neurons,
        duration=duration,
        seed=seed,
    )
    made.spikes.save(out)
    truth = save(made.truth, out.with_name(f"{out.stem}_truth.nc"))
    say(repr(made.spikes), f"Seed {seed}. Spikes in {out}, truth in {truth}.")
