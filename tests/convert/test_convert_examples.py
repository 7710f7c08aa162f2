"""The example of a model of one's own runs, and is as short as it promises."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"


def test_own_model_runs() -> None:
    command = [sys.executable, "-W", "ignore::UserWarning", str(EXAMPLE), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "spread" in done.stdout
    assert "no gain" in done.stdout
    assert "elpd_diff" in done.stdout


def test_own_model_is_short() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) < 40
