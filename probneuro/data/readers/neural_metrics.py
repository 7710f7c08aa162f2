"""Axion's ``_neuralMetrics.csv``: settings, well averages and electrodes."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd

from probneuro.core.errors import DataError
from probneuro.data.readers.axion import text_of


@final
@dataclass(frozen=True)
class NeuralMetrics:
    """What a neural-metrics export holds.

    Parameters
    ----------
    wells : pandas.DataFrame
        One row a well, one column a metric; NaN where the export is blank.
    treatment : pandas.Series
        By well; ``""`` where none is given.
    electrodes : pandas.DataFrame
        One row an electrode such as ``A1_23``, one column a metric; may be empty.
    sections : dict of str to tuple of str
        The metrics under each heading, such as ``"Network Burst Metrics"``.
    settings : dict of str to str
        What the block above says, as ``"Electrode Burst Settings/Max ISI (ms)"``.
    """

    wells: pd.DataFrame
    treatment: "pd.Series[str]"
    electrodes: pd.DataFrame
    sections: dict[str, tuple[str, ...]]
    settings: dict[str, str]


def read_neural_metrics(path: str | Path) -> NeuralMetrics:
    """Read an Axion neural-metrics export; a byte-order mark and old line ends are accepted.

    Parameters
    ----------
    path : str or Path
        The file, ``.csv`` or ``.csv.gz``.

    Returns
    -------
    NeuralMetrics

    Raises
    ------
    DataError
        If the file has no well averages, or a row has more values than there are wells.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"`path` does not exist: '{file}'. Check the path.")
    rows = [[cell.strip() for cell in line.split(",")] for line in text_of(file).split("\n")]
    starts = [k for k, row in enumerate(rows) if row[0] == "Well Averages"]
    if not starts:
        raise DataError(
            f"`path` is no neural-metrics export: '{file.name}' has no row `Well Averages`. Export "
            "the advanced metrics, not the spike list."
        )
    ends = [k for k, row in enumerate(rows) if row[0] == "Measurement"] or [len(rows)]
    wells, sections, treatment = _table(file, rows[starts[0] : ends[0]])
    electrodes, _, _ = (
        _table(file, rows[ends[0] :]) if ends[0] < len(rows) else (pd.DataFrame(), {}, {})
    )
    given = pd.Series([treatment.get(well, "") for well in wells.index], index=wells.index)
    return NeuralMetrics(wells, given, electrodes, sections, _settings(rows[: starts[0]]))


def _table(
    file: Path, rows: list[list[str]]
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]], dict[str, str]]:
    """Return a block as one row a column of the file, its sections and its treatments."""
    columns = [name for name in rows[0][1:] if name]
    values: dict[str, list[float]] = {}
    sections: dict[str, list[str]] = {}
    treatment: dict[str, str] = {}
    section = ""
    for number, row in enumerate(rows[1:], start=2):
        name, cells = row[0], row[1:]
        if not name:
            continue
        if not any(cells) and (len(cells) < len(columns) or name.endswith("Metrics")):
            section = name
            continue
        if name == "Treatment/ID":
            treatment = dict(zip(columns, cells, strict=False))
            continue
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise DataError(
                f"`path` has {len(cells)} values of '{name}' for {len(columns)} wells, in line "
                f"{number} of its table: '{file.name}'. Export it again."
            )
        numbers = pd.to_numeric(pd.Series(cells[: len(columns)]), errors="coerce")
        values[name] = numbers.reindex(range(len(columns))).to_numpy(dtype=np.float64).tolist()
        sections.setdefault(section, []).append(name)
    table = pd.DataFrame(values, index=pd.Index(columns, name=rows[0][0]))
    return table, {k: tuple(v) for k, v in sections.items()}, treatment


def _settings(rows: list[list[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    section = ""
    for row in rows:
        if row[0].endswith("Settings"):
            section = f"{row[0]}/"
        elif not row[0]:
            section = ""
        elif len(row) > 1:
            found[section + row[0]] = row[1]
    return found
