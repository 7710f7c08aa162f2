"""The examples of a model of one's own run, and are as short as they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "own_model.py": ["spread", "no gain", "elpd_diff"],
    "own_model_compare.py": ["NUTS", "SVI", "TemperedSMC", "rate[2]", "own rates", "elpd_diff"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_example_runs(name: str) -> None:
    command = [sys.executable, "-W", "ignore::UserWarning", str(EXAMPLES / name), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in PRINTED[name]:
        assert words in done.stdout


@pytest.mark.parametrize("name", PRINTED)
def test_example_is_short(name: str) -> None:
    lines = [line for line in (EXAMPLES / name).read_text().splitlines() if line.strip()]
    assert len(lines) < 40
