"""The report: one HTML file that says what was found, shows it, and tells how to repeat it."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from probneuro.core.errors import SettingError
from probneuro.report import facts, page, words

CAPTIONS: Mapping[str, str] = {
    "held_out_comparison": (
        "Left: how far each rule stays behind the best, with one paired standard error; to its "
        "right the bits per spike over constant firing rates. Right: how the difference builds up "
        "over the held-out span."
    ),
    "weight_trajectories": (
        "Posterior median of the weights with 50 % and 90 % bands, over the draws in which the "
        "synapse exists; most probable synapses first. With the softplus link a weight is about "
        "the expected number of extra spikes per presynaptic spike."
    ),
    "learning_rules": "What one pair of spikes does to a weight, with 50 % and 90 % bands.",
    "learning_rule": "What one pair of spikes does to a weight, with 50 % and 90 % bands.",
    "connectivity": (
        "Posterior probability of each synapse, and the mean weight of those more probable than "
        "not; grey cells hold none."
    ),
    "impulse_responses": "Time course of each synapse's effect, scaled to unit area.",
    "trace_rank": (
        "Chains that agree mix in the traces and have flat ranks, within the grey band if draws "
        "are independent."
    ),
}


def write_report(
    results: Mapping[str, xr.DataTree],
    table: pd.DataFrame | None,
    out_dir: str | os.PathLike[str],
    *,
    figures: Mapping[str, Figure | Path] | None = None,
    summary: pd.DataFrame | None = None,
    title: str = "Comparison of learning rules",
    command: str = "",
    references: Sequence[str] = (),
) -> Path:
    """Write ``report.html``, one file that needs no other and loads nothing.

    Parameters
    ----------
    results : mapping of str to DataTree
        Results by rule name.
    table : pandas.DataFrame or None
        What `probneuro.compare` returned for them; None for a report on fits alone.
    out_dir : path
        Folder to write into; made if it is not there.
    figures : mapping of str to Figure or Path, optional
        As `probneuro.plots.comparison_figures` or `result_figures` returns them, or the PNG files
        they were saved to; names that begin with a rule's name and an underscore go to that rule.
    summary : pandas.DataFrame, optional
        The recording, one row a unit.
    title : str, optional
        Title of the page.
    command : str, optional
        The command that repeats the run.
    references : sequence of str, optional
        What to cite, a line each.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    SettingError
        If there are no results.
    DataError
        If the table does not fit the results.
    """
    if not results:
        raise SettingError("`results` is empty. Pass at least one DataTree by rule name.")
    figures = dict(figures or {})
    own = {name: _figures_of(name, results, figures) for name in results}
    shared = {k: f for k, f in figures.items() if not any(k in part for part in own.values())}
    body = [*_opening(results, table, title), *_pictures(shared)]
    if summary is not None:
        body += [page.heading("Recording"), page.table(*facts.recording_rows(summary))]
    body.append(page.heading("Each rule" if len(results) > 1 else "Result"))
    for name, dt in results.items():
        alone = len(results) == 1
        body.append(page.fold(name, _rule_part(name, dt, own[name]), unfolded=alone))
    body += _repeat(results, command)
    return page.write(title, body, out_dir, references=references)


def _figures_of(
    rule: str, results: Mapping[str, xr.DataTree], figures: Mapping[str, Figure | Path]
) -> dict[str, Figure | Path]:
    """Return a rule's figures; the longest rule name that fits a figure's name owns it."""
    own = {}
    for key, figure in figures.items():
        owners = [name for name in results if key.startswith(f"{name}_")]
        if owners and max(owners, key=len) == rule:
            own[key] = figure
    return own


def _opening(
    results: Mapping[str, xr.DataTree], table: pd.DataFrame | None, title: str
) -> list[str]:
    kicker = f'<p class="kicker">{page.escape(title)}</p>'
    if table is None:
        lines = [facts.edges_in_words(dt) for dt in results.values()]
        headline = next((line for line in lines if line), title)
        return [f"<header>{kicker}{page.heading(headline, 1)}</header>"]
    held_out = facts.held_out_facts(results, table)
    verdict = words.verdict(table, held_out)
    return [
        f"<header>{kicker}{page.heading(verdict.headline, 1)}</header>",
        *map(page.paragraph, verdict.sentences),
        page.table(*facts.table_rows(table)),
        page.paragraph(
            f"Log likelihood of {held_out.num_blocks} held-out blocks, each predicted from "
            "everything before it, averaged over the posterior; ± is one standard error over "
            "blocks, paired where it is a difference. Bits per spike are gained over constant "
            "firing rates."
        ),
    ]


def _pictures(figures: Mapping[str, Figure | Path], prefix: str = "") -> list[str]:
    parts = []
    for name, figure in figures.items():
        short = name.removeprefix(prefix)
        parts.append(page.picture(figure, CAPTIONS.get(short, short.replace("_", " "))))
    return parts


def _rule_part(name: str, dt: xr.DataTree, figures: Mapping[str, Figure | Path]) -> list[str]:
    messages = facts.diagnostics(dt)
    parts = [page.paragraph(words.diagnosis(messages))]
    if messages:
        parts.append(page.bullets(messages, "warnings"))
    edges = facts.edges_in_words(dt)
    if edges:
        parts.append(page.paragraph(edges))
    rows = facts.parameter_rows(dt)
    if rows:
        parts.append(page.table(["learning rule", "median", "90 % interval"], rows))
    parts += _pictures(figures, f"{name}_")
    settings = page.pairs(facts.settings_rows(dt))
    return [*parts, page.fold("Settings, versions and seed", [settings])]


def _repeat(results: Mapping[str, xr.DataTree], command: str) -> list[str]:
    parts = page.again(command) or [page.heading("To repeat this")]
    attrs = next(iter(results.values())).attrs
    versions = facts.from_json(attrs.get("versions"))
    rows = [("seed", str(attrs.get("seed", "not recorded")))]
    if isinstance(versions, Mapping):
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
    rows.append(("data", str(attrs.get("data_hash", "not recorded"))))
    rows.append(("written", datetime.now().astimezone().isoformat(timespec="seconds")))
    return [*parts, page.pairs(rows)]
