"""What commands print: results on standard output, wrapped to the terminal."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 120
"""Columns of tables where there is no terminal to ask."""


def console() -> Console:
    """Return the console that results go to; made anew so that redirection is respected."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def say(*lines: str) -> None:
    """Print lines, wrapped at words on a terminal and as they are elsewhere."""
    out = console()
    for line in lines:
        out.print(line, soft_wrap=not out.is_terminal)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table: first column to the left, numbers to the right.

    Parameters
    ----------
    columns : sequence of str
        Its head.
    rows : iterable of sequence of str
        Its cells.
    title : str, optional
        A line above it.
    """
    table = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold"
    )
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_names(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and what they stand for, one below the other.

    Parameters
    ----------
    title : str
        A line above them.
    rows : iterable of (str, str)
        Names and their descriptions.
    """
    grid = Table.grid(padding=(0, 3))
    for name, description in rows:
        grid.add_row(f"  {name}", description)
    console().print(title, style="bold")
    console().print(grid)
    console().print()


def print_files(folder: Path, files: Iterable[Path]) -> None:
    """Say where the files are, figures as a group.

    Parameters
    ----------
    folder : pathlib.Path
        The output folder.
    files : iterable of pathlib.Path
        What was written below it.
    """
    paths = [path.relative_to(folder) for path in files]
    pictures = [path for path in paths if path.suffix == ".png"]
    names = [str(path) for path in paths if path.suffix != ".png"]
    if pictures:
        names.append(f"figures/ ({len(pictures)} images)")
    say(f"Files in {folder}: {', '.join(names)}")
    if "report.html" in names:
        say(f"Report: {folder / 'report.html'}")
