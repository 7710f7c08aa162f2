"""`probneuro simulate`: spikes that can be read back, and the truth they came from."""

import numpy as np
import pytest

from probneuro.cli.recording import read_truth
from probneuro.cli.simulate import check_rates, spike_trains
from probneuro.core.errors import DataError, SettingError
from probneuro.core.results import load
from probneuro.data import BinnedSpikes, read_spikes
from probneuro.learning_rules import Static
from probneuro.simulators.plastic_glm import simulate_plastic_glm


def test_spikes_and_truth_are_those_of_the_simulator(run, tmp_path):
    out = tmp_path / "new" / "spikes.npz"
    words = ("simulate", "stdp_glm", "--out", out, "--rule", "static", "--neurons", 3)
    done = run(*words, "--duration", 5, "--seed", 2)
    assert done.code == 0, done.err
    assert "SpikeTrains: 3 units" in done.out
    assert "Seed 2." in done.out
    counts, truth = simulate_plastic_glm(
        Static(), num_neurons=3, duration=5.0, seed=2, initial_weight=0.25
    )
    np.testing.assert_array_equal(read_spikes(out).bin(min_spikes=0).counts, counts.counts)
    kept = load(out.with_name("spikes_truth.nc"))["truth"]
    np.testing.assert_array_equal(kept["weight"].values, truth["weight"])
    assert kept["weight"].dims == ("synapse", "window")
    assert kept["synapse"].values[0] == "0->1"


def test_counts_come_back_from_spike_times():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.3, (2000, 2))
    binned = BinnedSpikes(counts, bins_per_window=1000)
    assert binned.counts.max() > 1
    again = spike_trains(binned).bin(min_spikes=0)
    np.testing.assert_array_equal(again.counts, counts)


def test_a_network_that_runs_away_is_refused():
    quiet, wild = (BinnedSpikes(np.full((1000, 1), n)) for n in (0, 1))
    check_rates(quiet, seed=1)
    with pytest.raises(SettingError, match=r"ran away: a unit fires at 1000 Hz \(seed 1\)"):
        check_rates(wild, seed=1)


def test_a_seed_that_was_drawn_is_told(run, tmp_path):
    done = run("simulate", "stdp_glm", "--out", tmp_path / "a.npz", "--duration", 2)
    assert done.code == 0, done.err
    seed = int(done.out.split("Seed ")[1].split(".")[0])
    again = run(
        *("simulate", "stdp_glm", "--out", tmp_path / "b.npz", "--duration", 2, "--seed", seed)
    )
    assert again.code == 0
    assert read_spikes(tmp_path / "a.npz").hash() == read_spikes(tmp_path / "b.npz").hash()


@pytest.mark.parametrize(
    "words, message",
    [
        (["stdpglm", "--out", "a.npz"], "Unknown model 'stdpglm'. Did you mean 'stdp_glm'?"),
        (["stdp_glm", "--out", "a.csv"], "`--out` must end in .npz; got 'a.csv'."),
        (["stdp_glm", "--out", "a.npz", "--rule", "sttic"], "Unknown learning rule 'sttic'."),
    ],
)
def test_mistakes_are_one_line(run, words, message):
    failed = run("simulate", *words)
    assert failed.code == 2
    assert message in failed.err
    assert failed.err.count("\n") == 1


def test_truth_must_be_a_truth(run, tmp_path, fitted, tiny_figures):
    assert read_truth(None) is None
    out = tmp_path / "a.npz"
    assert run("simulate", "stdp_glm", "--out", out, "--duration", 20).code == 0
    truth = tmp_path / "a_truth.nc"
    words = ("compare", out, "--out", tmp_path / "o", "--rules", "static,additive", "--truth")
    done = run(*words, truth)
    assert done.code == 0, done.err
    assert "truth" in read_truth(truth).children
    with pytest.raises(DataError, match=r"has no group `truth` \(groups: .*posterior"):
        read_truth(tmp_path / "o" / "static.nc")
    assert "There is no file" in run(*words, tmp_path / "none.nc").err
