"""Figures of forecasts and of states: what is drawn is what the trees and arrays say."""

import numpy as np
import pytest
import xarray as xr

from probneuro.core.detection import auc
from probneuro.core.errors import DataError
from probneuro.plots import (
    controller_roc,
    error_over_trials,
    forecast_bands,
    forecast_scores,
    latency_histogram,
    latent_trajectories,
    state_responses,
    suitability_maps,
    temporal_bases,
)

CHANNELS = ["a", "b"]
TIMES = np.arange(1, 6) / 1000


@pytest.fixture
def evaluation() -> xr.DataTree:
    rng = np.random.default_rng(0)
    labels = {"channel": CHANNELS, "horizon": TIMES}
    dims = ("trial", "channel", "horizon")
    mean = rng.normal(size=(4, 2, 5))
    interval = xr.Dataset(
        {
            "response": (dims, mean + 0.3), "mean": (dims, mean),
            "lower": (dims, mean - 1), "upper": (dims, mean + 1),
            "coverage": (dims[1:], rng.uniform(0.8, 1.0, (2, 5))),
        },
        coords=labels, attrs={"level": 0.8},
    )  # fmt: skip
    states = ("state", *dims[1:])
    by_state = {n: (states, rng.normal(size=(3, 2, 5))) for n in ("response", "forecast")}
    tree = xr.DataTree.from_dict({
        "interval_posterior": interval, "interval_leave_one_out": interval,
        "by_state": xr.Dataset(by_state, coords=labels),
        "score": xr.Dataset({"r2_by_horizon": (("horizon",), TIMES * 100)}, coords=labels),
    })  # fmt: skip
    tree.attrs["signal_unit"] = "uV"
    return tree


def lines(panel):
    return {line.get_label(): line.get_ydata() for line in panel.get_lines()}


def test_trials_are_drawn_with_their_bands(evaluation):
    found = evaluation["interval_leave_one_out"]
    panels = forecast_bands(evaluation, trials=(2, 3, 9)).axes
    assert len(panels) == 4
    assert panels[3].get_title(loc="left") == "channel b, trial 3"
    drawn = lines(panels[3])
    np.testing.assert_array_equal(drawn["forecast"], found["mean"][3, 1])
    np.testing.assert_array_equal(drawn["response"], found["response"][3, 1])
    band = panels[3].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(float(found["lower"][3, 1].min()))
    assert panels[0].get_legend().get_texts()[0].get_text() == "80 %"
    assert panels[0].get_ylabel() == "uV"
    with pytest.raises(DataError, match="`trials` asks for none of the 4 trials there are"):
        forecast_bands(evaluation, trials=(7,))
    with pytest.raises(DataError, match="`channels` asks for z; known are a, b"):
        forecast_bands(evaluation, channels=["z"])
    with pytest.raises(DataError, match="`interval_none` is not a group"):
        forecast_bands(evaluation, method="none")


def test_states_and_scores(evaluation):
    panels = state_responses(evaluation).axes
    drawn = panels[1].get_lines()
    assert [line.get_linestyle() for line in drawn] == ["-", "--"] * 3
    np.testing.assert_array_equal(drawn[2].get_ydata(), evaluation["by_state/response"][1, 1])
    np.testing.assert_array_equal(drawn[3].get_ydata(), evaluation["by_state/forecast"][1, 1])
    left, right = forecast_scores(evaluation).axes
    np.testing.assert_array_equal(left.get_lines()[0].get_ydata(), TIMES * 100)
    np.testing.assert_array_equal(left.get_lines()[0].get_xdata(), TIMES * 1000)
    expected = evaluation["interval_posterior/coverage"].mean("channel")
    np.testing.assert_allclose(lines(right)["posterior"], expected)


def test_bases_and_what_they_explain():
    bases, explained = np.eye(3)[:2], np.array([6.0, 3.0, 1.0])
    group = xr.Dataset(
        {"bases": (("chain", "draw", "basis", "horizon"), bases[None, None]),
         "explained": (("chain", "draw", "horizon"), explained[None, None])},
        coords={"horizon": TIMES[:3]},
    )  # fmt: skip
    left, right = temporal_bases(xr.DataTree.from_dict({"parameters": group})).axes
    np.testing.assert_array_equal(lines(left)["basis 2"], bases[1])
    np.testing.assert_allclose(lines(right)["in the fit"], [0.6, 0.3])
    np.testing.assert_allclose(lines(right)["left out"], [0.1])


def test_controllers_and_latencies():
    rng = np.random.default_rng(1)
    should = rng.random(60) < 0.5
    score = should + rng.normal(size=60)
    panel = controller_roc({"distance": score}, should, title="Target").axes[0]
    assert f"distance, AUC {auc(score, should):.3f}" in lines(panel)
    times = {"full": np.array([90.0, 100.0, 130.0]), "streaming": np.array([7.0, 8.0])}
    legend = latency_histogram(times).axes[0].get_legend()
    assert {t.get_text() for t in legend.get_texts()} == {
        "full, median 100.0 µs", "streaming, median 7.5 µs"
    }  # fmt: skip
    with pytest.raises(DataError, match="`microseconds` holds no form to draw"):
        latency_histogram({})


def test_latents_before_and_after_alignment():
    rng = np.random.default_rng(2)
    reference, other = rng.normal(size=(2, 5, 4, 3))
    left, right = latent_trajectories(reference, other, reference, dimensions=(0, 2)).axes
    for panel, shown in ((left, other), (right, reference)):
        mean = panel.get_lines()[-1]
        np.testing.assert_allclose(mean.get_xdata(), shown.mean(0)[:, 0])
        np.testing.assert_allclose(mean.get_ydata(), shown.mean(0)[:, 2])
    with pytest.raises(DataError, match=r"with dimensions \(0, 3\)"):
        latent_trajectories(reference, other, reference, dimensions=(0, 3))


def test_suitability_lies_on_the_grid_and_the_best_are_ringed():
    values = np.array([[0.1, 0.9, 0.4], [0.8, 0.2, 0.3]])
    panels = suitability_maps(values, [0, 3, 5], (2, 3), ["early", "late"], num_stimulated=1).axes
    plane = panels[0].get_images()[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(plane, [[0.1, np.nan, np.nan], [0.9, np.nan, 0.4]])
    ringed = [panel.collections[0].get_offsets()[0].tolist() for panel in panels[:2]]
    assert ringed == [[0.0, 1.0], [0.0, 0.0]]
    with pytest.raises(DataError, match=r"must have shape \(moment, candidate\) = \(1, 3\)"):
        suitability_maps(values, [0, 3, 5], (2, 3), ["early"])


def test_errors_over_trials_are_running_means():
    errors = {"random": np.arange(8.0).reshape(2, 4), "no_stim": np.ones((2, 4))}
    left, right = error_over_trials(errors, window=2).axes
    np.testing.assert_allclose(lines(left)["random"], [2.5, 3.5, 4.5])
    assert right.collections[0].get_offsets()[:, 0].tolist() == [2.5, 6.5]
    with pytest.raises(DataError, match="the same shape a method"):
        error_over_trials({"a": np.ones((2, 3)), "b": np.ones((2, 4))})
