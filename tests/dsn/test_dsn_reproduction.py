"""The linear system as the preset runs it, in a size that ends in seconds."""

from pathlib import Path

import numpy as np
import pytest

from probneuro.core.reproduction import Setting
from probneuro.reproductions.dsn import DSNReproduction

TINY = {
    "behaviour": {
        "limit": 10.0, "frequency": 2 * np.pi, "real_sd": 0.5, "imaginary_sd": 0.2 * np.pi,
    },
    "fit": {"rounds": 3, "simulations": 300, "draws": 100, "chains": 1},
}  # fmt: skip


@pytest.mark.slow
def test_every_number_is_found(tmp_path: Path) -> None:
    setting = Setting(folder=tmp_path, seed=1, workers=1, progress=False)
    found = list(DSNReproduction().run(TINY, setting))
    targets = ["largest_entropy", "divergence", "mode_shares", "converged"]
    assert [finding.target for finding in found] == targets
    assert all((setting.figures / f"{name}.png").is_file() for name in found[0].figures)
    assert found[-1].found == "0 of 1 restarts"  # and does not claim more
