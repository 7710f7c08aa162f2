"""Controllers: probabilities against sampling, tasks as the paper makes them, a closed loop."""

import numpy as np
import pytest

from probneuro.control import (
    ReferenceTrajectory,
    TargetRange,
    choose,
    closed_loop,
    range_task,
    reference_task,
)
from probneuro.core.detection import auc
from probneuro.core.errors import DataError


@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.9])
def test_the_chance_of_a_range_is_what_sampling_finds(correlation: float) -> None:
    rng = np.random.default_rng(0)
    low, high = np.array([-0.5, -np.inf]), np.array([1.0, 0.3])
    mean = np.array([[0.2, 0.0], [1.5, 0.4]])
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    found = TargetRange(low=low, high=high).chance(mean, covariance)
    drawn = rng.multivariate_normal(np.zeros(2), covariance, size=40_000)
    for row in range(2):
        hits = TargetRange(low=low, high=high).reached(mean[row] + drawn)
        error = np.sqrt(hits.mean() * (1 - hits.mean()) / 40_000)
        assert abs(hits.mean() - found[row]) < 4.9 * error


def test_the_chance_of_staying_close_is_near_what_sampling_finds() -> None:
    rng = np.random.default_rng(1)
    times = np.arange(30)
    covariance = np.exp(-np.abs(times[:, None] - times) / 8.0)[None]
    error = np.sin(times / 5.0)[None, None] * np.array([0.3, 1.2])[:, None, None]
    wanted = ReferenceTrajectory(reference=np.zeros((1, 30)), tolerance=1.5)
    drawn = rng.multivariate_normal(np.zeros(30), covariance[0], size=20_000)[:, None]
    for row, chance in enumerate(wanted.chance(error, covariance)):
        assert abs(wanted.reached(error[row] + drawn).mean() - chance) < 0.03


def test_margins_move_the_decision() -> None:
    wanted = TargetRange(low=np.zeros(2), high=np.ones(2))
    far = wanted.distance([[1.2, 0.5], [0.5, -0.4], [0.5, 0.5]])
    assert np.allclose(far, [0.2, 0.4, -0.5])
    assert (far <= 0.3).tolist() == [True, False, True]


def test_half_of_the_trials_get_their_own_range() -> None:
    rng = np.random.default_rng(2)
    values, resting = rng.normal(size=(1000, 2)), rng.normal(size=(4000, 2))
    task = range_task(values, resting, seed=1)
    assert np.array_equal(task.cost.reached(values), task.should)
    assert 430 < task.should.sum() < 570
    share = np.mean(task.cost.reached(rng.normal(size=(1000, 2))))
    assert abs(share - 1 / 16) < 0.03


def test_references_are_reached_by_half_of_the_trials() -> None:
    outcomes = np.random.default_rng(3).normal(size=(200, 2, 20))
    task = reference_task(outcomes, seed=1)
    assert task.should.mean() == 0.5
    assert reference_task(outcomes, tolerance=1e9).should.all()


def test_uncertainty_pays_where_it_differs() -> None:
    """Two classes of trials with other noise: probabilities rank them, distances do not."""
    rng = np.random.default_rng(4)
    scale = np.where(np.arange(4000) % 2, 0.2, 3.0)
    mean = rng.normal(size=(4000, 1))
    outcome = mean + scale[:, None] * rng.normal(size=(4000, 1))
    wanted = TargetRange(low=np.array([-1.0]), high=np.array([1.0]))
    reached = wanted.reached(outcome)
    certain = wanted.chance(mean, (scale**2)[:, None, None])
    assert auc(certain, reached) > auc(-wanted.distance(mean), reached) + 0.02


def test_the_cheapest_action_is_taken_and_effort_counts() -> None:
    chances = {"wait": [0.1, 0.6], "one": [0.3, 0.7], "two": [0.9, 0.7]}
    actions, choice = choose(chances, {"one": 0.05, "two": 0.2})
    assert [actions[i] for i in choice] == ["two", "one"]
    with pytest.raises(DataError, match="`chances` holds no action"):
        choose({})


def test_a_loop_shows_the_controller_the_runway_alone() -> None:
    seen = []

    def decide(runway: float) -> str:
        seen.append(runway)
        return "stimulate" if runway > 0 else "wait"

    react = {"wait": lambda n: 0.0, "stimulate": lambda n: float(n)}
    outcome = closed_loop(decide, [1.0, -1.0, 1.0, 1.0], react, lambda n, y: y >= 2)
    assert seen == [1.0, -1.0, 1.0, 1.0]
    assert outcome.success == 0.5
    assert outcome.share("stimulate") == 0.75
    with pytest.raises(DataError, match="took the action 'jump' in trial 0"):
        closed_loop(lambda r: "jump", [1.0], react, lambda n, y: True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="`low` must be below `high`"):
        TargetRange(low=np.ones(2), high=np.zeros(2))
    with pytest.raises(DataError, match="Pick the same channels from both"):
        range_task(np.zeros((4, 2)), np.zeros((4, 3)))
