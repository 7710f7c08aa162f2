"""What is reproduced runs, in words and figures; the example runs; figures check their input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from probneuro.core.errors import DataError
from probneuro.core.reproduction import Setting
from probneuro.plots import error_over_trials, latent_trajectories, suitability_maps
from probneuro.reproductions.omiso import OMiSOReproduction
from probneuro.reproductions.omiso_alignment import check_words

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds

EXAMPLE = Path(__file__).parents[2] / "examples" / "stimulation_policies.py"
SMALL = {
    "sessions": 2, "trials": 40, "calibration": 30, "channels": [2, 2], "model_epochs": 1,
    "cloning_epochs": 2, "cloning_samples": 32, "num_stimulated": 2,
}  # fmt: skip


def test_every_target_is_found_and_kept(tmp_path: Path) -> None:
    preset = {
        "alignment": {"turnover": [0.2], "seeds": 1},
        "prediction": {"seeds": 1, "budget": SMALL},
        "policies": {"seeds": 1, "trials": 6, "budget": SMALL, "controls": {
            "full": {}, "few_trials": {"seeds": 1, "budget": {"trials": 30}},
        }},
    }  # fmt: skip
    setting = Setting(folder=tmp_path, progress=False)
    found = list(OMiSOReproduction().run(preset, setting))
    names = ["alignment", "alignment_check", "state_helps_prediction", "policies_full"]
    names.append("policies_few_trials")
    assert [finding.target for finding in found] == names
    assert "omiso" in found[-1].found and "robust" in found[0].found
    assert (tmp_path / "figures" / "error_over_trials_full.png").is_file()
    again = list(OMiSOReproduction().run({"policies": preset["policies"]}, setting))
    assert again == found[-2:]


def test_the_check_is_judged_by_what_it_flags() -> None:
    words = check_words(np.array([0.9, 0.85, 0.2]), np.array([True, True, False]))
    assert "area under ROC 1.000; 1 of them flagged, and 0 of 2" in words
    assert "at least 0.8; 0 flagged" in check_words(np.ones(2), np.ones(2, dtype=bool))


def test_the_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--smoke"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "L1 error in the second half" in done.stdout


def test_figures_take_what_they_say_and_refuse_the_rest() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 10, 3))
    assert len(latent_trajectories(values, values + 1, values).axes) == 2
    maps = suitability_maps(rng.random((2, 6)), range(6), (3, 4), ["early", "late"])
    assert len(maps.axes) == 3
    with pytest.raises(DataError, match="`reference` must have shape"):
        latent_trajectories(values, values, values, dimensions=(0, 3))
    with pytest.raises(DataError, match="`suitability` must have shape"):
        suitability_maps(rng.random((2, 6)), range(6), (3, 4), ["early"])
    with pytest.raises(DataError, match="`errors` must hold one array"):
        error_over_trials({"a": np.ones((2, 3)), "b": np.ones((2, 4))})
