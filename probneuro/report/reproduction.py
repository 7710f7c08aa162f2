"""The page of a reproduction: what the paper prints, what the card records, what this run found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probneuro.core.reproduction import Finding
from probneuro.report import page


def write_reproduction(
    model: str,
    findings: Sequence[Finding],
    targets: Mapping[str, Mapping[str, Any]],
    figures: Path,
    out_dir: Path,
    *,
    command: str = "",
    references: Sequence[str] = (),
) -> Path:
    """Write ``report.html``, one file that needs no other and loads nothing.

    Parameters
    ----------
    model : str
        Name of the model.
    findings : sequence of Finding
        What the experiments found.
    targets : mapping
        The targets of the model's ``expected.json``, by name.
    figures : pathlib.Path
        Folder of the figures that findings name.
    out_dir : pathlib.Path
        Folder to write into.
    command : str
        The command that repeats the run.
    references : sequence of str
        What to cite, a line each.

    Returns
    -------
    pathlib.Path
        The file.
    """
    title = f"The paper of {model}, run again"
    body = [f"<header>{page.heading(title, 1)}</header>"]
    shown: set[str] = set()
    for finding in findings:
        known = targets.get(finding.target, {})
        rows = [("this run", finding.found)]
        for key, name in (("paper", "the paper"), ("ours", "the card")):
            if known.get(key):
                rows.append((name, str(known[key])))
        heading = finding.target.replace("_", " ")
        figure = known.get("figure")
        body += [
            page.heading(heading + (f" (figure {figure})" if figure else "")),
            page.pairs(rows),
        ]
        for name in finding.figures:
            path = figures / f"{name}.png"
            if name not in shown and path.is_file():
                body.append(page.picture(path, name.replace("_", " ")))
                shown.add(name)
    return page.write(title, [*body, *page.again(command)], out_dir, references=references)
