"""`probneuro fit tbfm`: trials in, forecasts, figures and a report out."""

import numpy as np

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
