import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data import SpikeTrains

SESSION = np.linspace(0.4, 1800.2, 40)
REGULAR = np.arange(0.5, 600, 0.1)


@pytest.mark.parametrize(
    ("times", "settings", "message"),
    [
        ({"3": [0.1, np.nan]}, {}, r"`spikes` of unit 3 must be finite; index 1 is nan \(1 such"),
        ({"3": [0.1, np.inf]}, {}, r"`spikes` of unit 3 must be finite; index 1 is inf"),
        ({"3": [-0.25, 1]}, {}, r"unit 3 holds negative times; index 0 is -0.25 s.*start=-1 if"),
        (
            {"3": [*np.arange(41) / 80, 0.512, 0.498]},
            {},
            r"`spikes` of unit 3 must increase; index 42 goes from 0.512 s to 0.498 s. Sort it, or "
            r"pass the sessions separately.",
        ),
        (
            {"3": np.r_[SESSION, SESSION]},
            {},
            r"unit 3 starts again at index 40, from 1800.2 s back to 0.4 s: 2 sessions seem to be "
            r"joined in one list. Pass the sessions separately",
        ),
        (
            {"a": np.repeat(REGULAR, 2)},
            {},
            r"unit a holds 5995 identical times \(50.0 %\), the first at index 1 \(0.5 s\)",
        ),
        ({"a": [0.5, 11]}, {"stop": 10}, r"unit a must lie within the recording, 0 to 10 s; index"),
        ({"a": [0.5, 11]}, {"start": 1}, r"index 0 is at 0.5 s \(1 such spikes\). Correct"),
        ({}, {}, r"`times` holds no units at all; got 0"),
        ([], {}, r"`times` holds no units at all"),
        ({"a": []}, {}, r"`times` holds no spikes at all, so the recording has no end"),
        ({"a": [1.0], 2: [1.0], "2": [1.0]}, {}, r"`units` must be unique; '2' stands there twice"),
        (
            [[1.0], [2.0]],
            {"units": ["a"]},
            r"must name every spike train; got 1 names for 2",
        ),
        ([0.1, 0.2], {}, r"must hold one spike train a unit; got one flat list of 2 numbers"),
        (5, {}, r"`times` must hold one spike train a unit; got int"),
        ({"a": ["x"]}, {}, r"`spikes` of unit a must be numbers; got list"),
        ({"a": np.ones((3, 2))}, {}, r"a flat list of times; got shape \(3, 2\).*BinnedSpikes"),
        ({"a": [0, 1] * 10}, {}, r"unit a holds only zeros and ones; this looks like a binned"),
        ({"a": [1.0]}, {"epochs": []}, r"`epochs` is empty: nothing was observed"),
        ({"a": [1.0]}, {"epochs": [(1, 1)]}, r"`epochs` 0 must end after it starts; got \(1, 1\)"),
        ({"a": [1.0]}, {"epochs": [(0, 9)]}, r"`epochs` 0 leaves the recording, 0 to 2 s; got"),
        (
            {"a": [1.0]},
            {"epochs": [(1, 2), (0, 1)]},
            r"order of time; got \(1, 2\) then \(0, 1\)",
        ),
        ({"a": [1.0]}, {"epochs": [(0, 1.5), (1, 2)]}, r"must not overlap; got \(0, 1.5\) then"),
        ({"a": [1.0]}, {"epochs": [1, 2]}, r"`epochs` must be pairs of numbers"),
        (
            {"a": [1.5]},
            {"epochs": [(0, 1)]},
            r"`epochs`, the observed time; index 0 at 1.5 s",
        ),
    ],
)
def test_messages_about_data(times, settings, message):
    with pytest.raises(DataError, match=message):
        SpikeTrains(times, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stop": 0}, r"`stop` must come after `start`; got start=0 s and stop=0 s"),
        ({"stop": np.inf}, r"`start` and `stop` must be finite; got 0.0 and inf"),
        ({"unit": "min"}, r"Unknown unit 'min'. .*Known: ms, s, samples, us"),
        ({"unit": "samples"}, r"`sampling_rate` is missing; unit='samples' needs it"),
        ({"unit": "samples", "sampling_rate": -1}, r"`sampling_rate` must be a positive number"),
        ({"unit": "ms", "sampling_rate": 1e4}, r"goes with unit='samples'; got unit='ms'"),
        ({"units": ["a"]}, r"`units` names the trains of a sequence; got a mapping"),
    ],
)
def test_messages_about_settings(settings, message):
    with pytest.raises(SettingError, match=message):
        SpikeTrains({"a": [0.1, 0.5]}, **settings)


