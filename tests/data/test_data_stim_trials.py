"""Stimulation trials: what they hold, how they are cut, split, filtered, written and refused."""

import sys
from pathlib import Path

import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data import (
    Continuous,
    StimTrials,
    band_pass,
    band_power,
    notch,
    read_continuous,
    read_stim_trials,
)

PYNM = Path(__file__).parents[3] / "shared/data/lfp/pynm"


def trials(**changes: object) -> StimTrials:
    rng = np.random.default_rng(0)
    given: dict[str, object] = {
        "values": rng.normal(size=(6, 2, 30)),
        "sampling_rate": 1000,
        "runway": 10,
        "pulses": [0.012, 0.020],
    }
    given |= changes
    values = given.pop("values")
    return StimTrials(values, **given)  # type: ignore[arg-type]


def ramp(seconds: float = 2.0, channels: int = 2) -> Continuous:
    signal = np.arange(round(seconds * 1000))[None] + 10_000.0 * np.arange(channels)[:, None]
    names = tuple("abcdef"[:channels])
    return Continuous(signal=signal, sampling_rate=1000, channels=names)


def test_runway_and_response_are_the_two_parts_of_a_trial() -> None:
    made = trials()
    assert np.array_equal(np.concatenate([made.runways, made.response], axis=2), made.values)
    assert made.horizon == 20
    assert made.horizon_times[0] == 0.001
    assert not made.values.flags.writeable


def test_patterns_tell_trials_apart_and_missing_pulses_are_one_value() -> None:
    pulses = [[0.012, np.nan], [0.012, 0.02], [0.012, np.nan], [0.012, 0.02], [0.02, 0.021]]
    made = trials(values=np.ones((5, 1, 30)), pulses=pulses)
    assert len(made.patterns) == 3
    assert made.pattern_of_trial.tolist() == [1, 0, 1, 0, 2]
    louder = trials(pulses=[0.012], amplitude=np.repeat([1.0, 2.0], 3)[:, None])
    assert louder.pattern_of_trial.tolist() == [0, 0, 0, 1, 1, 1]


def test_float_noise_in_onsets_makes_no_new_pattern() -> None:
    cut = ramp(30.0).cut(np.arange(1.0, 28.0, 0.2))
    assert len(cut.patterns) == 1
    between = ramp(30.0).cut(np.arange(1.0, 28.0, 0.2003))
    assert len(between.patterns) <= 2


def test_the_split_keeps_order_and_never_shares_a_sample() -> None:
    windows = ramp().slide(stride=0.01, runway=0.02, horizon=0.08)
    early, late = windows.split(0.5)
    assert early.num_trials == round(0.5 * windows.num_trials)
    assert late.values.min() > early.values[:, 0].max()
    assert late.trial_times[0] >= early.trial_times[-1] + 0.1 - 1e-9
    assert windows.split(100, 20)[1].num_trials == 20


def test_select_and_take_keep_the_rest() -> None:
    made = trials(channels=["x", "y"], resting=np.zeros((3, 2, 30)), site=[1.0, 2.0])
    only = made.select(["y"]).take([0, 4])
    assert only.channels == ("y",)
    assert only.resting is not None
    assert only.resting.shape == (3, 1, 30)
    assert np.array_equal(only.values[1, 0], made.values[4, 1])
    assert only.hash() != made.hash()


