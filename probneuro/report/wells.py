"""The report of embedded multi-well recordings: their map, their training, their metrics."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from probneuro.report import facts, page

CAPTIONS: Final[Mapping[str, str]] = {
    "embedding_map": "Recordings by the two directions in which their embeddings differ most.",
    "training_losses": (
        "Loss by epoch. The weights kept are those of the lowest loss on recordings held out. "
        "Where halves are told apart, the loss grows with how many there are at a time, so that "
        "the two lines need not meet."
    ),
}
FEW: Final = 100
"""Below this many recordings a learned embedding says little that metrics do not."""
SHOWN: Final = (
    "Mean Firing Rate (Hz)",
    "Number of Active Electrodes",
    "Number of Bursts",
    "Burst Duration - Avg (sec)",
    "Inter-Burst Interval - Avg (sec)",
    "Burst Percentage - Avg",
    "Number of Network Bursts",
    "Network Burst Duration - Avg (sec)",
    "Network Burst Percentage",
)
"""Metrics of the page's table; the file has all."""


def metric_rows(metrics: pd.DataFrame) -> list[list[str]]:
    """Return median, quartiles and recordings with a value for a few metrics.

    Parameters
    ----------
    metrics : pandas.DataFrame
        One row a recording, as `probneuro.components.neural_metrics.metrics_table` returns it.

    Returns
    -------
    list of list of str

    Examples
    --------
    >>> metric_rows(pd.DataFrame({"Number of Bursts": [1.0, 2.0, 3.0, np.nan]}))
    [['Number of Bursts', '2', '1.5 to 2.5', '3']]
    """
    rows = []
    for name in SHOWN:
        if name in metrics:
            known = metrics[name].dropna().to_numpy(dtype=np.float64)
            low, middle, high = (
                np.quantile(known, (0.25, 0.5, 0.75)) if known.size else [np.nan] * 3
            )
            spread = f"{low:.3g} to {high:.3g}" if known.size else "-"
            rows.append([name, f"{middle:.3g}" if known.size else "-", spread, str(known.size)])
    return rows


def opening(result: xr.DataTree) -> list[str]:
    """Return what was embedded, and how far that goes, in sentences."""
    known = result["constant_data"].dataset
    num, latent = (result["posterior"].sizes[name] for name in ("recording", "latent"))
    plates = len(set(known["plate"].values.astype(str)))
    told = [
        f"{num} recordings of {plates} plates, each described by {latent} numbers that change "
        "neither with the time at which it began nor with the side from which the plate was seen."
    ]
    if num < FEW:
        told.append(
            f"These are few recordings: learned embeddings need {FEW} and more. Trust the metrics "
            "first, and look at both side by side."
        )
    else:
        told.append(
            "Before you rely on them, tell your groups apart with the metrics alone, with the "
            "embeddings alone and with both, and leave whole plates out."
        )
    return told


def write_wells_report(
    result: xr.DataTree,
    metrics: pd.DataFrame,
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
    result : DataTree
        From `probneuro.models.roll_ae.fit`.
    metrics : pandas.DataFrame
        The metrics of the same recordings.
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
    body += [page.paragraph(text) for text in opening(result)]
    body += [page.picture(file, CAPTIONS.get(name, name)) for name, file in figures.items()]
    body.append(page.heading("Metrics"))
    body.append(page.table(["metric", "median", "quartiles", "recordings"], metric_rows(metrics)))
    body.append(page.paragraph("metrics.csv has all of them, one row a recording."))
    body.append(page.fold("Settings, versions and seed", [page.pairs(facts.settings_rows(result))]))
    return page.write(title, [*body, *page.again(command)], out_dir, references=references)
