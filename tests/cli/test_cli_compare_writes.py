"""What `probneuro compare` writes and says."""

import json

import pandas as pd

from probneuro.core.errors import InferenceError
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


def test_a_checkpoint_goes_once_its_rule_is_written(run, fitted, recording, tmp_path):
    out = tmp_path / "o"
    words = ("compare", recording, "--out", out, "--rules", "static,additive", "--seed", 3)
    for name in ("static", "additive"):
        (out / "checkpoint" / name).mkdir(parents=True)
        (out / "checkpoint" / name / "run.json").write_text("{}")
    fitted.fail["additive"] = InferenceError("numbers went wrong")
    (out / "run.json").write_text('{"command": "compare", "settings": {"seed": 3}}')
    assert run(*words, "--overwrite").code == 2
    for name in ("static", "additive"):
        (out / "checkpoint" / name).mkdir(parents=True)
    assert run(*words).code == 2
    assert (out / "static.nc").exists()
    assert not (out / "checkpoint" / "static").exists()  # finished before
    assert (out / "checkpoint" / "additive").exists()
    fitted.fail.clear()
    before = len(fitted.rules)
    assert run(*words).code == 0
    assert fitted.rules[before:] == ["additive"]
    assert [file.name for file in out.iterdir() if "checkpoint" in file.name] == []
    assert not any(file.name.endswith(".gone") for file in out.rglob("*"))


def test_options_of_the_reader_are_those_of_python(run, fitted, tmp_path):
    table = tmp_path / "spikes.csv"
    times = [0.5 * k for k in range(1, 120)]
    rows = [f"{name},{t}" for name in ("a", "b") for t in sorted([*times, *times[3:9]])]
    table.write_text("\n".join(["unit,time", *rows]) + "\n")
    words = ("compare", table, "--unit", "s", "--rules", "static,additive", "--out")
    refused = run(*words, tmp_path / "one")
    assert refused.code == 2
    assert "allow_duplicates" in refused.err
    kept = run(*words, tmp_path / "two", "--allow-duplicates")
    assert kept.code == 0, kept.err
    slow = tmp_path / "slow.csv"
    slow.write_text("unit,time\n" + "\n".join(f"{n},{4e4 * k}" for n in "ab" for k in range(50)))
    words = ("compare", slow, "--unit", "s", "--rules", "static,additive", "--held-out", 1e5)
    words = (*words, "--window", 1000, "--bin-width", 1)  # so that 23 days are few bins
    refused = run(*words, "--out", tmp_path / "three")
    assert refused.code == 2
    assert "unit_check=False" in refused.err
    kept = run(*words, "--out", tmp_path / "four", "--no-unit-check")
    assert kept.code == 0, kept.err
