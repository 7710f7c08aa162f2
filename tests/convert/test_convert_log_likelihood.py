"""Log likelihoods against numbers worked out by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from scipy import stats

from probneuro import az, compute_log_likelihood, compute_log_prior, load, save
from probneuro.core.errors import CapabilityError, DataError, InferenceError, SettingError
from probneuro.core.results import build_result

from .programs import data, draws, mixture, mixture_draws, regression


def found(result: xr.DataTree, name: str = "y") -> np.ndarray:
    return result["log_likelihood"][name].values


@pytest.mark.parametrize("chunk", ["auto", 1, 3])
@pytest.mark.parametrize("count", [5, 6])  # as many draws as data, and one more
def test_regression_without_plates(count: int, chunk: Any) -> None:
    x, y = data(5, 2), data(5, seed=2)
    result = draws(count=count, slope=(2,))
    mean = np.einsum("nk,cdk->cdn", x.numpy(), result["posterior/slope"].values)
    tree = compute_log_likelihood(result, regression, x, y, chunk=chunk)
    np.testing.assert_allclose(found(tree), stats.norm.logpdf(y.numpy(), mean, 1), rtol=1e-12)
    assert tree["log_likelihood/y"].dims == ("chain", "draw", "y_dim_0")
    assert "log_likelihood" not in result.children


def test_a_single_draw_as_long_as_the_plate_is_not_spread_over_data() -> None:
    def program(y: torch.Tensor) -> None:
        with pyro.plate("neuron", 3):
            rate = pyro.sample("rate", dist.Exponential(1.0))
            with pyro.plate("trial", 3):
                pyro.sample("y", dist.Poisson(rate), obs=y)

    rng = np.random.default_rng(0)
    rate, y = rng.exponential(size=(1, 3, 3)), rng.poisson(2.0, size=(3, 3))
    result = build_result({"rate": rate}, dims={"rate": ["neuron"]})
    tree = compute_log_likelihood(result, program, torch.tensor(y, dtype=torch.float64))
    exact = stats.poisson.logpmf(y, rate[:, :, None, :])
    np.testing.assert_allclose(found(tree), exact, rtol=1e-12)
    assert tree["log_likelihood/y"].dims == ("chain", "draw", "trial", "neuron")


def test_events_are_one_observation_and_sites_keep_apart() -> None:
    covariance = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)

    def program(y: torch.Tensor, total: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.deterministic("double", 2 * mean)
        with pyro.plate("trial", 4):
            pyro.sample("y", dist.MultivariateNormal(mean, covariance), obs=y)
        pyro.sample("total", dist.Normal(mean.sum(), 1.0), obs=total)
        pyro.factor("extra", -mean.square().sum())

    y, total, result = data(4, 2), data(), draws(mean=(2,))
    tree = compute_log_likelihood(result, program, y, total)
    mean = result["posterior/mean"].values
    exact = np.array(
        [[stats.multivariate_normal.logpdf(y.numpy(), m, covariance) for m in row] for row in mean]
    )
    np.testing.assert_allclose(found(tree), exact, rtol=1e-12)
    exact = stats.norm.logpdf(total.item(), mean.sum(-1), 1)
    np.testing.assert_allclose(found(tree, "total"), exact, rtol=1e-12)
    np.testing.assert_allclose(found(tree, "extra"), -(mean**2).sum(-1), rtol=1e-12)
    assert set(tree["log_likelihood"].data_vars) == {"y", "total", "extra"}


def missing_by_mask(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("trial", len(y)), pyro.poutine.mask(mask=~y.isnan()):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def missing_by_distribution(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("trial", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0).mask(~y.isnan()), obs=y)


def missing_by_obs_mask(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("trial", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y, obs_mask=~y.isnan())


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (missing_by_mask, "y"),
        (missing_by_distribution, "y"),
        (missing_by_obs_mask, "y_observed"),
    ],
)
def test_missing_data_are_zero_and_counted(
    program: Callable[..., Any], name: str, tmp_path: Path
) -> None:
    y = data(6)
    y[[1, 4]] = torch.nan
    result = draws(mean=(), y_unobserved=(6,))
    tree = compute_log_likelihood(result, program, y)
    exact = stats.norm.logpdf(y.numpy(), result["posterior/mean"].values[..., None], 1)
    np.testing.assert_allclose(found(tree, name), np.nan_to_num(exact), rtol=1e-12)
    back = load(save(tree, tmp_path / "masked.nc"))
    assert back["log_likelihood"][name].attrs == {"num_masked": 2}
    xr.testing.assert_identical(back, tree)


def test_reduce_by_dimension_and_by_blocks() -> None:
    def program(y: torch.Tensor) -> None:
        with pyro.plate("neuron", 2, dim=-1):
            mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
            with pyro.plate("time", 7, dim=-2):
                pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    y, result = data(7, 2), draws(mean=(2,))
    full = found(compute_log_likelihood(result, program, y))
    summed = compute_log_likelihood(result, program, y, reduce="time")
    np.testing.assert_allclose(found(summed), full.sum(2), rtol=1e-12)
    assert summed["log_likelihood/y"].dims == ("chain", "draw", "neuron")
    both = compute_log_likelihood(result, program, y, reduce=["time", "neuron"])
    np.testing.assert_allclose(found(both), full.sum((2, 3)), rtol=1e-12)
    blocks = compute_log_likelihood(result, program, y, reduce={"time": 3})
    exact = np.stack([full[:, :, s : s + 3].sum(2) for s in (0, 3, 6)], 2)
    np.testing.assert_allclose(found(blocks), exact, rtol=1e-12)


def test_labels_come_from_the_result_and_blocks_take_their_first() -> None:
    x, y = data(4, 2), data(4, seed=2)
    result = build_result(
        {"slope": draws(slope=(2,))["posterior/slope"].values},
        dims={"y": ["time"]},
        coords={"time": [0.0, 0.5, 1.0, 1.5]},
        groups={"observed_data": {"y": y.numpy()}},
    )
    result["posterior"] = xr.DataTree(
        result["posterior"].to_dataset().assign_coords(draw=range(9, 14))
    )
    tree = compute_log_likelihood(result, regression, x, y, reduce={"time": 2})
    np.testing.assert_array_equal(tree["log_likelihood"]["time"], [0.0, 1.0])
    np.testing.assert_array_equal(tree["log_likelihood"]["draw"], range(9, 14))


def test_programs_that_depend_on_values_run_one_by_one() -> None:
    def program(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mean if mean > 0 else 10 * mean, 1.0), obs=y)

    y, result = data(), draws(mean=())
    mean = result["posterior/mean"].values
    exact = stats.norm.logpdf(y.item(), np.where(mean > 0, mean, 10 * mean), 1)
    np.testing.assert_allclose(found(compute_log_likelihood(result, program, y)), exact)


def test_batches_that_differ_from_single_draws_are_found_out() -> None:
    def program(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        batched = torch._C._functorch.is_batchedtensor(mean)
        pyro.sample("y", dist.Normal(mean.sum() + (1.0 if batched else 0.0), 1.0), obs=y)

    y, result = data(), draws(mean=(2,))
    exact = stats.norm.logpdf(y.item(), result["posterior/mean"].values.sum(-1), 1)
    np.testing.assert_allclose(found(compute_log_likelihood(result, program, y)), exact)


def test_discrete_draws_stored_small_are_used_as_the_program_needs_them() -> None:
    def program(y: torch.Tensor) -> None:
        with pyro.plate("trial", 4):
            which = pyro.sample("which", dist.Categorical(torch.ones(3)))
            edge = pyro.sample("edge", dist.Bernoulli(0.5))
            level = torch.tensor([0.0, 1.0, 2.0])[which]
            pyro.sample("y", dist.Normal(level * edge, 1.0), obs=y)

    rng = np.random.default_rng(0)
    which = rng.integers(3, size=(2, 5, 4)).astype(np.int16)
    edge, y = rng.random((2, 5, 4)) < 0.5, data(4)
    tree = compute_log_likelihood(build_result({"which": which, "edge": edge}), program, y)
    np.testing.assert_allclose(found(tree), stats.norm.logpdf(y.numpy(), which * edge, 1))


def test_scale_is_not_part_of_the_likelihood() -> None:
    def program(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.poutine.scale(scale=0.1):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    y, result = data(), draws(mean=())
    exact = stats.norm.logpdf(y.item(), result["posterior/mean"].values, 1)
    np.testing.assert_allclose(found(compute_log_likelihood(result, program, y)), exact)


def test_prior_and_likelihood_add_up_to_the_joint_density() -> None:
    x, y = data(5, 2), data(5, seed=2)
    tree = compute_log_prior(draws(slope=(2,)), regression, x, y)
    tree = compute_log_likelihood(tree, regression, x, y)
    slope = tree["posterior/slope"].values
    exact = stats.norm.logpdf(slope).sum(-1)
    np.testing.assert_allclose(tree["log_prior/slope"], exact, rtol=1e-12)
    assert tree["log_prior/slope"].dims == ("chain", "draw")
    conditioned = pyro.condition(regression, {"slope": torch.tensor(slope[1, 2])})
    joint = pyro.poutine.trace(conditioned).get_trace(x, y).log_prob_sum()
    ours = tree["log_prior/slope"].values[1, 2] + found(tree)[1, 2].sum()
    assert ours == pytest.approx(joint.item(), rel=1e-12)


def test_log_prior_of_plates_keeps_their_axes_and_arviz_takes_it() -> None:
    result = mixture_draws(count=100)
    y = data(4)
    tree = compute_log_likelihood(compute_log_prior(result, mixture, y), mixture, y)
    exact = stats.norm.logpdf(result["posterior/mean"].values, 0, 5)
    np.testing.assert_allclose(tree["log_prior/mean"], exact, rtol=1e-12)
    np.testing.assert_allclose(tree["log_prior/weight"], 0.0, atol=1e-12)
    assert set(az.psense_summary(tree).columns) >= {"prior", "likelihood"}


def test_own_float32_tensors_are_kept() -> None:
    x = data(5, 2).float()

    def program(y: torch.Tensor) -> None:
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(x @ slope, 1.0), obs=y)

    result, y = draws(slope=(2,)), data(5, seed=2).float()
    mean = np.einsum("nk,cdk->cdn", x.numpy(), result["posterior/slope"].values)
    tree = compute_log_likelihood(result, program, y)
    np.testing.assert_allclose(found(tree), stats.norm.logpdf(y.numpy(), mean, 1), rtol=1e-5)


def test_globals_are_left_as_found() -> None:
    pyro.clear_param_store()
    torch.manual_seed(4)
    before = torch.random.get_rng_state().clone(), torch.get_default_dtype()
    compute_log_likelihood(mixture_draws(), mixture, data(4))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert torch.get_default_dtype() == before[1]
    assert not pyro.get_param_store().keys()


def unseen(y: torch.Tensor) -> None:
    pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def subsampled(y: torch.Tensor) -> None:
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("trial", 10, subsample_size=3):
        pyro.sample("y", dist.Normal(slope.sum(), 1.0), obs=y[:3])


def untrained(y: torch.Tensor) -> None:
    scale = pyro.param("scale", torch.tensor(1.0))
    pyro.sample("slope", dist.Normal(torch.zeros(2), scale).to_event(1))


def larger(y: torch.Tensor) -> None:
    slope = pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(slope.sum(), 1.0), obs=y[0])


def other_names(y: torch.Tensor) -> None:
    pyro.sample("sloped", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(0.0, 1.0), obs=y[0])


def endless(y: torch.Tensor) -> None:
    count = pyro.sample("count", dist.Poisson(3.0))
    pyro.sample("y", dist.Normal(count, 1.0), obs=y[0])


def broken(y: torch.Tensor) -> None:
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("trial", len(y)):
        pyro.sample("y", dist.Normal(slope.sum(), 1.0), obs=y)


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        (unseen, CapabilityError, "observes nothing when called like this"),
        (subsampled, CapabilityError, "Plate `trial` takes 3 of 10 at random"),
        (untrained, CapabilityError, "parameter `scale`, which is neither in group"),
        (larger, DataError, r"`slope` has shape \(2,\) in each draw, but \(3,\)"),
        (other_names, DataError, "no draws of `sloped`.*; there are draws of slope"),
        (endless, CapabilityError, r"`count` is discrete \(Poisson\).* too many to sum"),
    ],
)
def test_refusals(program: Callable[..., Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compute_log_likelihood(draws(slope=(2,)), program, data(5))


def test_nan_is_told_with_its_place() -> None:
    y = data(5)
    y[3] = torch.nan
    message = r"`y` is NaN at 10 places, first in chain 0, draw 0, observation \(3,\).*Mask"
    with pytest.raises(InferenceError, match=message):
        compute_log_likelihood(draws(slope=(2,)), broken, y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk": 0}, "`chunk` must be a number of draws or 'auto'; got 0"),
        ({"reduce": "trail"}, "Unknown dimension in `reduce` 'trail'. Did you mean 'trial'"),
        ({"reduce": {"trial": -1}}, "`reduce` gives `trial` blocks of -1"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        compute_log_likelihood(draws(slope=(2,)), broken, data(5), **settings)


def test_results_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="no group `posterior`; it has no groups"):
        compute_log_likelihood(xr.DataTree(), broken, data(5))
    with pytest.raises(DataError, match="has no dimension `draw`"):
        compute_log_likelihood(draws(slope=(2,)).isel(draw=0), broken, data(5))
    with pytest.raises(SettingError, match="`model` must be a Model or a Pyro program; got int"):
        compute_log_likelihood(draws(slope=(2,)), 3, data(5))
