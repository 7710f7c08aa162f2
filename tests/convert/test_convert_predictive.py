"""Predictive draws: their values where the program is certain, their moments where not."""

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

from probneuro import load, predictions, sample_posterior_predictive, sample_prior_predictive, save
from probneuro.convert import fresh_draws
from probneuro.core.errors import CapabilityError, DataError, SettingError
from probneuro.core.results import build_result
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

from .programs import data, draws, mixture, mixture_draws, regression


def line(x: torch.Tensor, y: torch.Tensor | None = None, noise: float = 1e-9) -> None:
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("neuron", 2, dim=-1):
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
        with pyro.plate("trial", len(x), dim=-2):
            mean = pyro.deterministic("mean", slope * x[:, None] + offset)
            pyro.sample("y", dist.Normal(mean, noise), obs=y)


def line_draws(count: int) -> xr.DataTree:
    plain = draws(count=count, slope=(), offset=(2,))["posterior"]
    return build_result(
        {n: plain[n].values for n in ("slope", "offset")},
        dims={"offset": ["neuron"]},
        coords={"neuron": ["a", "b"]},
    )


def line_by_hand(result: xr.DataTree, x: torch.Tensor) -> np.ndarray:
    slope, offset = (result["posterior"][n].values for n in ("slope", "offset"))
    return slope[..., None, None] * x.numpy()[:, None] + offset[..., None, :]


@pytest.mark.parametrize("count", [2, 3, 4])  # as many draws as neurons or trials, and more
def test_posterior_predictive_goes_with_its_draw(count: int, tmp_path: Path) -> None:
    x, y, result = data(3), data(3, 2), line_draws(count)
    tree = sample_posterior_predictive(result, line, x, y, seed=1)
    found = tree["posterior_predictive/y"]
    np.testing.assert_allclose(found, line_by_hand(result, x), atol=1e-7)
    assert found.dims == ("chain", "draw", "trial", "neuron")
    np.testing.assert_array_equal(found["neuron"], ["a", "b"])
    np.testing.assert_array_equal(tree["observed_data/y"], y)
    assert tree["observed_data/y"].dims == ("trial", "neuron")
    xr.testing.assert_identical(load(save(tree, tmp_path / "r.nc")), tree)
    assert set(result.children) == {"posterior"}
    without_data = sample_posterior_predictive(result, line, x, seed=1)
    np.testing.assert_array_equal(without_data["posterior_predictive/y"], found)


