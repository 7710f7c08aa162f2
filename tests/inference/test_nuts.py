from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from numpy.typing import NDArray

from probneuro import az, infer
from probneuro.core.engine import Arrays
from probneuro.core.errors import InferenceError, SettingError
from probneuro.inference import hamiltonian_chains
from probneuro.inference.adaptation import add_moment, learnt_metric, schedule, start_moments
from probneuro.inference.hamiltonian_chains import HamiltonianKernel
from probneuro.inference.nuts import NUTS
from probneuro.inference.runner import ChainDraws, run_chains
from probneuro.inference.target import Target

Floats = NDArray[np.float64]


class Gaussian(Target):
    """A normal with known mean and covariance, or anything else with a density in numpy."""

    def __init__(self, mean: Floats, covariance: Floats) -> None:
        self.mean = mean
        self.precision = np.linalg.inv(covariance)

    @property
    def dimension(self) -> int:
        return len(self.mean)

    @property
    def dims(self) -> Mapping[str, list[Any]]:
        return {"x": [None]}

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        gradient = -self.precision @ (position - self.mean)
        return 0.5 * float((position - self.mean) @ gradient), gradient

    def variables(self, position: Floats) -> Arrays:
        return {"x": position}


class Nowhere(Gaussian):
    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        return np.nan, position


def sample(target: Target, settings: NUTS, **changes: Any) -> ChainDraws:
    options = {"draws": 600, "chains": 2, "seed": 3, "progress": False, **changes}
    return run_chains(HamiltonianKernel(target, settings), warmup=settings.warmup, **options)


def assert_moments(draws: Floats, mean: Floats, sd: Floats, reference: int = 10**9) -> None:
    """Compare means and sds of draws (chain, draw, variable): |z| below 4.9."""
    tree = az.convert_to_dataset({"x": draws})
    ess, ess_sd = az.ess(tree)["x"].values, az.ess(tree, method="sd")["x"].values
    error = sd * np.sqrt(1 / ess + 1 / reference)
    assert np.abs((draws.mean((0, 1)) - mean) / error).max() < 4.9
    error_sd = sd * np.sqrt(0.5 / ess_sd + 0.5 / reference) * 1.5  # tails heavier than normal
    assert np.abs((draws.std((0, 1)) - sd) / error_sd).max() < 4.9


@pytest.mark.stat
@pytest.mark.parametrize("dense", [False, True])
def test_correlated_gaussian(dense: bool) -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5)) * np.array([0.1, 1, 1, 3, 20])
    mean, covariance = rng.normal(size=5), root.T @ root
    result = sample(Gaussian(mean, covariance), NUTS(warmup=300, dense_mass=dense))
    assert_moments(result.posterior["position"], mean, np.sqrt(np.diag(covariance)))
    rates = result.sample_stats["acceptance_rate"].mean()
    assert 0.7 < rates < 0.95
    energy = result.sample_stats["energy"]
    assert np.all(energy >= -result.sample_stats["lp"])


@pytest.mark.stat
def test_a_planted_fault_is_caught() -> None:
    class Shifted(Gaussian):
        def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
            value, gradient = super().value_and_gradient(position)
            return value * 0.6, gradient * 0.6

    result = sample(Shifted(np.zeros(3), np.eye(3)), NUTS(warmup=200))
    with pytest.raises(AssertionError):
        assert_moments(result.posterior["position"], np.zeros(3), np.ones(3))


