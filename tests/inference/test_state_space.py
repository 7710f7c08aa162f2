"""The contract of a state-space model, its program, and filters against exact answers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from probneuro import compare, infer
from probneuro.core import state_path
from probneuro.core.errors import CapabilityError, DataError, InferenceError, SettingError
from probneuro.core.state_space import Series, StateSpaceModel
from probneuro.inference.filtering import ParticleFilter
from probneuro.inference.nuts import NUTS
from probneuro.inference.state_space import (
    filter_states,
    forecast_states,
    simulate,
    smooth_states,
)
from probneuro.inference.state_space_filter import filtered_mean, genealogy
from probneuro.inference.svi import SVI
from probneuro.testing import check_state_space_model
from probneuro.testing.state_space import (
    FiniteChain,
    LinearGaussian,
    forward_backward,
    kalman,
)
from probneuro.testing.stats import LARGEST_Z, mean_score

TRUTH = {"decay": 0.9, "noise": 0.5}
STAY = {"stay": 0.7}
PUSHES = np.random.default_rng(4).normal(size=(12, 2))
EXAMPLE = Path(__file__).parents[2] / "examples" / "own_state_space.py"
PAIR = simulate(LinearGaussian(), TRUTH, 12, seed=2, inputs=PUSHES).series
COUNTS = simulate(FiniteChain(), STAY, 12, seed=2).series


class Drifting(StateSpaceModel):
    """Counts of two neurons on a scalar walk whose step depends on the time, as an integer."""

    name = "drifting"
    observed_dims = ("neuron",)

    def __init__(self, steps: Any = (0.0, 0.5, -0.3, 0.2)) -> None:
        self.steps = steps

    def global_model(self) -> Any:
        noise = pyro.sample("noise", dist.LogNormal(-1.0, 0.3))
        return {"variance": noise**2}

    def initialize(self, params: Any) -> Any:
        return dist.Normal(0.0, 1.0)

    def transition(self, state: Any, params: Any, t: Any, inputs: Any) -> Any:
        return dist.Normal(state + self.steps[t], params["variance"].sqrt())

    def observe(self, state: Any, params: Any, t: Any, inputs: Any) -> Any:
        offsets = torch.tensor([0.0, 1.0], dtype=torch.float64)
        return dist.Poisson((state[..., None] + offsets).exp()).to_event(1)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (LinearGaussian(), PAIR),
        (FiniteChain(), COUNTS),
        (Drifting(), np.array([[0, 1], [2, 3], [1, 4], [0, 0]])),
    ],
    ids=["linear_gaussian", "finite_chain", "drifting"],
)
def test_models_conform(model: StateSpaceModel, data: Any) -> None:
    check_state_space_model(model, data)


def test_the_check_catches_a_wrong_time_index(monkeypatch: pytest.MonkeyPatch) -> None:
    right = state_path.over_time
    monkeypatch.setattr(
        state_path,
        "over_time",
        lambda one, times, *rest: right(one, range(times.start - 1, times.stop - 1), *rest),
    )
    with pytest.raises(AssertionError, match=r"trajectory \(site `state`\) in the Pyro program"):
        check_state_space_model(Drifting(), np.ones((4, 2)))


def test_the_check_catches_inputs_of_the_step_before(monkeypatch: pytest.MonkeyPatch) -> None:
    right = state_path.over_time
    monkeypatch.setattr(
        state_path,
        "over_time",
        lambda one, times, *rest: right(one, times, *rest[:-1], rest[-1].roll(1, 0)),
    )
    with pytest.raises(AssertionError, match="in the Pyro program"):
        check_state_space_model(LinearGaussian(), PAIR)


def test_the_check_catches_particles_that_see_each_other() -> None:
    class Crowd(Drifting):
        def transition(self, state: Any, params: Any, t: Any, inputs: Any) -> Any:
            return dist.Normal(state - state.mean(), params["variance"].sqrt())

    with pytest.raises(AssertionError, match="`transition` at time step 1"):
        check_state_space_model(Crowd(), np.ones((4, 2)))


@pytest.mark.parametrize("branches", [False, True], ids=["vectorised", "step by step"])
def test_both_ways_through_time_agree(branches: bool) -> None:
    steps = torch.tensor([0.0, 0.5, -0.3, 0.2]) if not branches else (0.0, 0.5, -0.3, 0.2)
    path = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
    params = {"variance": torch.tensor(0.25, dtype=torch.float64)}
    found = state_path.transition_densities(Drifting(steps), params, path, None)
    expected = dist.Normal(path[:-1] + torch.tensor([0.5, -0.3, 0.2]), 0.5).log_prob(path[1:])
    assert torch.allclose(found, expected)


@pytest.mark.stat
@pytest.mark.parametrize("guided", [False, True], ids=["bootstrap", "guided"])
def test_evidence_equals_kalmans(guided: bool) -> None:
    exact = kalman(LinearGaussian(), TRUTH, PAIR).log_evidence
    runs = [
        filter_states(
            LinearGaussian(), TRUTH, PAIR, num_particles=100, seed=seed, guided=guided
        ).log_evidence
        for seed in range(100)
    ]
    assert abs(mean_score(np.exp(np.array(runs) - exact), 1.0)) < LARGEST_Z


@pytest.mark.stat
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_evidence_equals_the_forward_algorithms(threshold: float) -> None:
    exact = forward_backward(FiniteChain(), STAY, COUNTS).log_evidence
    runs = [
        filter_states(
            FiniteChain(), STAY, COUNTS, num_particles=100, seed=seed, threshold=threshold
        ).log_evidence
        for seed in range(100)
    ]
    assert abs(mean_score(np.exp(np.array(runs) - exact), 1.0)) < LARGEST_Z


@pytest.mark.stat
def test_a_guided_filter_beats_a_bootstrap_one_on_sharp_observations() -> None:
    model = LinearGaussian(scale=0.05)
    data = simulate(model, TRUTH, 12, seed=5).series
    spread = {
        guided: np.var(
            [
                filter_states(
                    model, TRUTH, data, num_particles=100, seed=seed, guided=guided
                ).log_evidence
                for seed in range(20)
            ]
        )
        for guided in (False, True)
    }
    assert spread[True] < 0.05 * spread[False]


@pytest.mark.stat
def test_smoothed_means_equal_the_exact_smoothers() -> None:
    exact = kalman(LinearGaussian(), TRUTH, PAIR)
    runs = np.stack(
        [
            smooth_states(
                LinearGaussian(), TRUTH, PAIR, num_paths=200, num_particles=300, seed=seed
            ).mean(0)
            for seed in range(30)
        ]
    )
    scores = [mean_score(runs[:, t, k], exact.mean[t, k]) for t in range(12) for k in range(2)]
    assert np.abs(scores).max() < LARGEST_Z
    exact = forward_backward(FiniteChain(), STAY, COUNTS)
    runs = np.stack(
        [
            (
                smooth_states(
                    FiniteChain(), STAY, COUNTS, num_paths=200, num_particles=300, seed=seed
                )[..., None]
                == np.arange(3)
            ).mean(0)
            for seed in range(30)
        ]
    )
    scores = [mean_score(runs[:, t, k], exact.mean[t, k]) for t in range(12) for k in range(3)]
    assert np.abs(scores).max() < LARGEST_Z


@pytest.mark.stat
def test_filtered_means_and_genealogy_equal_the_exact_ones() -> None:
    exact = kalman(LinearGaussian(), TRUTH, PAIR)
    means, ends = [], []
    for seed in range(30):
        history = filter_states(LinearGaussian(), TRUTH, PAIR, num_particles=500, seed=seed)
        means.append(filtered_mean(history))
        ends.append(np.einsum("n,ntk->tk", history.weights[-1], genealogy(history)))
    for runs, truth in ((np.stack(means), exact.filtered), (np.stack(ends), exact.mean)):
        scores = [mean_score(runs[:, t, k], truth[t, k]) for t in range(12) for k in range(2)]
        assert np.abs(scores).max() < LARGEST_Z


def test_forecast_moments_equal_the_exact_ones() -> None:
    exact = kalman(LinearGaussian(), TRUTH, PAIR)
    step, noise, mixing, error = LinearGaussian().matrices(TRUTH)
    push = np.array([[1.0, -1.0]])
    runs = [
        forecast_states(LinearGaussian(), TRUTH, PAIR, 1, inputs=push, seed=seed)
        for seed in range(20)
    ]
    mean = mixing @ (step @ exact.filtered[-1] + push[0])
    for k in range(2):
        assert abs(mean_score([r.values[:, 0, k].mean() for r in runs], mean[k])) < LARGEST_Z
    spread = mixing @ (step @ exact.covariance[-1] @ step.T + noise) @ mixing.T + error
    squares = [((r.values[:, 0] - mean) ** 2).mean(0) for r in runs]
    for k in range(2):
        assert abs(mean_score([s[k] for s in squares], spread[k, k])) < LARGEST_Z


def test_same_seed_same_particles_and_nothing_global_changes() -> None:
    before = torch.get_rng_state(), torch.get_default_dtype(), len(pyro.get_param_store())
    first, second = (filter_states(LinearGaussian(), TRUTH, PAIR, seed=3) for _ in range(2))
    assert np.array_equal(first.states, second.states)
    assert first.log_evidence == second.log_evidence
    other = filter_states(LinearGaussian(), TRUTH, PAIR, seed=4)
    assert first.log_evidence != other.log_evidence
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_default_dtype(), len(pyro.get_param_store()))


def test_the_engine_gives_evidence_trajectories_and_means() -> None:
    sizes = {"draws": 20, "chains": 4, "seed": 1, "progress": False}
    engine = ParticleFilter(params=TRUTH, num_particles=200)
    result = infer(LinearGaussian(), PAIR, engine=engine, **sizes)
    assert result.posterior["state"].dims == ("chain", "draw", "time", "latent")
    assert result["filter"]["mean"].shape == (4, 1, 12, 2)
    evidence = result.sample_stats["log_marginal_likelihood"]
    assert (evidence == evidence[:, :1]).all()
    worse = ParticleFilter(params={"decay": 0.1, "noise": 0.5}, num_particles=200, backward=False)
    other = infer(LinearGaussian(), PAIR, engine=worse, **sizes)
    table = compare({"decaying": other, "right": result}, by="evidence")
    assert list(table.index) == ["right", "decaying"]


def test_the_program_runs_under_nuts_and_svi() -> None:
    data = np.array([[0, 1], [2, 3], [1, 4], [0, 0]])
    sizes = {"draws": 20, "chains": 1, "seed": 1, "progress": False}
    for engine in (NUTS(warmup=20), SVI(steps=20)):
        result = infer(Drifting(), data, engine=engine, **sizes)
        assert result.posterior["state"].dims == ("chain", "draw", "time")
        assert result.observed_data["observed"].dims == ("time", "neuron")


def test_nuts_refuses_a_discrete_state() -> None:
    with pytest.raises(CapabilityError, match="Site `state` is discrete"):
        infer(FiniteChain(), COUNTS, engine=NUTS(), seed=1, progress=False)


def test_a_filter_refuses_what_is_no_state_space_model() -> None:
    with pytest.raises(CapabilityError, match="ParticleFilter needs a StateSpaceModel; got funct"):
        infer(lambda x: x, 1.0, engine=ParticleFilter(params={}), seed=1, progress=False)


def test_dead_particles_name_the_step_and_the_seed() -> None:
    class Shut(FiniteChain):
        def observe(self, state: Any, params: Any, t: Any, inputs: Any) -> Any:
            return dist.Poisson(torch.zeros(len(state)) if t == 1 else torch.ones(len(state)))

    with pytest.raises(
        InferenceError, match=r"filter failed, seed 5: All 50 particles died at time step 1"
    ):
        filter_states(Shut(), STAY, [0, 3, 0], num_particles=50, seed=5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"decay": 0.9}, "`params` lacks `noise`; it has decay"),
        ({**TRUTH, "rate": 1.0}, "`params` names `rate`, which `global_model` does not sample"),
        ({**TRUTH, "noise": -1.0}, "`params` gives `noise` a value of shape .*, -1.0; it must"),
        ({**TRUTH, "noise": [1.0, 2.0]}, r"`noise` a value of shape \(2,\)"),
    ],
)
def test_wrong_parameters_are_refused(params: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        filter_states(LinearGaussian(), params, PAIR, seed=1)


class Loose(Drifting):
    """Forgets `to_event`."""

    def observe(self, state: Any, params: Any, t: Any, inputs: Any) -> Any:
        return super().observe(state, params, t, inputs).base_dist


class Growing(Drifting):
    """Its states grow an axis."""

    def transition(self, state: Any, params: Any, t: Any, inputs: Any) -> Any:
        return dist.Normal(torch.zeros(len(state), 2), 1.0).to_event(1)


def test_wrong_laws_are_refused() -> None:
    with pytest.raises(SettingError, match=r"`observe` returned a Poisson of batch shape \(2, 2\)"):
        filter_states(Loose(), {"noise": 1.0}, np.ones((3, 2)), seed=1)
    with pytest.raises(SettingError, match=r"`transition` returned states of shape \(2,\) at time"):
        filter_states(Growing(), {"noise": 1.0}, np.ones((3, 2)), seed=1)


def test_wrong_data_are_refused() -> None:
    with pytest.raises(DataError, match=r"`observe` describes observations of shape \(2,\)"):
        filter_states(Drifting(), {"noise": 1.0}, np.ones((3, 4)), seed=1)
    with pytest.raises(DataError, match=r"The observation \[-1.0, 1.0\] at time step 1 lies"):
        filter_states(Drifting(), {"noise": 1.0}, [[1, 1], [-1, 1]], seed=1)
    with pytest.raises(DataError, match="`values` is NaN or infinite at time step 1"):
        Series([1.0, np.nan])
    with pytest.raises(DataError, match="the first axis must be time"):
        Series(1.0)
    with pytest.raises(DataError, match=r"`inputs` has shape \(2,\) and `values` has 3 time"):
        Series([1, 2, 3], inputs=[1, 2])
    with pytest.raises(DataError, match="`values` cannot be read as numbers"):
        Series(["a"])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="`num_particles` must be at least 2; got 1"):
        ParticleFilter(params={}, num_particles=1)
    with pytest.raises(SettingError, match="`threshold` must not be negative; got -1"):
        ParticleFilter(params={}, threshold=-1)
    with pytest.raises(SettingError, match="`length` must be 1 or more; got 0"):
        simulate(FiniteChain(), STAY, 0)
    with pytest.raises(SettingError, match="`length` must be 1 or more; got 0"):
        forecast_states(FiniteChain(), STAY, COUNTS, 0)
    with pytest.raises(SettingError, match="`inputs` of the steps ahead must be given"):
        forecast_states(LinearGaussian(), TRUTH, PAIR, 3)


@pytest.mark.slow
def test_the_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--smoke"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "decay" in done.stdout