def test_seeds_and_global_state() -> None:
    x, y, result = data(3), data(3, 2), line_draws(4)
    torch.manual_seed(3)
    before = torch.random.get_rng_state().clone()
    first, again, other = (
        sample_posterior_predictive(result, line, x, y, seed=s, noise=1.0) for s in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    xr.testing.assert_identical(first, again)
    assert first["posterior_predictive"].attrs == {"seed": 1}
    assert (first["posterior_predictive/y"] != other["posterior_predictive/y"]).all()


@pytest.mark.stat
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_replicated_data_of_a_mixture_have_its_moments(seed: int) -> None:
    weight = np.tile([0.3, 0.7], (1, 1500, 1))
    mean = np.tile([-2.0, 1.0], (1, 1500, 1))
    result = build_result({"weight": weight, "mean": mean})
    y = sample_posterior_predictive(result, mixture, data(2), seed=seed)
    scores = moment_z_scores(y["posterior_predictive/y"].values, 0.1, 1 + 0.3 * 0.7 * 3**2)
    assert np.abs(scores).max() < LARGEST_Z
    assert set(y["posterior_predictive"].data_vars) == {"y"}


def test_predictions_under_new_circumstances(tmp_path: Path) -> None:
    result, x = line_draws(4), data(5, seed=9)
    tree = predictions(
        result,
        line,
        x,
        seed=1,
        constant_data={"x": x.numpy()},
        coords={"trial": [10, 11, 12, 13, 14]},
        dims={"x": ["trial"]},
    )
    found = tree["predictions"]
    np.testing.assert_allclose(found["y"], line_by_hand(result, x), atol=1e-7)
    np.testing.assert_allclose(found["mean"], line_by_hand(result, x), rtol=1e-12)
    assert found["y"].dims == ("chain", "draw", "trial", "neuron")
    np.testing.assert_array_equal(found["trial"], [10, 11, 12, 13, 14])
    np.testing.assert_array_equal(found["neuron"], ["a", "b"])
    np.testing.assert_array_equal(tree["predictions_constant_data/x"], x)
    assert tree["predictions_constant_data/x"].dims == ("trial",)
    xr.testing.assert_identical(load(save(tree, tmp_path / "r.nc")), tree)


def test_predictions_do_not_take_labels_of_old_data() -> None:
    x = data(3)
    fitted = sample_posterior_predictive(line_draws(4), line, x, data(3, 2), seed=1)
    fitted["observed_data"] = xr.DataTree(
        fitted["observed_data"].to_dataset().assign_coords(trial=["p", "q", "r"])
    )
    np.testing.assert_array_equal(predictions(fitted, line, x)["predictions"]["trial"], range(3))


def test_new_units_are_drawn_anew() -> None:
    def units(n: int, y: torch.Tensor | None = None) -> None:
        center = pyro.sample("center", dist.Normal(0.0, 1.0))
        with pyro.plate("unit", n):
            level = pyro.sample("level", dist.Normal(center, 1e-9))
            pyro.sample("y", dist.Normal(level, 1e-9), obs=y)

    result = draws(center=(), level=(3,))
    with pytest.raises(DataError, match=r"`level` has shape \(3,\) in each draw, but \(5,\)"):
        predictions(result, units, 5)
    tree = predictions(result, units, 5, redraw=["level"])
    exact = np.repeat(result["posterior/center"].values[..., None], 5, -1)
    np.testing.assert_allclose(tree["predictions/y"], exact, atol=1e-7)
    np.testing.assert_allclose(tree["predictions/level"], exact, atol=1e-7)
    with pytest.raises(DataError, match="`redraw` names `lvl`, of which there are no draws"):
        predictions(result, units, 5, redraw=["lvl"])


@pytest.mark.stat
@pytest.mark.parametrize("seed", [1, 2])
def test_prior_and_its_predictive(seed: int) -> None:
    y = data(3, 2)
    tree = sample_prior_predictive(line, data(3), y, draws=800, seed=seed, noise=0.5)
    assert tree["prior/offset"].dims == ("chain", "draw", "neuron")
    assert set(tree["prior"].data_vars) == {"slope", "offset", "mean"}
    residual = (tree["prior_predictive/y"] - tree["prior/mean"]).values
    exact = [
        (tree["prior/slope"].values, 1.0),
        (tree["prior/offset"].values, 1.0),
        (residual, 0.25),
    ]
    for values, variance in exact:
        assert np.abs(moment_z_scores(values, 0.0, variance)).max() < LARGEST_Z
    np.testing.assert_allclose(
        tree["prior/mean"].values,
        tree["prior/slope"].values[..., None, None] * data(3).numpy()[:, None]
        + tree["prior/offset"].values[..., None, :],
        rtol=1e-12,
    )
    np.testing.assert_array_equal(tree["observed_data/y"], y)
    assert tree["prior"].attrs == {"seed": seed}


def improper(y: torch.Tensor) -> None:
    level = pyro.sample("level", dist.ImproperUniform(dist.constraints.real, (), ()))
    pyro.sample("y", dist.Normal(level, 1.0), obs=y)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(CapabilityError, match="some prior is improper"):
        sample_prior_predictive(improper, data())
    with pytest.raises(SettingError, match="`draws` must be a positive integer; got 0"):
        sample_prior_predictive(line, data(3), draws=0)
    exact = sample_posterior_predictive(draws(level=()), improper, data(), seed=1)
    assert exact["posterior_predictive/y"].shape == (2, 5)


def test_what_the_draws_lack() -> None:
    with pytest.raises(DataError, match=r"no draws of `offset`.*there are draws of slope"):
        sample_posterior_predictive(draws(slope=()), line, data(3), data(3, 2))
    observed = {"observed_data": {"y": data(3, 2).numpy()}}
    known = build_result({"slope": np.zeros((2, 5))}, groups=observed)
    with pytest.raises(DataError, match="no draws of `offset`"):
        sample_posterior_predictive(known, line, data(3))
    with pytest.raises(CapabilityError, match="nothing to predict"):
        sample_posterior_predictive(draws(slope=(2,), y=(4,)), regression, data(4, 2))


def test_missing_data_are_given_or_drawn() -> None:
    def program(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("trial", len(y)):
            pyro.sample("y", dist.Normal(mean, 1e-9), obs=y, obs_mask=~y.isnan())

    y = data(4)
    y[1] = torch.nan
    result = draws(mean=(), y_unobserved=(4,))
    tree: Any = sample_posterior_predictive(result, program, y, seed=1)
    exact = np.repeat(result["posterior/mean"].values[..., None], 4, -1)
    np.testing.assert_allclose(tree["posterior_predictive/y_observed"], exact, atol=1e-7)


def test_discrete_draws_survive() -> None:
    tree = sample_prior_predictive(mixture, data(4), draws=50, seed=1)
    assert tree["prior/which"].dtype == np.int64
    assert set(np.unique(tree["prior/which"])) == {0, 1}
    assert mixture_draws()["posterior/mean"].dims == ("chain", "draw", "state")


@pytest.mark.parametrize("number", [2, 3, 30])
def test_many_draws_at_once_have_the_law_of_one(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of draws that equal sizes of the program are not taken for one another."""

    def program(y: torch.Tensor) -> None:
        rate = pyro.sample("rate", dist.Uniform(0.0, 100.0))
        with pyro.plate("unit", 3), pyro.plate("trial", 2):
            pyro.sample("y", dist.Poisson(rate).expand([2, 3, 2]).to_event(1), obs=y)

    levels = np.linspace(1.0, 90.0, number) * np.ones((2, 1))
    made = build_result({"rate": levels})
    monkeypatch.setattr(fresh_draws, "log", None)  # its only use is to say that it gave up
    found = sample_posterior_predictive(made, program, torch.ones(2, 3, 2), seed=1)
    drawn = found["posterior_predictive/y"]
    assert drawn.dims[:4] == ("chain", "draw", "trial", "unit")
    assert drawn.shape == (2, number, 2, 3, 2)
    scores = (drawn.values - levels[..., None, None, None]) / np.sqrt(levels)[..., None, None, None]
    assert np.abs(scores.mean((2, 3, 4)) * np.sqrt(12)).max() < LARGEST_Z
    assert len(np.unique(scores)) > drawn.size / 4  # each draw has random numbers of its own
    again = sample_posterior_predictive(made, program, torch.ones(2, 3, 2), seed=1)
    np.testing.assert_array_equal(drawn, again["posterior_predictive/y"])


def test_what_cannot_be_batched_runs_draw_by_draw(caplog: pytest.LogCaptureFixture) -> None:
    def program(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        law = dist.Normal(mean, 1.0) if float(mean) > 0 else dist.Normal(mean, 0.01)
        pyro.sample("y", law, obs=y)

    made = build_result({"mean": np.array([[5.0, -5.0] * 20])})
    with caplog.at_level("INFO", logger="probneuro"):
        found = sample_posterior_predictive(made, program, torch.tensor(0.0), seed=1)
    assert "draw by draw" in caplog.text
    drawn = found["posterior_predictive/y"].values[0]
    assert np.std(drawn[1::2]) < 0.05 < np.std(drawn[::2])
