"""Generated bases, the paper's gradient fit, and the models it compares with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from probneuro import load, save
from probneuro.components.stim_descriptor import StimDescriptor
from probneuro.core.errors import DataError, InferenceError, SettingError
from probneuro.data import StimTrials
from probneuro.models.tbfm import Forecaster, r2
from probneuro.models.tbfm.closed_form import FitOptions, fit_closed_form
from probneuro.models.tbfm.generator import GeneratedForecaster, VariableProjection
from probneuro.models.tbfm.gradient import AELSTM, LSSM, GradientFit, NetworkForecaster, TBFMNetwork
from probneuro.simulators.stim_lfp import simulate_paired_pulses

pytestmark = [
    pytest.mark.slow,  # trains networks
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning"),
]


def test_descriptors_hold_clock_and_pulses() -> None:
    trials = simulate_paired_pulses(20, 1, interval=(0.01, 0.1), seed=0).trials
    told = StimDescriptor.of(trials)
    made = told(trials.patterns)
    assert made.shape == (2, 164, 3)
    assert np.allclose(made[:, :, 0], np.arange(20, 184) / 184)
    assert made[0, :, 1].argmax() == made[1, :, 1].argmax() == 20
    assert made[:, :, 2].argmax(1).tolist() == [30, 120]
    between = told([[0.0405, np.nan]])
    assert np.allclose(between[0, 20:22, 1], 0.5)
    assert not between[0, :, 2].any()


def test_descriptors_tell_amplitudes_and_sites_apart() -> None:
    trials = StimTrials(
        np.ones((2, 1, 10)), sampling_rate=1000, runway=2, pulses=[0.004],
        amplitude=[[1.0], [3.0]], site=[[0.0], [1.0]],
    )  # fmt: skip
    told = StimDescriptor.of(trials)
    made = told(trials.patterns)
    assert made.shape == (2, 8, 3)
    assert made[0, 2].tolist()[1:] == [1.0, 0.0]
    assert made[1, 2].tolist()[1:] == [0.0, 3.0]
    one_site = trials.take([0])
    assert np.array_equal(told(one_site.patterns), made[:1])
    with pytest.raises(DataError, match=r"stimulate the sites \[2.0\], which were not trained on"):
        told([[0.004, 1.0, 2.0]])


@pytest.mark.stat
def test_one_pattern_reaches_the_closed_forms_optimum() -> None:
    """With one descriptor the network can make any bases, so that the optimum is the same."""
    train, test = simulate_paired_pulses(700, 2, seed=1).split(500)
    given = {"own": 0.01, "cross": 0.1}
    for settings in ({"steps": 600}, {"steps": 400, "stagewise": True}):
        made = VariableProjection(num_bases=4, **given, **settings).fit(train.trials, seed=0)
        fit = fit_closed_form(train.trials, FitOptions(num_bases=4, **given))
        found = made.bases(train.trials.patterns)[0]
        shared = np.linalg.svd(found @ fit.bases.T)[1]
        assert np.allclose(found @ found.T, np.eye(4), atol=1e-6)
        assert (shared[:3] > 0.98).all(), settings
        closed = Forecaster(
            fit=fit, channels=test.trials.channels, horizon_times=test.trials.horizon_times
        )
        response = test.trials.response
        gap = r2(response, closed.forecast(test.trials)) - r2(response, made.forecast(test.trials))
        assert abs(gap) < 0.02, settings


@pytest.mark.stat
def test_timings_that_were_never_given_are_forecast() -> None:
    made = simulate_paired_pulses(
        3000, 3, interval=tuple(np.round(np.arange(0.01, 0.1, 0.01), 3)), seed=2
    )
    new = np.isclose(made.trials.pulses[:, 1], 0.04 + 0.05)
    known = made.trials.take(~new)
    fitted = VariableProjection(
        num_bases=10, own=0.01, cross=0.1, steps=500, per_sample=True, width=24, depth=2
    ).fit(known, seed=0)
    test = made.trials.take(new)
    late = test.response[:, :, 70:100].mean(0)
    guess = fitted.forecast(test)[:, :, 70:100].mean(0)
    assert r2(test.response, fitted.forecast(test)) > 0.15
    assert np.corrcoef(late.ravel(), guess.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (TBFMNetwork, {"num_bases": 4}),
        (LSSM, {}),
        (AELSTM, {"num_latents": 8, "num_hidden": 8}),
    ],
)
def test_networks_learn_forecast_and_leave_the_stream_alone(
    kind: type, sizes: dict, tmp_path: Path
) -> None:
    train, test = simulate_paired_pulses(150, 2, seed=3).split(100)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit = GradientFit(epochs=6, learning_rate=2e-3, batch=50)
    made = fit.fit(kind, train.trials, seed=1, **sizes)
    assert torch.equal(torch.rand(1), expected)
    assert made.losses[-1] < made.losses[0]
    forecast = made.forecast(test.trials)
    assert forecast.shape == test.trials.response.shape
    assert np.isfinite(forecast).all()
    save(made.to_tree(), tmp_path / "network.nc")
    kept = NetworkForecaster.from_tree(load(tmp_path / "network.nc"))
    assert np.array_equal(kept.forecast(test.trials), forecast)
    assert kept.losses == made.losses
    again = fit.fit(kind, train.trials, seed=1, **sizes)
    assert np.array_equal(again.forecast(test.trials), forecast)


@pytest.mark.parametrize("settings", [{}, {"stagewise": True}, {"per_sample": True}])
def test_generated_bases_read_back_forecast_the_same(settings: dict, tmp_path: Path) -> None:
    train, test = simulate_paired_pulses(120, 2, interval=(0.01, 0.1), seed=3).split(80)
    fit = VariableProjection(num_bases=2, own=0.1, cross=0.1, steps=3, **settings)
    made = fit.fit(train.trials)
    save(made.to_tree(), tmp_path / "bases.nc")
    kept = GeneratedForecaster.from_tree(load(tmp_path / "bases.nc"))
    assert np.array_equal(kept.forecast(test.trials), made.forecast(test.trials))
    with pytest.raises(DataError, match="not written by TBFMNetwork or LSSM or AELSTM"):
        NetworkForecaster.from_tree(made.to_tree())
    changed = made.to_tree()
    changed["parameters"] = changed["parameters"].to_dataset().drop_vars(
        "generator_0.layers.0.weight"
    )  # fmt: skip
    with pytest.raises(DataError, match=r"must hold `generator_0\.layers\.0\.weight` of shape"):
        GeneratedForecaster.from_tree(changed)


def test_an_lssm_runs_ahead_as_its_equations_say() -> None:
    torch.manual_seed(0)
    model = LSSM(3, 2, 2)
    runway, told = torch.randn(4, 3, 5), torch.randn(4, 6, 2)
    with torch.no_grad():
        found = model.expected(runway, told)
        state = runway[:, :, -1] @ torch.linalg.pinv(model.readout).T
        for step in range(6):
            state = state @ model.transition.T + told[:, step] @ model.drive
            assert torch.allclose(found[:, :, step], state @ model.readout.T, atol=1e-5)


def test_what_makes_no_sense_is_refused() -> None:
    trials = simulate_paired_pulses(30, 1, seed=0).trials
    with pytest.raises(SettingError, match="`steps` must be at least 1"):
        VariableProjection(steps=0)
    with pytest.raises(SettingError, match="`epochs` and `batch` must be at least 1"):
        GradientFit(epochs=0)
    many = StimTrials(
        np.random.default_rng(0).normal(size=(120, 1, 184)), sampling_rate=1000, runway=20,
        pulses=np.linspace(0.03, 0.1, 120)[:, None],
    )  # fmt: skip
    with pytest.raises(DataError, match="hold 120 pulse patterns, too many to keep apart"):
        VariableProjection(own=0.1, cross=0.1).fit(many)
    made = VariableProjection(num_bases=2, own=0.1, cross=0.1, steps=2).fit(trials)
    with pytest.raises(DataError, match="`patterns` must have 2 columns"):
        made.bases([[0.04]])
    with pytest.raises(InferenceError, match="The loss of LSSM is no number"):
        GradientFit(epochs=40, learning_rate=1e6).fit(LSSM, trials)
