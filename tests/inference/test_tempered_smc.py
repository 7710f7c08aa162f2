import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from pyro.poutine import mask, scale
from scipy.special import betaln, gammaln, logsumexp
from scipy.stats import multivariate_normal

from probneuro import compare, infer, load, save
from probneuro.core.engine import Arrays
from probneuro.core.errors import CapabilityError, CheckpointError, InferenceError, SettingError
from probneuro.core.progress import ChainStatus
from probneuro.inference import tempered_smc, tempering
from probneuro.inference.nuts import NUTS
from probneuro.inference.stages import StageKernel, Stopped, run_stages
from probneuro.inference.target import Target
from probneuro.inference.tempered_smc import SMCKernel, TemperedSMC, next_temperature, systematic
from probneuro.inference.tempering import read_tempered
from probneuro.testing.stats import LARGEST_Z, check_scores, mean_score, moment_z_scores

Floats = NDArray[np.float64]
POSTERIORDB = Path(__file__).parents[3] / "shared" / "data" / "posteriordb"
Y = torch.tensor([1.2, 0.4, 2.2, 1.9], dtype=torch.float64)


def normal(y: torch.Tensor, prior_sd: float = 2.0) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, prior_sd))
    with pyro.plate("unit", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def normal_evidence(prior_sd: float = 2.0) -> float:
    covariance = np.eye(4) + prior_sd**2
    return float(multivariate_normal.logpdf(Y.numpy(), np.zeros(4), covariance))


def coin(heads: torch.Tensor) -> None:
    bias = pyro.sample("bias", dist.Beta(2.0, 3.0))
    pyro.sample("heads", dist.Binomial(10, bias), obs=heads)


HEADS = torch.tensor(7.0)
COIN_EVIDENCE = float(gammaln(11) - gammaln(8) - gammaln(4) + betaln(2 + 7, 3 + 3) - betaln(2, 3))


def valley(y: torch.Tensor) -> None:
    """Two variables on a ring: no normal, and two modes far apart."""
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 4.0).to_event(1))
    parts = torch.stack([-0.5 * ((x - c) ** 2).sum() / 0.04 for c in (y, -y)])
    pyro.factor("modes", torch.logsumexp(parts, 0))


VALLEY = torch.tensor([3.0, 3.0], dtype=torch.float64)


def valley_evidence() -> float:
    each = multivariate_normal.logpdf([3.0, 3.0], [0.0, 0.0], 16.04 * np.eye(2))
    return float(np.log(2) + each + np.log(2 * np.pi * 0.04))


def fit(program: Any, *args: Any, **changes: Any) -> xr.DataTree:
    settings = {"particles": 500}
    settings |= {n: changes.pop(n) for n in list(changes) if n in TemperedSMC().settings()}
    options = {"draws": 500, "chains": 4, "seed": 1, "progress": False, **changes}
    return infer(program, *args, engine=TemperedSMC(**settings), **options)


def evidence(result: xr.DataTree) -> tuple[Floats, Floats]:
    stats = result["sample_stats"]
    names = "log_marginal_likelihood", "log_marginal_likelihood_error"
    return tuple(stats[name].values[:, 0] for name in names)


def evidence_scores(result: xr.DataTree, exact: float) -> dict[str, float]:
    """Return z-scores by the runs' own errors and by their scatter, on the evidence itself."""
    values, errors = evidence(result)
    ratios = np.exp(values - exact)
    own = float((ratios.mean() - 1) / np.sqrt((errors**2).sum() + 1e-12) * len(errors))
    return {"own": own, "scatter": mean_score(ratios, 1.0) if len(ratios) > 7 else 0.0}


@pytest.mark.stat
@pytest.mark.parametrize(
    ("program", "data", "exact", "site", "mean", "variance"),
    [
        (normal, Y, normal_evidence(), "mean", 4 / 17 * float(Y.sum()), 4 / 17),
        (coin, HEADS, COIN_EVIDENCE, "bias", 0.6, 0.6 * 0.4 / 16),
        pytest.param(
            *(valley, VALLEY, valley_evidence(), "x", [0.0, 0.0], None), marks=pytest.mark.slow
        ),
    ],
    ids=["normal", "beta-binomial", "two modes"],
)
def test_evidence_and_moments_are_exact(
    program: Any, data: torch.Tensor, exact: float, site: str, mean: Any, variance: Any
) -> None:
    result = fit(program, data, chains=8, particles=300)
    check_scores(evidence_scores(result, exact))
    draws = result["posterior"][site].values
    if variance is None:
        shrunk = 16 / 16.04
        spread = (3 * shrunk) ** 2 + 0.04 * shrunk
        # Runs differ in the share of their modes; each is one number.
        shares = (draws.sum(-1) > 0).mean(1)
        assert np.all((shares > 0.3) & (shares < 0.7)), shares
        assert abs(mean_score(shares, 0.5)) < LARGEST_Z
        assert abs(mean_score((draws**2).mean((1, 2)), spread)) < LARGEST_Z
    else:
        assert np.abs(moment_z_scores(draws, mean, variance)).max() < LARGEST_Z


