"""`probneuro compare`: how it goes on where it was stopped, and what it refuses."""

import pytest

from probneuro.core.errors import InferenceError

pytestmark = pytest.mark.usefixtures("tiny_figures")


def test_running_again_loads_what_is_finished(run, fitted, recording, tmp_path):
    words = ("compare", recording, "--out", tmp_path / "o", "--rules", "static,additive")
    fitted.fail = {"additive": InferenceError("`additive`: all weights are NaN at step 3, seed 1.")}
    broken = run(*words)
    assert broken.code == 2
    assert broken.err == "error: `additive`: all weights are NaN at step 3, seed 1.\n"
    fitted.fail = {}
    again = run(*words)
    assert again.code == 0, again.err
    assert fitted.rules == ["static", "additive", "additive"]
    assert "static: finished before, loaded" in again.out
    seeds = {settings["seed"] for settings in fitted.settings}
    assert len(seeds) == 1, "a seed that was drawn is kept when a run goes on"


def test_a_rule_can_be_added_later(run, fitted, recording, tmp_path):
    words = ("compare", recording, "--out", tmp_path, "--seed", 1, "--rules")
    assert run(*words, "static,additive").code == 0
    assert run(*words, "multiplicative,static").code == 0
    assert fitted.rules == ["static", "additive", "multiplicative"]


def test_workers_and_progress_may_change(run, fitted, recording, tmp_path):
    words = ("compare", recording, "--out", tmp_path, "--rules", "static,additive")
    assert run(*words, "--workers", 1).code == 0
    assert run(*words, "--no-progress").code == 0
    assert fitted.settings[0]["workers"] == 1
    assert fitted.settings[0]["progress"] is True
    assert len(fitted.rules) == 2


def test_other_settings_are_refused_by_name(run, fitted, recording, tmp_path):
    words = (
        "compare",
        recording,
        "--out",
        tmp_path / "o",
        "--rules",
        "static,additive",
        "--seed",
        1,
    )
    assert run(*words).code == 0
    other = run(*words, "--held-out", 5, "--draws", 7)
    assert other.code == 2
    assert "holds a run with other settings: held-out (there 10.0, now 5.0)" in other.err
    assert "draws (there 500, now 7)" in other.err
    assert "Choose another --out, or pass --overwrite" in other.err
    assert run(*words[:-1], 2).err.count("seed (there 1, now 2)") == 1
    part = run(*words, "--stop", 50)
    assert "recording (there" in part.err
    assert fitted.rules == ["static", "additive"]


def test_overwrite_starts_again_and_deletes_only_its_own(run, fitted, recording, tmp_path):
    out = tmp_path / "o"
    words = ("compare", recording, "--out", out, "--rules", "static,additive", "--seed")
    assert run(*words, 1).code == 0
    (out / "notes.txt").write_text("mine")
    (out / "recording.nc").write_text("mine")
    (out / "figures" / "mine.png").write_text("mine")
    (out / "checkpoint").mkdir()
    assert run(*words, 2, "--overwrite").code == 0
    assert fitted.rules == ["static", "additive"] * 2
    for name in ("notes.txt", "recording.nc", "figures/mine.png"):
        assert (out / name).read_text() == "mine"
    assert not (out / "checkpoint").exists()


def test_overwrite_leaves_a_folder_alone_that_no_run_made(run, fitted, recording, tmp_path):
    (tmp_path / "o" / "checkpoint").mkdir(parents=True)
    (tmp_path / "o" / "report.html").write_text("mine")
    words = ("compare", recording, "--out", tmp_path / "o", "--rules", "none", "--overwrite")
    assert run(*words).code == 2
    assert (tmp_path / "o" / "checkpoint").exists()
    assert (tmp_path / "o" / "report.html").read_text() == "mine"


def test_results_without_a_record_are_not_trusted(run, fitted, recording, tmp_path):
    words = ("compare", recording, "--out", tmp_path / "o", "--rules", "static,additive")
    assert run(*words).code == 0
    (tmp_path / "o" / "run.json").unlink()
    assert "holds results but no run.json" in run(*words).err
    (tmp_path / "o" / "run.json").write_text("{")
    damaged = run(*words)
    assert (damaged.code, damaged.err.count("\n")) == (2, 1)
    assert "run.json` is damaged" in damaged.err


def test_a_damaged_result_is_told(run, fitted, recording, tmp_path):
    words = ("compare", recording, "--out", tmp_path / "o", "--rules", "static,additive")
    assert run(*words).code == 0
    (tmp_path / "o" / "static.nc").write_bytes(b"\x89HDF\r\n\x1a\n cut")
    damaged = run(*words)
    assert damaged.code == 2
    assert "static.nc` is damaged" in damaged.err


def test_interruption_says_how_to_resume(run, fitted, recording, tmp_path):
    fitted.fail = {"additive": KeyboardInterrupt()}
    stopped = run("compare", recording, "--out", tmp_path / "o", "--rules", "static,additive")
    assert stopped.code == 130
    assert "run the same command again to resume" in stopped.err
    assert stopped.err.count("\n") == 1
    assert (tmp_path / "o" / "static.nc").exists()


def test_part_and_units_reach_the_fit(run, fitted, recording, tmp_path):
    done = run(
        *("compare", recording, "--out", tmp_path / "o", "--rules", "static,static,additive"),
        *("--units", "b", "--start", 10, "--stop", 40),
    )
    assert done.code == 0, done.err
    assert "1 unit" in done.out
    assert "10 to 40 s" in done.out
    assert fitted.rules == ["static", "additive"]


def test_an_example_can_be_named(run, fitted, tmp_path):
    words = ("compare", "example:v1_pair", "--out", tmp_path / "o", "--rules", "static,additive")
    done = run(*words, "--stop", 60, "--units", "14")
    assert done.code == 0, done.err
    assert "0 to 60 s" in done.out


@pytest.mark.parametrize(
    "words, message",
    [
        (["--rules", "aditive"], "Unknown learning rule 'aditive'. Did you mean 'additive'?"),
        (["--rules", ","], "at least 2 rules to compare; got 0. Choose among: additive,"),
        (["--rules", "static,static"], "got 1. Choose among"),
        (["--units", "c"], "Unknown unit 'c'"),
        (["--draws", "many"], "--draws"),
        (["--rulez", "static"], "No such option"),
        (["--out", __file__], "`--out` must be a folder"),
    ],
)
def test_mistakes_are_one_line(run, fitted, recording, tmp_path, words, message):
    given = ["compare", recording, "--out", tmp_path / "o", *words]
    failed = run(*given)
    assert failed.code == 2
    assert message in failed.err
    assert failed.err.startswith("error: ")
    assert failed.err.count("\n") == 1
    assert failed.out == ""
    assert fitted.rules == []


def test_debug_shows_the_traceback(run, fitted, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        run("compare", tmp_path / "none.npz", "--out", tmp_path / "o", "--debug")


def test_other_exceptions_are_not_hidden(run, fitted, recording, tmp_path):
    fitted.fail = {"static": ZeroDivisionError("a bug")}
    with pytest.raises(ZeroDivisionError):
        run("compare", recording, "--out", tmp_path / "o", "--rules", "static,additive")