@pytest.mark.parametrize("suffix", ["npz", "nc"])
def test_files_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    made = trials(
        values=np.random.default_rng(1).normal(size=(4, 2, 30)).astype(np.float32),
        channels=["left", "right"],
        amplitude=[1.0, 2.0],
        resting=np.zeros((2, 2, 30), dtype=np.float32),
        signal_unit="mV",
    )
    back = read_stim_trials(made.save(tmp_path / f"trials.{suffix}"))
    assert back.hash() == made.hash()
    assert back.values.dtype == np.float32
    assert back.channels == ("left", "right")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros((3, 4))}, r"`values` must have shape \(trial, channel, time\)"),
        ({"values": np.full((3, 1, 30), np.nan)}, "nothing but NaN"),
        ({"values": np.full((3, 1, 30), np.inf)}, "infinite samples"),
        ({"values": np.array([["a"]])}, "must be numbers"),
        ({"sampling_rate": 1.0}, "too slow for stimulation trials. If it is in kHz, pass 1000"),
        ({"sampling_rate": -1}, "`sampling_rate` must be positive"),
        ({"runway": 1}, "`runway` must be at least 2 samples; got 1"),
        ({"runway": 0.02}, "whole number of samples; got 0.02"),
        ({"runway": 30}, "leaves no response"),
        ({"pulses": [12.0, 20.0]}, "These look like milliseconds: divide by 1000"),
        ({"pulses": [0.005]}, "`pulses` must lie in the response, 0.01 to 0.03 s"),
        ({"pulses": np.zeros((2, 1))}, r"`pulses` must have shape \(trial, pulse\)"),
        ({"amplitude": [1.0]}, "must have the shape of `pulses`"),
        ({"channels": ["a"]}, "must name each of the 2 channels"),
        ({"channels": ["a", "a"]}, "names a more than once"),
        ({"trial_times": [0, 1, 2, 2, 3, 4]}, "must increase; trial 3 goes from 2 s to 2 s"),
        ({"trial_times": [0, 1]}, "one finite time in seconds a trial"),
        ({"resting": np.zeros((3, 2, 29))}, "`resting` must have the channels and samples"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises((DataError, SettingError), match=message):
        trials(**changes)


def test_splits_that_make_no_sense_are_refused() -> None:
    made = trials()
    with pytest.raises(SettingError, match="`train` must leave trials on both sides"):
        made.split(6)
    with pytest.raises(SettingError, match="share trials: 4 and 3 of 6"):
        made.split(4, 3)
    with pytest.raises(SettingError, match="no trial that starts after the training part"):
        ramp(0.2).slide(stride=0.01).split(1)
    with pytest.raises(DataError, match="chooses none"):
        made.take([])
    with pytest.raises(SettingError, match="Unknown channel '7'"):
        made.select(["7"])


def test_cutting_puts_the_first_pulse_where_the_latency_says() -> None:
    cut = ramp().cut([[0.5, 0.53], [0.9, 0.95], [1.99, 1.995]], resting=[(1.0, 1.6)])
    assert cut.num_trials == 2, "The last window leaves the recording."
    assert cut.runway == 20
    assert np.allclose(cut.pulses, [[0.04, 0.07], [0.04, 0.09]])
    assert np.array_equal(cut.values[:, 0, 40], [500, 900])
    assert cut.resting is not None
    assert cut.resting[:, 0].min() >= 1000
    assert cut.resting[:, 0].max() < 1600


def test_cuts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DataError, match="look like milliseconds"):
        ramp(5.0).cut([1500.0, 2500.0])
    with pytest.raises(DataError, match="leave no window within the recording"):
        ramp().cut([-3.0])
    with pytest.raises(DataError, match=r"shape \(trial,\) or \(trial, pulse\)"):
        ramp().cut(np.zeros((1, 1, 1)))
    with pytest.raises(SettingError, match="`latency` must be at least 0 and shorter"):
        ramp().cut([0.5], latency=0.2)
    with pytest.raises(DataError, match="no interval as long as a trial"):
        ramp().cut([0.5], resting=[(1.0, 1.1)])
    with pytest.raises(SettingError, match="cut nothing out"):
        ramp().slide(stride=1e-5)
    with pytest.raises(DataError, match="are not in the recording"):
        ramp().select(["z"])
    with pytest.raises(DataError, match=r"`signal` must have shape \(channel, time\)"):
        Continuous(signal=np.zeros(5), sampling_rate=1000, channels=("a",))


def test_filters_leave_gaps_where_they_are_and_other_channels_alone() -> None:
    rng = np.random.default_rng(2)
    signal = rng.normal(size=(2, 3000))
    gap = signal.copy()
    gap[0, 1000:1005] = np.nan
    names = ("a", "b")
    whole, broken = (
        Continuous(signal=s, sampling_rate=1000, channels=names) for s in (signal, gap)
    )
    for run in (notch, band_pass):
        clean, holed = run(whole).signal, run(broken).signal
        assert np.isnan(holed[0]).sum() == 5
        assert np.array_equal(clean[1], holed[1])
        assert np.abs(clean[0, 2500:] - holed[0, 2500:]).max() < 1e-3


def test_a_band_keeps_its_own_and_drops_the_others() -> None:
    time = np.arange(6000) / 1000
    for frequency, kept in ((20.0, True), (2.0, False), (200.0, False)):
        tone = np.sin(2 * np.pi * frequency * time)[None]
        found = band_pass(Continuous(signal=tone, sampling_rate=1000, channels=("a",)), order=2)
        assert (found.signal[0, 3000:].std() > 0.5) == kept


