"""The example runs and says what it should."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_stimulation_forecast_runs(tmp_path: Path) -> None:
    script = str(EXAMPLES / "stimulation_forecast.py")
    done = subprocess.run(
        [sys.executable, script, "--smoke"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "R2 over 164 ms" in done.stdout
    assert float(done.stdout.split()[-1]) > 0.7
