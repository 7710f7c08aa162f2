"""`probneuro reproduce`: a paper's experiments, and its numbers beside ours."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probneuro.cli import options
from probneuro.cli.folder import RunFolder, invocation
from probneuro.cli.terminal import print_files, print_names

if TYPE_CHECKING:
    from probneuro.core.reproduction import Finding

ModelName = Annotated[str, typer.Argument(help="Name of the model, such as stdp_glm.")]
Preset = Annotated[str, typer.Option(help="demo (a minute or two) or paper (in full: hours).")]


def reproduce(
    context: typer.Context,
    model: ModelName,
    out: options.OutFolder,
    preset: Preset = "demo",
    seed: options.Seed = 0,
    workers: options.Workers = None,
    no_progress: options.NoProgress = False,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Run a paper's experiments, and show its numbers, the card's and this run's side by side.

    Writes findings.json, results, figures and report.html. Run it again to go on where it was
    stopped.
    """
    from probneuro.core import registry
    from probneuro.core.reproduction import Setting

    experiments = registry.load("reproduction", model)()
    table = read_preset(model, preset)
    settings = {"model": model, "preset": preset, "table": table, "seed": seed}
    folder = RunFolder(out, "reproduce", settings, overwrite=overwrite)
    again = invocation(context.obj or [], folder.seed)
    folder.write_record(again)
    targets = {target["name"]: target for target in _expected(model)["targets"]}
    setting = Setting(
        folder=folder.parts, seed=folder.seed, workers=workers, progress=not no_progress
    )
    findings = []
    for finding in experiments.run(table, setting):
        findings.append(finding)
        known = targets.get(finding.target, {})
        rows = [
            ("paper", known.get("paper", "-")),
            ("card", known.get("ours") or "not run in full yet"),
        ]
        print_names(finding.target.replace("_", " "), [*rows, ("this run", finding.found)])
    _finish(folder, model, targets, findings, again)


def read_preset(model: str, preset: str) -> dict[str, Any]:
    """Return the table ``[reproduce]`` of a model's preset.

    Parameters
    ----------
    model : str
        Name of the model.
    preset : str
        ``"demo"`` or ``"paper"``.

    Returns
    -------
    dict

    Raises
    ------
    SettingError
        If there is no such preset, or it has no such table.

    Examples
    --------
    >>> sorted(read_preset("stdp_glm", "demo"))
    ['detection', 'networks', 'recovery']
    """
    from probneuro.core import registry
    from probneuro.core.errors import SettingError, unknown_name

    if preset not in ("demo", "paper"):
        raise unknown_name("preset", preset, ["demo", "paper"])
    path = registry.shelf_path("model", model, f"{preset}.toml")
    table = tomllib.loads(path.read_text(encoding="utf-8")).get("reproduce")
    if table is None:
        raise SettingError(
            f"`{path.name}` of {model} has no table [reproduce]. Choose another --preset."
        )
    return dict(table)


def _expected(model: str) -> dict[str, Any]:
    from probneuro.core import registry

    path = registry.shelf_path("model", model, "expected.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _finish(
    folder: RunFolder,
    model: str,
    targets: Mapping[str, Mapping[str, Any]],
    findings: "list[Finding]",
    again: str,
) -> None:
    from probneuro.cli.lookup import references_of
    from probneuro.report import write_reproduction

    record = folder.path / "findings.json"
    lines = [{"target": f.target, "found": f.found, "figures": f.figures} for f in findings]
    record.write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
    figures = folder.parts / "figures"
    report = write_reproduction(
        model, findings, targets, figures, folder.path, command=again,
        references=references_of([("model", model)]),
    )  # fmt: skip
    files: list[Path] = [record, report, *sorted(figures.glob("*.png"))]
    folder.write_record(again, files=files)
    print_files(folder.path, files)