def test_messages_about_parts():
    spikes = SpikeTrains({"unit_1": [0.1, 0.5], "unit_2": [0.7, 2.5]})
    with pytest.raises(SettingError, match=r"Unknown unit 'unit_3'. Did you mean 'unit_"):
        spikes.select(["unit_3"])
    with pytest.raises(DataError, match=r"no units at all"):
        spikes.select([])
    with pytest.raises(
        SettingError, match=r"must stay within the recording, 0 to 3 s; got 1 to 4 s"
    ):
        spikes.restrict(1, 4)
    with pytest.raises(
        SettingError, match=r"`held_out` must be shorter than the data; got 3 s of 3"
    ):
        spikes.split(3)
    with pytest.raises(SettingError, match=r"`held_out` must be a positive number; got -1"):
        spikes.split(-1)
    binned = spikes.bin()
    with pytest.raises(SettingError, match=r"must be shorter than the data; got 10 s of 3 s"):
        binned.split(10)
    with pytest.raises(
        SettingError, match=r"`held_out` must leave a window to train on; got 2.5 s"
    ):
        binned.split(2.5)


def test_messages_about_bins():
    spikes = SpikeTrains({"a": [0.1, 0.5], "b": [0.7, 2.5]})
    with pytest.raises(
        SettingError, match=r"`bin_width` must divide `window`; got bin_width=0.003"
    ):
        spikes.bin(0.003, 1.0)
    with pytest.raises(SettingError, match=r"`window` must be a positive number; got 0"):
        spikes.bin(0.001, 0)
    with pytest.raises(SettingError, match=r"Pass for example window=2\."):
        spikes.bin(2, 1)
    with pytest.raises(
        DataError, match=r"must fill at least one window; got 3 s and a window of 10"
    ):
        spikes.bin(0.001, 10)
    with pytest.raises(DataError, match=r"`stimulus` must have one row a bin, 3000; got shape \(7"):
        spikes.bin(stimulus=np.zeros(7))


def test_units_with_too_few_spikes():
    spikes = SpikeTrains({"a": [0.1, 0.5], "b": [], "c": [0.7]})
    with pytest.raises(
        DataError, match=r"Units b, c have fewer than 2 spikes and cannot be fitted"
    ):
        spikes.bin()
    with pytest.raises(DataError, match=r"Unit b has no spikes .* with spikes.select\(\[...\]\)"):
        spikes.select(["a", "b"]).bin()
    with pytest.raises(DataError, match=r"Unit c has one spike and cannot be fitted"):
        spikes.select(["a", "c"]).bin()
    with pytest.raises(DataError, match=r"Unit a has 2 spikes and cannot be fitted"):
        spikes.select(["a"]).bin(min_spikes=5)
    assert spikes.bin(min_spikes=0).counts.sum() == 3


def test_rare_identical_times_pass_and_more_can_be_allowed():
    rare = np.sort(np.r_[REGULAR, REGULAR[[5, 9]]])
    assert SpikeTrains([rare])["0"].size == REGULAR.size + 2
    twice = np.repeat(REGULAR, 2)
    assert SpikeTrains([twice], allow_duplicates=True)["0"].size == 2 * REGULAR.size
    assert SpikeTrains([[0.1, 0.1, 0.2]])["0"].size == 3


def neurons(rate, seconds, seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(0.002 + rng.exponential(1 / rate, (5, int(2 * rate * seconds) + 10)), axis=1)
    return [train[train < seconds] for train in times]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("seconds", [60.0, 300.0])
@pytest.mark.parametrize("rate", [2.0, 5.0, 20.0])
@pytest.mark.parametrize(
    ("true", "factor", "read_as"),
    [("ms", 1e3, "s"), ("us", 1e6, "s"), ("us", 1e6, "ms"), ("s", 1, "ms"), ("s", 1, "us")],
)
def test_wrong_unit_of_time_is_caught_and_the_right_one_named(
    rate, seconds, seed, true, factor, read_as
):
    given = [train * factor for train in neurons(rate, seconds, seed)]
    with pytest.raises(DataError, match=rf"read as unit='{read_as}'.*Pass unit='{true}'"):
        SpikeTrains(given, unit=read_as)
    assert SpikeTrains(given, unit=read_as, unit_check=False).num_units == 5
    assert SpikeTrains(given, unit=true).num_units == 5


@pytest.mark.parametrize("sampling_rate", [20_000, 30_000])
def test_samples_read_as_seconds_are_caught(sampling_rate):
    given = [np.rint(train * sampling_rate) for train in neurons(5.0, 60.0, 3)]
    with pytest.raises(DataError, match=r"Pass unit='samples', sampling_rate=30000"):
        SpikeTrains(given)


@pytest.mark.parametrize("rate", [0.02, 0.5, 10, 150])
@pytest.mark.parametrize("seconds", [10.0, 1000.0, 20_000.0])
def test_plausible_recordings_pass_the_unit_check(rate, seconds):
    # Real units burst: every slow unit has some short intervals.
    rng = np.random.default_rng(1)
    given = []
    for train in neurons(rate, min(seconds, 2e5 / rate), 2):
        train = train[:5000]
        second = train[rng.random(train.size) < 0.1] + 0.004
        given.append(np.unique(np.r_[train, second]))
    if sum(g.size for g in given):
        assert SpikeTrains(given).num_units == 5
