"""Continuous recordings: clocks, units and gaps of files, and windows that hold no other pulses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data import Continuous, StimTrials, read_continuous, read_stim_trials


def ramp(seconds: float = 8.0, **changes: Any) -> Continuous:
    """Return a recording whose samples are their own numbers."""
    signal = np.arange(round(seconds * 1000), dtype=np.float64)[None]
    return Continuous(signal=signal, sampling_rate=1000, channels=("a",), **changes)


def write_nwb(path: Path, data: np.ndarray, **series: Any) -> Path:
    """Write one electrical series of two channels."""
    pynwb = pytest.importorskip("pynwb")
    from datetime import UTC, datetime

    from pynwb.ecephys import ElectricalSeries

    file = pynwb.NWBFile(
        session_description="s", identifier="i",
        session_start_time=datetime(2020, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    device = file.create_device(name="d")
    group = file.create_electrode_group(name="g", description="", location="cortex", device=device)
    for _ in range(2):
        file.add_electrode(group=group, location="cortex")
    region = file.create_electrode_table_region([0, 1], "")
    file.add_acquisition(
        ElectricalSeries(name="lfp", data=data, electrodes=region, conversion=1e-6, **series)
    )
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


def test_nwb_keeps_each_channels_scale_and_the_clock(tmp_path: Path) -> None:
    data = np.arange(2000).reshape(1000, 2)
    file = write_nwb(
        tmp_path / "a.nwb", data, rate=1000.0, starting_time=100.0, channel_conversion=[1.0, 4.0]
    )
    found = read_continuous(file)
    assert np.allclose(found.signal, data.T * np.array([[1.0], [4.0]]))
    assert found.start == 100.0
    cut = found.cut([100.5], resting=[(100.7, 100.95)], num_resting=3)
    assert np.allclose(cut.values[0, 0, 40], data[500, 0])
    assert np.allclose(cut.trial_times, 100.46)
    assert cut.resting is not None
    with pytest.raises(DataError, match=r"1 s from 100 s on: they run from 0\.5 to 0\.5 s"):
        found.cut([0.5])


def test_nwb_with_time_stamps_has_no_gap(tmp_path: Path) -> None:
    data, stamps = np.zeros((500, 2)) + np.arange(500)[:, None], 3.0 + np.arange(500) / 1000
    found = read_continuous(write_nwb(tmp_path / "a.nwb", data, timestamps=stamps))
    assert found.start == 3.0
    assert np.isclose(found.sampling_rate, 1000)
    stamps[200:] += 5.0
    file = write_nwb(tmp_path / "b.nwb", data, timestamps=stamps)
    with pytest.raises(DataError, match=r"1 gaps, the first from 3\.199 to 8\.2 s"):
        read_continuous(file)


def test_plain_archives_keep_unit_and_clock(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "s.npz", signal=np.ones((2, 500)), sampling_rate=500, signal_unit="mV", start=2.5
    )
    found = read_continuous(tmp_path / "s.npz")
    assert (found.signal_unit, found.start) == ("mV", 2.5)
    assert found.cut([3.0]).signal_unit == "mV"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": "1 kHz"}, "`sampling_rate` must be a number; got '1 kHz'"),
        ({"sampling_rate": [1.0, 2.0]}, "`sampling_rate` must be a number"),
        ({"events": ["a", "b"]}, "`events` must be times in seconds"),
        ({"signal": 3.0}, r"`signal` must have shape \(channel, time\)"),
        ({"signal": [["x"]]}, "must be numbers"),
        ({"start": "noon"}, "`start` must be a finite time"),
    ],
)
def test_archives_of_other_things_say_what_is_wrong(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"signal": np.ones((2, 500)), "sampling_rate": 500.0} | changes
    np.savez(tmp_path / "s.npz", **given)
    with pytest.raises((DataError, SettingError), match=message):
        read_continuous(tmp_path / "s.npz")


def test_archives_of_trials_take_whole_runways_only(tmp_path: Path) -> None:
    given: dict[str, Any] = {"values": np.ones((3, 1, 30)), "pulses": [0.02], "sampling_rate": 1000}
    np.savez(tmp_path / "t.npz", runway=10.0, **given)
    assert read_stim_trials(tmp_path / "t.npz").runway == 10
    np.savez(tmp_path / "t.npz", runway=10.5, **given)
    with pytest.raises(SettingError, match="`runway` must be a whole number"):
        read_stim_trials(tmp_path / "t.npz")
    (tmp_path / "t.npz").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read as a numpy archive"):
        read_stim_trials(tmp_path / "t.npz")


def test_windows_hold_no_pulse_of_another_trial() -> None:
    close = np.arange(1, 5, 0.03)
    with pytest.raises(DataError, match="134 of 134 windows, first that of trial 0, which holds 5"):
        ramp().cut(close)
    assert ramp().cut(close, runway=0.005, latency=0.005, horizon=0.02).num_trials == 134
    pairs = np.stack([np.arange(1, 5, 0.3), np.arange(1, 5, 0.3) + 0.03], axis=1)
    pairs[3, 1] = np.nan
    assert ramp().cut(pairs).num_trials == len(pairs)
    stray = np.array([1.0, 2.0, 2.1, 3.0])
    with pytest.raises(DataError, match="2 of 4 windows, first that of trial 1"):
        ramp().cut(np.array([1.0, 2.0, 2.03, 3.0]))
    with pytest.raises(DataError, match="1 of 4 windows, first that of trial 1"):
        ramp().cut(stray)
    assert ramp().cut(np.delete(stray, 1)).num_trials == 3


def test_resting_intervals_hold_no_pulse() -> None:
    pulses = [2.0, 4.0]
    with pytest.raises(DataError, match=r"`resting` must be .* 1 to 5 s holds 2 of the pulses"):
        ramp().cut(pulses, resting=[(0.0, 1.0), (1.0, 5.0)])
    assert ramp().cut(pulses, resting=[(0.0, 2.0), (2.5, 4.0)]).resting is not None


@pytest.mark.parametrize("name", ["runway", "latency", "horizon"])
def test_milliseconds_are_told_from_seconds(name: str) -> None:
    with pytest.raises(SettingError, match=f"`{name}` is 20 s, .* in milliseconds, pass 0.02"):
        ramp(30.0).cut([15.0], **{name: 20})
    with pytest.raises(SettingError, match=r"`stride` is 11 s, .* in milliseconds, pass 0\.011"):
        ramp(30.0).slide(stride=11)


def test_trials_are_taken_once_and_in_order() -> None:
    trials = StimTrials(np.ones((5, 1, 9)), sampling_rate=1000, runway=4, pulses=[0.005])
    assert trials.take(3).values.shape == (1, 1, 9)
    assert trials.take([0, 3]).num_trials == 2
    for twice in ([0, 0, 0, 1], [4, 0]):
        with pytest.raises(DataError, match="`trial_times` must increase"):
            trials.take(twice)
