"""The search for a policy's settings by simulated experiments."""

import sys

import numpy as np
import pytest

from probneuro.control import InverseNetwork, InversePolicy, PatternSet, tune_policy
from probneuro.control.adaptive import Exploration, Trial
from probneuro.control.inverse_training import ClippedUpdate
from probneuro.control.tuning import RANGES, simulated_error
from probneuro.core.errors import DataError, SettingError

PATTERNS = PatternSet(4, 1)
STATES = np.random.default_rng(0).normal(size=(30, 2, 2))
TARGETS = np.array([[1.0, 0.0], [0.0, -1.0]])
ANSWERS = np.array([[1.0, 0.0], [0.0, -1.0], [2.0, 2.0], [-2.0, 2.0]])
SMALL = {"tries": 4, "trials": 12, "seed": 3}


def member(shift: float):
    def predict(chosen, before):
        return ANSWERS[chosen] + shift + 0.1 * before[:, -1]

    return predict


MEMBERS = [member(0.0), member(0.2)]


@pytest.fixture
def policy() -> InversePolicy:
    network = InverseNetwork.fresh(2, 2, 4, widths=(8,), seed=1)
    return InversePolicy(network=network, num_stimulated=1, update=ClippedUpdate(epochs=2))


def test_a_search_starts_from_the_policy_and_gives_the_same_again(policy):
    first, second = (
        tune_policy(policy, MEMBERS, STATES, TARGETS, PATTERNS, **SMALL) for _ in range(2)
    )
    assert first.tried.equals(second.tried)
    assert len(first.tried) == 4
    start = first.tried.iloc[0]
    expected = {"initial": 0.5, "decay": 0.95, "floor": 0.1, "clip": 0.2, "baseline": 0.7,
                "update_every": 5, "learning_rate": 1e-4}  # fmt: skip
    assert {name: start[name] for name in expected} == expected
    for name, (low, high) in RANGES.items():
        assert first.tried[name].between(low, high).all()
    best = first.tried.loc[first.tried["error"].idxmin()]
    assert first.error == best["error"] <= start["error"]
    assert first.policy.exploration.decay == best["decay"]
    assert first.policy.update.clip == best["clip"]
    assert first.policy.update.epochs == 2
    assert first.update_every == best["update_every"]


def test_only_the_ranges_given_are_searched(policy):
    found = tune_policy(
        policy, MEMBERS, STATES, TARGETS, PATTERNS, ranges={"baseline": (0.9, 1.2)}, **SMALL
    )
    assert found.tried["baseline"].nunique() > 1
    assert found.tried.drop(columns=["baseline", "error"]).nunique().eq(1).all()


def test_a_simulated_experiment_is_its_loop(policy):
    settings = {"trials": 9, "update_every": 4}
    found = simulated_error(
        policy, MEMBERS[1], STATES, TARGETS[0], PATTERNS, rng=np.random.default_rng(5), **settings
    )
    rng, now, errors, recent = np.random.default_rng(5), policy, [], []
    drawn = STATES[rng.integers(30, size=9)]
    for number in range(9):
        chosen = now.choose(TARGETS[0], drawn[number], number, rng).electrodes
        after = ANSWERS[chosen[0]] + 0.2 + 0.1 * drawn[number, -1]
        errors.append(np.abs(after - TARGETS[0]).sum())
        recent.append(Trial(TARGETS[0], drawn[number], chosen, after))
        if number in (3, 7):
            now, recent = now.learned(recent), []
    assert found == pytest.approx(np.mean(errors), abs=1e-12)


def test_a_search_finds_that_exploring_does_not_pay_where_the_network_is_right():
    """The network's best choice is the nearest answer: less exploration is less error."""
    weights = (np.hstack([ANSWERS * 5, np.zeros((4, 4))]), -2.5 * (ANSWERS**2).sum(1))
    right = InversePolicy(
        network=InverseNetwork((tuple(a.astype(np.float32) for a in weights),)), num_stimulated=1,
        exploration=Exploration(initial=0.7, floor=0.15, decay=0.99, temperature=100.0),
    )  # fmt: skip
    found = tune_policy(
        right, MEMBERS, STATES, TARGETS, PATTERNS, tries=12, trials=40, seed=0,
        ranges={"initial": (0.3, 0.7), "decay": (0.95, 0.99)},
    )  # fmt: skip
    assert found.policy.exploration.initial < 0.5
    assert found.error < found.tried["error"][0]


def test_what_makes_no_sense_is_refused(policy, monkeypatch):
    words = (policy, MEMBERS, STATES, TARGETS, PATTERNS)
    for ranges in ({"temperature": (1, 2)}, {"clip": (0.3, 0.1)}):
        with pytest.raises(SettingError, match="`ranges` must have"):
            tune_policy(*words, ranges=ranges)
    with pytest.raises(SettingError, match="nothing to try: 0 ranges"):
        tune_policy(*words, ranges={})
    with pytest.raises(DataError, match="single target still needs its axis"):
        tune_policy(policy, MEMBERS, STATES, TARGETS[0], PATTERNS)
    with pytest.raises(DataError, match="must not be empty; got 30, 2 and 0"):
        tune_policy(policy, [], STATES, TARGETS, PATTERNS)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingError, match=r"pip install 'probneuro\[tune\]'"):
        tune_policy(*words, tries=1)
