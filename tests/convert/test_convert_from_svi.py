"""Results from trained guides, against the guide's own numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from scipy import stats
from scipy.special import logsumexp

from probneuro import from_pyro_svi, infer, load, save
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.inference.svi import SVI as OurSVI
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

from .programs import data, mixture


@pytest.fixture(autouse=True)
def clean_store() -> Any:
    pyro.clear_param_store()
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.random.set_rng_state(state)
    pyro.clear_param_store()


def program(y: torch.Tensor) -> None:
    with pyro.plate("neuron", 2):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        pyro.deterministic("double", 2 * mean)
        with pyro.plate("trial", 3):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def guide(y: torch.Tensor) -> None:
    with pyro.plate("neuron", 2):
        pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor([1.0, -1.0])), 0.5))


def train(program: Any, guide: Any, *args: Any, loss: Any = None, steps: int = 1) -> None:
    svi = SVI(program, guide, pyro.optim.Adam({"lr": 0.05}), loss or Trace_ELBO())
    for _ in range(steps):
        svi.step(*args)


@pytest.mark.parametrize("count", [2, 3, 500])
def test_own_guide(count: int, tmp_path: Path) -> None:
    y = data(3, 2).float()
    guide(y)
    result = from_pyro_svi(program, guide, model_args=(y,), num_samples=count, seed=1)
    mean = result["posterior/mean"].values.astype(float)
    assert result["posterior/mean"].dims == ("chain", "draw", "neuron")
    assert mean.shape == (1, count, 2)
    np.testing.assert_allclose(result["posterior/double"], 2 * mean, rtol=1e-6)
    each = stats.norm.logpdf(y.numpy(), mean[:, :, None, :], 1)
    np.testing.assert_allclose(result["log_likelihood/y"], each, rtol=1e-5)
    log_p = stats.norm.logpdf(mean).sum(-1) + each.sum((-1, -2))
    np.testing.assert_allclose(result["sample_stats/log_p"], log_p, rtol=1e-5)
    log_q = stats.norm.logpdf(mean, [1, -1], 0.5).sum(-1)
    np.testing.assert_allclose(result["sample_stats/log_q"], log_q, rtol=1e-4, atol=1e-5)
    xr.testing.assert_identical(load(save(result, tmp_path / "r.nc")), result)
    if count > 100:
        assert np.abs(moment_z_scores(mean, [1, -1], 0.25)).max() < LARGEST_Z
    again = from_pyro_svi(program, guide, model_args=(y,), num_samples=count, seed=1)
    xr.testing.assert_identical(result, again)


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal])
def test_automatic_guides(kind: Any) -> None:
    y = data(3, 2).float()
    automatic = kind(program)
    train(program, automatic, y, steps=20)
    result = from_pyro_svi(program, automatic, model_args=(y,), num_samples=400, seed=1)
    assert set(result["posterior"].data_vars) == {"mean", "double"}
    center = automatic.median(y)["mean"].detach().numpy()
    draws = result["posterior/mean"].values
    error = draws.std((0, 1)) / 20
    assert (np.abs(draws.mean((0, 1)) - center) < LARGEST_Z * error).all()
    assert result.attrs["guide"] == kind.__name__


def test_point_estimates_go_to_parameters(tmp_path: Path) -> None:
    y = data(3, 2).float()
    automatic = AutoDelta(program)
    train(program, automatic, y, steps=5)
    result = from_pyro_svi(program, automatic, model_args=(y,), seed=1)
    assert "posterior" not in result.children
    point = automatic.median(y)["mean"].detach().numpy()
    np.testing.assert_array_equal(result["parameters/mean"].values, point[None, None])
    assert result["parameters/mean"].dims == ("chain", "draw", "neuron")
    exact = stats.norm.logpdf(y.numpy(), point, 1)[None, None]
    np.testing.assert_allclose(result["log_likelihood/y"], exact, rtol=1e-5)
    xr.testing.assert_identical(load(save(result, tmp_path / "r.nc")), result)


def learned(y: torch.Tensor) -> None:
    scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("trial", len(y)):
        pyro.sample("y", dist.Normal(mean, scale), obs=y)


def test_the_programs_own_parameters_are_kept_and_used() -> None:
    y = data(4).float()
    automatic = AutoNormal(learned)
    train(learned, automatic, y, steps=10)
    result = from_pyro_svi(learned, automatic, model_args=(y,), num_samples=5, seed=1)
    scale = pyro.param("scale").item()
    assert result["parameters/scale"].item() == scale != 2.0
    exact = stats.norm.logpdf(y.numpy(), result["posterior/mean"].values[..., None], scale)
    np.testing.assert_allclose(result["log_likelihood/y"], exact, rtol=1e-5)


def test_log_likelihood_of_our_svi_takes_each_restarts_parameters() -> None:
    y = data(4).float()
    result = infer(learned, y, engine=OurSVI(steps=20), draws=3, chains=2, seed=1,
                   progress=False, log_likelihood=True)  # fmt: skip
    scale = result["parameters/scale"].values[:, :, None]
    assert scale[0] != scale[1]
    exact = stats.norm.logpdf(y.numpy(), result["posterior/mean"].values[..., None], scale)
    np.testing.assert_allclose(result["log_likelihood/y"], exact, rtol=1e-5)


def test_enumerated_variables_are_summed_out() -> None:
    y = data(6).float()
    shown = pyro.infer.config_enumerate(mixture)
    automatic = AutoNormal(pyro.poutine.block(shown, hide=["which"]))
    train(shown, automatic, y, loss=TraceEnum_ELBO(max_plate_nesting=1), steps=3)
    result = from_pyro_svi(shown, automatic, model_args=(y,), num_samples=6, seed=1)
    weight, mean = (result["posterior"][n].values.astype(float) for n in ("weight", "mean"))
    parts = np.log(weight)[:, :, None] + stats.norm.logpdf(y.numpy()[:, None], mean[:, :, None], 1)
    np.testing.assert_allclose(result["log_likelihood/y"], logsumexp(parts, -1), rtol=1e-5)
    assert "which" not in result["posterior"]
    assert "sample_stats" not in result.children


def test_settings() -> None:
    y = data(3, 2)
    with pytest.raises(SettingError, match="`num_samples` must be a positive integer; got 0"):
        from_pyro_svi(program, guide, model_args=(y,), num_samples=0)
    with pytest.raises(SettingError, match="`guide` must be callable; got int"):
        from_pyro_svi(program, 3, model_args=(y,))  # type: ignore[arg-type]

    def other(y: torch.Tensor) -> None:
        pyro.sample("level", dist.Normal(0.0, 1.0))

    with pytest.raises(CapabilityError, match="The guide draws level; the program has mean"):
        from_pyro_svi(program, other, model_args=(y,))
