"""`probneuro reproduce`: what it writes and prints, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from probneuro.cli import main
from probneuro.cli import reproductions as known
from probneuro.cli.reproductions import Outcome, Row


def pretended(settings: Any, folder: Path, seed: int, progress: bool) -> Outcome:
    file = folder / "dsn.nc"
    file.write_text(f"{settings['model']} {seed} {progress}")
    return Outcome((Row("mode_shares", "0.51"), Row("other", "1")), (file,))


def test_numbers_stand_beside_the_papers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probneuro.cli.reproductions.dsn.reproduce", pretended)
    assert main(["reproduce", "dsn", "--out", str(tmp_path / "a"), "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert "mode_shares" in printed
    assert "0.51" in printed
    assert "alike by symmetry" in printed
    assert (tmp_path / "a" / "dsn.nc").read_text() == "dsn 1 False"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dnn"], "Unknown model to reproduce 'dnn'. Did you mean 'dsn'"),
        (["dsn", "--preset", "full"], "`--preset` must be demo or paper; got 'full'"),
    ],
)
def test_what_it_refuses(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *words, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("")
    assert main(["reproduce", "dsn", "--out", str(tmp_path / "x")]) == 2
    assert "`--out` must be a folder" in capsys.readouterr().err


def test_every_entry_can_be_imported() -> None:
    for model in known.REPRODUCTIONS:
        assert callable(known.reproduction_of(model))


@pytest.mark.slow
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "dsn", "--out", str(tmp_path / "x"), "--no-progress"]) == 0
    assert "largest_entropy" in capsys.readouterr().out
    assert (tmp_path / "x" / "figures" / "dsn_solution_pairs.png").is_file()
