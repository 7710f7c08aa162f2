"""The example runs."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "embed_wells.py"


@pytest.mark.slow
def test_example_runs() -> None:
    command = [sys.executable, str(SCRIPT), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WellSpikes: 4 recordings, 16 electrodes" in done.stdout
