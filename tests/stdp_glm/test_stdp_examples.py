"""The example of a rule of one's own runs, and its rule conforms."""

import subprocess
import sys
from pathlib import Path

from probneuro.testing import check_learning_rule

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_own_learning_rule_runs() -> None:
    script = str(EXAMPLES / "own_learning_rule.py")
    done = subprocess.run(
        [sys.executable, script, "--smoke"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "homeostatic" in done.stdout
    assert "weight_noise: true 0.05, found" in done.stdout


def test_the_examples_rule_conforms() -> None:
    sys.path.insert(0, str(EXAMPLES))
    try:
        from own_learning_rule import Homeostatic
    finally:
        sys.path.remove(str(EXAMPLES))
    check_learning_rule(Homeostatic())
