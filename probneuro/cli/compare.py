"""`probneuro compare`: which learning rule predicts a recording best."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probneuro.cli import options
from probneuro.cli.folder import RunFolder, invocation
from probneuro.cli.recording import check_held_out, read_recording, read_truth, spike_model
from probneuro.cli.terminal import print_files, print_table, say

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from probneuro.data import SpikeTrains

Rules = Annotated[str, typer.Option(help="Learning rules to compare, separated by commas.")]


def compare(
    context: typer.Context,
    recording: options.Recording,
    out: options.OutFolder,
    rules: Rules = "static,additive,multiplicative",
    held_out: options.HeldOut = 10.0,
    units: options.Units = "",
    start: options.Start = None,
    stop: options.Stop = None,
    unit: options.Unit = None,
    sampling_rate: options.SamplingRate = None,
    unit_check: options.UnitCheck = True,
    allow_duplicates: options.AllowDuplicates = False,
    onto: options.Onto = None,
    truth: options.Truth = None,
    bin_width: options.BinWidth = 0.001,
    window: options.Window = 1.0,
    link: options.Link = "softplus",
    draws: options.Draws = 500,
    warmup: options.Warmup = 500,
    chains: options.Chains = 4,
    seed: options.Seed = None,
    workers: options.Workers = None,
    no_progress: options.NoProgress = False,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Say which learning rule predicts a recording best.

    Fits the STDP-GLM with each rule to all but the last seconds, scores it on those, and writes
    results, figures, a table and report.html. Run it again to go on where it was stopped.
    """
    chosen = check_rules(options.comma_list(rules), least=2)
    spikes = read_recording(
        recording, units=units, start=start, stop=stop, unit=unit, sampling_rate=sampling_rate,
        unit_check=unit_check, allow_duplicates=allow_duplicates,
    )  # fmt: skip
    check_held_out(spikes, held_out)
    known = read_truth(truth)
    model = spike_model(spikes, link, onto)
    decisive: dict[str, Any] = {"held_out": held_out, "bin_width": bin_width, "window": window}
    decisive |= {"draws": draws, "warmup": warmup, "chains": chains}
    settings = {"recording": spikes.hash(), **decisive, "link": link, "onto": onto, "seed": seed}
    folder = RunFolder(out, "compare", settings, overwrite=overwrite)
    again = invocation(context.obj or [], folder.seed)
    folder.write_record(again)
    say(repr(spikes), "")
    decisive |= {"seed": folder.seed, "workers": workers, "progress": not no_progress}
    decisive |= {"model": model}
    results = {name: _fit_rule(name, spikes, folder, decisive) for name in chosen}
    _finish(results, spikes, folder, f"Learning rules on {Path(recording).name}", again, known)


def check_rules(names: Sequence[str], least: int = 1) -> list[str]:
    """Return the rules asked for, each known and named once.

    Parameters
    ----------
    names : sequence of str
        Names of learning rules.
    least : int, optional
        How many there must be.

    Returns
    -------
    list of str

    Raises
    ------
    SettingError
        If there are too few, or one is unknown.
    """
    from probneuro.core import registry
    from probneuro.core.errors import SettingError, unknown_name

    known = registry.names("learning_rule")
    for name in names:
        if name not in known:
            raise unknown_name("learning rule", name, known)
    chosen = list(dict.fromkeys(names))
    if len(chosen) < least:
        raise SettingError(
            f"`--rules` must name at least {least} rules to compare; got {len(chosen)}. Choose "
            f"among: {', '.join(known)}; for a single one, use `probneuro fit`."
        )
    return chosen


def _fit_rule(
    name: str, spikes: "SpikeTrains", folder: RunFolder, settings: dict[str, Any]
) -> "xr.DataTree":
    done = folder.load_finished(name)
    if done is not None:
        say(f"{name}: finished before, loaded from {folder.result(name)}")
        folder.drop_checkpoint(name)
        return done
    from probneuro.compare_rules import compare_rules

    say(f"{name}: fitting")
    fitted = compare_rules(spikes, rules=(name,), checkpoint=folder.checkpoint, **settings)
    result = fitted.results[name]
    folder.save_finished(name, result)
    folder.drop_checkpoint(name)
    say(f"{name}: finished")
    return result


def _finish(
    results: "dict[str, xr.DataTree]",
    spikes: "SpikeTrains",
    folder: RunFolder,
    title: str,
    again: str,
    truth: "xr.DataTree | None",
) -> None:
    from probneuro.compare import compare as compare_results
    from probneuro.report import held_out_facts, table_rows, verdict

    table = compare_results(results)
    table_file = folder.path / "table.csv"
    table.to_csv(table_file)
    files = [folder.result(name) for name in results] + [table_file]
    files += _figures_and_report(results, table, spikes, folder, title, again, truth)
    print_table(*table_rows(table), title="Held-out prediction, best first")
    words = verdict(table, held_out_facts(results, table))
    say(words.headline, "", *words.sentences, "")
    folder.write_record(again, files=files)
    print_files(folder.path, files)


def _figures_and_report(
    results: "dict[str, xr.DataTree]",
    table: "pd.DataFrame",
    spikes: "SpikeTrains",
    folder: RunFolder,
    title: str,
    again: str,
    truth: "xr.DataTree | None",
) -> list[Path]:
    from probneuro.cli.lookup import references_of
    from probneuro.plots import comparison_figures, save_figures
    from probneuro.report import write_report

    figures = save_figures(comparison_figures(results, table, truth), folder.path / "figures")
    cited = [("model", "stdp_glm"), *(("learning_rule", name) for name in results)]
    report = write_report(
        results,
        table,
        folder.path,
        figures=figures,
        summary=spikes.summary(),
        title=title,
        command=again,
        references=references_of(cited),
    )
    return [*figures.values(), report]
