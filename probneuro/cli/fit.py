"""`probneuro fit`: one model on one recording."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from probneuro.cli import options
from probneuro.cli.compare import check_rules
from probneuro.cli.fit_behaviour import OF_BEHAVIOURS, fit_behaviour
from probneuro.cli.fit_sessions import OF_SESSIONS, fit_sessions
from probneuro.cli.fit_trials import fit_trials
from probneuro.cli.folder import RunFolder, invocation
from probneuro.cli.lookup import references_of
from probneuro.cli.recording import read_recording, read_truth, spike_model
from probneuro.cli.terminal import print_files, print_table, say

if TYPE_CHECKING:
    import xarray as xr

    from probneuro.core.engine import Engine
    from probneuro.data import SpikeTrains

ModelName = Annotated[str, typer.Argument(help="Name of the model, such as stdp_glm.")]
Rule = Annotated[str, typer.Option(help="Learning rule.", rich_help_panel=options.SAMPLING)]
EngineName = Annotated[
    str, typer.Option(help="Engine that draws the posterior.", rich_help_panel=options.SAMPLING)
]
Train = Annotated[
    float,
    typer.Option(
        help="Trials to train on, from the start: a share below 1, or a number; the others judge "
        "(models of stimulation trials).",
        rich_help_panel=options.RECORDING,
    ),
]
Stride = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="Seconds from one window to the next, for a recording without pulses (models of "
        "stimulation trials).",
        rich_help_panel=options.RECORDING,
    ),
]
OF_TRIALS = "tbfm"
"""The model of stimulation trials instead of spikes."""

EngineWarmup = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Warm-up steps of each chain, thrown away; the engine's own number if left out.",
        rich_help_panel=options.SAMPLING,
    ),
]


def fit(
    context: typer.Context,
    model: ModelName,
    recording: options.Recording,
    out: options.OutFolder,
    rule: Rule = "additive",
    units: options.Units = "",
    start: options.Start = None,
    stop: options.Stop = None,
    unit: options.Unit = None,
    sampling_rate: options.SamplingRate = None,
    unit_check: options.UnitCheck = True,
    allow_duplicates: options.AllowDuplicates = False,
    onto: options.Onto = None,
    truth: options.Truth = None,
    train: Train = 0.67,
    stride: Stride = None,
    bin_width: options.BinWidth = 0.001,
    window: options.Window = 1.0,
    link: options.Link = "softplus",
    engine: EngineName = "collapsed_gibbs",
    draws: options.Draws = 500,
    warmup: EngineWarmup = None,
    chains: options.Chains = 4,
    seed: options.Seed = None,
    workers: options.Workers = None,
    no_progress: options.NoProgress = False,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Fit a model to a recording, and write results, figures and report.html.

    Run it again to go on where it was stopped.
    """
    if _fit_other(context, model, recording, out):
        return
    check_rules([rule])
    chosen = build_engine(engine, warmup)
    spikes = read_recording(
        recording, units=units, start=start, stop=stop, unit=unit, sampling_rate=sampling_rate,
        unit_check=unit_check, allow_duplicates=allow_duplicates,
    )  # fmt: skip
    known = read_truth(truth)
    spike_model(spikes, link, onto)  # says what is wrong with them before anything is written
    built = {"model": model, "rule": rule, "link": link, "bin_width": bin_width, "window": window}
    built |= {"onto": onto, "engine": engine, "warmup": warmup}
    settings = {"recording": spikes.hash(), **built, "draws": draws, "chains": chains, "seed": seed}
    folder = RunFolder(out, "fit", settings, overwrite=overwrite)
    again = invocation(context.obj or [], folder.seed)
    folder.write_record(again)
    say(repr(spikes), "")
    result = _fitted(rule, spikes, folder, chosen, workers, progress=not no_progress)
    _finish(result, rule, model, spikes, folder, again, known)


def check_model(name: str) -> None:
    """Refuse a model that is not installed.

    Raises
    ------
    SettingError
        With the nearest name there is.
    """
    from probneuro.core import registry
    from probneuro.core.errors import unknown_name

    if name not in registry.names("model"):
        raise unknown_name("model", name, registry.names("model"))


def _fit_other(context: typer.Context, model: str, recording: str, out: Any) -> bool:
    """Fit a model of other data than spike trains, and say whether it was one."""
    check_model(model)
    check_options(context, model)
    words, given = context.obj or [], context.params
    shared = {name: given[name] for name in ("seed", "overwrite")}
    shared["progress"] = not given["no_progress"]
    if model == OF_TRIALS:
        windows = {name: given[name] for name in ("train", "stride")}
        fit_trials(words, model, recording, out, **windows, **shared)
        return True
    if model == OF_BEHAVIOURS:
        sizes = {name: given[name] for name in ("draws", "chains", "workers")}
        fit_behaviour(words, recording, out, sizes=sizes, shared=shared)
        return True
    if model == OF_SESSIONS:
        fit_sessions(words, recording, out, **shared)
        return True
    check_spike_model(model)
    return False