@pytest.mark.slow
@pytest.mark.stat
def test_the_error_of_one_run_is_the_scatter_of_many() -> None:
    result = fit(normal, Y, chains=120, particles=100, draws=1)
    values, errors = evidence(result)
    ratios = np.exp(values - normal_evidence())
    check_scores({"mean": mean_score(ratios, 1.0)})
    deviations = (ratios - 1) ** 2
    check_scores({"variance": mean_score(deviations - errors**2)})
    with pytest.raises(AssertionError, match="beyond"):
        check_scores({"too small": mean_score(deviations - 0.25 * errors**2)})
    with pytest.raises(AssertionError, match="beyond"):
        check_scores({"too large": mean_score(deviations - 4 * errors**2)})


@pytest.mark.stat
def test_planted_faults_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_jacobian(self: Any, vector: torch.Tensor, heat: torch.Tensor) -> Any:
        value, both = right(self, vector, heat)
        values = self._transforms[0](vector[0])
        volume = self._transforms[0].log_abs_det_jacobian(vector[0], values)
        return value - volume, both - torch.stack([volume, torch.zeros(())])

    right = tempering.TemperedDensity._tempered
    with monkeypatch.context() as patch:
        patch.setattr(tempering.TemperedDensity, "_tempered", no_jacobian)
        result = fit(coin, HEADS, chains=8)
        draws = result["posterior"]["bias"].values
        assert np.abs(moment_z_scores(draws, 0.6, 0.6 * 0.4 / 16)).max() > LARGEST_Z

    def uniform(weights: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.permutation(len(weights))

    with monkeypatch.context() as patch:
        patch.setattr(tempered_smc, "systematic", uniform)
        patch.setattr(tempered_smc, "rank_correlation", lambda *_: 0.0)
        result = fit(normal, Y, chains=8)
        with pytest.raises(AssertionError, match="beyond"):
            check_scores(evidence_scores(result, normal_evidence()))


@pytest.mark.stat
def test_modes_that_nuts_does_not_join() -> None:
    trapped = infer(
        valley, VALLEY, engine=NUTS(warmup=150), draws=100, chains=4, seed=1, progress=False
    )
    sides = (trapped["posterior"]["x"].values.sum(-1) > 0).mean(1)
    assert set(sides) <= {0.0, 1.0}
    sides = (fit(valley, VALLEY, chains=1)["posterior"]["x"].values.sum(-1) > 0).mean(1)
    assert 0.3 < sides[0] < 0.7


def hierarchy(y: torch.Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    shares = pyro.sample("shares", dist.Dirichlet(torch.ones(3)))
    root = pyro.sample("root", dist.LKJCholesky(2, 1.0))
    with pyro.plate("unit", 2):
        level = pyro.sample("level", dist.LogNormal(rate.log(), 0.5))
        pyro.deterministic("double", 2 * level)
        pyro.sample("y", dist.Normal(level * shares[0] + root[1, 0], 0.3), obs=y)
    pyro.factor("pull", -0.1 * rate)


@pytest.mark.parametrize("traced", [True, False])
def test_density_is_that_of_the_program(traced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = torch.tensor([0.5, 1.5], dtype=torch.float64)
    whole: Any = Target.from_pyro(hierarchy, data)
    if not traced:
        monkeypatch.setattr(tempering.TemperedDensity, "_traced", lambda self: None)
    density = read_tempered(hierarchy, (data,), {}, num_places=7)
    assert density.traced is traced
    places = np.random.default_rng(0).normal(size=(10, density.dimension))
    found = density.at(places, 1.0)
    for place, prior, likelihood, gradient in zip(
        places, found.log_prior, found.log_likelihood, found.gradient, strict=True
    ):
        value, slope = whole.value_and_gradient(place)
        assert prior + likelihood == pytest.approx(value, rel=1e-10)
        np.testing.assert_allclose(gradient, slope, rtol=1e-8, atol=1e-10)
    low, high = density.at(places, 0.25).gradient, density.at(places, 0.75).gradient
    np.testing.assert_allclose(2 * high - low - (high - low) * 0.5, found.gradient, rtol=1e-8)
    variables = density.variables(places)
    np.testing.assert_allclose(density.positions(variables), places, atol=1e-8)
    one = whole.variables(places[3])
    assert variables.keys() == one.keys()
    for name, value in one.items():
        np.testing.assert_allclose(variables[name][3], value, rtol=1e-10)


@pytest.mark.stat
def test_particles_start_from_the_prior() -> None:
    density = read_tempered(hierarchy, (torch.zeros(2),), {}, num_places=1500)
    state = torch.get_rng_state()
    drawn = density.variables(density.prior_positions(1500, np.random.default_rng(1)))
    assert torch.equal(torch.get_rng_state(), state)
    check_scores({
        "rate": mean_score(drawn["rate"], 2.0),
        "rate squared": mean_score(drawn["rate"] ** 2, 6.0),
        "share": mean_score(drawn["shares"][:, 0], 1 / 3),
        "level": mean_score(np.log(drawn["level"][:, 1]) - np.log(drawn["rate"]), 0.0),
        "root": mean_score(drawn["root"][:, 1, 0] ** 2, 1 / 3),
    })  # fmt: skip


def test_result_has_its_groups(tmp_path: Path) -> None:
    result = fit(hierarchy, torch.tensor([0.5, 1.5]), particles=100, draws=150, chains=2)
    assert result["posterior"]["level"].dims == ("chain", "draw", "unit")
    assert result["posterior"]["double"].shape == (2, 150, 2)
    stats = result["sample_stats"]
    assert set(stats.data_vars) == {
        *("lp", "log_marginal_likelihood", "log_marginal_likelihood_error")
    }
    assert all(values.dims == ("chain", "draw") for values in stats.data_vars.values())
    history = result["fit_history"]
    assert history["temperature"].dims == ("chain", "stage")
    temperature = history["temperature"].values
    assert np.nanmax(temperature) == 1 and np.all(np.diff(temperature)[:, 0] > 0)
    assert np.nanmin(history["ess"]) > 0.84 * 100
    last = history["log_marginal_likelihood"].values
    ends = [row[np.isfinite(row)][-1] for row in last]
    np.testing.assert_array_equal(ends, evidence(result)[0])
    xr.testing.assert_identical(load(save(result, tmp_path / "smc.nc")), result)


def test_workers_and_resuming_do_not_change_the_draws(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = {"particles": 60, "draws": 30, "chains": 2}
    full = fit(coin, HEADS, **options, workers=2, checkpoint=folder)
    for path in folder.glob("chain-*/segment-*.npz"):
        if int(path.stem.split("-")[1]) >= 2:
            path.unlink()
    resumed = fit(coin, HEADS, **options, workers=1, checkpoint=folder)
    plain = fit(coin, HEADS, **options, workers=1)
    for group in ("posterior", "sample_stats", "fit_history"):
        xr.testing.assert_identical(full[group].to_dataset(), resumed[group].to_dataset())
        xr.testing.assert_identical(full[group].to_dataset(), plain[group].to_dataset())
    more = fit(coin, HEADS, **(options | {"chains": 3}), checkpoint=folder)
    np.testing.assert_array_equal(evidence(more)[0][:2], evidence(full)[0])
    with pytest.raises(CheckpointError, match="`seed` was 1, is now 2"):
        fit(coin, HEADS, **options, checkpoint=folder, seed=2)


class Countdown(StageKernel):
    """Five stages; the third is interrupted, or fails, the first time."""

    def __init__(self, trouble: type[BaseException] | None = None) -> None:
        self.trouble = trouble

    def init(self, rng: np.random.Generator) -> Arrays:
        return {"left": np.array(5), "sum": np.array(0.0)}

    def stage(
        self, state: Arrays, rng: np.random.Generator, stop: threading.Event
    ) -> tuple[Arrays, Arrays]:
        if self.trouble is Stopped and stop.wait(5):
            raise Stopped
        if self.trouble not in (None, Stopped) and state["left"] == 3:
            raise self.trouble("the third")
        x = rng.normal()
        return {"left": state["left"] - 1, "sum": state["sum"] + x}, {"x": np.array(x)}

    def share(self, state: Arrays) -> float:
        return 1 - float(state["left"]) / 5

    def words(self, state: Arrays) -> str:
        return f"{state['left']} left"


def test_a_failed_stage_keeps_those_before_it(tmp_path: Path) -> None:
    options = {"chains": 2, "seed": 4, "progress": False}
    message = r"Chain \d failed at stage 2, seed 4: ValueError: the third. The stages before it are"
    with pytest.raises(InferenceError, match=message):
        run_stages(Countdown(ValueError), **options, checkpoint=tmp_path, workers=1)
    assert len(list(tmp_path.glob("chain-0/segment-*.npz"))) == 2
    resumed = run_stages(Countdown(), **options, checkpoint=tmp_path)
    straight = run_stages(Countdown(), **options)
    assert [r.state["sum"] for r in resumed] == [s.state["sum"] for s in straight]
    np.testing.assert_array_equal(resumed[0].history["x"], straight[0].history["x"])
    with pytest.raises(InferenceError, match="Pass `checkpoint=` to keep the stages"):
        run_stages(Countdown(ValueError), **options)


def test_an_interrupt_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import probneuro.inference.stages as stages

    options = {"chains": 1, "seed": 4, "progress": False}
    real = stages.wait

    def interrupt(futures: Any, timeout: float | None = None, **others: Any) -> Any:
        if timeout is not None:
            raise KeyboardInterrupt
        return real(futures, **others)

    monkeypatch.setattr(stages, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"after 0 stages .* All are kept in"):
        run_stages(Countdown(Stopped), **options, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt, match="Nothing was kept; pass `checkpoint=`"):
        run_stages(Countdown(Stopped), **options)
    monkeypatch.setattr(stages, "wait", real)
    again = run_stages(Countdown(), **options, checkpoint=tmp_path)
    assert again[0].history["x"].shape == (5,)


def test_the_steps_of_a_stage_are_told() -> None:
    kernel = SMCKernel(read_tempered(normal, (Y,), {}, num_places=50), TemperedSMC(particles=50))
    rng = np.random.default_rng(0)
    state, shares = kernel.init(rng), []
    while kernel.share(state) < 1:
        state, _ = kernel.stage(state, rng, threading.Event())
        shares.append(kernel.share(state))
        words = ChainStatus(100, 0, note=kernel.words(state)).words()
        assert words.startswith(f"stage {len(shares)}, temperature ")
    assert shares == sorted(shares)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        kernel.stage(kernel.init(rng), rng, stop)


def test_evidences_are_compared() -> None:
    results = {
        "wide": fit(normal, Y, particles=300, draws=50),
        "narrow": fit(normal, Y, 0.3, particles=300, draws=50),
    }
    table = compare(results, by="evidence")
    exact = normal_evidence() - normal_evidence(0.3)
    assert list(table.index) == ["wide", "narrow"]
    assert abs(table.loc["narrow", "elpd_diff"] + exact) < LARGEST_Z * table.loc["narrow", "dse"]
    assert not table["warning"].any()
    expected = logsumexp(evidence(results["wide"])[0]) - np.log(4)
    assert table.loc["wide", "elpd"] == pytest.approx(expected)


def test_a_likelihood_that_forbids_places() -> None:
    def uniform(y: torch.Tensor) -> None:
        top = pyro.sample("top", dist.HalfNormal(2.0))
        inside = (y.max() < top).to(y.dtype)
        pyro.factor("y", torch.log(inside) - len(y) * torch.log(top))

    grid = np.linspace(2.2, 20, 200_001)
    density = np.sqrt(2 / np.pi) / 2 * np.exp(-(grid**2) / 8) * grid**-4
    exact = float(np.log(np.trapezoid(density, grid)))
    check_scores(evidence_scores(fit(uniform, Y, particles=300), exact))


def test_algebra_that_fails_somewhere_is_an_impossible_place() -> None:
    def program() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        matrix = torch.stack([torch.ones(()), 0.4 * x, 0.4 * x, torch.ones(())]).reshape(2, 2)
        pyro.factor("f", torch.linalg.cholesky(matrix).diagonal().log().sum())

    density = read_tempered(program, (), {}, num_places=6)
    places = np.array([[0.0], [2.6], [0.5], [-3.0], [np.nan], [0.1]])
    found = density.at(places, 1.0).log_likelihood
    assert np.isfinite(found).tolist() == [True, False, True, False, False, True]
    np.testing.assert_allclose(found[2], 0.5 * np.log(1 - 0.04))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"particles": 3}, "`particles` must be at least 10; got 3"),
        ({"effective_share": 1.0}, "`effective_share` must lie between 0 and 1; got 1.0"),
        ({"max_moves": 0}, "`max_moves` must be at least 1; got 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        TemperedSMC(**settings)


def test_bad_sizes() -> None:
    with pytest.raises(SettingError, match="`draws` must be at least 1"):
        fit(normal, Y, draws=0)
    with pytest.raises(SettingError, match="`chains` must be an integer of at least 1; got 0"):
        fit(normal, Y, chains=0)


def flat() -> None:
    pyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))


def masked() -> None:
    pyro.sample("x", dist.Normal(0.0, 1.0).mask(False))


def masked_outside() -> None:
    with mask(mask=False):
        pyro.sample("x", dist.Normal(0.0, 1.0))


def scaled() -> None:
    with scale(scale=2.0):
        pyro.sample("x", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (flat, r"prior of `x` is improper \(ImproperUniform\)"),
        (masked, "prior of `x` is masked or scaled"),
        (masked_outside, "prior of `x` is masked or scaled"),
        (scaled, "prior of `x` is masked or scaled"),
    ],
)
def test_priors_that_cannot_be_drawn_from_are_refused(program: Any, message: str) -> None:
    with pytest.raises(CapabilityError, match=message):
        fit(program)


