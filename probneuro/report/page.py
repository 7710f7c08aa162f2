"""Pieces of HTML; every text that comes from outside goes through `escape`."""

import base64
import io
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

STYLE: Final = """
:root { color-scheme: light dark; --ink: #22262b; --soft: #5b6470; --line: #dfe3e8;
  --paper: #ffffff; --shade: #f5f6f8; --accent: #0072b2; --warn: #b4540a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a0a8b3; --line: #363c44; --paper: #16191d; --shade: #1f2429;
    --accent: #56b4e9; --warn: #f0a35e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 5rem; max-width: 60rem; background: var(--paper);
  color: var(--ink); font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header p.kicker { margin: 0; color: var(--soft); font-size: .95rem; }
h1 { font-size: 1.65rem; line-height: 1.3; margin: .3rem 0 1rem; font-weight: 650;
  text-wrap: balance; }
h2 { font-size: 1.2rem; margin: 3rem 0 .75rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p { max-width: 46rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums;
  margin: .75rem 0; }
.wide { overflow-x: auto; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; }
td:first-child { font-weight: 600; }
table.plain td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.plain td:first-child { font-weight: 400; color: var(--soft); white-space: nowrap; }
figure { margin: 1.25rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 8px;
  border: 1px solid var(--line); padding: .5rem; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
details { margin: .75rem 0; border: 1px solid var(--line); border-radius: 8px; padding: 0 1rem; }
summary { cursor: pointer; padding: .6rem 0; font-weight: 600; }
pre { background: var(--shade); padding: .8rem 1rem; border-radius: 8px; overflow-x: auto;
  font-size: .88rem; }
ul.warnings li { color: var(--warn); }
.references li { margin-bottom: .4rem; font-size: .92rem; }
@media print { details { border: 0; padding: 0; } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole HTML document that loads nothing from anywhere.

    Parameters
    ----------
    title : str
        Title of the window.
    body : iterable of str
        Pieces of HTML.

    Returns
    -------
    str
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def write(
    title: str,
    body: Iterable[str],
    out_dir: str | os.PathLike[str],
    *,
    references: Sequence[str] = (),
) -> Path:
    """Write ``report.html``, whole or not at all, with what to cite at its end.

    Parameters
    ----------
    title : str
        Title of the window.
    body : iterable of str
        Pieces of HTML.
    out_dir : path
        Folder to write into; made if it is not there.
    references : sequence of str
        What to cite, a line each.

    Returns
    -------
    pathlib.Path
        The file.
    """
    end = [heading("References"), bullets(references, "references")] if references else []
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    part = path.with_name(".report.html.part")
    part.write_text(page(title, [*body, *end]), encoding="utf-8")
    part.replace(path)
    return path


def again(command: str) -> list[str]:
    """Return the part that tells the command of a run; nothing where there was none."""
    return [heading("To repeat this"), f"<pre>{escape(command)}</pre>"] if command else []


def paragraph(text: str) -> str:
    """Return one paragraph of escaped text."""
    return f"<p>{escape(text)}</p>"


def heading(text: str, level: int = 2) -> str:
    """Return a heading of escaped text."""
    return f"<h{level}>{escape(text)}</h{level}>"


def bullets(items: Iterable[str], kind: str = "") -> str:
    """Return a list of escaped texts."""
    inner = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<ul class="{kind}">{inner}</ul>' if kind else f"<ul>{inner}</ul>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of escaped texts with a head.

    Examples
    --------
    >>> "<td>&lt;b&gt;</td>" in table(["unit"], [["<b>"]])
    True
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table>{inner}</table></div>'


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values, both escaped."""
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows
    )
    return f'<table class="plain"><tbody>{body}</tbody></table>'


def picture(figure: Figure | Path, caption: str, *, dpi: int = 130) -> str:
    """Return a figure, or a PNG file, as an image inside the page, with an escaped caption."""
    if isinstance(figure, Path):
        content = figure.read_bytes()
    else:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi)
        content = buffer.getvalue()
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def fold(summary: str, body: Iterable[str], *, unfolded: bool = False) -> str:
    """Return a part that the reader can fold."""
    state = " open" if unfolded else ""
    inner = "\n".join(body)
    return f"<details{state}><summary>{escape(summary)}</summary>\n{inner}\n</details>"
