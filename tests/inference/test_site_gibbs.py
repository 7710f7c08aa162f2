"""Gibbs sampling of Pyro programs against exact sums and conjugate answers."""

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from probneuro import infer
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.inference.site_gibbs import Gibbs, SiteKernel
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

Y = torch.tensor([-1.2, -0.8, 1.9, 2.3])
SIZES: dict[str, Any] = {"chains": 2, "progress": False}


def mixture(y: torch.Tensor) -> None:
    centre = pyro.sample("centre", dist.Normal(torch.zeros(2), 2.0).to_event(1))
    with pyro.plate("trial", len(y)):
        kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.4, 0.6])))
        pyro.deterministic("mean", centre[kind])
        pyro.sample("y", dist.Normal(centre[kind], 1.0), obs=y)


def exact_mixture() -> tuple[np.ndarray, np.ndarray]:
    """Return the share of kind 1 by trial, and the first two moments of the first centre."""
    weights, kinds, moments = [], [], []
    for code in range(2**4):
        kind = np.array([(code >> i) & 1 for i in range(4)])
        total, first = math.log(0.6) * kind.sum() + math.log(0.4) * (1 - kind).sum(), None
        for group in (0, 1):
            y = Y.double().numpy()[kind == group]
            covariance = np.eye(y.size) + 4.0
            if y.size:
                law = dist.MultivariateNormal(
                    torch.zeros(y.size, dtype=torch.float64), torch.tensor(covariance)
                )
                total += float(law.log_prob(torch.tensor(y)))
            variance = 1.0 / (0.25 + y.size)
            if group == 0:
                first = (variance * y.sum(), variance + (variance * y.sum()) ** 2)
        weights.append(total)
        kinds.append(kind)
        moments.append(first)
    share = np.exp(np.array(weights) - max(weights))
    share /= share.sum()
    return share @ np.array(kinds), share @ np.array(moments)


@pytest.mark.slow
@pytest.mark.stat
@pytest.mark.parametrize("seed", [1, 2])
def test_a_mixture_of_two(seed: int) -> None:
    result = infer(mixture, Y, engine=Gibbs(warmup=50), draws=150, seed=seed, **SIZES)
    kinds, (mean, square) = exact_mixture()
    posterior = result.posterior
    assert posterior["kind"].dims == ("chain", "draw", "trial")
    assert posterior["kind"].dtype.kind == "i"
    shares = moment_z_scores(posterior["kind"].values, kinds, kinds * (1 - kinds))[0]
    centre = moment_z_scores(posterior["centre"].values[..., 0], mean, square - mean**2)
    assert max(np.abs(shares).max(), np.abs(centre).max()) < LARGEST_Z
    np.testing.assert_array_equal(
        posterior["mean"].values,
        np.take_along_axis(posterior["centre"].values, posterior["kind"].values, axis=-1),
    )


@pytest.mark.slow
@pytest.mark.stat
def test_continuous_programs_need_no_gradient() -> None:
    def program(count: torch.Tensor) -> None:
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        pyro.sample("count", dist.Poisson(rate), obs=count)

    result = infer(
        program, torch.tensor(4.0), engine=Gibbs(warmup=200), draws=1000, seed=3, **SIZES
    )
    z = moment_z_scores(result.posterior["rate"].values, 3.0, 1.5)
    assert np.abs(z).max() < LARGEST_Z


def test_chains_resume_to_the_same_draws(tmp_path: Any) -> None:
    engine = Gibbs(warmup=5)
    whole = infer(mixture, Y, engine=engine, draws=10, seed=5, workers=1, **SIZES)
    kernel = SiteKernel.step
    calls = [0]

    def failing(self: Any, state: Any, rng: Any, *, warmup: bool) -> Any:
        calls[0] += 1
        if calls[0] == 9:
            raise RuntimeError("cut")
        return kernel(self, state, rng, warmup=warmup)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Exception, match="cut"):
        patch.setattr(SiteKernel, "step", failing)
        infer(mixture, Y, engine=engine, draws=10, seed=5, workers=1, checkpoint=tmp_path, **SIZES)
    again = infer(mixture, Y, engine=engine, draws=10, seed=5, checkpoint=tmp_path, **SIZES)
    assert whole.posterior.equals(again.posterior)


def test_what_it_cannot_treat_is_refused() -> None:
    def counts() -> None:
        pyro.sample("count", dist.Poisson(3.0))

    with pytest.raises(CapabilityError, match=r"`count` \(Poisson\) takes infinitely many values"):
        infer(counts, engine=Gibbs(), **SIZES)
    with pytest.raises(SettingError, match="`sweeps` must be at least 1; got 0"):
        Gibbs(sweeps=0)
