"""From an Axion spike list to embeddings and metrics.

    python examples/embed_wells.py [SPIKE_LIST.csv] [--smoke]

Without a file a small one is simulated and written as AxIS would write it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from probneuro.components.neural_metrics import metrics_table
from probneuro.components.shifts import PoissonCounts, group_of_electrodes
from probneuro.data import read_wells
from probneuro.models.roll_ae import RollAE, Training, fit


def write_spike_list(path: Path) -> Path:
    """Write two quiet wells and two that burst, 16 electrodes each, with metadata in the rows."""
    rng = np.random.default_rng(0)
    rows = []
    for well, bursts in (("A1", 0), ("A2", 0), ("B1", 6), ("B2", 6)):
        starts = np.sort(rng.uniform(0, 55, bursts))
        for column, row in np.ndindex(4, 4):
            quiet = rng.uniform(0, 60, 30)
            inside = (starts[:, None] + rng.uniform(0, 0.4, (bursts, 8))).ravel()
            rows += [(t, f"{well}_{column + 1}{row + 1}") for t in np.r_[quiet, inside]]
    lines = [f",,{t:.5f},{name},0.02" for t, name in sorted(rows)]
    lines[0] = "Sampling Frequency,12500 Hz" + lines[0][1:]
    path.write_text("Investigator,,Time (s),Electrode,Amplitude(mV)\n" + "\n".join(lines) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = given.file or write_spike_list(Path(folder) / "example_DIV7_spike_list.csv")
        spikes = read_wells(file)
    print(spikes)
    metrics = metrics_table(spikes, with_synchrony=True)
    print(metrics[["Mean Firing Rate (Hz)", "Number of Network Bursts"]].round(2).to_string())
    wells = spikes.bin(0.5)
    model = RollAE(
        group=group_of_electrodes(wells.electrodes), latent=4, kernel_width=8,
        likelihood=PoissonCounts(), objective="marginal", shift_rate=1.0,
    )  # fmt: skip
    epochs = 3 if given.smoke else 200
    training = Training(epochs=epochs, validation=0.0, learning_rate=1e-3)
    result = fit(model, wells, training=training, seed=0)
    for well, place in zip(wells.labels["well"], result["posterior/embedding"].values[0, 0],
                           strict=True):  # fmt: skip
        print(well, np.round(place, 3).tolist())


if __name__ == "__main__":
    main()
