"""The command line: one module a command, from `probneuro compare` to `cite`."""

import errno
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from probneuro import __version__
from probneuro.cli.compare import compare
from probneuro.cli.connectivity import connectivity
from probneuro.cli.embed import embed
from probneuro.cli.fit import fit
from probneuro.cli.lookup import cite, info, list_names
from probneuro.cli.reproduce import reproduce
from probneuro.cli.simulate import simulate
from probneuro.core.errors import (
    CapabilityError,
    CheckpointError,
    DataError,
    InferenceError,
    SettingError,
)

OURS = (DataError, SettingError, CapabilityError, InferenceError, CheckpointError, OSError)
USAGE: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""What a mistake in options raises, wherever this version of typer keeps it."""
USER_MISTAKE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="probneuro",
    help="Generative models of neural recordings: fit them, compare them, look at them.",
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"probneuro {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Generative models of neural recordings: fit them, compare them, look at them."""


COMMANDS: Mapping[str, Callable[..., None]] = {
    "compare": compare,
    "connectivity": connectivity,
    "embed": embed,
    "fit": fit,
    "simulate": simulate,
    "reproduce": reproduce,
    "list": list_names,
    "info": info,
    "cite": cite,
}
for _name, _function in COMMANDS.items():
    app.command(name=_name)(_function)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    A user's mistake is told in one line on standard error, without a traceback unless
    ``--debug`` is among the arguments.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0 when all went well, 2 after a user's mistake or a failed run, 130 when interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(args=words, standalone_mode=False, obj=words)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(words)
    except USAGE as error:
        message = getattr(error, "format_message", error.__str__)()
        return _failed(message or "", f" Try: probneuro {_command(words)}--help")
    except OURS as error:
        if "--debug" in words:
            raise
        return _failed(_told(error))
    # Typer turns Ctrl-C into this code, or raises Abort, depending on its version.
    if code == INTERRUPTED:
        return _interrupted(words)
    return int(code) if isinstance(code, int) else 0


def _told(error: Exception) -> str:
    """Return what an error says, in full words where the system left only a number."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" at `{error.filename}`" if error.filename else ""
        return (
            f"The disk is full{where}. Free some space and run the same command again: what is "
            "finished is kept. Or choose another --out."
        )
    return str(error)


def _failed(message: str, hint: str = "") -> int:
    print(f"error: {' '.join(message.split())}{hint}", file=sys.stderr)  # noqa: T201
    return USER_MISTAKE


def _interrupted(words: Sequence[str]) -> int:
    line = "interrupted."
    if "--out" in words and words[0] in ("compare", "connectivity", "fit"):
        line = "interrupted: what is done is kept; run the same command again to resume."
    print(line, file=sys.stderr)  # noqa: T201
    return INTERRUPTED


def _command(words: Sequence[str]) -> str:
    return f"{words[0]} " if words and words[0] in COMMANDS else ""