@pytest.mark.stat
def test_conjugate_normal_program() -> None:
    data = torch.tensor([1.2, 0.4, 2.2, 1.9], dtype=torch.float64)

    def program(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        with pyro.plate("unit", len(y)):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    result = infer(
        program, data, engine=NUTS(warmup=200), draws=400, chains=2, seed=1, progress=False
    )
    variance = 1 / (1 / 4 + 4)
    mean = variance * float(data.sum())
    draws = result.posterior["mean"].values[..., None]
    assert_moments(draws, np.array([mean]), np.sqrt([variance]))
    assert set(result.sample_stats.data_vars) == {
        *("lp", "acceptance_rate", "step_size", "tree_depth", "n_steps", "diverging"),
        *("energy", "energy_error", "reached_max_treedepth"),
    }
    assert result.sample_stats["diverging"].dtype == bool


def test_resume_and_workers_give_the_same_draws(tmp_path: Path) -> None:
    target = Gaussian(np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    full = sample(target, NUTS(warmup=60), draws=20, checkpoint=tmp_path, segment_seconds=0.0)
    for path in tmp_path.glob("chain-*/segment-*.npz"):
        if int(path.stem.split("-")[1]) > 37:
            path.unlink()
    again = sample(target, NUTS(warmup=60), draws=20, checkpoint=tmp_path, workers=1)
    np.testing.assert_array_equal(full.posterior["position"], again.posterior["position"])
    for name, values in full.sample_stats.items():
        np.testing.assert_array_equal(values, again.sample_stats[name])


def test_divergences_and_depth_are_reported() -> None:
    class Funnel(Gaussian):
        def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
            v, x = position[0], position[1:]
            e = np.exp(-v)
            value = -(v**2) / 18 - 0.5 * (x @ x) * e - 0.5 * len(x) * v
            return float(value), np.r_[-v / 9 + 0.5 * (x @ x) * e - 0.5 * len(x), -x * e]

    funnel = sample(Funnel(np.zeros(10), np.eye(10)), NUTS(warmup=200), draws=400)
    assert funnel.sample_stats["diverging"].sum() > 0
    flat = sample(Gaussian(np.zeros(2), np.diag([1e-4, 1e4])), NUTS(warmup=0, max_tree_depth=3))
    assert flat.sample_stats["reached_max_treedepth"].mean() > 0.5
    assert flat.sample_stats["n_steps"].max() == 7


def test_stans_windows() -> None:
    assert sorted(schedule(1000).ends) == [99, 149, 249, 449, 949]
    assert sorted(schedule(150).ends) == [99]
    assert (schedule(100).start, schedule(100).stop) == (15, 90)
    assert schedule(19).ends == frozenset()


@pytest.mark.parametrize("dense", [False, True])
def test_running_moments(dense: bool) -> None:
    x = np.random.default_rng(2).normal(size=(200, 3)) @ np.array(
        [[1, 0.5, 0], [0, 1, 0], [0, 0, 9]]
    )
    state = start_moments(3, dense)
    for row in x:
        state = add_moment(state, row)
    exact = np.cov(x.T) if dense else x.var(0, ddof=1)
    small = 1e-3 * (np.eye(3) if dense else 1)
    np.testing.assert_allclose(learnt_metric(state), (200 * exact + 5 * small) / 205)


def test_no_finite_start_is_told() -> None:
    with pytest.raises(InferenceError, match=r"failed at step 0 .*No place with finite density"):
        sample(Nowhere(np.zeros(1), np.eye(1)), NUTS(warmup=5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_accept": 1.0}, "`target_accept` must lie between 0 and 1; got 1.0"),
        ({"warmup": -1}, "`warmup` must not be negative"),
        ({"max_tree_depth": 0}, "`max_tree_depth` must lie between 1 and 20"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        NUTS(**settings)


def cliff() -> None:
    """A density that falls off beyond 0.5 as steeply as an exploding recursion's does."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    pyro.factor("f", -torch.exp(150.0 * (x - 0.5)).sum())


@pytest.mark.parametrize("threshold", [hamiltonian_chains._CLIFF, 0.0])
def test_chains_start_on_no_cliff(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamiltonian_chains, "_CLIFF", threshold)
    engine = NUTS(warmup=1, max_tree_depth=1)
    result = infer(
        cliff, engine=engine, draws=1, chains=12, seed=0, save_warmup=True, progress=False
    )
    first = result["warmup_sample_stats"]["step_size"].values[:, 0]
    assert (first.min() > 1e-6) == (threshold > 0.0)
