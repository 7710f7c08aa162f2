"""`probneuro embed`: from multi-well recordings to embeddings and metrics."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from probneuro.cli import options
from probneuro.cli.folder import EMBEDDINGS, RunFolder, invocation
from probneuro.cli.lookup import references_of
from probneuro.cli.terminal import print_files, say

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from probneuro.data import Wells, WellSpikes
    from probneuro.models.roll_ae import Training
    from probneuro.models.roll_ae.embedder import Embedder

EPOCHS = {"statistics_encoder": 300, "contrastive_encoder": 50, "roll_ae": 50}
"""Passes over the recordings, for each model that can be chosen."""
_KERNEL_WIDTH = 8
_BIN_WIDTH = 0.5

Recordings = Annotated[
    list[Path],
    typer.Argument(
        help="Axion spike lists (.csv, .csv.gz), HDF5 of spikes (.h5), .nwb, or counts (.npz); "
        "several are embedded together.",
        metavar="RECORDING...",
    ),
]
WideBin = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="Width of a bin (s); 0.5 for spike times by default. Counts keep theirs: give it if "
        "their file does not tell it.",
        rich_help_panel="Recording",
    ),
]
Log = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Experiment log: plate, DIV and treatment by well.", metavar="FILE",
                 rich_help_panel="Recording"),
]  # fmt: skip
Latent = Annotated[int, typer.Option(help="Length of an embedding.", rich_help_panel="Model")]
KernelWidth = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Bins a unit of the first layer sees, 0 for all; 8 by default. Not for "
        "statistics_encoder.",
        rich_help_panel="Model",
    ),
]
Epochs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Passes over the recordings; 300 for statistics_encoder, else 50.",
        rich_help_panel="Model",
    ),
]
Model = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="statistics_encoder (by default) and contrastive_encoder learn which halves are of "
        "one recording, from invariant statistics or the counts; roll_ae (for a single recording) "
        "has a decoder and a likelihood.",
        rich_help_panel="Model",
    ),
]
Restarts = Annotated[int, typer.Option(help="Restarts.", rich_help_panel="Model")]


def embed(
    context: typer.Context,
    recordings: Recordings,
    out: options.OutFolder,
    bin_width: WideBin = None,
    log: Log = None,
    model: Model = None,
    latent: Latent = 32,
    kernel_width: KernelWidth = None,
    epochs: Epochs = None,
    chains: Restarts = 1,
    seed: options.Seed = None,
    no_progress: options.NoProgress = False,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Embed multi-well recordings, and compute Axion's 44 metrics from spike times.

    Neither a shift in time nor a symmetry of the electrodes changes an embedding. Writes
    embeddings.nc, embeddings.csv, metrics.csv, figures and a report. Recordings of several lengths
    are cut to the shortest. Run it again to go on where it was stopped.
    """
    if model is not None:
        check_model(model, kernel_width)
    held, wells = _read(recordings, bin_width, log)
    if model is None:
        # Halves are told apart from those of others; one recording has none beside it.
        model = "statistics_encoder" if len(wells) > 1 else "roll_ae"
        check_model(model, kernel_width)
    built: dict[str, Any] = {"bin_width": wells.bin_width, "latent": latent, "model": model}
    if model != "statistics_encoder":
        built["kernel_width"] = _KERNEL_WIDTH if kernel_width is None else kernel_width
    built |= {"epochs": EPOCHS[model] if epochs is None else epochs, "chains": chains}
    settings = {"recording": wells.hash(), **built, "seed": seed}
    folder = RunFolder(out, "embed", settings, overwrite=overwrite)
    again = invocation(context.obj or [], folder.seed)
    folder.write_record(again)
    say(repr(wells), "")
    metrics = _metrics(held, folder.path)
    result = _fitted(wells, folder, progress=not no_progress)
    files = [folder.path / "metrics.csv", *_written(result, wells, metrics, folder, again)]
    folder.write_record(again, files=files)
    print_files(folder.path, files)


def check_model(name: str, kernel_width: int | None) -> None:
    """Raise unless the model is known and has what was set.

    Raises
    ------
    SettingError
        If it is not, or has no kernels.
    """
    from probneuro.core.errors import SettingError, unknown_name

    if name not in EPOCHS:
        raise unknown_name("model", name, EPOCHS)
    if name == "statistics_encoder" and kernel_width is not None:
        raise SettingError(
            f"`kernel_width` {kernel_width} does not apply to statistics_encoder, which has no "
            "kernels. Leave it out, or pass --model contrastive_encoder."
        )


