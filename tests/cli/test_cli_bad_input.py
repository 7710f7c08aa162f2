"""Bad recordings: `probneuro compare` says what is wrong in one line, and leaves no run behind."""

import errno

import numpy as np
import pytest

from probneuro.data import SpikeTrains

pytestmark = pytest.mark.usefixtures("tiny_figures")

RULES = ("--rules", "static,additive")
CLOCK = np.arange(0.05, 60, 0.1)
BAD_TIMES = {
    "nan": (np.r_[np.nan, CLOCK], "a numeric time in every row; row 2 of 'a.csv' is 'a, nan'"),
    "negative": (np.r_[-0.5, CLOCK], "unit a holds negative times; index 0 is -0.5 s"),
    "unsorted": (CLOCK[[0, 2, 1, 3]], "unit a must increase; index 2 goes from 0.25 s to 0.15 s"),
    "far swap": (np.r_[CLOCK[500], CLOCK[1:]], "unit a must increase; index 1 goes from 50.05 s"),
    "twice": (np.repeat(CLOCK, 2), "unit a holds 600 identical times (50.0 %)"),
    "ms as s": (1000 * CLOCK, "read as unit='s', the recording lasts 16.6 h"),
    "sessions": (np.r_[CLOCK, CLOCK], "2 sessions seem to be joined"),
}


def assert_refused(failed, message):
    assert failed.code == 2, failed.err
    assert message in failed.err
    assert failed.err.startswith("error: ")
    assert failed.err.count("\n") == 1


@pytest.mark.parametrize("kind", BAD_TIMES)
def test_bad_times(run, fitted, tmp_path, kind):
    times, message = BAD_TIMES[kind]
    file = tmp_path / "a.csv"
    file.write_text("unit,time\n" + "".join(f"a,{time:.9g}\n" for time in times))
    assert_refused(run("compare", file, "--out", tmp_path / "o", *RULES), message)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_files_cut_short(run, fitted, tmp_path, suffix, share):
    file = SpikeTrains({"a": CLOCK, "b": CLOCK}).save(tmp_path / f"whole{suffix}")
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    message = "damaged, cut short or of another kind" if share else "has 0 bytes"
    assert_refused(run("compare", file, "--out", tmp_path / "o", *RULES), message)


def test_an_nwb_file_cut_short(run, fitted, tmp_path):
    pytest.importorskip("pynwb")
    file = tmp_path / "cut.nwb"
    file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    assert_refused(run("compare", file, "--out", tmp_path / "o", *RULES), "be read as NWB")


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "0 and 60 s to be fitted; too few have c (0), d (1). Pass --units a,b."),
        (["--units", "c"], "too few have c (0). Choose other --units, or a longer part."),
        (["--units", "a,a"], "`units` must be unique; 'a' stands there twice"),
        (["--units", "a,b", "--stop", 70], "within the recording, 0 to 60 s; got 0 to 70 s"),
        (["--units", "a,b", "--start", 60], "lie outside the recording, 0 to 60 s"),
        (["--units", "a,b", "--start", 9, "--stop", 8], "`stop` must come after `start`"),
        (["--units", "a,b", "--start", "nan"], "must be finite"),
    ],
)
def test_bad_units_and_parts(run, fitted, tmp_path, words, message):
    trains = {"a": CLOCK, "b": CLOCK + 0.01, "c": [], "d": [3.0]}
    file = SpikeTrains(trains, stop=60.0).save(tmp_path / "few.npz")
    assert_refused(run("compare", file, "--out", tmp_path / "o", *RULES, *words), message)
    assert not (tmp_path / "o").exists()


def test_a_part_before_the_recording_is_told_as_such(run, fitted, tmp_path):
    file = tmp_path / "late.csv"
    file.write_text("unit,time\n" + "".join(f"a,{4000 + time:.9g}\n" for time in CLOCK))
    failed = run("compare", file, "--out", tmp_path / "o", "--stop", 40, *RULES)
    late = run("compare", file, "--out", tmp_path / "o", "--start", 9000, *RULES)
    for refused in (failed, late):
        assert_refused(refused, "lie outside the recording")


def test_a_refused_run_does_not_hold_its_folder(run, fitted, recording, tmp_path):
    from probneuro.core.errors import SettingError

    words = ("compare", recording, "--out", tmp_path / "o", *RULES)
    fitted.fail = {"static": SettingError("`held_out` must be shorter than the data.")}
    assert_refused(run(*words, "--held-out", 100, "--seed", 1), "must be shorter")
    fitted.fail = {}
    assert run(*words, "--held-out", 10).code == 0


def test_a_full_disk_is_told_in_words(run, fitted, recording, tmp_path):
    words = ("compare", recording, "--out", tmp_path / "o", *RULES)
    fitted.fail = {"additive": OSError(errno.ENOSPC, "No space left on device")}
    assert_refused(run(*words), "The disk is full. Free some space and run the same command")
    fitted.fail = {}
    again = run(*words)
    assert again.code == 0
    assert "static: finished before" in again.out


def test_a_silent_end_cannot_be_held_out(run, fitted, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("unit,time\n" + "".join(f"a,{time:.9g}\n" for time in CLOCK))
    failed = run("compare", file, "--out", tmp_path / "o", "--stop", 80, *RULES)
    assert_refused(failed, "the last 10 s, 70 to 80 s, hold no spikes")
    assert not (tmp_path / "o").exists()
