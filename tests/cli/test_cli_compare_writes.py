"""What `probneuro compare` writes and says."""

import json

import pandas as pd

from probneuro.core.results import load


def test_it_writes_everything_and_says_what_was_found(run, fitted, recording, tmp_path):
    out = tmp_path / "new" / "out"
    rules = "static,additive"
    done = run("compare", recording, "--out", out, "--rules", rules, "--seed", 3, "--draws", 20)
    assert done.code == 0, done.err
    assert done.err == ""
    for name in ("static.nc", "additive.nc", "report.html", "table.csv"):
        assert (out / name).stat().st_size > 0, name
    assert load(out / "additive.nc").attrs["rule"] == "additive"
    table = pd.read_csv(out / "table.csv", index_col=0)
    assert set(table.index) == {"static", "additive"}
    figures = {file.stem for file in (out / "figures").glob("*.png")}
    assert {"held_out_comparison", "additive_connectivity", "learning_rules"} <= figures
    text = " ".join(done.out.split())
    assert "SpikeTrains: 2 units, 1200 spikes" in text
    assert "Held-out prediction, best first" in text
    assert "On this recording," in text
    assert "report.html" in text
    settings = fitted.settings[0]
    assert (settings["seed"], settings["draws"], settings["held_out"]) == (3, 20, 10.0)
    assert settings["checkpoint"] == out / "checkpoint"
    record = json.loads((out / "run.json").read_text())
    assert record["finished_at"]
    assert record["settings"]["seed"] == 3
    assert record["invocation"].startswith("probneuro compare ")
    assert "report.html" in record["files"]
    assert record["invocation"] in (out / "report.html").read_text().replace("&#x27;", "'")