def test_impossible_data_are_told() -> None:
    def impossible() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("no", torch.log(0.0 * x**2))

    with pytest.raises(InferenceError, match="only 0 of 500 prior draws have a finite log"):
        fit(impossible, chains=1)
    with pytest.raises(
        InferenceError, match=r"no temperature above 0\.5 keeps 90% of the particles"
    ):
        next_temperature(np.array([0.0, -1e30, -1e30]), 0.5, 0.9)

    def edge() -> None:
        pyro.sample("x", dist.LogNormal(1000.0, 1.0))

    with pytest.raises(InferenceError, match="prior draws are at the edge of their support"):
        fit(edge, chains=1, particles=10)


def test_sites_that_come_late_are_told() -> None:
    calls = []

    def program() -> None:
        calls.append(1)
        pyro.sample("x", dist.Normal(0.0, 1.0))
        if len(calls) > 6:
            pyro.sample("late", dist.Normal(0.0, 1.0))

    with pytest.raises(CapabilityError, match="Site `late` is there in some runs"):
        fit(program, particles=20)


def test_stickiness_is_told(caplog: pytest.LogCaptureFixture) -> None:
    fit(valley, VALLEY, particles=300, max_moves=1, chains=1)
    assert "the moves left particles where they were" in caplog.text


def test_systematic_resampling_keeps_expectations() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(20, 0.3))
    counts = np.array([np.bincount(systematic(weights, rng), minlength=20) for _ in range(2000)])
    assert np.all(np.abs(counts - 20 * weights) < 1)
    part = 20 * weights % 1
    spread = np.sqrt(part * (1 - part) / 2000) + 1e-6
    scores = (counts.mean(0) - 20 * weights) / spread
    assert np.abs(scores).max() < LARGEST_Z


