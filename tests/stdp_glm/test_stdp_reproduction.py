"""The paper's experiments, in a size that ends in seconds, and the command that runs them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from probneuro.cli import main
from probneuro.core.errors import SettingError
from probneuro.core.reproduction import Setting
from probneuro.reproductions import kept
from probneuro.reproductions.stdp_glm import STDPGLMReproduction

command = sys.modules["probneuro.cli.reproduce"]
TINY: dict[str, Any] = {
    "recovery": {
        "rules": ["static", "additive"], "recordings": 2, "duration": 8.0, "held_out": 2.0,
        "steps": 6,
    },
    "networks": {
        "networks": 2, "duration": 8.0, "warmup": 4, "draws": 8, "chains": 1,
        "basis": {"num_bumps": 3, "duration": 0.03},
    },
    "detection": {
        "networks": 2, "duration": 8.0, "warmup": 4, "draws": 8, "chains": 1,
        "constants": {"num_neurons": 4, "num_synapses": 5},
        "basis": {"num_bumps": 3, "duration": 0.03},
    },
}  # fmt: skip
TARGETS = (
    "true_rule_wins_static", "true_rule_wins_additive", "trajectory_coverage",
    "recovered_rule_curve", "recovered_trajectories", "edge_reliability", "edge_auc",
    "decaying_synapses", "learning_rule_curve", "network_trajectories",
)  # fmt: skip


@pytest.mark.slow
def test_every_target_is_reached_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(folder=tmp_path, workers=1, progress=False)
    first = list(STDPGLMReproduction().run(TINY, setting))
    assert tuple(finding.target for finding in first) == TARGETS
    drawn = {path.stem for path in setting.figures.glob("*.png")}
    # Nothing decays in eight seconds, so that there is nothing to show of it.
    assert {name for f in first for name in f.figures} - drawn <= {"network_decaying"}
    assert not list(tmp_path.rglob("checkpoint/*"))

    def again(*arguments: Any) -> None:
        raise AssertionError("what a file holds is not written again")

    monkeypatch.setattr(kept, "save", again)
    assert list(STDPGLMReproduction().run(TINY, setting)) == first


def test_the_command_tells_three_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"recovery": {**TINY["recovery"], "recordings": 1, "rules": ["static"]}}
    monkeypatch.setattr(command, "read_preset", lambda model, preset: small)
    words = ["reproduce", "stdp_glm", "--out", str(tmp_path), "--no-progress", "--workers", "1"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "this run" in told and "the static rule has the best held-out" in told
    (found,) = json.loads((tmp_path / "findings.json").read_text())
    assert found["target"] == "true_rule_wins_static"
    assert "figure 2" in (tmp_path / "report.html").read_text()
    assert main([*words[:-2], "--seed", "5"]) == 2
    assert "seed (there 0, now 5)" in capsys.readouterr().err


def test_presets_of_no_name() -> None:
    with pytest.raises(SettingError, match=r"Unknown preset 'papr'\. Did you mean 'paper'"):
        command.read_preset("stdp_glm", "papr")
    with pytest.raises(SettingError, match="Unknown reproduction 'nuts'"):
        main(["reproduce", "nuts", "--out", "x", "--debug"])
