"""The report of a fit to stimulation trials: scores, coverage and figures on one page."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import xarray as xr

from probneuro.core import names
from probneuro.report import facts, page

CAPTIONS: Final[Mapping[str, str]] = {
    "forecasts": "Single later trials: response, forecast from the runway, and its interval.",
    "scores": "Left: R² of forecasts up to each horizon. Right: share of responses in intervals.",
    "states": (
        "Mean responses from low (blue) to high (red) states of the channel at the runway's end; "
        "forecasts are dashed."
    ),
    "bases": "The temporal bases, and what each explains of the training trials.",
}


def score_rows(result: xr.DataTree, evaluation: xr.DataTree) -> list[list[str]]:
    """Return what was found on later trials, a name and a number each.

    Parameters
    ----------
    result : DataTree
        The fit.
    evaluation : DataTree
        What `probneuro.models.tbfm.evaluate` returned.

    Returns
    -------
    list of list of str
    """
    score = evaluation["score"].to_dataset()
    curve = score["r2_by_horizon"]
    times = curve[names.HORIZON].values
    near = int(abs(times - 0.040).argmin())
    fit = result[names.PARAMETERS].to_dataset()
    rows = [
        ["trials", str(evaluation.attrs.get("trials", ""))],
        [f"R2, {times[-1] * 1e3:.0f} ms", f"{float(curve[-1]):.3f}"],
        [f"R2, {times[near] * 1e3:.0f} ms", f"{float(curve[near]):.3f}"],
        ["R2 of the mean response", f"{float(score['mean_r2']):.3f}"],
        ["R2 by state", f"{float(score['state_dependent_r2']):.3f}"],
        ["temporal bases", str(fit.sizes[names.BASIS])],
    ]
    for method in ("posterior", "leave_one_out"):
        found = evaluation[f"interval_{method}"]["coverage"]
        level = round(100 * float(evaluation[f"interval_{method}"].attrs["level"]))
        low, high = (float(f) for f in (found.mean("horizon").min(), found.mean("horizon").max()))
        label = f"in {level} % intervals, {method.replace('_', ' ')} (channels)"
        rows.append([label, f"{float(found.mean()):.3f} ({low:.3f} to {high:.3f})"])
    return rows


def write_trials_report(
    result: xr.DataTree,
    evaluation: xr.DataTree,
    out_dir: str | os.PathLike[str],
    *,
    figures: Mapping[str, Path],
    title: str,
    command: str = "",
    references: Sequence[str] = (),
) -> Path:
    """Write ``report.html``, one file that needs no other and loads nothing.

    Parameters
    ----------
    result, evaluation : DataTree
        The fit, and what it is worth on later trials.
    out_dir : path
        Folder to write into.
    figures : mapping of str to Path
        PNG files by name.
    title : str
        Title of the page.
    command : str
        The command that repeats the run.
    references : sequence of str
        What to cite.

    Returns
    -------
    pathlib.Path
        The file.
    """
    body = [f"<header>{page.heading(title, 1)}</header>"]
    body.append(page.table(["on later trials", ""], score_rows(result, evaluation)))
    for name, file in figures.items():
        short = name.rpartition("_")[2]
        body.append(page.picture(file, CAPTIONS.get(short, short)))
    body.append(page.fold("Settings, versions and seed", [page.pairs(facts.settings_rows(result))]))
    return page.write(title, [*body, *page.again(command)], out_dir, references=references)