def check_options(context: typer.Context, model: str) -> None:
    """Refuse options that were given and mean nothing to the model.

    Raises
    ------
    SettingError
        With their names.
    """
    from probneuro.core.errors import SettingError

    everywhere = {"model", "recording", "out", "seed", "overwrite", "no_progress", "debug"}
    of_trials, of_behaviours = {"train", "stride"}, {"draws", "chains", "workers"}
    known = {OF_TRIALS: of_trials, OF_BEHAVIOURS: of_behaviours, OF_SESSIONS: set[str]()}
    allowed = everywhere | known.get(model, set(context.params) - of_trials)
    # By the name of the source: which click it comes from is up to typer.
    sources = {n: getattr(context.get_parameter_source(n), "name", "") for n in context.params}
    lost = [name for name, source in sources.items() if source == "COMMANDLINE"]
    lost = ["--" + name.replace("_", "-") for name in lost if name not in allowed]
    if lost:
        raise SettingError(
            f"`{', '.join(lost)}` {'does' if len(lost) == 1 else 'do'} not apply to the model "
            f"'{model}'. Leave {'it' if len(lost) == 1 else 'them'} out."
        )


def check_spike_model(name: str) -> None:
    """Refuse a model that is fitted to other data than spike trains.

    Raises
    ------
    SettingError
        With the command that fits it.
    """
    from probneuro.core.errors import SettingError

    ways = {
        "roll_ae": "It is fitted to wells: use `probneuro embed RECORDING --out DIR`.",
    }
    if name in ways:
        raise SettingError(f"`probneuro fit` does not fit {name}. {ways[name]}")


def build_engine(name: str, warmup: int | None) -> "Engine":
    """Return an engine by name.

    Parameters
    ----------
    name : str
        Name of an engine.
    warmup : int or None
        Warm-up steps; None for the engine's own number.

    Returns
    -------
    Engine

    Raises
    ------
    SettingError
        If the engine is unknown, or has no warm-up to set.
    """
    from probneuro.core import registry
    from probneuro.core.errors import SettingError

    kind = registry.load("engine", name)
    if warmup is None:
        built: Engine = kind()
        return built
    if "warmup" not in {field.name for field in fields(kind)}:
        raise SettingError(f"`--warmup` does not apply to the engine '{name}'. Leave it out.")
    tuned: Engine = kind(warmup=warmup)
    return tuned


def _fitted(
    rule: str,
    spikes: "SpikeTrains",
    folder: RunFolder,
    engine: "Engine",
    workers: int | None,
    *,
    progress: bool,
) -> "xr.DataTree":
    """Return the fit that an earlier run finished, or a fresh one, written down."""
    result = folder.load_finished(rule)
    if result is None:
        result = _infer(spikes, folder, engine, workers, progress=progress)
        folder.save_finished(rule, result)
    else:
        say(f"{rule}: finished before, loaded from {folder.result(rule)}")
    folder.drop_checkpoint()
    return result


def _infer(
    spikes: "SpikeTrains",
    folder: RunFolder,
    engine: "Engine",
    workers: int | None,
    *,
    progress: bool,
) -> "xr.DataTree":
    """Fit what the folder's settings ask for."""
    from probneuro.core import registry
    from probneuro.infer import infer

    settings = folder.settings
    rule = registry.load("learning_rule", settings["rule"])()
    base = spike_model(spikes, settings["link"], settings["onto"])
    kind: Any = registry.load("model", settings["model"])
    result = infer(
        kind(rule=rule, link=base.link, network=base.network),
        spikes.bin(bin_width=settings["bin_width"], window=settings["window"]),
        engine=engine,
        draws=settings["draws"],
        chains=settings["chains"],
        seed=folder.seed,
        progress=progress,
        checkpoint=folder.checkpoint,
        workers=workers,
    )
    result.attrs |= {"rule": settings["rule"], "link": settings["link"]}
    return result


def _finish(
    result: "xr.DataTree",
    rule: str,
    model: str,
    spikes: "SpikeTrains",
    folder: RunFolder,
    again: str,
    truth: "xr.DataTree | None",
) -> None:
    from probneuro.plots import result_figures, save_figures
    from probneuro.report import parameter_rows, write_report

    drawn = result_figures(result, truth, prefix=f"{rule}_")
    figures = save_figures(drawn, folder.path / "figures")
    report = write_report(
        {rule: result},
        None,
        folder.path,
        figures=figures,
        summary=spikes.summary(),
        title=f"{model} with the rule {rule}",
        command=again,
        references=references_of([("model", model), ("learning_rule", rule)]),
    )
    files = [folder.result(rule), *figures.values(), report]
    rows = parameter_rows(result)
    if rows:
        print_table(["learning rule", "median", "90 % interval"], rows)
    folder.write_record(again, files=files)
    print_files(folder.path, files)
