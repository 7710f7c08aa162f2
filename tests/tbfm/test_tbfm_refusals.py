"""What would be forecast, fitted or tested silently wrong is refused, and says what to do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import probneuro as pn
from probneuro.core.errors import DataError
from probneuro.data import StimTrials
from probneuro.models.tbfm import TBFM, Forecaster, evaluate, update
from probneuro.models.tbfm.closed_form import FitOptions
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
