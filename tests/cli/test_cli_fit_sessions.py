"""`probneuro fit omiso` aligns sessions, fits response models and writes them down."""

from pathlib import Path

from probneuro.cli import main
from probneuro.core.results import load
from probneuro.data import Sessions
from probneuro.reproductions.omiso_setup import Budget, prepare
from probneuro.simulators.stim_population import SimulatedBrain


def test_sessions_are_fitted(tmp_path: Path, capsys) -> None:
    budget = Budget(sessions=2, trials=20, calibration=20)
    sessions: Sessions = prepare(SimulatedBrain(seed=0), budget).sessions
    path = sessions.save(tmp_path / "sessions.npz")
    out = tmp_path / "out"
    command = ["fit", "omiso", str(path), "--out", str(out), "--seed", "1", "--no-progress"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "session 1: The alignment" in said
    assert load(out / "omiso.nc").attrs["engine"] == "Ensemble"
    assert (out / "latent_trials.npz").is_file()
    assert (out / "figures" / "omiso_alignment.png").is_file()


def test_a_file_without_sessions_is_refused(tmp_path: Path, capsys) -> None:
    command = ["fit", "omiso", str(tmp_path / "no.npz"), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "`path` is no file" in capsys.readouterr().err