def test_band_power_finds_the_tone_and_looks_at_the_past_alone() -> None:
    time = np.arange(2000) / 1000
    tone = np.where(time < 1.0, 0.0, np.sin(2 * np.pi * 20 * time))[None]
    recording = Continuous(signal=tone, sampling_rate=1000, channels=("a",))
    found = band_power(recording, (10.0, 20.0, 40.0))
    assert found.channels == ("a 10 Hz", "a 20 Hz", "a 40 Hz")
    assert found.sampling_rate == 200
    assert found.signal[:, -1].argmax() == 1
    before = round((1.0 - 0.1) * 200)
    assert np.abs(found.signal[:, :before]).max() < 1e-12


def test_filters_refuse_what_they_cannot_do() -> None:
    with pytest.raises(SettingError, match="Frequencies must rise within 0 and 500 Hz"):
        band_pass(ramp(), (30.0, 13.0))
    with pytest.raises(SettingError, match="one number a frequency"):
        notch(ramp(), (60.0,), (20.0, 30.0))
    with pytest.raises(SettingError, match="`window` of 9 s"):
        band_power(ramp(), window=9.0)


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file"):
        read_stim_trials(tmp_path / "gone.npz")
    np.savez(tmp_path / "part.npz", values=np.zeros((2, 1, 9)))
    with pytest.raises(DataError, match="lacks sampling_rate, runway, pulses"):
        read_stim_trials(tmp_path / "part.npz")
    with pytest.raises(DataError, match="lacks `signal` or `sampling_rate`"):
        read_continuous(tmp_path / "part.npz")
    (tmp_path / "trials.csv").write_text("1,2")
    with pytest.raises(DataError, match="a kind that holds no trials"):
        read_stim_trials(tmp_path / "trials.csv")
    with pytest.raises(DataError, match="a kind we cannot read"):
        read_continuous(tmp_path / "trials.csv")
    with pytest.raises(SettingError, match=r"must end in \.npz or \.nc"):
        trials().save(tmp_path / "trials.mat")
    file = trials().save(tmp_path / "trials.npz")
    with np.load(file) as archive:
        content = dict(archive)
    content["values"] = content["values"] + 1.0
    np.savez(file, **content)
    with pytest.raises(DataError, match=r"the checksum of 'trials\.npz' differs"):
        read_stim_trials(file)


def test_a_plain_archive_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", signal=np.ones((2, 500)), sampling_rate=500.0, events=[0.2])
    found = read_continuous(tmp_path / "s.npz")
    assert found.channels == ("0", "1")
    assert found.events.tolist() == [0.2]


def test_nwb_is_read_in_microvolts(tmp_path: Path) -> None:
    pynwb = pytest.importorskip("pynwb")
    from datetime import UTC, datetime

    from pynwb.ecephys import ElectricalSeries

    start = datetime(2020, 1, 1, tzinfo=UTC)
    file = pynwb.NWBFile(session_description="s", identifier="i", session_start_time=start)
    device = file.create_device(name="d")
    group = file.create_electrode_group(name="g", description="", location="cortex", device=device)
    for _ in range(2):
        file.add_electrode(group=group, location="cortex")
    region = file.create_electrode_table_region([0, 1], "")
    data = np.arange(400).reshape(200, 2)
    series = ElectricalSeries(
        name="lfp", data=data, electrodes=region, rate=1000.0, conversion=1e-6
    )
    file.add_acquisition(series)
    with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as io:
        io.write(file)
    found = read_continuous(tmp_path / "a.nwb")
    assert np.allclose(found.signal, data.T)
    with pytest.raises(DataError, match="must name an electrical series"):
        read_continuous(tmp_path / "a.nwb", series="mua")


def test_brainvision_without_neo_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.vhdr").write_text("x")
    monkeypatch.setitem(sys.modules, "neo", None)
    monkeypatch.setitem(sys.modules, "neo.io", None)
    with pytest.raises(DataError, match=r"neo is missing\. Install the extra"):
        read_continuous(tmp_path / "a.vhdr")


@pytest.mark.skipif(not PYNM.is_dir(), reason="the recording is not here")
def test_a_real_brainvision_recording_is_read() -> None:
    pytest.importorskip("neo")
    found = read_continuous(next(PYNM.glob("*.vhdr")))
    assert found.sampling_rate == 1000
    assert sum(name.startswith("ECOG") for name in found.channels) == 6
    assert 18 < found.duration < 20