def _read(
    paths: list[Path], bin_width: float | None, log: Path | None
) -> "tuple[list[WellSpikes | Wells], Wells]":
    from probneuro.core.errors import SettingError
    from probneuro.data import Wells, join_wells, read_wells

    held = []
    for k, path in enumerate(paths):
        if path.resolve() in [before.resolve() for before in paths[:k]]:
            raise SettingError(f"`RECORDING` '{path.name}' is given twice. Give each file once.")
        counts = path.name.lower().endswith(".npz")
        held.append(read_wells(path, log=log, bin_width=bin_width if counts else None))
    width = _BIN_WIDTH if bin_width is None else bin_width
    return held, join_wells([h if isinstance(h, Wells) else h.bin(width) for h in held])


def _metrics(held: "list[WellSpikes | Wells]", folder: Path) -> "pd.DataFrame":
    import pandas as pd

    from probneuro.components.neural_metrics import metrics_table
    from probneuro.data import Wells

    parts = []
    for one in held:
        told = pd.Series(one.source, index=one.labels.index, name="source")
        table = metrics_table(one, with_synchrony=not isinstance(one, Wells))
        parts.append(pd.concat([told, one.labels, table], axis=1))
    whole = pd.concat(parts, ignore_index=True)
    whole.to_csv(folder / "metrics.csv", index=False)
    return whole


def _model(wells: "Wells", settings: dict[str, Any]) -> "Embedder":
    from probneuro.components.shifts import PoissonCounts, group_of_electrodes
    from probneuro.models.roll_ae import ContrastiveEncoder, RollAE, StatisticsEncoder

    name, latent = settings["model"], settings["latent"]
    if name == "statistics_encoder":
        return StatisticsEncoder(latent=latent)
    group = group_of_electrodes(wells.electrodes)
    longest = wells.num_bins // 2 if name == "contrastive_encoder" else wells.num_bins
    width = min(settings["kernel_width"], longest) or None
    if name == "contrastive_encoder":
        return ContrastiveEncoder(group=group, latent=latent, kernel_width=width)
    return RollAE(
        group=group, latent=latent, kernel_width=width, likelihood=PoissonCounts(),
        objective="marginal", shift_rate=1.0,
    )  # fmt: skip


def _training(settings: dict[str, Any], num_recordings: int) -> "Training":
    from probneuro.models.roll_ae import Training

    halves = settings["model"] != "roll_ae"
    rates = {"statistics_encoder": 2e-3, "contrastive_encoder": 3e-3, "roll_ae": 1e-3}
    batches = {"statistics_encoder": 256, "contrastive_encoder": 128, "roll_ae": 64}
    return Training(
        epochs=settings["epochs"], learning_rate=rates[settings["model"]], annealed=halves,
        batch_size=batches[settings["model"]],
        patience=max(1, settings["epochs"]) if halves else 10,
        # Too few recordings to hold some out are trained on to the end.
        validation=0.1 if num_recordings >= 20 else 0.0,
    )  # fmt: skip


def _fitted(wells: "Wells", folder: RunFolder, *, progress: bool) -> "xr.DataTree":
    from probneuro.models.roll_ae import fit

    result = folder.load_finished(EMBEDDINGS)
    if result is not None:
        return result
    settings: dict[str, Any] = folder.settings
    result = fit(
        _model(wells, settings), wells, training=_training(settings, len(wells)),
        chains=settings["chains"], seed=folder.seed, progress=progress,
        checkpoint=folder.checkpoint / EMBEDDINGS,
    )  # fmt: skip
    folder.save_finished(EMBEDDINGS, result)
    folder.drop_checkpoint(EMBEDDINGS)
    return result


def _written(
    result: "xr.DataTree", wells: "Wells", metrics: "pd.DataFrame", folder: RunFolder, again: str
) -> list[Path]:
    """Write table, figures and report, and return the files."""
    import pandas as pd

    from probneuro.plots import embedding_map, save_figures, training_losses
    from probneuro.report.wells import write_wells_report

    table = pd.DataFrame(result["posterior"].dataset["embedding"].values[0, 0])
    path = folder.path / "embeddings.csv"
    pd.concat([wells.labels, table.add_prefix("latent_")], axis=1).to_csv(path, index=False)
    named = (wells.labels["treatment"] != "").any()
    drawn = {"embedding_map": embedding_map(result, colour="treatment" if named else "div")}
    if folder.settings["epochs"]:
        drawn["training_losses"] = training_losses(result)
    figures = save_figures(drawn, folder.path / "figures")
    report = write_wells_report(
        result, metrics, folder.path, figures=figures, command=again,
        title=f"Embeddings of {len(wells)} recordings",
        references=references_of([("model", "roll_ae")]),
    )  # fmt: skip
    return [folder.result(EMBEDDINGS), path, *figures.values(), report]
