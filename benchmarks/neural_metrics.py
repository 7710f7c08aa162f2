"""Axion's 44 metrics against independent libraries, and what is left of them in 500 ms bins.

    python benchmarks/neural_metrics.py PYTHON RECORDING...

PYTHON is an interpreter that has py-mea-axion and elephant; RECORDING are spike lists or HDF5 of
spikes. Both sides get the same spike times. For each metric it prints the wells in which both
give a number, the largest relative difference, and wells in which one side alone gives one.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from probneuro.components.neural_metrics import metrics_table
from probneuro.data import WellSpikes, read_wells

PEER = Path(__file__).with_name("neural_metrics_peer.py")
BIN = 0.5
"""Seconds; the bins of the paper."""


def peer_table(python: str, held: list[WellSpikes], synchronous: int) -> pd.DataFrame:
    wells = [
        {
            "trains": {e: np.asarray(t).tolist() for e, t in well.items()},
            "duration": spikes.duration,
            "start": spikes.start,
            "num_electrodes": len(spikes.electrodes),
            "with_synchrony": k < synchronous,
        }
        for spikes in held
        for k, well in enumerate(spikes.times)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wells.json"
        path.write_text(json.dumps(wells))
        done = subprocess.run(
            [python, "-W", "ignore", str(PEER), str(path)], capture_output=True, text=True,
            check=True,
        )  # fmt: skip
    return pd.DataFrame(json.loads(done.stdout.splitlines()[-1]))


def agreement(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    rows = {}
    for name in theirs:
        a, b = ours[name].to_numpy(float), theirs[name].to_numpy(float)
        both = np.isfinite(a) & np.isfinite(b)
        size = np.maximum(np.maximum(np.abs(a), np.abs(b))[both], 1e-12)
        gap = np.abs(a - b)[both] / size
        rows[name] = {
            "wells": both.sum(),
            "largest difference": np.abs(a - b)[both].max() if gap.size else np.nan,
            "largest relative difference": gap.max() if gap.size else np.nan,
            "ours alone": (np.isfinite(a) & ~np.isfinite(b)).sum(),
            "theirs alone": (~np.isfinite(a) & np.isfinite(b)).sum(),
        }
    return pd.DataFrame(rows).T


def after_binning(held: list[WellSpikes], ours: pd.DataFrame) -> pd.DataFrame:
    """Return how a metric of spike times and the same of 500 ms counts go together."""
    binned = pd.concat([metrics_table(s.bin(BIN)) for s in held], ignore_index=True)
    rows = {}
    for name in binned:
        known = ours[name].notna()
        both = known & binned[name].notna()
        moves = (
            both.sum() > 2 and ours[name][both].nunique() > 1 and binned[name][both].nunique() > 1
        )
        rank = spearmanr(ours[name][both], binned[name][both]).statistic if moves else np.nan
        rows[name] = {"wells": known.sum(), "kept": both.sum(), "rank correlation": rank}
    return pd.DataFrame(rows).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python")
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--synchronous", type=int, default=6, help="wells a file for synchrony")
    given = parser.parse_args()
    held = [s for s in map(read_wells, given.recordings) if isinstance(s, WellSpikes)]
    ours = pd.concat([metrics_table(s, with_synchrony=True) for s in held], ignore_index=True)
    theirs = peer_table(given.python, held, given.synchronous)
    with pd.option_context("display.width", 120, "display.max_rows", 60):
        print(f"{len(ours)} wells of {len(held)} files")
        print(agreement(ours, theirs).to_string())
        print(f"\nfrom counts in {BIN:g} s bins")
        print(after_binning(held, ours).round(3).to_string())


if __name__ == "__main__":
    main()
