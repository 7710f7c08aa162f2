"""`probneuro fit tbfm`: trials in, forecasts, figures and a report out."""

import io

import numpy as np
import pytest

from probneuro.simulators.stim_lfp import simulate_paired_pulses


def test_it_fits_judges_and_writes(run, tmp_path):
    trials = simulate_paired_pulses(300, 2, seed=1).trials.save(tmp_path / "trials.npz")
    words = ("fit", "tbfm", trials, "--out", tmp_path / "o", "--train", "0.7", "--no-progress")
    done = run(*words)
    assert done.code == 0, done.err
    assert "R2, 164 ms" in done.out
    assert "in 90 % intervals, leave one out" in done.out
    for name in ("tbfm.nc", "evaluation.nc", "report.html", "figures/tbfm_bases.png"):
        assert (tmp_path / "o" / name).exists(), name
    assert "Bryan" in (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    again = run(*words)
    assert "tbfm: finished before" in again.out
    other = run(*words[:-2], "0.5")
    assert "train (there 0.7, now 0.5)" in other.err


def test_a_recording_without_pulses_is_cut_at_a_stride(run, tmp_path):
    signal = np.cumsum(np.random.default_rng(0).normal(size=(2, 6000)), axis=1)
    np.savez(tmp_path / "signal.npz", signal=signal, sampling_rate=1000.0)
    words = ("fit", "tbfm", tmp_path / "signal.npz", "--out", tmp_path / "o", "--no-progress")
    refused = run(*words)
    assert refused.code == 2
    assert "holds no events to take for pulses. Pass --stride" in refused.err
    done = run(*words, "--stride", "0.02")
    assert done.code == 0, done.err


def test_files_that_hold_no_trials_are_refused(run, tmp_path):
    whole = simulate_paired_pulses(30, 2, seed=1).trials.save(tmp_path / "whole.npz").read_bytes()
    for content in (whole[: len(whole) // 2], b"a,b\n1,2\n", b"", array_file()):
        (tmp_path / "trials.npz").write_bytes(content)
        done = run("fit", "tbfm", tmp_path / "trials.npz", "--out", tmp_path / "o")
        assert done.code == 2, (content[:9], done.err)
        assert "cannot be read as a numpy archive" in done.err
        assert "Traceback" not in done.err


def array_file():
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("model", "words", "message"),
    [
        ("tbfm", ("--engine", "nuts", "--draws", "7"), "--engine, --draws` do not apply"),
        ("tbfm", ("--start", "1"), "`--start` does not apply to the model 'tbfm'. Leave it out"),
        ("omiso", ("--chains", "2"), "`--chains` does not apply to the model 'omiso'"),
        ("dsn", ("--train", "0.5"), "`--train` does not apply to the model 'dsn'"),
        ("stdp_glm", ("--stride", "1"), "`--stride` does not apply to the model 'stdp_glm'"),
    ],
)
def test_options_that_do_not_apply_are_refused(run, tmp_path, model, words, message):
    done = run("fit", model, tmp_path / "none.npz", "--out", tmp_path / "o", *words)
    assert done.code == 2
    assert message in " ".join(done.err.split())
