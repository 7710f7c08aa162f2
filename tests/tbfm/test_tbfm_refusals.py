"""What would be forecast, fitted or tested silently wrong is refused, and says what to do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import probneuro as pn
from probneuro.core.errors import DataError, SettingError
from probneuro.data import StimTrials
from probneuro.models.tbfm import TBFM, Forecaster, evaluate, update
from probneuro.models.tbfm.closed_form import (
    FitOptions,
    fit_closed_form,
    fit_sessions,
    selected_penalties,
)
from probneuro.models.tbfm.dependence import Measure, independence_test, state_dependence
from probneuro.models.tbfm.generator import VariableProjection
from probneuro.models.tbfm.gradient import GradientFit, NetworkForecaster, TBFMNetwork
from probneuro.simulators.stim_lfp import simulate_paired_pulses

GIVEN = FitOptions(num_bases=3, own=0.01, cross=0.3)


def named(count: int = 60, seed: int = 0, **changes: object) -> StimTrials:
    """Return short trials of channels a, b, c: 4 samples of runway, 12 of response."""
    made = simulate_paired_pulses(count, 3, seed=seed).trials
    given = {"sampling_rate": 1000, "runway": 4, "pulses": [0.008], "channels": "abc"} | changes
    return StimTrials(made.values[:, :, 16:32], **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def result() -> xr.DataTree:
    model = TBFM(num_bases=3, own=0.01, cross=0.3)
    return pn.infer(model, named(), draws=1, chains=1, seed=0, progress=False)


OTHERS = [
    (lambda: named().select(list("cab")), "in their order; channel 0 is 'c', and was 'a'"),
    (lambda: named(channels="abd"), "channel 2 is 'd', and was 'c'"),
    (lambda: named(signal_unit="mV"), "unit that was trained on, 'uV'; got 'mV'"),
    (lambda: named(sampling_rate=900), "sampled at the 1000 Hz that were trained on; got 900 Hz"),
]


@pytest.mark.parametrize(("make", "message"), OTHERS)
def test_signals_other_than_those_trained_on_are_refused(
    result: xr.DataTree, make: object, message: str, tmp_path: Path
) -> None:
    other = make()  # type: ignore[operator]
    pn.save(result, tmp_path / "fit.nc")
    for made in (result, pn.load(tmp_path / "fit.nc")):
        forecaster = Forecaster.from_result(made)
        with pytest.raises(DataError, match=message):
            forecaster.forecast(other)
        with pytest.raises(DataError, match=message):
            evaluate(made, other)
        with pytest.raises(DataError, match=message):
            update(forecaster.fit, other)
    assert forecaster.forecast(named(signal_unit="\N{MICRO SIGN}V")).shape == (60, 3, 12)


@pytest.mark.slow  # trains networks
def test_networks_keep_the_names_of_their_channels(tmp_path: Path) -> None:
    generated = VariableProjection(num_bases=2, own=0.01, cross=0.3, steps=1).fit(named())
    network = GradientFit(epochs=1).fit(TBFMNetwork, named(), num_bases=2)
    pn.save(network.to_tree(), tmp_path / "network.nc")
    back = NetworkForecaster.from_tree(pn.load(tmp_path / "network.nc"))
    for made in (generated, network, back):
        assert made.forecast(named()).shape == (60, 3, 12)
        with pytest.raises(DataError, match="channel 0 is 'c', and was 'a'"):
            made.forecast(named().select(list("cab")))


def test_results_of_before_tell_channels_by_their_labels(result: xr.DataTree) -> None:
    old = result.copy()
    constants = old["constant_data"].to_dataset()
    old["constant_data"] = xr.DataTree(
        constants.drop_vars(["channel_name", "sampling_rate", "signal_unit"])
    )
    made = Forecaster.from_result(old)
    wanted = Forecaster.from_result(result).forecast(named())
    assert np.array_equal(made.forecast(named(signal_unit="mV")), wanted)
    with pytest.raises(DataError, match="channel 0 is 'c', and was 'a'"):
        made.forecast(named().select(list("cab")))
    bare = replace(made.fit.scaling, channels=None)
    assert update(replace(made.fit, scaling=bare), named()).weight.shape == (3, 12, 3)


def test_a_state_agnostic_fit_stays_one_in_sessions_updates_and_files(tmp_path: Path) -> None:
    trials, later = named(), named(40, seed=1)
    options = replace(GIVEN, state_dependent=False)
    fit = fit_closed_form(trials, options)
    model = TBFM(num_bases=3, own=0.01, cross=0.3, state_dependent=False)
    result = pn.infer(model, trials, draws=1, chains=1, seed=0, progress=False)
    pn.save(result, tmp_path / "fit.nc")
    read = Forecaster.from_result(pn.load(tmp_path / "fit.nc")).fit
    for each in (fit_sessions([trials], options)[0], fit, read):
        updated = update(each, later)
        assert not each.weight.any()
        assert not updated.weight.any()
        both = np.concatenate([trials.response, later.response])
        times = trials.horizon_times
        made = Forecaster(fit=updated, channels=trials.channels, horizon_times=times)
        span = (both.mean((0, 2)) - made.forecast(trials)[0].mean(1)) / both.std((0, 2))
        assert np.abs(span).max() < 0.05
        assert np.allclose(made.spread(later.runways), 1 / 100)
    free = FitOptions(num_bases=3, state_dependent=False)
    chosen = selected_penalties(trials, free).tried[:, 2:]
    assert np.allclose(chosen, chosen[0]), "Penalties matter nowhere without a state."


@pytest.mark.parametrize("number", [0, 99, 2.5])
def test_every_fit_checks_the_number_of_bases(number: float) -> None:
    trials = named()
    for run in (fit_closed_form, selected_penalties, lambda t, o: fit_sessions([t, t], o)):
        with pytest.raises(SettingError, match="`num_bases` must be"):
            run(trials, FitOptions(num_bases=number, own=0.01, cross=0.3))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.inf, np.nan, -1.0])
def test_penalties_must_be_finite(value: float) -> None:
    with pytest.raises(SettingError, match="`own` must be positive and finite"):
        TBFM(own=value)
    with pytest.raises(SettingError, match="`cross` must be positive and finite"):
        FitOptions(cross=value)


def test_a_channel_that_a_pattern_never_shows_is_named() -> None:
    late = np.arange(60) % 2 == 1
    trials = named(pulses=np.where(late, 0.009, 0.008)[:, None])
    values = np.array(trials.values)
    values[late, 1, 9] = np.nan
    gaps = named(pulses=trials.pulses)._replace(values=values)
    with pytest.raises(DataError, match=r"channel 'b' is complete in none of the 30 .*\(0.009\)"):
        fit_closed_form(gaps, GIVEN)
    assert np.isfinite(fit_closed_form(gaps.select(["a", "c"]), GIVEN).weight).all()


def test_levels_beyond_the_kept_quantiles_are_refused(result: xr.DataTree) -> None:
    made = Forecaster.from_result(result)
    with pytest.raises(SettingError, match=r"`level` must be at most 0\.99 from leave-one-out"):
        made.intervals(named(), level=0.999, method="leave_one_out")
    assert made.intervals(named(), level=0.99, method="leave_one_out")
    assert made.intervals(named(), level=0.999)


def test_another_horizon_is_refused_where_responses_count(result: xr.DataTree) -> None:
    made, trials = Forecaster.from_result(result), named()
    short = StimTrials(
        trials.values[:, :, :12], sampling_rate=1000, runway=4, pulses=[0.008], channels="abc"
    )
    assert made.forecast(short).shape == (60, 3, 12)
    for run in (made.intervals, lambda t: update(made.fit, t), lambda t: evaluate(result, t)):
        with pytest.raises(DataError, match=r"must have the horizon of 12 samples .* got 8"):
            run(short)


@pytest.mark.parametrize("measure", ["ksg", "hsic"])
def test_nothing_is_no_evidence(measure: Measure) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=20), rng.normal(size=(20, 2))
    gap = y.copy()
    gap[3, 1] = np.nan
    with pytest.raises(DataError, match="`change` must be finite; got 1 missing"):
        independence_test(x, gap, measure)
    with pytest.raises(DataError, match="`state` must be finite"):
        independence_test(np.full(20, np.inf), y, measure)
    for size in (0, 1, 4):
        with pytest.raises(DataError, match="at least 5 trials"):
            independence_test(x[:size], y[:size], measure)
    with pytest.raises(DataError, match="Pass the same trials in both"):
        independence_test(x[:10], y, measure)


def test_a_dead_channel_is_not_tested() -> None:
    made = simulate_paired_pulses(40, 2, num_resting=40, seed=1).trials
    values = np.array(made.values)
    values[:, 1] = np.nan
    table = state_dependence(made._replace(values=values), permutations=9)
    whole = state_dependence(made, permutations=9)
    assert np.isnan(table["p"][1])
    assert table["trials"][1] == 0
    assert table["p"][0] == whole["p"][0]
