"""All systems as the presets run them, in sizes that end in seconds."""

from pathlib import Path

import numpy as np
import pytest

from probneuro.core.reproduction import Setting
from probneuro.reproductions.dsn import DSNReproduction
from probneuro.reproductions.dsn_circuits import responses
from probneuro.simulators.low_rank_rnn import go_no_go

TINY = {
    "behaviour": {
        "limit": 10.0, "frequency": 2 * np.pi, "real_sd": 0.5, "imaginary_sd": 0.2 * np.pi,
    },
    "fit": {"rounds": 3, "simulations": 300, "draws": 100, "chains": 1},
}  # fmt: skip

CIRCUIT = {
    "parameters": ["AB->LP", "LP->PY"],
    "scale": 0.5,
    "flow": {"stages": 1, "hidden": 16, "bins": 4},
    "fit": {"rounds": 2, "simulations": 30, "first_simulations": 60, "draws": 12, "chains": 1},
}
NETWORK = {
    "networks": 2,
    "behaviour": {"largest_gain": 1.0},
    "fit": {"rounds": 2, "simulations": 200, "draws": 10, "chains": 1},
}


@pytest.mark.slow
def test_every_number_is_found(tmp_path: Path) -> None:
    setting = Setting(folder=tmp_path, seed=1, workers=1, progress=False)
    found = list(DSNReproduction().run(TINY, setting))
    targets = ["largest_entropy", "divergence", "mode_shares", "converged"]
    assert [finding.target for finding in found] == targets
    assert all((setting.figures / f"{name}.png").is_file() for name in found[0].figures)
    assert found[-1].found == "0 of 1 restarts"  # and does not claim more


@pytest.mark.slow
def test_circuit_and_networks(tmp_path: Path) -> None:
    setting = Setting(folder=tmp_path, seed=1, workers=1, progress=False)
    preset = {**TINY, "circuit": CIRCUIT, "network": NETWORK}
    found = list(DSNReproduction().run(preset, setting))[4:]
    assert [finding.target for finding in found] == ["triphasic_share", "network_share"]
    assert "of 12 draws" in found[0].found
    assert "of 2 networks" in found[1].found
    named = [name for finding in found for name in finding.figures]
    assert "dsn_circuit_traces" in named
    assert all((setting.figures / f"{name}.png").is_file() for name in named)


def test_a_network_that_responds_and_one_that_does_not() -> None:
    rows = np.array([[0.7, 0.9, 0.5, 1.0, 0.3], [3.5, 1.0, 1.0, 1.0, 0.8]])
    # By theory: 0.64 under Go and nothing without it; 1.00 and 0.93.
    assert responses(go_no_go(), rows).tolist() == [[True, True], [True, False]]