def eight_schools(y: torch.Tensor, sigma: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(y)):
        theta = pyro.deterministic("theta", mu + tau * pyro.sample("raw", dist.Normal(0.0, 1.0)))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def regression(design: torch.Tensor, y: torch.Tensor) -> None:
    beta = pyro.sample("beta", dist.Normal(torch.zeros(design.shape[1]), 10.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(10.0))
    pyro.sample("y", dist.Normal(design @ beta, sigma).to_event(1), obs=y)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "program", "fields", "exact"),
    [
        ("eight_schools-eight_schools_noncentered", eight_schools, ("y", "sigma"), -31.311347),
        ("sblrc-blr", regression, ("X", "y"), -194.967589),
    ],
)
def test_posteriordb(name: str, program: Any, fields: tuple[str, ...], exact: float) -> None:
    if not POSTERIORDB.exists():
        pytest.skip("no posteriordb here")
    raw = json.loads((POSTERIORDB / f"{name}.data.json").read_text())
    data = [torch.tensor(raw[f], dtype=torch.float64) for f in fields]
    result = fit(program, *data, particles=2000, draws=1000)
    check_scores(evidence_scores(result, exact))
    with np.load(POSTERIORDB / f"{name}.npz") as file:
        reference = {key: file[key] for key in file.files}
    scores = {}
    for key, draws in reference.items():
        site, _, index = key.partition("[")
        if site in result["posterior"]:
            ours = result["posterior"][site].values
            ours = ours[..., int(index[:-1]) - 1] if index else ours
            scores[key] = mean_score(ours.mean(1), draws.mean())
    assert np.abs(list(scores.values())).max() < 30, scores  # 3 degrees of freedom
