"""Forecasts: intervals that hold, files that keep them, fast forms that equal them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import probneuro as pn
from probneuro.core.errors import DataError, SettingError
from probneuro.data import StimTrials
from probneuro.models.tbfm import (
    TBFM,
    Forecaster,
    by_state,
    compile_forecast,
    coverage,
    evaluate,
    mean_r2,
    r2,
    r2_by_channel,
    r2_by_horizon,
    state_dependent_r2,
)
from probneuro.simulators.stim_lfp import simulate_ou, simulate_paired_pulses

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fitted() -> tuple[Forecaster, object, StimTrials]:
    made = simulate_paired_pulses(500, 4, interval=(0.01, 0.03), seed=6).trials
    train, test = made.split(400)
    return (*fit(train), test)


def fit(train: StimTrials, carry: bool = True) -> tuple[Forecaster, object]:
    model = TBFM(num_bases=8, own=0.01, cross=0.1, carry=carry)
    result = pn.infer(model, train, draws=2, chains=1, seed=0, progress=False)
    return Forecaster.from_result(result), result


@pytest.mark.stat
@pytest.mark.parametrize("seed", range(2))
def test_intervals_cover_what_they_should(seed: int) -> None:
    for train, test in (
        simulate_ou(2500, 2, seed=seed).split(1000),
        simulate_paired_pulses(2000, 3, seed=seed).split(1000),
    ):
        result = pn.infer(TBFM(), train.trials, draws=1, chains=1, seed=seed, progress=False)
        made = Forecaster.from_result(result)
        for method in ("posterior", "leave_one_out"):
            for level in (0.5, 0.9):
                found = made.intervals(test.trials, level=level, method=method)
                share = float(found[f"interval_{method}/coverage"].mean())
                assert abs(share - level) < 0.02, (method, level, share)


@pytest.mark.stat
def test_intervals_of_few_trials_are_wider_than_the_residuals() -> None:
    """With 120 trials and 60 features, in-sample residuals would cover too little."""
    train, test = simulate_ou(620, 3, seed=3).split(120)
    model = TBFM(num_bases=5, own=0.001, cross=0.001)
    result = pn.infer(model, train.trials, draws=1, chains=1, seed=0, progress=False)
    made = Forecaster.from_result(result)
    for method in ("posterior", "leave_one_out"):
        share = made.intervals(test.trials, method=method)[f"interval_{method}/coverage"]
        assert 0.86 < float(share.mean()) < 0.94
    residual = train.trials.response - made.forecast(train.trials)
    width = 1.645 * residual.std(0)
    naive = np.abs(test.trials.response - made.forecast(test.trials)) < width
    assert naive.mean() < 0.86


def test_draws_have_the_intervals_spread(fitted: tuple[Forecaster, object, StimTrials]) -> None:
    made, _, test = fitted
    runways, pattern = test.runways[:3], made.patterns_of(test)[:3]
    rng = np.random.default_rng(0)
    drawn = made.draw(runways, pattern, draws=4000, rng=rng)
    spread = made.fit.scaling.scale[:, None] * made.scale(made.spread(runways, pattern))
    z = (drawn.mean(0) - made.forecast_runways(runways, pattern)) / (spread / np.sqrt(4000))
    assert np.abs(z).max() < 4.9
    assert np.allclose(drawn.std(0), spread, rtol=0.07)


def test_a_saved_result_forecasts_the_same_in_another_process(
    fitted: tuple[Forecaster, object, StimTrials], tmp_path: Path
) -> None:
    made, result, test = fitted
    pn.save(result, tmp_path / "fit.nc")
    test.save(tmp_path / "test.npz")
    code = (
        "import sys, numpy as np, probneuro as pn\n"
        "from probneuro.data import read_stim_trials\n"
        "from probneuro.models.tbfm import Forecaster\n"
        "made = Forecaster.from_result(pn.load('fit.nc'))\n"
        "test = read_stim_trials('test.npz')\n"
        "found = made.intervals(test)['interval_posterior']\n"
        "np.savez('out.npz', mean=found['mean'], upper=found['upper'])\n"
    )
    path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120, env=os.environ | path
    )
    with np.load(tmp_path / "out.npz") as there:
        here = made.intervals(test)["interval_posterior"]
        # One thread there, maybe more here: sums may round in another order.
        assert np.allclose(there["mean"], here["mean"], rtol=1e-9, atol=1e-9)
        assert np.allclose(there["upper"], here["upper"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("carry", [True, False])
def test_compiled_forms_give_the_same_numbers(
    fitted: tuple[Forecaster, object, StimTrials], carry: bool
) -> None:
    made, _, test = fitted
    if not carry:
        made = fit(simulate_paired_pulses(200, 4, interval=(0.01, 0.03), seed=6).trials, False)[0]
    functions = np.random.default_rng(1).normal(size=(3, 4, 164))
    for pattern in (0, 1):
        fast = compile_forecast(
            made, pattern=pattern, rank=32, functions=functions, dtype=np.float64
        )
        single = compile_forecast(made, pattern=pattern, rank=32, functions=functions)
        wanted = made.forecast_runways(test.runways[:5], pattern)
        size = np.abs(wanted).max()
        for one in range(5):
            runway = test.runways[one]
            assert np.abs(fast.full(runway) - wanted[one]).max() < 1e-10 * size
            assert np.abs(single.full(runway) - wanted[one]).max() < 1e-6 * size
            along = np.tensordot(functions, wanted[one], 2)
            assert fast.functional is not None
            assert single.functional is not None
            assert np.abs(fast.functional(runway) - along).max() < 1e-9 * size
            assert np.abs(single.functional(runway) - along).max() < 1e-5 * size
            assert fast.low_rank is not None
            assert np.abs(fast.low_rank(runway) - wanted[one]).max() < 1e-8 * size
        assert fast.low_rank.lost < 1e-12


def test_a_lower_rank_loses_what_it_says(fitted: tuple[Forecaster, object, StimTrials]) -> None:
    made = fitted[0]
    train_like = simulate_paired_pulses(500, 4, interval=(0.01, 0.03), seed=6).trials.take(
        slice(0, 400)
    )
    low = compile_forecast(made, rank=3, dtype=np.float64).low_rank
    assert low is not None
    wanted = made.forecast_runways(train_like.runways, 0) - train_like.runways[:, :, -1:]
    found = np.stack([low(r).copy() for r in train_like.runways]) - train_like.runways[:, :, -1:]
    lost = ((wanted - found) ** 2).sum() / ((wanted - wanted.mean(0)) ** 2).sum()
    assert 0 < low.lost < 0.5
    assert abs(lost - low.lost) < 0.1 * low.lost + 0.01


def test_streaming_is_the_forecast_at_every_sample(
    fitted: tuple[Forecaster, object, StimTrials],
) -> None:
    made, _, test = fitted
    signal = np.concatenate(list(test.values[:2]), axis=1)
    for prepared in (False, True):
        stream = compile_forecast(made, dtype=np.float64).streaming
        for step in range(60):
            stream.push(signal[:, step])
            if step >= 19:
                wanted = made.forecast_runways(signal[None, :, step - 19 : step + 1], 0)[0]
                assert np.allclose(stream.forecast(), wanted, atol=1e-9)
                if prepared:
                    stream.prepare()
                    assert np.allclose(stream.forecast(), wanted, atol=1e-9)


def test_targets_are_samples_of_the_forecast(
    fitted: tuple[Forecaster, object, StimTrials],
) -> None:
    made, _, test = fitted
    fast = compile_forecast(made, targets={"2": 0.020, "0": 0.164}, dtype=np.float64)
    wanted = made.forecast_runways(test.runways[:1], 0)[0]
    assert fast.functional is not None
    assert np.allclose(fast.functional(test.runways[0]), [wanted[2, 19], wanted[0, 163]])
    noise = made.fit.noise[2, 19, 19] * made.fit.scaling.scale[2] ** 2
    assert np.isclose(fast.functional.scale[0], np.sqrt(noise))


def test_what_does_not_fit_is_refused(fitted: tuple[Forecaster, object, StimTrials]) -> None:
    made, _, test = fitted
    with pytest.raises(DataError, match="must have the 4 channels and the runway of 20 samples"):
        made.forecast(test.select(["0", "1"]))
    other = StimTrials(test.values, sampling_rate=1000, runway=20, pulses=[0.1])
    with pytest.raises(DataError, match=r"hold the pulse pattern \(0.1\), which was not trained"):
        made.forecast(other)
    with pytest.raises(DataError, match=r"`runways` must have shape \(trial, 4, 20\)"):
        made.forecast_runways(test.runways[0])
    with pytest.raises(DataError, match="`pattern` must be one of the 2 pulse patterns"):
        made.forecast_runways(test.runways, 5)
    with pytest.raises(SettingError, match="`level` must lie between 0 and 1"):
        made.intervals(test, level=90)
    with pytest.raises(SettingError, match="`method` must be one of posterior, leave_one_out"):
        made.intervals(test, method="bootstrap")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="`rank` must lie between 1 and 32"):
        compile_forecast(made, rank=33)
    with pytest.raises(SettingError, match="`dtype` must be"):
        compile_forecast(made, dtype=int)
    with pytest.raises(SettingError, match="`pattern` must be one of the 2"):
        compile_forecast(made, pattern=2)
    with pytest.raises(SettingError, match="`targets` asks for channel '9'"):
        compile_forecast(made, targets={"9": 0.02})
    with pytest.raises(DataError, match=r"`functions` must have shape \(function, 4, 164\)"):
        compile_forecast(made, functions=np.zeros((4, 164)))
    fast = compile_forecast(made)
    with pytest.raises(DataError, match=r"`runway` must have shape \(4, 20\)"):
        fast.full(test.runways[0].T)
    with pytest.raises(DataError, match="`sample` must hold one number a channel"):
        fast.streaming.push(np.zeros(3))
    with pytest.raises(DataError, match="`push` was called 0 times, and a runway has 20"):
        fast.streaming.forecast()
    with pytest.raises(DataError, match="`result` holds no TBFM fit"):
        Forecaster.from_result(xr.DataTree())


def test_evaluation_of_a_dead_channel_leaves_the_others_as_they_are() -> None:
    trials = simulate_ou(150, 3, seed=1).trials
    values = np.array(trials.values)
    values[:, 1] = np.nan
    dead = StimTrials(values, sampling_rate=1000, runway=trials.runway, pulses=trials.pulses)
    found = []
    for each in (dead, dead.select(["0", "2"])):
        train, test = each.split(100)
        result = pn.infer(TBFM(), train, draws=2, chains=1, seed=1, progress=False)
        found.append(evaluate(result, test))
    assert np.isnan(found[0]["score/r2_by_channel"][1])
    kept = found[0]["score/r2_by_channel"].values[[0, 2]]
    assert np.allclose(kept, found[1]["score/r2_by_channel"], atol=1e-6)
    assert np.allclose(*(tree["score/r2_by_horizon"] for tree in found), atol=1e-6)


def test_scores_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    response = rng.normal(size=(90, 3, 8)) + np.arange(8)
    forecast = response + rng.normal(size=response.shape)
    direct = [
        1 - ((response - forecast)[:, c] ** 2).sum() / (90 * 8 * response[:, c].var())
        for c in range(3)
    ]
    assert np.allclose(r2_by_channel(response, forecast), direct)
    assert np.isclose(
        r2_by_horizon(response, forecast)[3], r2(response[..., :4], forecast[..., :4])
    )
    assert mean_r2(response, forecast) > 0.99
    state = response[:, :, 0]
    binned, guess = by_state(response, forecast, state, bins=9)
    assert binned.shape == guess.shape == (9, 3, 8)
    assert (np.diff(binned[:, :, 0], axis=0) > 0).all()
    assert state_dependent_r2(response, response, state) == 1.0
    gap = response.copy()
    gap[0, 1] = np.nan
    changed = r2_by_channel(gap, forecast)
    assert np.allclose(np.delete(changed, 1), np.delete(direct, 1))
    assert np.isfinite(changed).all()
    assert np.allclose(np.delete(by_state(gap, forecast, state)[0], 1, 1), np.delete(binned, 1, 1))
    gap[:, 1] = np.nan  # a dead channel
    for score in (r2_by_horizon, mean_r2):
        whole = [np.delete(part, 1, 1) for part in (response, forecast)]
        assert np.allclose(score(gap, forecast), score(*whole))
    assert np.isnan(by_state(gap, forecast, state)[0][:, 1]).all()
    with pytest.raises(DataError, match="must have the response's shape"):
        r2(response, forecast[:, :2])
    with pytest.raises(DataError, match="fewer than the 9 states"):
        by_state(response[:5], forecast[:5], state[:5])


def test_coverage_leaves_out_what_is_not_known() -> None:
    values = np.array([[[0.0]], [[5.0]], [[np.nan]]])
    assert coverage(values, np.full((3, 1, 1), -1.0), np.ones((3, 1, 1))).tolist() == [[0.5]]
