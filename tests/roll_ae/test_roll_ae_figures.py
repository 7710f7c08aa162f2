"""Figures draw what they are given, and the command goes from files to embeddings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from probneuro.cli import main
from probneuro.components.embedding_tasks import cluster_treatments
from probneuro.components.shifts import no_permutation
from probneuro.core.errors import DataError
from probneuro.core.reproduction import Setting
from probneuro.core.results import load
from probneuro.data import Wells
from probneuro.models.roll_ae import RollAE, Training, fit
from probneuro.plots import (
    accuracy_bars,
    aligned_reconstruction,
    confusion_matrices,
    embedding_map,
    training_losses,
    treatment_tree,
)
from probneuro.reproductions.roll_ae import RollAEReproduction

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds


def result():
    counts = np.random.default_rng(0).poisson(1.0, (8, 2, 12))
    wells = Wells(counts, 0.5, labels={"treatment": list("aabbccdd")})
    model = RollAE(group=no_permutation(2), latent=3)
    return fit(model, wells, training=Training(epochs=1), seed=0)


def test_bars_and_matrices() -> None:
    bars = accuracy_bars({"one": [0.5, 0.7], "two": [0.9]}, chance=0.25)
    assert [p.get_width() for p in bars.axes[0].patches] == pytest.approx([0.6, 0.9])
    figure = confusion_matrices({"one": [[3, 1], [0, 4]]}, ["a", "b"])
    assert figure.axes[0].images[0].get_array()[0].tolist() == [0.75, 0.25]


def test_map_has_a_colour_a_treatment() -> None:
    figure = embedding_map(result())
    assert [line.get_label() for line in figure.axes[0].lines] == list("abcd")
    assert sum(len(line.get_xdata()) for line in figure.axes[0].lines) == 8


def test_reconstruction_and_tree() -> None:
    x = np.eye(4)
    assert len(aligned_reconstruction(x, x, x, bin_width=0.5).axes) == 3
    clusters = cluster_treatments(np.array([[0.0], [1.0], [5.0]]), ["x", "y", "z"])
    figure = treatment_tree(clusters.tree, clusters.treatments)
    assert {t.get_text() for t in figure.axes[0].get_yticklabels()} == {"x", "y", "z"}


def test_many_days_are_drawn_on_a_scale() -> None:
    dt = result()
    num = dt["posterior"].sizes["recording"]
    held = dt["constant_data"].dataset.assign_coords(div=("recording", np.arange(num) * 1.0))
    dt["constant_data"] = xr.DataTree(held)
    figure = embedding_map(dt, colour="div")
    assert len(figure.axes) == (2 if num > 8 else 1)


def test_messages() -> None:
    with pytest.raises(DataError, match="`accuracies` is empty"):
        accuracy_bars({})
    with pytest.raises(DataError, match="`tables` is empty"):
        confusion_matrices({}, [])
    with pytest.raises(DataError, match=r"has shape \(1, 1\) for 2 classes"):
        confusion_matrices({"x": [[1]]}, ["a", "b"])
    with pytest.raises(DataError, match="`colour` 'dose' is no label"):
        embedding_map(result(), colour="dose")
    tree = result()
    del tree["posterior"]
    with pytest.raises(DataError, match="has no `posterior/embedding`"):
        embedding_map(tree)


def axion(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [f"{t:.4f},{well}_{c}{r}" for well in ("A1", "A2", "B3") for c in "1234" for r in "1234"
            for t in np.sort(rng.uniform(0, 20, 15))]  # fmt: skip
    path = folder / "mine_DIV7_spike_list.csv"
    path.write_text("Time (s),Electrode\n" + "\n".join(rows) + "\n")
    return path


def test_one_line_from_an_axion_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["embed", str(axion(tmp_path)), "--out", str(out), "--epochs", "1", "--latent", "2"]
    assert main([*words, "--seed", "0"]) == 0
    table = pd.read_csv(out / "embeddings.csv")
    assert table["well"].tolist() == ["A1", "A2", "B3"] and "latent_1" in table
    metrics = pd.read_csv(out / "metrics.csv")
    assert metrics["Number of Spikes"].tolist() == [240, 240, 240]
    assert (out / "figures" / "embedding_map.png").exists()
    page = (out / "report.html").read_text()
    assert "Embeddings of 3 recordings" in page and "These are few recordings" in page
    assert "Dey R" in page and not (out / "checkpoint").exists()
    assert main([*words, "--seed", "0"]) == 0, "what is finished is loaded"


def test_a_folder_keeps_embeddings_of_one_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finished run is not passed off as that of other settings, and can be replaced."""
    words = ["embed", str(axion(tmp_path)), "--out", str(tmp_path / "out"), "--epochs", "1"]
    assert main([*words, "--latent", "2", "--seed", "0"]) == 0
    assert main([*words, "--latent", "3", "--seed", "0"]) == 2
    assert "holds a run with other settings: latent (there 2, now 3)" in capsys.readouterr().err
    assert main([*words, "--latent", "3", "--seed", "0", "--overwrite"]) == 0
    assert load(tmp_path / "out" / "embeddings.nc")["posterior"].sizes["latent"] == 3
    assert "latent_2" in pd.read_csv(tmp_path / "out" / "embeddings.csv")


