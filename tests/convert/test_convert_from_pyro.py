"""Results from Pyro's own samplers: every number where it belongs."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro.infer import HMC, MCMC, NUTS, Predictive
from scipy import stats
from scipy.special import logsumexp

from probneuro import az, compare, compute_log_likelihood, from_pyro, infer, load, save
from probneuro.core.errors import CapabilityError, DataError, SettingError
from probneuro.core.rng import torch_seed
from probneuro.inference.nuts import NUTS as OurNUTS

from .programs import data, mixture

COUNTS = torch.tensor([[3.0, 8.0], [5.0, 9.0], [4.0, 7.0]])


def rates(counts: torch.Tensor | None = None) -> None:
    with pyro.plate("neuron", 2, dim=-1):
        rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
        pyro.deterministic("log_rate", rate.log())
        with pyro.plate("trial", 3, dim=-2):
            pyro.sample("count", dist.Poisson(rate), obs=counts)
    pyro.sample(
        "filter", dist.Normal(torch.zeros(4), 1.0).to_event(1), infer={"event_dims": ["lag"]}
    )


def ran(program: Any, *args: Any, num_chains: int = 1, draws: int = 6, **settings: Any) -> MCMC:
    """Run chains; in one process after the other where there are too few processors."""
    with torch_seed(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mcmc = MCMC(
            NUTS(program),
            num_samples=draws,
            warmup_steps=20,
            num_chains=num_chains,
            disable_progbar=True,
            **settings,
        )
        mcmc.run(*args)
    return mcmc


@pytest.mark.parametrize("num_chains", [1, 2])
def test_everything_is_where_it_belongs(num_chains: int, tmp_path: Path) -> None:
    mcmc = ran(rates, COUNTS, num_chains=num_chains)
    result = from_pyro(
        mcmc, coords={"neuron": ["a", "b"]}, constant_data={"lag_time": np.arange(4)}
    )
    raw = {name: v.numpy() for name, v in mcmc.get_samples(group_by_chain=True).items()}
    for name, dims in {"rate": ("neuron",), "filter": ("lag",)}.items():
        np.testing.assert_array_equal(result["posterior"][name], raw[name])
        assert result["posterior"][name].dims == ("chain", "draw", *dims)
        assert result["posterior"][name].dtype == np.float32
    np.testing.assert_allclose(result["posterior/log_rate"], np.log(raw["rate"]), rtol=1e-6)
    assert result["posterior/log_rate"].dims == ("chain", "draw", "neuron")
    exact = stats.poisson.logpmf(COUNTS.numpy(), raw["rate"].astype(float)[:, :, None, :])
    np.testing.assert_allclose(result["log_likelihood/count"], exact, rtol=1e-12)
    assert result["log_likelihood/count"].dims == ("chain", "draw", "trial", "neuron")
    np.testing.assert_array_equal(result["log_likelihood"]["neuron"], ["a", "b"])
    np.testing.assert_array_equal(result["observed_data/count"], COUNTS)
    np.testing.assert_array_equal(result["constant_data/lag_time"], np.arange(4))
    assert result["sample_stats/diverging"].dtype == bool
    assert result.attrs["warmup"] == 20
    assert result.attrs["inference_library"] == "pyro"
    assert len(json.loads(result.attrs["mean_acceptance_rate"])) == num_chains
    xr.testing.assert_identical(load(save(result, tmp_path / "r.nc")), result)


def test_divergences_stand_at_their_draws() -> None:
    def funnel() -> None:
        scale = pyro.sample("scale", dist.Normal(0.0, 3.0))
        pyro.sample("x", dist.Normal(torch.zeros(3), (scale / 2).exp()).to_event(1))

    seen: list[tuple[int, int]] = []

    def watch(kernel: Any, _: Any, stage: str, index: int) -> None:
        if "ample" in stage:
            seen.append((index, len(kernel._divergences)))

    with torch_seed(2):
        kernel = HMC(funnel, step_size=1.0, num_steps=5, adapt_step_size=False)
        mcmc = MCMC(kernel, 60, warmup_steps=5, disable_progbar=True, hook_fn=watch)
        mcmc.run()
    after = np.array([count for _, count in seen])
    diverging = from_pyro(mcmc)["sample_stats/diverging"].values[0]
    assert diverging.sum() == after[-1] > 0
    np.testing.assert_array_equal(diverging, np.diff(after, prepend=0) > 0)


def test_thinning_keeps_the_draws_numbers() -> None:
    mcmc = ran(rates, COUNTS, draws=7)
    raw = mcmc.get_samples(group_by_chain=True)["rate"].numpy()
    replicated = {"count": np.arange(7 * 6.0).reshape(7, 3, 2)}
    result = from_pyro(mcmc, thin=3, posterior_predictive=replicated)
    np.testing.assert_array_equal(result["posterior/rate"], raw[:, ::3])
    np.testing.assert_array_equal(result["posterior"]["draw"], [0, 3, 6])
    np.testing.assert_array_equal(result["log_likelihood"]["draw"], [0, 3, 6])
    exact = stats.poisson.logpmf(COUNTS.numpy(), raw[:, ::3].astype(float)[:, :, None, :])
    np.testing.assert_allclose(result["log_likelihood/count"], exact, rtol=1e-12)
    predicted = result["posterior_predictive/count"]
    np.testing.assert_array_equal(predicted.values[0], replicated["count"][::3])
    with pytest.raises(SettingError, match="`thin` must be a positive integer; got 0"):
        from_pyro(mcmc, thin=0)


def test_what_predictive_drew(tmp_path: Path) -> None:
    mcmc = ran(rates, COUNTS, num_chains=2, draws=3)  # as many draws as trials
    with torch_seed(3):
        prior = Predictive(rates, num_samples=5)()
        after = Predictive(rates, mcmc.get_samples())()
    result = from_pyro(mcmc, prior=prior, posterior_predictive={"count": after["count"]},
                       predictions={"count": after["count"]}, pred_dims={"count": ["new", "cell"]},
                       predictions_constant_data={"dose": [1.0, 2.0]})  # fmt: skip
    assert set(result["prior"].data_vars) == {"rate", "log_rate", "filter"}
    np.testing.assert_array_equal(result["prior/rate"].values[0], prior["rate"].reshape(5, 2))
    np.testing.assert_array_equal(result["prior_predictive/count"].values[0], prior["count"])
    found = result["posterior_predictive/count"]
    np.testing.assert_array_equal(found, after["count"].reshape(2, 3, 3, 2))
    assert found.dims == ("chain", "draw", "trial", "neuron")
    assert result["predictions/count"].dims == ("chain", "draw", "new", "cell")
    np.testing.assert_array_equal(result["predictions_constant_data/dose"], [1.0, 2.0])
    xr.testing.assert_identical(load(save(result, tmp_path / "r.nc")), result)
    with pytest.raises(DataError, match="`count` has 5 draws; 2 chains of 3 draws are wanted"):
        from_pyro(mcmc, posterior_predictive={"count": prior["count"]})


def test_without_mcmc() -> None:
    result = from_pyro(
        prior={"rate": np.arange(4.0)},
        posterior_predictive={"count": np.arange(6.0)},
        num_chains=2,
        dims={"rate": []},
    )
    np.testing.assert_array_equal(result["prior/rate"], [[0, 1, 2, 3]])
    np.testing.assert_array_equal(result["posterior_predictive/count"], [[0, 1, 2], [3, 4, 5]])


def test_extra_event_dims() -> None:
    def program() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
        pyro.deterministic("y", x.sum(0))

    mcmc = ran(program, draws=3)
    result = from_pyro(mcmc, extra_event_dims={"y": ["basis"]}, dims={"x": ["row", "basis"]})
    assert result["posterior/y"].dims == ("chain", "draw", "basis")
    assert result["posterior/x"].dims == ("chain", "draw", "row", "basis")
    with pytest.raises(DataError, match="`extra_event_dims` names axes of `z`"):
        from_pyro(mcmc, extra_event_dims={"z": ["basis"]})


def test_enumerated_mixture_is_exact_and_loo_and_compare_take_it() -> None:
    y = torch.cat([data(15) - 3, data(15, seed=2) + 3]).float()
    result = from_pyro(ran(pyro.infer.config_enumerate(mixture), y, draws=100, num_chains=2))
    weight, mean = (result["posterior"][n].values.astype(float) for n in ("weight", "mean"))
    parts = np.log(weight)[:, :, None] + stats.norm.logpdf(y.numpy()[:, None], mean[:, :, None], 1)
    np.testing.assert_allclose(result["log_likelihood/y"], logsumexp(parts, -1), rtol=1e-5)

    def one(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 5.0))
        with pyro.plate("trial", len(y)):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ' own: so few draws make its error estimate large
        table = compare({"two": result, "one": from_pyro(ran(one, y, draws=100))}, by="loo")
        elpd = az.loo(result).elpd
    assert elpd == pytest.approx(table.loc["two", "elpd"])
    assert list(table.index) == ["two", "one"]


def test_masked_data_can_be_compared() -> None:
    y = data(12)
    y[[0, 5]] = torch.nan

    def program(y: torch.Tensor, spread: float) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("trial", len(y)), pyro.poutine.mask(mask=~y.isnan()):
            pyro.sample("y", dist.Normal(mean, spread), obs=y.nan_to_num())

    settings = {"engine": OurNUTS(warmup=50), "draws": 100, "chains": 2, "progress": False}
    results = {
        str(spread): infer(program, y, spread, seed=1, log_likelihood=True, **settings)
        for spread in (1.0, 5.0)
    }
    table = compare(results, by="loo")
    kept = compute_log_likelihood(results["1.0"], program, y[~y.isnan()], 1.0)
    assert table.loc["1.0", "elpd"] == pytest.approx(az.loo(kept).elpd, rel=1e-9)
    assert list(table.index) == ["1.0", "5.0"]


def test_programs_without_a_log_likelihood(caplog: pytest.LogCaptureFixture) -> None:
    def program(y: torch.Tensor) -> None:
        level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        kind = pyro.sample("kind", dist.Bernoulli(0.2), infer={"enumerate": "parallel"}).long()
        with pyro.plate("trial", len(y)):
            pyro.sample("y", dist.Normal(level[kind], 1.0), obs=y)

    mcmc = ran(program, data(4).float())
    with caplog.at_level(logging.WARNING):
        result = from_pyro(mcmc)
    assert "log_likelihood" not in result.children
    assert "The result has no log likelihood: The values of `y` along trial" in caplog.text
    with pytest.raises(CapabilityError, match="share the discrete `kind`"):
        from_pyro(mcmc, log_likelihood=True)
    assert "log_likelihood" not in from_pyro(mcmc, log_likelihood=False).children


def test_kernels_without_a_program() -> None:
    def potential(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return values["x"].square().sum() / 2

    with torch_seed(1):
        mcmc = MCMC(NUTS(potential_fn=potential), 5, 5, disable_progbar=True,
                    initial_params={"x": torch.zeros(2)})  # fmt: skip
        mcmc.run()
    result = from_pyro(mcmc, dims={"x": ["axis"]})
    assert set(result.children) == {"posterior", "sample_stats"}
    np.testing.assert_array_equal(result["posterior/x"], mcmc.get_samples(group_by_chain=True)["x"])
    with pytest.raises(SettingError, match="`log_likelihood` needs draws and the program"):
        from_pyro(mcmc, log_likelihood=True)


def test_what_is_not_a_finished_run() -> None:
    with pytest.raises(SettingError, match=r"`mcmc` must be .* that has run; got dict"):
        from_pyro({})
    with pytest.raises(SettingError, match=r"got MCMC\. Call its `run` first"):
        from_pyro(MCMC(NUTS(rates), 5, disable_progbar=True))
