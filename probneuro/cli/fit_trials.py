"""`probneuro fit tbfm`: forecasts of the response to stimulation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from probneuro.cli.folder import RunFolder, invocation
from probneuro.cli.lookup import references_of
from probneuro.cli.terminal import print_files, print_table, say

if TYPE_CHECKING:
    import xarray as xr

    from probneuro.data import StimTrials

EVALUATION = "evaluation"
LEVEL = 0.9


def fit_trials(
    words: list[str],
    model: str,
    file: str,
    out: Path,
    *,
    train: float,
    stride: float | None,
    seed: int | None,
    progress: bool,
    overwrite: bool,
) -> None:
    """Fit a model of stimulation trials to the first of them, and judge it on the others.

    Parameters
    ----------
    words : list of str
        The command line, to repeat it.
    model : str
        Name of the model.
    file : str
        Trials, or a continuous recording with events or with a stride.
    out : pathlib.Path
        Folder to write into.
    train : float
        Share, or number, of the trials to train on.
    stride : float or None
        Seconds between windows of a recording without pulses.
    seed : int or None
        Seed.
    progress, overwrite : bool
        As for other models.

    Raises
    ------
    DataError
        If the file holds no trials.
    """
    trials = read_trials(file, stride)
    settings = {"model": model, "trials": trials.hash(), "train": train, "seed": seed}
    folder = RunFolder(out, "fit", settings, overwrite=overwrite)
    again = invocation(words, folder.seed)
    folder.write_record(again)
    say(repr(trials), "")
    early, late = trials.split(train if train < 1 else round(train))
    result = folder.load_finished(model)
    if result is None:
        result = _fitted(model, early, folder.seed, progress=progress)
        folder.save_finished(model, result)
    else:
        say(f"{model}: finished before, loaded from {folder.result(model)}")
    _finish(result, model, late, folder, again)


def read_trials(file: str, stride: float | None) -> "StimTrials":
    """Read trials, or cut them out of a continuous recording.

    Parameters
    ----------
    file : str
        ``.npz`` or ``.nc`` of trials; or ``.npz``, ``.nwb`` or ``.vhdr`` of a recording.
    stride : float or None
        Seconds between windows, for a recording without pulses.

    Returns
    -------
    StimTrials

    Raises
    ------
    DataError
        If a recording has neither events nor a stride.
    """
    from probneuro.core.errors import DataError
    from probneuro.data import read_continuous, read_stim_trials
    from probneuro.data.stim_files import read_archive

    path = Path(file).expanduser()
    whole = path.suffix in (".nwb", ".vhdr")
    if path.suffix == ".npz" and path.is_file():
        whole = "signal" in read_archive(path, names_only=True)
    if not whole:
        return read_stim_trials(path)
    recording = read_continuous(path)
    if stride is not None:
        return recording.slide(stride=stride)
    if not len(recording.events):
        raise DataError(
            f"`{path.name}` holds no events to take for pulses. Pass --stride to cut windows of a "
            "recording without stimulation, or save trials with StimTrials.save."
        )
    return recording.cut(recording.events)


def _fitted(model: str, early: "StimTrials", seed: int, *, progress: bool) -> "xr.DataTree":
    from probneuro.core import registry
    from probneuro.infer import infer

    built: Any = registry.load("model", model)()
    return infer(built, early, draws=100, chains=2, seed=seed, progress=progress)


def _finish(
    result: "xr.DataTree", model: str, late: "StimTrials", folder: RunFolder, again: str
) -> None:
    """Judge the fit, and write what was found."""
    from probneuro.core.results import save
    from probneuro.models.tbfm import evaluate
    from probneuro.plots import (
        forecast_bands,
        forecast_scores,
        save_figures,
        state_responses,
        temporal_bases,
    )
    from probneuro.report.trials import score_rows, write_trials_report

    evaluation = evaluate(result, late, level=LEVEL)
    kept = save(evaluation, folder.path / f"{EVALUATION}.nc")
    drawn = {
        f"{model}_forecasts": forecast_bands(evaluation),
        f"{model}_scores": forecast_scores(evaluation),
        f"{model}_states": state_responses(evaluation),
        f"{model}_bases": temporal_bases(result),
    }
    figures = save_figures(drawn, folder.path / "figures")
    rows = score_rows(result, evaluation)
    print_table(["on later trials", ""], rows)
    report = write_trials_report(
        result, evaluation, folder.path, figures=figures, title=f"{model}: {late!r}",
        command=again, references=references_of([("model", model)]),
    )  # fmt: skip
    files = [folder.result(model), kept, *figures.values(), report]
    folder.write_record(again, files=files)
    print_files(folder.path, files)
