from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal

from probneuro import infer
from probneuro.core.errors import InferenceError, SettingError
from probneuro.inference.svi import SVI

Y = torch.tensor([1.2, 0.4, 2.2, 1.9])


@pytest.fixture(autouse=True)
def store() -> Iterator[None]:
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def program(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("unit", len(y)):
        pyro.deterministic("residual", y - mean)
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def own_guide(y: torch.Tensor) -> None:
    loc = pyro.param("loc", torch.tensor(0.0))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
    pyro.sample("mean", dist.Normal(loc, scale))


@pytest.mark.stat
@pytest.mark.parametrize(
    "guide",
    [None, *(pytest.param(g, marks=pytest.mark.slow) for g in (own_guide, AutoMultivariateNormal))],
)
def test_conjugate_normal(guide: Any) -> None:
    engine = SVI(guide=guide, steps=400, learning_rate=0.1)
    result = infer(program, Y, engine=engine, draws=300, chains=2, seed=2, progress=False)
    variance = 1 / (1 / 4 + 4)
    mean = variance * float(Y.sum())
    draws = result.posterior["mean"].values
    assert draws.shape == (2, 300)
    # Monte Carlo error of the draws, and the optimiser's last steps of 0.001
    assert abs(draws.mean() - mean) < 4.9 * np.sqrt(variance / 600) + 0.03
    assert abs(draws.std() / np.sqrt(variance) - 1) < 4.9 / np.sqrt(1200) + 0.05
    elbo = result["fit_history/elbo"]
    assert elbo.dims == ("chain", "iteration")
    evidence = dist.MultivariateNormal(torch.zeros(4), torch.eye(4) + 4).log_prob(Y)
    # the family holds the posterior, so that the ELBO's end is the evidence
    assert float(elbo[:, -100:].mean()) == pytest.approx(float(evidence), abs=0.05)
    assert result.posterior["residual"].dims == ("chain", "draw", "unit")
    assert "lp" in result.sample_stats


def test_a_point_guide_finds_the_most_probable_value() -> None:
    engine = SVI(guide=AutoDelta, steps=400, learning_rate=0.1)
    result = infer(program, Y, engine=engine, draws=2, chains=2, seed=2, progress=False)
    best = float(Y.sum()) / (1 / 4 + 4)
    np.testing.assert_allclose(result.posterior["mean"].values, best, atol=1e-3)


def test_a_class_that_is_no_guide_is_refused() -> None:
    with pytest.raises(SettingError, match="`guide` is the class Linear, which is no AutoGuide"):
        SVI(guide=torch.nn.Linear)


def test_learnt_parameters_of_the_program_are_reported() -> None:
    def learning(y: torch.Tensor) -> None:
        scale = pyro.param("spread", torch.tensor(1.0), constraint=dist.constraints.positive)
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        with pyro.plate("unit", len(y)):
            pyro.sample("y", dist.Normal(mean, scale), obs=y)

    result = infer(learning, Y, engine=SVI(steps=100), draws=20, chains=2, seed=2, progress=False)
    assert result["parameters/spread"].dims == ("chain", "draw")
    assert np.all(result["parameters/spread"] > 0)
    assert "param.spread" not in result.posterior


def test_subsampled_plates_and_modules() -> None:
    net = torch.nn.Linear(1, 1)

    def amortised(y: torch.Tensor) -> None:
        pyro.module("net", net)
        with pyro.plate("unit", len(y), subsample_size=2) as rows:
            out = net(y[rows, None])[:, 0]
            pyro.sample("z", dist.Normal(out, 1.0))

    def prior(y: torch.Tensor) -> None:
        pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("unit", len(y), subsample_size=2) as rows:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 0.1), obs=y[rows])

    def guide(y: torch.Tensor) -> None:
        pyro.sample("level", dist.Normal(pyro.param("l", torch.tensor(0.0)), 1.0))
        amortised(y)

    engine = SVI(guide=guide, steps=150)
    result = infer(prior, Y, engine=engine, draws=5, chains=1, seed=1, progress=False)
    assert set(result.posterior.data_vars) == {"level"}
    first, last = result["fit_history/elbo"][0, :20].mean(), result["fit_history/elbo"][0, -20:]
    assert float(last.mean()) > float(first)


def test_resume_and_workers_give_the_same_draws(tmp_path: Any) -> None:
    options: dict[str, Any] = {"draws": 10, "chains": 2, "seed": 5, "progress": False}
    engine = SVI(steps=30)
    full = infer(program, Y, engine=engine, **options)
    other = infer(program, Y, engine=engine, checkpoint=tmp_path, workers=1, **options)
    again = infer(program, Y, engine=engine, checkpoint=tmp_path, **options)
    for result in (other, again):
        np.testing.assert_array_equal(full.posterior["mean"], result.posterior["mean"])
        np.testing.assert_array_equal(full["fit_history/elbo"], result["fit_history/elbo"])


def test_nan_is_told_with_step_seed_and_site() -> None:
    def broken(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        pyro.factor("penalty", torch.log(-mean.abs()))

    with pytest.raises(
        InferenceError, match=r"Chain \d failed at step 0 .*seed 3: the ELBO is nan: site `penalty`"
    ):
        infer(broken, Y, engine=SVI(steps=5), draws=2, chains=1, seed=3, progress=False)


def test_globals_are_left_as_found() -> None:
    pyro.param("loc", torch.tensor(7.0))
    torch.manual_seed(1)
    before = torch.random.get_rng_state().clone()
    infer(program, Y, engine=SVI(guide=own_guide, steps=5), draws=2, seed=1, progress=False)
    assert torch.equal(before, torch.random.get_rng_state())
    assert list(pyro.get_param_store().keys()) == ["loc"]
    assert pyro.param("loc").item() == 7.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, r"`steps` must be positive; got 0\. Its default is 2000"),
        ({"learning_rate": -1.0}, "`learning_rate` must be positive"),
        ({"guide": "normal"}, "`guide` must be a Pyro program; got str"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        SVI(**settings)
