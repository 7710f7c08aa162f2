"""The simulated brain does what its equations say."""

import numpy as np
import pytest

from probneuro.control import PatternSet, Readout
from probneuro.core.errors import SettingError
from probneuro.reproductions.omiso_comparison import Oracle
from probneuro.simulators.stim_population import BrainConstants, SimulatedBrain
from probneuro.testing.stats import check_scores, mean_score


def test_states_at_rest_have_the_stated_spread_and_counts_their_rate() -> None:
    scores = {}
    for seed in range(3):
        session = SimulatedBrain(seed=seed).session(0)
        counts, latents = session.calibrate(300, 10)
        spread = 0.42**2 / (1 - 0.8**2)
        scores[f"variance {seed}"] = mean_score((latents[:, -1, 4] ** 2).ravel(), spread)
        scores[f"last mean {seed}"] = mean_score(latents[:, -1, 3], 0.0)
        # The soft ceiling takes some of the highest rates away.
        assert 0.8 < counts.mean() / 0.05 / session.rates.mean() < 1.0
    check_scores(scores)


def test_a_session_is_the_same_again_and_sessions_differ() -> None:
    brain = SimulatedBrain(seed=4)
    first, again, other = brain.session(1), brain.session(1), brain.session(2)
    assert np.array_equal(first.before()[0], again.before()[0])
    assert np.array_equal(first.after([1, 2])[0], again.after([1, 2])[0])
    assert not np.array_equal(first.gain, other.gain)


def test_turnover_replaces_as_many_units_as_it_says() -> None:
    brain = SimulatedBrain(BrainConstants(turnover=0.4), seed=0)
    first, second = brain.session(0), brain.session(1)
    same = first.unit_names == second.unit_names
    assert same.sum() == 54
    assert np.array_equal(first.loading[same], second.loading[same])
    assert not np.isclose(first.loading[~same], second.loading[~same]).any()


def test_expected_states_are_those_of_many_trials() -> None:
    session = SimulatedBrain(BrainConstants(drift=0.0), seed=2).session(0)
    session.before()
    state = session.state
    mean = session.expected(state, [0, 5, 9])
    drawn = np.stack([session.after([0, 5, 9])[1] for _ in range(2000)])
    check_scores({str(i): mean_score(drawn[:, i], mean[i]) for i in range(5)})
    every = session.expected_all(state, np.array([[0, 5, 9], [1, 2, 3]]))
    assert np.allclose(every[0], mean)


def test_suppression_falls_with_distance() -> None:
    session = SimulatedBrain(seed=1).session(0)
    near = session._suppressed(np.array([0]))
    width = session.constants.width
    here = np.stack(np.divmod(session.unit_sites, width), axis=1)
    there = np.stack(np.divmod(session.candidates[:1], width), axis=1)
    order = np.linalg.norm(here - there, axis=1).argsort()
    assert (np.diff(near[order]) <= 1e-12).all() and near.max() > 0.1


def test_constants_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingError, match=r"`turnover` must not be negative.*got 1.5"):
        BrainConstants(turnover=1.5)
    with pytest.raises(SettingError, match=r"must fit on the grid.*larger grid"):
        BrainConstants(num_units=101)


def test_expected_counts_are_the_mean_of_what_comes_after() -> None:
    # Without noise in the state, its mean is where it goes.
    session = SimulatedBrain(BrainConstants(state_noise=0.0, drift=0.0), seed=2).session(0)
    session.before()
    patterns = np.array([[0, 3], [5, 7]])
    expected = session.expected_counts(session.state, patterns)
    drawn = np.stack([session.after(patterns[1])[0] for _ in range(400)])
    spread = np.sqrt(expected[1] / 400)
    assert np.abs((drawn.mean(0) - expected[1]) / spread).max() < 4.5
    assert np.abs((drawn.mean(0) - expected[0]) / spread).max() > 4.5


def test_the_oracle_takes_the_pattern_that_brute_force_finds() -> None:
    session = SimulatedBrain(seed=3).session(0)
    session.before()
    readout = Readout(0.1 * np.random.default_rng(0).normal(size=(2, 90)), np.zeros(90))
    patterns, target = PatternSet(20, 2), np.array([0.4, -0.2])
    chosen = Oracle(session, readout, patterns).choose(
        target, np.zeros((5, 2)), 0, np.random.default_rng(0)
    )
    missed = {
        tuple(row): np.abs(
            readout.latents(session.expected_counts(session.state, np.array([row], dtype=int)))[0]
            - target
        ).sum()
        for row in [*patterns.members.tolist(), []]
    }
    assert chosen.electrodes == min(missed, key=missed.get)
