"""Simulation-based calibration against engines that are right, and engines that are not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

from probneuro.core.engine import Engine, RunOptions
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.results import build_result
from probneuro.core.state_space import Series, StateSpaceModel
from probneuro.inference.filtering import ParticleFilter
from probneuro.inference.nuts import NUTS
from probneuro.testing import rank_scores, sbc
from probneuro.testing.stats import LARGEST_Z, check_scores, worst

OTHERS = torch.zeros(3)


def program(y: torch.Tensor) -> None:
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("unit", 2):
        gain = pyro.sample("gain", dist.Normal(level, 0.5))
    with pyro.plate("trial", 3):
        pyro.sample("y", dist.Normal(gain.sum(), 1.0), obs=y)


@dataclass(frozen=True, kw_only=True)
class Exact(Engine):
    """The exact posterior of the program, or one that is too narrow."""

    width: float = 1.0

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        y = pyro.poutine.trace(model).get_trace(*args).nodes["y"]["value"].numpy()
        design = np.array([0.0, 1.0, 1.0])
        prior = np.array([[1.0, 1.0, 1.0], [1.0, 1.25, 1.0], [1.0, 1.0, 1.25]])
        covariance = np.linalg.inv(np.linalg.inv(prior) + y.size * np.outer(design, design))
        mean = covariance @ design * y.sum()
        rng = np.random.default_rng(options.seed)
        draws = rng.multivariate_normal(mean, self.width**2 * covariance, (1, options.draws))
        return build_result(
            {"level": draws[..., 0], "gain": draws[..., 1:]}, dims={"gain": ["unit"]}
        )


@pytest.mark.stat
def test_an_exact_posterior_is_calibrated_and_a_narrow_one_is_caught() -> None:
    settings: dict[str, Any] = {"num_simulations": 200, "thin": 1, "seed": 3}
    right = sbc(program, OTHERS, engine=Exact(), **settings)
    assert right["prior_sbc"]["gain"].dims == ("chain", "draw", "unit")
    check_scores(rank_scores(right))
    assert (
        worst(rank_scores(sbc(program, OTHERS, engine=Exact(width=0.5), **settings)))[1] > LARGEST_Z
    )


def test_the_same_seed_gives_the_same_ranks() -> None:
    first, second, other = (
        sbc(program, OTHERS, engine=Exact(), num_simulations=4, draws=9, seed=s) for s in (1, 1, 2)
    )
    xr.testing.assert_identical(first, second)
    assert not first.equals(other)


@pytest.mark.slow
def test_nuts_is_calibrated() -> None:
    ranks = sbc(program, OTHERS, engine=NUTS(warmup=200), num_simulations=200, thin=4, seed=5)
    check_scores(rank_scores(ranks))


class Drift(StateSpaceModel):
    name = "drift"

    def global_model(self) -> None:
        return None

    def initialize(self, params: Any) -> Any:
        return dist.Normal(0.0, 1.0)

    def transition(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        return dist.Normal(state + inputs, 0.5)

    def observe(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        return dist.Normal(state, 0.7)


@pytest.mark.slow
@pytest.mark.stat
def test_a_state_space_model_is_simulated_and_filtered_as_a_model() -> None:
    data = Series(np.zeros(4), inputs=np.array([0.0, 1.0, -1.0, 2.0]))
    engine = ParticleFilter(params={}, num_particles=200)
    ranks = sbc(Drift(), data, engine=engine, num_simulations=100, draws=19, thin=1, seed=2)
    assert ranks["prior_sbc"]["state"].shape == (1, 100, 4)
    check_scores(rank_scores(ranks))


def test_data_read_elsewhere_are_passed_on() -> None:
    def autoregression(y: torch.Tensor) -> None:
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        before = torch.cat([torch.zeros(1), y[:-1]])
        with pyro.plate("time", len(y)):
            pyro.sample("y", dist.Normal(level + 0.1 * before, 1.0), obs=y)

    seen = []

    def arguments(data: Mapping[str, np.ndarray]) -> tuple[torch.Tensor]:
        seen.append(data["y"])
        return (torch.from_numpy(data["y"]),)

    settings: dict[str, Any] = {"num_simulations": 2, "draws": 5, "thin": 1}
    sbc(autoregression, torch.zeros(3), engine=NUTS(warmup=20), arguments=arguments, **settings)
    assert len(seen) == 2 and not np.array_equal(*seen)


def test_what_it_cannot_check_is_refused() -> None:
    with pytest.raises(CapabilityError, match="observes nothing"):
        sbc(lambda: pyro.sample("x", dist.Normal(0.0, 1.0)), engine=Exact())
    with pytest.raises(SettingError, match="`thin` must be positive; got 0"):
        sbc(program, OTHERS, engine=Exact(), thin=0)
