"""Slice sampling of Pyro programs against conjugate answers, strongly correlated ones too."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from probneuro import infer
from probneuro.core.errors import CapabilityError, InferenceError, SettingError
from probneuro.inference import slice as slice_module
from probneuro.inference.slice_sampler import Slice, SliceKernel
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

SIZES: dict[str, Any] = {"chains": 2, "progress": False}


def spikes(count: torch.Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    pyro.deterministic("log_rate", rate.log())
    pyro.sample("count", dist.Poisson(rate), obs=count)


def pair(total: torch.Tensor) -> None:
    """Two numbers of which only the sum is seen: a ridge, 28 times as long as wide."""
    with pyro.plate("part", 2):
        part = pyro.sample("part_size", dist.Normal(0.0, 1.0))
    pyro.sample("total", dist.Normal(part.sum(), 0.05), obs=total)


@pytest.mark.stat
def test_a_conjugate_rate() -> None:
    result = infer(spikes, torch.tensor(4.0), engine=Slice(warmup=200), draws=800, seed=3, **SIZES)
    rate = result.posterior["rate"].values
    assert np.abs(moment_z_scores(rate, 3.0, 1.5)).max() < LARGEST_Z
    np.testing.assert_allclose(result.posterior["log_rate"].values, np.log(rate))
    lp = result.sample_stats["lp"].values
    exact = dist.Gamma(2.0, 1.0).log_prob(torch.tensor(rate)).numpy()
    exact = exact + dist.Poisson(torch.tensor(rate)).log_prob(torch.tensor(4.0)).numpy()
    np.testing.assert_allclose(lp, exact + np.log(rate), atol=1e-5)  # the log transform's volume


def ridge(warmup: int, seed: int) -> np.ndarray:
    engine = Slice(warmup=warmup)
    result = infer(pair, torch.tensor(1.0), engine=engine, draws=500, seed=seed, **SIZES)
    assert result.posterior["part_size"].dims == ("chain", "draw", "part")
    return result.posterior["part_size"].values


@pytest.mark.stat
@pytest.mark.parametrize("seed", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_narrow_ridge_mixes_once_its_axes_are_known(seed: int) -> None:
    draws = ridge(300, seed)
    gain = 1.0 / (2.0 + 0.05**2)
    assert np.abs(moment_z_scores(draws, gain, 1.0 - gain)).max() < LARGEST_Z
    one = draws[0, :, 0] - draws[0, :, 0].mean()
    assert abs(one[1:] @ one[:-1]) / (one @ one) < 0.25


@pytest.mark.stat
def test_the_check_sees_a_slice_that_never_shrinks_its_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = slice_module.slice_along

    def low(log_density: Any, position: Any, value: float, direction: Any, rng: Any) -> Any:
        return whole(log_density, position, value - 1.0, direction, rng)

    monkeypatch.setattr(slice_module, "slice_along", low)
    draws = ridge(300, 1)
    gain = 1.0 / (2.0 + 0.05**2)
    assert np.abs(moment_z_scores(draws, gain, 1.0 - gain)).max() > LARGEST_Z


def test_a_density_without_a_gradient() -> None:
    """Numbers that leave torch have none; the program runs untraced."""

    def rounded() -> None:
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        pyro.factor("steps", torch.tensor(-abs(float(np.floor(level.item())))))

    result = infer(rounded, engine=Slice(warmup=20), draws=200, seed=1, **SIZES)
    level = np.floor(result.posterior["level"].values)
    assert (level == 0).mean() > (level == -1).mean() > (level == 1).mean() > 0


def test_chains_resume_to_the_same_draws(tmp_path: Any) -> None:
    engine, count = Slice(warmup=5), torch.tensor(4.0)
    whole = infer(spikes, count, engine=engine, draws=10, seed=5, workers=1, **SIZES)
    step, calls = SliceKernel.step, [0]

    def failing(self: Any, state: Any, rng: Any, *, warmup: bool) -> Any:
        calls[0] += 1
        if calls[0] == 9:
            raise RuntimeError("cut")
        return step(self, state, rng, warmup=warmup)

    options = {**SIZES, "draws": 10, "seed": 5, "workers": 1, "checkpoint": tmp_path}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Exception, match="cut"):
        patch.setattr(SliceKernel, "step", failing)
        infer(spikes, count, engine=engine, **options)
    again = infer(spikes, count, engine=engine, **options)
    assert whole.posterior.equals(again.posterior)


def test_what_it_cannot_treat_is_refused() -> None:
    def coin() -> None:
        pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("fair", dist.Bernoulli(0.5))

    def empty() -> None:
        pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("never", torch.tensor(-torch.inf))

    with pytest.raises(CapabilityError, match=r"`fair` is discrete, and a slice.*Use Gibbs\(\)"):
        infer(coin, engine=Slice(), **SIZES)
    with pytest.raises(InferenceError, match="No start of finite density was found in 100 tries"):
        infer(empty, engine=Slice(), **SIZES)


@pytest.mark.parametrize("name", ["sweeps", "warmup"])
def test_bad_settings(name: str) -> None:
    with pytest.raises(SettingError, match=f"`{name}` must be at least .; got -1. Its default is"):
        Slice(**{name: -1})
