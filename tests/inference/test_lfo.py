"""Leave-future-out prediction against closed forms, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from arviz_stats.base import array_stats
from linear_gaussian_engine import ExactGaussian, laplace
from scipy import stats

from probneuro import compare, lfo_cv, load, save
from probneuro.core.errors import CapabilityError, DataError, InferenceError, SettingError
from probneuro.core.pareto import LARGEST_K, smooth_weights
from probneuro.core.results import build_result
from probneuro.core.state_space import Series
from probneuro.inference.nuts import NUTS
from probneuro.inference.pmmh import PMMH
from probneuro.testing.state_space import FiniteChain, forward_backward
from probneuro.testing.stats import LARGEST_Z

SIZES: dict[str, Any] = {"draws": 300, "chains": 2, "progress": False, "engine": ExactGaussian()}


def series(length: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    y = np.zeros(length)
    for t in range(length):
        y[t] = 0.6 * (y[t - 1] if t else 0.0) + rng.normal()
    return torch.tensor(y)


def level(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def autoregressive(y: torch.Tensor) -> None:
    coefficient = pyro.sample("coefficient", dist.Normal(0.0, 1.0))
    past = torch.cat([torch.zeros(1, dtype=y.dtype), y[:-1]])
    pyro.sample("y", dist.Normal(coefficient * past, 1.0), obs=y)  # no plate at all


def effects(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("time", len(y)):
        effect = pyro.sample("effect", dist.Normal(mean, 0.7))
        pyro.sample("y", dist.Normal(effect, 1.0), obs=y)


def summed_steps(y: torch.Tensor) -> None:
    with pyro.plate("time", len(y)):
        step = pyro.sample("step", dist.Normal(0.0, 0.5))
        pyro.sample("y", dist.Normal(step.cumsum(0), 1.0), obs=y)


def exact_blocks(program: Any, y: torch.Tensor, edges: list[int]) -> np.ndarray:
    """Log predictive densities as differences of log evidences, which are Gaussian integrals."""
    evidence = [laplace(program, y[:stop])[3] if stop else 0.0 for stop in edges]
    return np.diff(evidence)


@pytest.mark.stat
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "program",
    [
        level,
        autoregressive,
        *(pytest.param(p, marks=pytest.mark.slow) for p in (effects, summed_steps)),
    ],
)
def test_predictions_are_those_of_closed_forms(program: Any, exact: bool, seed: int) -> None:
    y = series(16, seed)
    found = lfo_cv(None, program, y, min_observations=4, block=2, exact=exact, seed=seed, **SIZES)[
        "lfo"
    ]
    right = exact_blocks(program, y, [*range(4, 16, 2), 16])
    np.testing.assert_array_equal(found["block"], range(4, 16, 2))
    scores = (found["elpd"].values - right) / found["mcse"].values
    assert np.abs(scores).max() < LARGEST_Z
    assert abs(found["elpd"].sum() - right.sum()) / found["total_mcse"] < LARGEST_Z
    assert 0 < found["total_mcse"] < 1
    assert bool(found["refit"].all()) == exact
    assert (found["pareto_k"].values[found["refit"] == 0] <= LARGEST_K).all()
    assert found["pareto_k"].isnull().values.tolist() == (found["refit"] == 1).values.tolist()


@pytest.mark.stat
@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3))])
@pytest.mark.parametrize(("exact", "block"), [(True, 1), (False, 1), (False, 5)])
def test_the_sum_from_nothing_on_is_the_log_evidence(exact: bool, block: int, seed: int) -> None:
    y = series(7, seed)
    found = lfo_cv(
        None, level, y, min_observations=0, block=block, exact=exact, seed=seed, **SIZES
    )["lfo"]
    z = (found["elpd"].sum() - laplace(level, y)[3]) / found["total_mcse"]
    assert abs(z) < LARGEST_Z


@pytest.mark.stat
def test_a_posterior_that_is_too_wide_is_seen() -> None:
    y = series(9)
    wide = {**SIZES, "engine": ExactGaussian(width=2.0)}
    found = lfo_cv(None, level, y, min_observations=2, exact=True, seed=1, **wide)["lfo"]
    right = exact_blocks(level, y, list(range(2, 10)))
    assert abs(found["elpd"].sum() - right.sum()) / found["total_mcse"] > LARGEST_Z


@pytest.mark.stat
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_surprising_data_are_fitted_anew(seed: int) -> None:
    y = torch.cat([series(6, seed), series(6, seed) + 6.0])
    settings: dict[str, Any] = {"min_observations": 3, "seed": seed, **SIZES}
    found = lfo_cv(None, level, y, **settings)["lfo"]
    right = exact_blocks(level, y, list(range(3, 13)))
    assert found["refit"].values[0] == 1
    assert found["refit"].values[4:].any()
    scores = (found["elpd"].values - right) / found["mcse"].values
    assert np.abs(scores).max() < LARGEST_Z
    never = lfo_cv(None, level, y, largest_k=np.inf, **settings)["lfo"]
    assert never["refit"].sum() == 1
    assert never["pareto_k"].max() > LARGEST_K


def log_evidence(counts: list[int]) -> float:
    """Of the finite chain, by quadrature over its parameter."""
    grid = (np.arange(200) + 0.5) / 200
    prior = stats.beta(4.0, 2.0).logpdf(grid) - np.log(200)
    exact = [forward_backward(FiniteChain(), {"stay": s}, counts).log_evidence for s in grid]
    return float(np.logaddexp.reduce(prior + exact))


@pytest.mark.stat
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_state_space_models_states_are_integrated_out(seed: int) -> None:
    counts = [0, 1, 7, 5, 6, 0]
    settings: dict[str, Any] = {"num_particles": 50, "seed": seed, "progress": False}
    settings |= {"engine": PMMH(warmup=100, num_particles=50), "draws": 150, "chains": 2}
    found = lfo_cv(None, FiniteChain(), counts, min_observations=0, block=1, **settings)["lfo"]
    assert abs(found["elpd"].sum() - log_evidence(counts)) / found["total_mcse"] < LARGEST_Z
    last = lfo_cv(None, FiniteChain(), Series(counts), min_observations=4, block=2, **settings)
    right = log_evidence(counts) - log_evidence(counts[:4])
    assert abs(last["lfo/elpd"].item() - right) / last["lfo/total_mcse"] < LARGEST_Z
    np.testing.assert_array_equal(last["lfo/num_observations"], [2])
    np.testing.assert_array_equal(last["lfo/observed_total"], [6])


def test_weights_are_those_of_arviz() -> None:
    for seed, scale in enumerate((0.3, 1.0, 3.0)):
        ratios = np.random.default_rng(seed).normal(0, scale, 1000)
        log_weights, k = smooth_weights(ratios)
        theirs, their_k = array_stats.psislw(-ratios, r_eff=1.0)
        assert k == pytest.approx(float(their_k), abs=0.03)
        np.testing.assert_allclose(log_weights, theirs, atol=0.1)
    assert smooth_weights(np.zeros(50))[1] == 0.0
    assert smooth_weights(np.arange(10.0))[1] == np.inf
    assert smooth_weights(np.full(50, -np.inf))[1] == np.inf


def test_a_loop_over_time_is_continued() -> None:
    def scan(y: torch.Tensor) -> None:
        states = [pyro.sample("state_0", dist.Normal(0.0, 0.5))]
        for t in range(1, len(y)):
            states.append(pyro.sample(f"state_{t}", dist.Normal(states[-1], 0.5)))
        with pyro.plate("time", len(y)):
            pyro.sample("y", dist.Normal(torch.stack(states), 1.0), obs=y)

    y = series(6)
    found = lfo_cv(None, scan, y, min_observations=3, block=2, exact=True, seed=1, **SIZES)["lfo"]
    scores = (found["elpd"].values - exact_blocks(scan, y, [3, 5, 6])) / found["mcse"].values
    assert np.abs(scores).max() < LARGEST_Z


def test_arguments_are_cut_wherever_time_is() -> None:
    def grid(y: Any, table: dict[str, torch.Tensor], *, gain: torch.Tensor) -> None:
        y = torch.as_tensor(y.values)
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("neuron", 2, dim=-2), pyro.plate("time", y.shape[1], dim=-1):
            pyro.sample("y", dist.Normal(slope * table["x"] + gain, 1.0), obs=y)

    def plain(y: torch.Tensor, x: torch.Tensor) -> None:
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("neuron", 2, dim=-2), pyro.plate("time", y.shape[1], dim=-1):
            pyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)

    x, y = series(5, 2), torch.stack([series(5), series(5, 1)])
    settings: dict[str, Any] = {"min_observations": 3, "seed": 1, **SIZES}
    labelled = xr.DataArray(y.numpy(), dims=["neuron", "time"])
    one = lfo_cv(
        None,
        grid,
        labelled,
        {"x": x},
        gain=torch.zeros(5),
        **{**settings, "engine": NUTS(warmup=100)},
    )
    two = lfo_cv(
        None, plain, y, x, truncate=lambda a, stop: (a[0][:, :stop], a[1][:stop]), **settings
    )
    np.testing.assert_allclose(one["lfo/elpd"], two["lfo/elpd"], atol=0.2)
    np.testing.assert_array_equal(two["lfo/num_observations"], [2, 2])


def test_results_seeds_and_files(tmp_path: Path) -> None:
    y = series(6)
    fit = build_result({"mean": np.zeros((2, 50))})
    settings: dict[str, Any] = {"min_observations": 3, "engine": ExactGaussian(), "progress": False}
    first, again, other = (lfo_cv(fit, level, y, seed=s, **settings) for s in (1, 1, 2))
    xr.testing.assert_identical(first, again)
    assert not first.equals(other)
    assert "lfo" not in fit.children
    assert "posterior" in first.children
    assert (first["lfo"].attrs["draws"], first["lfo"].attrs["chains"]) == (50, 2)
    xr.testing.assert_identical(load(save(first, tmp_path / "r.nc")), first)
    table = compare(
        {"level": first, "walk": lfo_cv(fit, summed_steps, y, seed=1, **settings)}, by="lfo"
    )
    best, worse = table.index
    blocks = {"level": first["lfo/elpd"].values}
    assert table.loc["level", "elpd"] == pytest.approx(blocks["level"].sum())
    assert table.loc["level", "se"] == pytest.approx(np.sqrt(3) * blocks["level"].std(ddof=1))
    assert table.loc["level", "mcse"] == pytest.approx(first["lfo/total_mcse"].item())
    assert table.loc[best, ["elpd_diff", "dse"]].tolist() == [0, 0]
    assert table.loc[worse, "elpd_diff"] < 0
    assert table.loc[worse, "dse"] > 0
    assert table["warning"].all()  # three blocks are few
    assert "bits_per_spike" not in table
    short = lfo_cv(fit, level, y, seed=1, **{**settings, "min_observations": 4})
    with pytest.raises(DataError, match=r"differ in `block` of `lfo`: 3 \(3 to 5\) and 2 \(4 to 5"):
        compare({"a": first, "b": short}, by="lfo")
    shifted = lfo_cv(fit, level, y + 1, seed=1, **settings)
    with pytest.raises(DataError, match="differ in `observed_total`"):
        compare({"a": first, "b": shifted}, by="lfo")
    with pytest.raises(DataError, match=r"'b' has no group `lfo`.*Add it by `lfo_cv`"):
        compare({"a": first, "b": fit}, by="lfo")


def test_fits_are_taken_up_again(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"min_observations": 2, "block": 2, "draws": 20, "chains": 1}
    settings |= {"progress": False, "exact": True, "engine": NUTS(warmup=20), "seed": 1}
    first, again = (
        lfo_cv(None, level, series(5), checkpoint=tmp_path, **settings) for _ in range(2)
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["before_2", "before_4"]
    xr.testing.assert_identical(first, again)


def centred(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mean + y.mean(), 1.0), obs=y)


def scaled_prior(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0 / len(y)))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def process(y: torch.Tensor) -> None:
    path = pyro.sample("path", dist.Normal(torch.zeros(len(y)), 1.0).to_event(1))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(path, 1.0), obs=y)


def anchored(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    pyro.sample("anchor", dist.Normal(mean, 1.0), obs=torch.tensor(0.0))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def two_plates(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("one", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)
    with pyro.plate("two", 2):
        pyro.sample("z", dist.Normal(mean, 1.0), obs=torch.zeros(2))


def unknown_length(y: Any) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("time", 6):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=torch.zeros(6))


def improper(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.ImproperUniform(dist.constraints.real, (), ()))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def impossible(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Uniform(mean - 100, mean - 50, validate_args=False), obs=y)


@pytest.mark.parametrize(
    ("program", "changes", "error", "message"),
    [
        (centred, {}, CapabilityError, "density of `y` at times before 5 changes once later"),
        (scaled_prior, {}, CapabilityError, "density of `mean` at times before 5 changes"),
        (process, {}, CapabilityError, r"`path` has shape \(5,\) after 5 times and \(6,\)"),
        (anchored, {"min_observations": 0}, CapabilityError, "`anchor` is observed without `time`"),
        (two_plates, {}, SettingError, "which of the dimensions one, two of the observations"),
        (two_plates, {"dim": "tow"}, SettingError, "Did you mean 'two'"),
        (unknown_length, {}, SettingError, "arguments cut at 5, the program observes 6"),
        (improper, {}, CapabilityError, "some prior is improper. Give it a proper prior, or pass"),
        (impossible, {"min_observations": 0}, InferenceError, "No draw gives the block from"),
        (lambda y: None, {}, CapabilityError, "observes nothing"),
        (level, {"min_observations": 6}, SettingError, "has 6 times, so that nothing is left"),
        (level, {"min_observations": -1}, SettingError, "`min_observations` must be an integer of"),
        (level, {"block": 0}, SettingError, "`block` must be an integer of at least 1; got 0"),
        (level, {"truncate": lambda a, stop: a[0]}, SettingError, "`truncate` returned Tensor; it"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_refused(
    program: Any, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    settings: dict[str, Any] = {"min_observations": 3, "draws": 20, "chains": 1, "seed": 1}
    settings |= {"progress": False, "engine": ExactGaussian(), **changes}
    with pytest.raises(error, match=message):
        lfo_cv(None, program, series(6), **settings)


def test_what_cannot_be_cut_is_refused() -> None:
    def fixed(scale: float) -> None:
        level(scale * series(6))

    with pytest.raises(SettingError, match="None of the program's arguments has 6 rows"):
        lfo_cv(None, fixed, 2.0, min_observations=3, progress=False)
