"""Figures of edge scores: what is drawn is what the scores of detection say."""

import numpy as np
import pytest
import xarray as xr

from probneuro.core.detection import auc, average_precision, reliability, roc_curve
from probneuro.core.errors import DataError
from probneuro.plots import (
    detection_figures,
    precision_recall_curves,
    reliability_curves,
    roc_curves,
    score_matrices,
)

NEURONS = ("0", "1", "2", "10")


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    pairs = [(a, b) for a in NEURONS for b in NEURONS if a != b]
    truth = np.tile([1, 0, 0], 4).astype(np.int8)
    quick, chance = rng.normal(size=12) + truth, rng.beta(1 + 2 * truth, 2)
    dims = ("method", "synapse")
    return xr.Dataset(
        {
            "score": (dims, np.stack([quick, chance])),
            "probability": (dims, np.stack([np.full(12, np.nan), chance])),
            "truth": ("synapse", truth),
            "decayed": ("synapse", truth * np.repeat([1, 0], 6).astype(np.int8)),
        },
        coords={
            "method": ["cross_correlation", "static"],
            "synapse": [f"{a}->{b}" for a, b in pairs],
            "pre": ("synapse", [a for a, _ in pairs]),
            "post": ("synapse", [b for _, b in pairs]),
        },
    )


def lines(panel):
    return {line.get_label().split(",")[0]: line for line in panel.get_lines()}


def test_roc_curves_and_their_areas(scores):
    panels = roc_curves(scores).axes
    kinds = (scores["truth"] >= 0, (scores["decayed"] == 1) | (scores["truth"] == 0))
    for panel, kept in zip(panels, kinds, strict=True):
        truth = scores["truth"].values[kept]
        for name, values in zip(scores["method"].values, scores["score"].values, strict=True):
            curve = roc_curve(values[kept], truth)
            line = lines(panel)[name]
            np.testing.assert_allclose(line.get_xdata(), curve.x)
            np.testing.assert_allclose(line.get_ydata(), curve.y)
            assert line.get_label() == f"{name}, AUC {auc(values[kept], truth):.3f}"
    titles = [panel.get_title(loc="left") for panel in panels]
    assert titles == ["all 4 synapses", "the 2 decayed synapses"]


def test_precision_and_recall(scores):
    panel = precision_recall_curves(scores).axes[0]
    for name, values in zip(scores["method"].values, scores["score"].values, strict=True):
        expected = average_precision(values, scores["truth"].values)
        assert lines(panel)[name].get_label() == f"{name}, AP {expected:.3f}"


def test_reliability_has_a_panel_for_each_method_with_probabilities(scores):
    figure = reliability_curves(scores, bins=4)
    assert len(figure.axes) == 1
    known = reliability(scores["probability"].values[1], scores["truth"].values, bins=4)
    used = known.isel(bin=known["count"].values > 0)
    bars = figure.axes[0].containers[0]
    np.testing.assert_allclose(bars.lines[0].get_xdata(), used["probability"].values)
    np.testing.assert_allclose(bars.lines[0].get_ydata(), used["frequency"].values)
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    np.testing.assert_allclose(ends, np.stack([used["lower"].values, used["upper"].values], 1))
    assert [t.get_text() for t in figure.axes[0].texts] == [str(c) for c in used["count"].values]


def test_matrices_have_pre_in_rows_and_rings_on_true_synapses(scores):
    figure = score_matrices(scores)
    first, second = (panel for panel in figure.axes if panel.images and panel.get_title(loc="left"))
    assert [t.get_text() for t in first.get_yticklabels()] == list(NEURONS)
    expected = float(scores["score"].sel({"method": "static", "synapse": "0->10"}))
    assert second.images[0].get_array()[0, 3] == pytest.approx(expected)
    rings = first.collections[0].get_offsets()
    there = scores.isel(synapse=scores["truth"].values == 1)
    places = [
        (NEURONS.index(b), NEURONS.index(a))
        for a, b in zip(there["pre"].values, there["post"].values, strict=True)
    ]
    np.testing.assert_array_equal(rings, places)


def test_figures_are_those_that_the_scores_allow(scores):
    names = {"roc_curves", "precision_recall_curves", "reliability_curves", "score_matrices"}
    assert set(detection_figures(scores)) == names
    quick = scores.isel(method=[0])
    assert set(detection_figures(quick)) == names - {"reliability_curves"}
    assert set(detection_figures(scores.drop_vars(["truth", "decayed"]))) == {"score_matrices"}


def test_what_is_missing_is_named(scores):
    for draw in (roc_curves, precision_recall_curves, reliability_curves):
        with pytest.raises(DataError, match=r"`scores` has no `truth` to be held against"):
            draw(scores.drop_vars("truth"))
    with pytest.raises(DataError, match=r"no probabilities to be calibrated.*cross_correlation"):
        reliability_curves(scores.isel(method=[0]))
