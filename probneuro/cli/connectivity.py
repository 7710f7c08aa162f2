"""`probneuro connectivity`: who is connected to whom, by several methods."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from probneuro.cli import options
from probneuro.cli.folder import EDGE_SCORES, RunFolder, invocation
from probneuro.cli.lookup import references_of
from probneuro.cli.recording import read_recording, read_truth, spike_model
from probneuro.cli.terminal import print_files, print_table, say

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from probneuro.connectivity import Connectivity
    from probneuro.data import SpikeTrains

Methods = Annotated[
    str,
    typer.Option(help="cross_correlation, group_lasso and learning rules, separated by commas."),
]


def connectivity(
    context: typer.Context,
    recording: options.Recording,
    out: options.OutFolder,
    methods: Methods = "cross_correlation,group_lasso,static,additive",
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
    """Say who is connected to whom, by several methods, and how well each tells by a truth.

    A learning rule stands for the STDP-GLM under it, fitted to the whole recording. Writes
    scores, figures, a report and, with --truth, a table. Run it again to go on where it was
    stopped.
    """
    chosen = check_methods(options.comma_list(methods))
    spikes = read_recording(
        recording, units=units, start=start, stop=stop, unit=unit, sampling_rate=sampling_rate,
        unit_check=unit_check, allow_duplicates=allow_duplicates,
    )  # fmt: skip
    known = read_truth(truth)
    model = spike_model(spikes, link, onto)
    decisive: dict[str, Any] = {"bin_width": bin_width, "window": window}
    decisive |= {"draws": draws, "warmup": warmup, "chains": chains}
    settings = {"recording": spikes.hash(), **decisive, "link": link, "onto": onto, "seed": seed}
    folder = RunFolder(out, "connectivity", settings, overwrite=overwrite)
    again = invocation(context.obj or [], folder.seed)
    folder.write_record(again)
    say(repr(spikes), "")
    decisive |= {"seed": folder.seed, "workers": workers, "progress": not no_progress}
    decisive |= {"model": model}
    found = _score(chosen, spikes, folder, known, decisive)
    _finish(found, spikes, folder, again)


def check_methods(names: list[str]) -> list[str]:
    """Return the methods asked for, each known and named once.

    Parameters
    ----------
    names : list of str
        Names of methods.

    Returns
    -------
    list of str

    Raises
    ------
    SettingError
        If there is none, or one is unknown.
    """
    from probneuro.connectivity import QUICK
    from probneuro.core import registry
    from probneuro.core.errors import SettingError, unknown_name

    known = [*QUICK, *registry.names("learning_rule")]
    for name in names:
        if name not in known:
            raise unknown_name("method", name, known)
    if not names:
        raise SettingError(
            f"`--methods` must name at least one method. Choose among: {', '.join(known)}."
        )
    return list(dict.fromkeys(names))


def _score(
    chosen: list[str],
    spikes: "SpikeTrains",
    folder: RunFolder,
    truth: "xr.DataTree | None",
    settings: dict[str, Any],
) -> "Connectivity":
    """Run the quick methods first, then each fit that is not finished, and score them all."""
    from probneuro.connectivity import QUICK, connectivity

    # What is wrong with the recording or the truth is told before the long fits.
    connectivity(spikes, methods=["cross_correlation"], truth=truth, **settings)
    fitted = {}
    for name in [name for name in chosen if name not in QUICK]:
        done = folder.load_finished(name)
        if done is not None:
            say(f"{name}: finished before, loaded from {folder.result(name)}")
        else:
            say(f"{name}: fitting")
            part = connectivity(spikes, methods=[name], checkpoint=folder.checkpoint, **settings)
            done = part.results[name]
            folder.save_finished(name, done)
            say(f"{name}: finished")
        fitted[name] = done
    return connectivity(spikes, methods=chosen, truth=truth, fitted=fitted, **settings)


def _finish(found: "Connectivity", spikes: "SpikeTrains", folder: RunFolder, again: str) -> None:
    """Write what was found, and show the table where there is one."""
    from probneuro.plots import detection_figures, save_figures
    from probneuro.report.synapses import score_cells, write_synapses_report

    folder.save_finished(EDGE_SCORES, found.tree())
    scores = folder.path / "scores.csv"
    _flat(found.scores).to_csv(scores, index=False)
    files = [*(folder.result(name) for name in (EDGE_SCORES, *found.results)), scores]
    if found.table is not None:
        found.table.to_csv(folder.path / "table.csv")
        files.append(folder.path / "table.csv")
        title = "Synapses told from other pairs, best first"
        print_table(*score_cells(found.table), title=title)
    drawn = save_figures(detection_figures(found.scores), folder.path / "figures")
    used = [("model", "stdp_glm"), *(("learning_rule", name) for name in found.results)]
    report = write_synapses_report(
        found.scores, found.table, found.results, folder.path, figures=drawn,
        summary=spikes.summary(), command=again,
        references=references_of(used) if found.results else (),
    )  # fmt: skip
    files += [*drawn.values(), report]
    folder.write_record(again, files=files)
    print_files(folder.path, files)


def _flat(scores: "xr.Dataset") -> "pd.DataFrame":
    """Return one row a synapse, one column a method, and the truth where it is known."""
    import pandas as pd

    columns = {"pre": scores["pre"].values, "post": scores["post"].values}
    for name, values in zip(scores["method"].values, scores["score"].values, strict=True):
        columns[str(name)] = values
    if "truth" in scores:
        columns["truth"] = scores["truth"].values
    return pd.DataFrame(columns)
