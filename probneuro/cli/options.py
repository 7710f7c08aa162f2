"""Options that several commands share, each with the words that `--help` shows."""

from pathlib import Path
from typing import Annotated, Optional

import typer

RECORDING = "Recording"
SAMPLING = "Inference"
RUNNING = "Running"

Recording = Annotated[
    str,
    typer.Argument(
        help="File of spike times (.npz, .csv, .mat, .nwb, .nc), or example:NAME such as "
        "example:v1_pair.",
        metavar="RECORDING",
    ),
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder for everything that is written.")]
Units = Annotated[
    str, typer.Option(help="Units to keep, separated by commas; all if left out.",
                      rich_help_panel=RECORDING),
]  # fmt: skip
Start = Annotated[
    Optional[float],  # noqa: UP045 - typer reads this form in every version
    typer.Option(help="Start of the part to use (s).", rich_help_panel=RECORDING),
]
Stop = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="End of the part to use (s).", rich_help_panel=RECORDING),
]
Unit = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Unit of time in the file, if it does not tell: s, ms, us or samples.",
        rich_help_panel=RECORDING,
    ),
]
SamplingRate = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="Samples per second, for --unit samples.", rich_help_panel=RECORDING),
]
UnitCheck = Annotated[
    bool,
    typer.Option(
        "--unit-check/--no-unit-check",
        help="Refuse times that look as if they were in another unit.",
        rich_help_panel=RECORDING,
    ),
]
AllowDuplicates = Annotated[
    bool,
    typer.Option(
        "--allow-duplicates",
        help="Accept a unit of which more than 1 % of the times are identical.",
        rich_help_panel=RECORDING,
    ),
]
Truth = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        help="Truth of a simulation (.nc), or example:NAME such as example:neuron_network; "
        "results are held against it.",
        metavar="FILE",
        rich_help_panel=RECORDING,
    ),
]
Onto = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Units, separated by commas: only synapses onto these, of which the others are "
        "inputs; onto all if left out.",
        rich_help_panel=RECORDING,
    ),
]
HeldOut = Annotated[
    float, typer.Option(help="Seconds to hold out at the end.", rich_help_panel=RECORDING)
]
BinWidth = Annotated[float, typer.Option(help="Width of a bin (s).", rich_help_panel=RECORDING)]
Window = Annotated[
    float, typer.Option(help="Time over which a weight is constant (s).", rich_help_panel=RECORDING)
]
Link = Annotated[
    str, typer.Option(help="Link function: softplus or exp.", rich_help_panel=SAMPLING)
]
Draws = Annotated[int, typer.Option(help="Draws kept of each chain.", rich_help_panel=SAMPLING)]
Warmup = Annotated[
    int, typer.Option(help="Warm-up steps of each chain, thrown away.", rich_help_panel=SAMPLING)
]
Chains = Annotated[int, typer.Option(help="Number of chains.", rich_help_panel=SAMPLING)]
Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Seed; the same gives the same numbers. A fresh one is drawn and recorded if left "
        "out.",
        rich_help_panel=SAMPLING,
    ),
]
Workers = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Chains at a time; as many as processors if left out.",
                 rich_help_panel=RUNNING),
]  # fmt: skip
NoProgress = Annotated[
    bool, typer.Option("--no-progress", help="Show no progress.", rich_help_panel=RUNNING)
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Throw away what an earlier run left in --out.",
        rich_help_panel=RUNNING,
    ),
]  # fmt: skip
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=RUNNING),
]


def comma_list(text: str) -> list[str]:
    """Split a text at commas.

    Examples
    --------
    >>> comma_list("static, additive")
    ['static', 'additive']
    """
    return [part.strip() for part in text.split(",") if part.strip()]
