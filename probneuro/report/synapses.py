"""The report of a search for synapses: scores, figures, and what each posterior says."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import xarray as xr

from probneuro.report import facts, page, words

CAPTIONS: Final[Mapping[str, str]] = {
    "roc_curves": "Share of the true synapses found, against the share of other pairs taken.",
    "precision_recall_curves": (
        "Of the pairs taken, the share that are synapses, against the share of synapses found; "
        "what guessing gives is dashed."
    ),
    "reliability_curves": "How often a pair of a given probability is a synapse.",
    "score_matrices": "Every method's score of every pair, from row to column.",
}
_HEAD: Final = (
    *("method", "AUC", "to the best", "average precision", "Brier score", "AUC, decayed"),
)
LIMITS: Final = (
    "A score orders pairs; only a probability says how sure to be. Cells with a common input that "
    "was not recorded may look connected to every method here."
)


def score_cells(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a score table as texts, best method first.

    Parameters
    ----------
    table : pandas.DataFrame
        The ``table`` of `probneuro.connectivity`.

    Returns
    -------
    columns : list of str
    rows : list of list of str
    """
    rows = []
    for name, row in table.iterrows():
        cells = [
            f"{row[value]:.3f} ± {row[error]:.3f}"
            for value, error in (("auc", "auc_se"), ("auc_diff", "auc_dse"))
        ]
        cells += [
            "" if row.isna().get(column, True) else f"{row[column]:.3f}"
            for column in ("average_precision", "brier", "auc_decayed")
        ]
        rows.append([str(name), *cells])
    return list(_HEAD), rows


def write_synapses_report(
    scores: xr.Dataset,
    table: pd.DataFrame | None,
    results: Mapping[str, xr.DataTree],
    out_dir: str | os.PathLike[str],
    *,
    figures: Mapping[str, Path],
    summary: pd.DataFrame,
    command: str = "",
    references: Sequence[str] = (),
) -> Path:
    """Write ``report.html``, one file that needs no other and loads nothing.

    Parameters
    ----------
    scores : Dataset
        The ``scores`` of `probneuro.connectivity`.
    table : pandas.DataFrame or None
        Its ``table``, where a truth is known.
    results : mapping of str to DataTree
        Its posteriors by method.
    out_dir : path
        Folder to write into.
    figures : mapping of str to Path
        PNG files by name.
    summary : pandas.DataFrame
        The recording, one row a unit.
    command : str
        The command that repeats the run.
    references : sequence of str
        What to cite.

    Returns
    -------
    pathlib.Path
        The file.
    """
    title = f"Synapses among {len(summary)} neurons"
    body = [f"<header>{page.heading(title, 1)}</header>"]
    if table is not None:
        known = int(scores["truth"].sum())
        body += [
            page.paragraph(f"{known} of {scores.sizes['synapse']} pairs are synapses."),
            page.table(*score_cells(table)),
        ]
    body += [page.picture(file, CAPTIONS.get(name, name)) for name, file in figures.items()]
    body.append(page.paragraph(LIMITS))
    body += [page.heading("Recording"), page.table(*facts.recording_rows(summary))]
    for name, dt in results.items():
        body.append(page.fold(name, _posterior(dt), unfolded=len(results) == 1))
    return page.write(title, [*body, *page.again(command)], out_dir, references=references)


def _posterior(dt: xr.DataTree) -> list[str]:
    messages = facts.diagnostics(dt)
    parts = [page.paragraph(words.diagnosis(messages))]
    if messages:
        parts.append(page.bullets(messages, "warnings"))
    parts.append(page.paragraph(facts.edges_in_words(dt)))
    return [*parts, page.fold("Settings, versions and seed", [page.pairs(facts.settings_rows(dt))])]
