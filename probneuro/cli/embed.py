"""`probneuro embed`: from multi-well recordings to embeddings and metrics."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from probneuro.cli import options
from probneuro.cli.folder import RunFolder, invocation
from probneuro.cli.terminal import print_files, say

if TYPE_CHECKING:
    from probneuro.data import Wells, WellSpikes

Recordings = Annotated[
    list[Path],
    typer.Argument(
        help="Axion spike lists (.csv, .csv.gz), HDF5 of spikes (.h5), .nwb, or counts (.npz); "
        "several are embedded together.",
        metavar="RECORDING...",
    ),
]
WideBin = Annotated[float, typer.Option(help="Width of a bin (s).", rich_help_panel="Recording")]
Log = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Experiment log: plate, DIV and treatment by well.", metavar="FILE",
                 rich_help_panel="Recording"),
]  # fmt: skip
Latent = Annotated[int, typer.Option(help="Length of an embedding.", rich_help_panel="Model")]
KernelWidth = Annotated[
    int,
    typer.Option(help="Bins a unit of the first layer sees; 0 for all.", rich_help_panel="Model"),
]
Epochs = Annotated[int, typer.Option(help="Passes over the recordings.", rich_help_panel="Model")]
Restarts = Annotated[int, typer.Option(help="Restarts.", rich_help_panel="Model")]


def embed(
    context: typer.Context,
    recordings: Recordings,
    out: options.OutFolder,
    bin_width: WideBin = 0.5,
    log: Log = None,
    latent: Latent = 32,
    kernel_width: KernelWidth = 8,
    epochs: Epochs = 50,
    chains: Restarts = 1,
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Embed multi-well recordings by Roll-AE, and compute Axion's 44 metrics from spike times.

    Writes embeddings.nc, embeddings.csv, metrics.csv and figures. Recordings of several lengths
    are cut to the shortest.
    """
    held, wells = _read(recordings, bin_width, log)
    built = {"bin_width": bin_width, "latent": latent, "kernel_width": kernel_width}
    built |= {"epochs": epochs, "chains": chains}
    settings = {"recording": wells.hash(), **built, "seed": seed}
    folder = RunFolder(out, "embed", settings, overwrite=overwrite)
    again = invocation(context.obj or [], folder.seed)
    folder.write_record(again)
    say(repr(wells), "")
    files = [_metrics(held, folder.path), *_embeddings(wells, folder)]
    folder.write_record(again, files=files)
    print_files(folder.path, files)


def _read(
    paths: list[Path], bin_width: float, log: Path | None
) -> "tuple[list[WellSpikes | Wells], Wells]":
    from probneuro.data import Wells, join_wells, read_wells

    held = []
    for path in paths:
        counts = path.name.lower().endswith(".npz")
        held.append(read_wells(path, log=log, bin_width=bin_width if counts else None))
    return held, join_wells([h if isinstance(h, Wells) else h.bin(bin_width) for h in held])


def _metrics(held: "list[WellSpikes | Wells]", folder: Path) -> Path:
    import pandas as pd

    from probneuro.components.neural_metrics import metrics_table
    from probneuro.data import Wells

    parts = []
    for one in held:
        told = pd.Series(one.source, index=one.labels.index, name="source")
        table = metrics_table(one, with_synchrony=not isinstance(one, Wells))
        parts.append(pd.concat([told, one.labels, table], axis=1))
    path = folder / "metrics.csv"
    pd.concat(parts, ignore_index=True).to_csv(path, index=False)
    return path


def _embeddings(wells: "Wells", folder: RunFolder) -> list[Path]:
    import pandas as pd

    from probneuro.components.shifts import PoissonCounts, group_of_electrodes
    from probneuro.models.roll_ae import RollAE, Training, fit
    from probneuro.plots.embeddings import embedding_map
    from probneuro.plots.gallery import save_figures

    settings: dict[str, Any] = folder.settings
    model = RollAE(
        group=group_of_electrodes(wells.electrodes), latent=settings["latent"],
        kernel_width=min(settings["kernel_width"], wells.num_bins) or None,
        likelihood=PoissonCounts(), objective="marginal", shift_rate=1.0,
    )  # fmt: skip
    result = folder.load_finished("embeddings")
    if result is None:
        # Too few recordings to hold some out are trained on to the end.
        held_out = 0.1 if len(wells) >= 20 else 0.0
        training = Training(epochs=settings["epochs"], validation=held_out, learning_rate=1e-3)
        result = fit(model, wells, training=training, chains=settings["chains"], seed=folder.seed)
        folder.save_finished("embeddings", result)
    table = pd.DataFrame(result["posterior"].dataset["embedding"].values[0, 0])
    path = folder.path / "embeddings.csv"
    pd.concat([wells.labels, table.add_prefix("latent_")], axis=1).to_csv(path, index=False)
    named = (wells.labels["treatment"] != "").any()
    figure = embedding_map(result, colour="treatment" if named else "div")
    figures = save_figures({"embedding_map": figure}, folder.path / "figures")
    return [folder.result("embeddings"), path, *figures.values()]
