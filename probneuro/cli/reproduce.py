"""`probneuro reproduce`: the figures of a model's paper, its numbers beside ours."""

import json
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from probneuro.cli import options
from probneuro.cli.fit import ModelName
from probneuro.cli.reproductions import Outcome, reproduction_of
from probneuro.cli.terminal import print_files, print_table

Preset = Annotated[
    str, typer.Option(help="demo (a minute or two) or paper (in full).", metavar="NAME")
]


def reproduce(
    model: ModelName,
    out: options.OutFolder,
    preset: Preset = "demo",
    seed: options.Seed = None,
    no_progress: options.NoProgress = False,
    debug: options.Debug = False,
) -> None:
    """Run a model's own experiment, and print the paper's numbers, ours and those on record."""
    from probneuro.core import registry
    from probneuro.core.errors import SettingError
    from probneuro.core.rng import resolve_seed

    run = reproduction_of(model)
    if preset not in ("demo", "paper"):
        raise SettingError(f"`--preset` must be demo or paper; got '{preset}'.")
    if out.exists() and not out.is_dir():
        raise SettingError(f"`--out` must be a folder; {out} is a file. Choose another --out.")
    text = registry.shelf_path("model", model, f"{preset}.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)
    record = registry.shelf_path("model", model, "expected.json").read_text(encoding="utf-8")
    chosen = settings.get("seed") if seed is None else seed
    out.mkdir(parents=True, exist_ok=True)
    outcome = run(settings, out, resolve_seed(chosen), not no_progress)
    print_table(["number", "paper", "here", "on record"], _rows(outcome, json.loads(record)))
    print_files(out, outcome.files)


def _rows(outcome: Outcome, expected: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the numbers found beside the paper's and those on record."""
    known = {target["name"]: target for target in expected["targets"]}
    rows = []
    for row in outcome.rows:
        target = known.get(row.name, {})
        paper, ours = (str(target.get(key) or "-") for key in ("paper", "ours"))
        rows.append((row.name, paper, row.ours, ours))
    return rows