@pytest.mark.parametrize("name", ["roll_ae", "contrastive_encoder"])
def test_other_models_embed_too(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["embed", str(axion(tmp_path)), "--out", str(out), "--epochs", "1", "--latent", "2"]
    assert main([*words, "--model", name, "--kernel-width", "4", "--seed", "0"]) == 0
    assert ("log_likelihood" in load(out / "embeddings.nc").children) == (name == "roll_ae")


def test_a_single_recording_is_embedded_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "out", tmp_path / "counts.npz"
    np.savez(path, counts=np.random.default_rng(0).poisson(1.0, (1, 16, 60)))
    words = ["embed", str(path), "--out", str(out), "--epochs", "2", "--seed", "0"]
    assert main(words) == 2, "the width of its bins is not made up"
    assert "`bin_width` is needed" in capsys.readouterr().err
    assert main([*words, "--bin-width", "1"]) == 0
    told = load(out / "embeddings.nc").attrs
    assert told["model"] == "roll_ae" and told["bin_width"] == 1.0
    assert len(pd.read_csv(out / "metrics.csv")) == 1


def test_unknown_models_and_options_that_do_not_apply_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", str(axion(tmp_path)), "--out", str(tmp_path / "out")]
    assert main([*words, "--model", "roll_ea"]) == 2
    assert "roll_ae" in capsys.readouterr().err
    assert main([*words, "--kernel-width", "4"]) == 2
    assert "does not apply to statistics_encoder" in capsys.readouterr().err


def test_losses_of_every_restart() -> None:
    model = RollAE(group=no_permutation(2), latent=3)
    wells = Wells(np.random.default_rng(0).poisson(1.0, (20, 2, 12)), 0.5)
    figure = training_losses(fit(model, wells, training=Training(epochs=3), chains=2, seed=0))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [3, 3, 3, 3]
    with pytest.raises(DataError, match="has no `fit_history`"):
        training_losses(fit(model, wells, training=Training(epochs=0), seed=0))


def test_a_malformed_file_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x_spike_list.csv"
    path.write_text("Time (s),Electrode\n0.1,23\n")
    assert main(["embed", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "not of the form A1_23" in said and "Traceback" not in said
    good = str(axion(tmp_path))
    assert main(["embed", good, good, "--out", str(tmp_path / "out")]) == 2
    assert "is given twice" in capsys.readouterr().err


def test_reproduction_in_its_smallest_size(tmp_path: Path) -> None:
    wide = {"latent": 2, "epochs": 1, "learning_rate": 1e-3, "kernel_width": 4}
    own = ("standard", "short", "contrast", "statistics")
    others = {f"{k}_{n}": wide[n] for k in own for n in ("latent", "epochs", "learning_rate")}
    others["contrast_kernel_width"] = 4
    size = {"seeds": 1, "recordings": 30, "bins": 40, "patience": 1, "batch_size": 64}
    preset = {"synthetic": {**size, **wide, **others}}
    found = list(RollAEReproduction().run(preset, Setting(folder=tmp_path, progress=False)))
    assert [f.target for f in found] == [
        "synthetic_accuracy", "synthetic_gain", "learned_over_classical",
    ]  # fmt: skip
    assert "Roll-AE, untrained" in found[0].found
    assert (tmp_path / "figures" / "accuracies.png").exists()
