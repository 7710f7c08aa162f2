"""Replicates of the truth look like the recording; those of a wrong model do not."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from probneuro import predictive_check
from probneuro.components.spike_statistics import spike_statistics
from probneuro.core.errors import DataError, InferenceError, SettingError
from probneuro.data import BinnedSpikes
from probneuro.learning_rules import Additive
from probneuro.models.stdp_glm import STDPGLM
from probneuro.plots import predictive_statistics
from probneuro.simulators.plastic_glm import simulate_plastic_glm

MODEL = STDPGLM(rule=Additive())


def as_posterior(data: BinnedSpikes, values: dict[str, Any]) -> xr.DataTree:
    """Return a truth as a posterior of two draws that are the same."""
    dims = {**MODEL.dims(), "self_impulse": ["neuron", "basis"], "impulse": ["synapse", "basis"]}
    variables = {}
    for name in ("bias", "self_weight", "self_impulse", "impulse", "edge", "weight"):
        own = np.asarray(values[name])
        variables[name] = (("chain", "draw", *dims[name]), np.stack([own, own])[None])
    coords = {"neuron": list(data.units), "synapse": MODEL.synapse_names(data)}
    return xr.DataTree.from_dict({"posterior": xr.Dataset(variables, coords)})


@pytest.fixture(scope="module")
def simulated() -> tuple[BinnedSpikes, Any]:
    return simulate_plastic_glm(Additive(), duration=20.0, seed=2)


def scores(checked: xr.DataTree, name: str) -> NDArray[Any]:
    drawn = checked["posterior_predictive"][name]
    seen = checked["observed_data"][name]
    spread = drawn.std(("chain", "draw"))
    z = (seen - drawn.mean(("chain", "draw"))) / spread.where(spread > 0)
    return z.values[np.isfinite(z.values)]


def test_replicates_of_the_truth_look_like_the_recording(simulated: Any) -> None:
    data, truth = simulated
    checked = predictive_check(as_posterior(data, truth), data, MODEL, replicates=60, seed=1)
    assert np.abs(scores(checked, "rate")).max() < 4.5
    for name in ("isi_density", "autocorrelogram", "crosscorrelogram"):
        z = scores(checked, name)
        assert np.abs(z).max() < 6.0  # the bins' counts are small, and skewed
        assert 0.8 < z.std() < 1.2
    p = checked["p_value"]["crosscorrelogram"].values
    assert 0.4 < p.mean() < 0.6


def test_a_synapse_that_was_left_out_shows(simulated: Any) -> None:
    data, truth = simulated
    without = {**truth, "edge": np.zeros_like(truth["edge"])}
    checked = predictive_check(as_posterior(data, without), data, MODEL, replicates=60, seed=1)
    drawn, seen = (
        checked[group]["crosscorrelogram"].sel(pair_lag=slice(0.0005, 0.03)).mean("pair_lag")
        for group in ("posterior_predictive", "observed_data")
    )
    z = (seen - drawn.mean(("chain", "draw"))) / drawn.std(("chain", "draw"))
    assert float(z.max()) > 6.0
    figure = predictive_statistics(checked)
    assert len([panel for panel in figure.axes if panel.axison]) == 6


def test_statistics_of_a_known_train() -> None:
    counts = np.zeros((100, 2), dtype=int)
    counts[::10, 0] = 1
    counts[3::10, 1] = 1
    found = spike_statistics(
        BinnedSpikes(counts, bins_per_window=100), [(0, 1)], max_lag=0.012, max_isi=0.02, num_isi=4
    )
    assert found["rate"].values == pytest.approx([100.0, 100.0])
    np.testing.assert_allclose(found["isi_density"].values, [[0, 0, 1, 0]] * 2)
    auto = found["autocorrelogram"].values[0]
    assert np.flatnonzero(auto).tolist() == [9]
    assert auto[9] == pytest.approx(900.0)  # nine of ten spikes have one 10 ms later
    cross = found["crosscorrelogram"]
    lags = cross["pair_lag"].values[np.flatnonzero(cross.values[0])]
    np.testing.assert_allclose(lags, [-0.007, 0.003])


def test_what_does_not_fit_is_refused(simulated: Any) -> None:
    data, truth = simulated
    fit = as_posterior(data, truth)
    with pytest.raises(SettingError, match="`replicates` must be at least 2"):
        predictive_check(fit, data, MODEL, replicates=1)
    with pytest.raises(DataError, match=r"weights in 20 windows; the recording has 15.*split"):
        predictive_check(fit, data.split(5.0)[0], MODEL)
    with pytest.raises(DataError, match="`result` has no `self_weight`"):
        tree = xr.DataTree.from_dict({"posterior": fit["posterior"].to_dataset()[["bias"]]})
        predictive_check(tree, data, MODEL)
    with pytest.raises(SettingError, match="`max_lag` must be at least one bin"):
        spike_statistics(data, max_lag=0.0)


def test_replicates_that_run_away_are_counted(simulated: Any) -> None:
    data, truth = simulated
    wild = as_posterior(data, {**truth, "self_weight": np.full(2, 3.0)})
    with pytest.raises(InferenceError, match="All 4 replicates run away"):
        predictive_check(wild, data, MODEL, replicates=4, seed=1)
    tame = as_posterior(data, truth)["posterior"].to_dataset()
    both = xr.concat([tame, wild["posterior"].to_dataset()], "chain")
    checked = predictive_check(
        xr.DataTree.from_dict({"posterior": both}), data, MODEL, replicates=12, seed=1
    )
    assert 0 < checked.attrs["runaways"] < 12
    assert checked["posterior_predictive"].sizes["draw"] == 12 - checked.attrs["runaways"]
    assert "ran away" in predictive_statistics(checked).get_suptitle()
