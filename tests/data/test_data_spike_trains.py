import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data import SpikeTrains, load_example, read_spikes


def trains(rate=5.0, seconds=300.0, units=4, seed=0):
    """Poisson trains with a refractory time of 2 ms."""
    rng = np.random.default_rng(seed)
    found = {}
    for k in range(units):
        times = np.cumsum(0.002 + rng.exponential(1 / rate, int(2 * rate * seconds)))
        found[f"u{k}"] = times[times < seconds]
    return found


def test_times_are_read_only_copies():
    given = np.array([0.1, 0.2])
    spikes = SpikeTrains([given])
    given[0] = 9.0
    assert spikes["0"][0] == 0.1
    with pytest.raises(ValueError, match="read-only"):
        spikes["0"][0] = 1.0
    with pytest.raises(AttributeError, match="cannot assign"):
        spikes.start = 1.0


@pytest.mark.parametrize(
    ("first", "last", "start", "stop"),
    [(0.5, 1.2, 0, 2), (59.0, 61.0, 0, 62), (4396.99, 6365.3, 4396, 6366)],
)
def test_default_interval(first, last, start, stop):
    spikes = SpikeTrains([[first, last]])
    assert (spikes.start, spikes.stop) == (start, stop)
    assert spikes.epochs == ((start, stop),)


@pytest.mark.parametrize(
    ("unit", "rate", "factor"),
    [("s", None, 1), ("ms", None, 1e3), ("us", None, 1e6), ("samples", 20_000, 2e4)],
)
def test_units_of_time_apply_to_everything(unit, rate, factor):
    times = np.array([0.5, 1.5, 7.0])
    spikes = SpikeTrains(
        [times * factor],
        start=0,
        stop=10 * factor,
        epochs=[(0, 2 * factor), (6 * factor, 10 * factor)],
        unit=unit,
        sampling_rate=rate,
    )
    np.testing.assert_allclose(spikes["0"], times, rtol=1e-12)
    np.testing.assert_allclose(spikes.epochs, [(0, 2), (6, 10)], rtol=1e-12)
    assert spikes.stop == pytest.approx(10)


def test_select_keeps_order_and_interval():
    spikes = SpikeTrains({"a": [0.1], "b": [0.2], "c": [3.4]})
    part = spikes.select(["c", "a"])
    assert part.units == ("c", "a")
    assert part.stop == spikes.stop
    assert part["c"][0] == 3.4
    assert spikes.select("b").units == ("b",)


def test_restrict_and_split_share_no_spike_and_lose_none():
    spikes = SpikeTrains(trains(), stop=300)
    train, test = spikes.split(50)
    for name in spikes.units:
        np.testing.assert_array_equal(np.r_[train[name], test[name]], spikes[name])
    assert (train.stop, test.start, test.stop) == (250, 250, 300)


def test_spike_at_a_cut_belongs_to_the_later_part():
    train, test = SpikeTrains([[0.5, 1.0, 2.0]], stop=2.0).split(1.0)
    assert train["0"].tolist() == [0.5]
    assert test["0"].tolist() == [1.0, 2.0]


def test_restrict_clips_epochs():
    spikes = SpikeTrains([[1.0, 9.0]], stop=10, epochs=[(0, 2), (8, 10)])
    assert spikes.restrict(1, 9).epochs == ((1.0, 2.0), (8.0, 9.0))
    assert spikes.observed_duration == 4
    with pytest.raises(DataError, match=r"no observed time between 3 and 5 s: all of it is a gap"):
        spikes.restrict(3, 5)


def test_summary_against_a_slow_loop():
    spikes = SpikeTrains({"a": [0.0, 0.0005, 1.0, 1.5, 9.0]}, stop=10, epochs=[(0, 2), (8, 10)])
    row = spikes.summary().iloc[0]
    intervals = np.array([0.0005, 0.9995, 0.5])
    assert row["spikes"] == 5
    assert row["rate"] == pytest.approx(5 / 4)
    assert row["median_interval"] == pytest.approx(0.5)
    assert row["short_share"] == pytest.approx(1 / 3)
    assert row["cv"] == pytest.approx(intervals.std() / intervals.mean())


def test_summary_of_a_silent_unit_has_no_intervals():
    summary = SpikeTrains({"a": [], "b": [1.0, 2.0]}).summary()
    assert np.isnan(summary["cv"][0])
    assert summary["spikes"].tolist() == [0, 2]


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_save_and_read_back(tmp_path, suffix):
    spikes = SpikeTrains(
        {"b": [0.1, 0.25], "é µ": [1.0, 7.5], "silent": []},
        start=0,
        stop=10,
        epochs=[(0, 2), (6, 10)],
        source="a rat",
    )
    file = spikes.save(tmp_path / f"recording{suffix}")
    back = read_spikes(file)
    assert back == spikes
    assert back.hash() == spikes.hash()
    assert (back.source, back.units, back.epochs) == (spikes.source, spikes.units, spikes.epochs)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_what_was_allowed_once_is_read_back(tmp_path):
    slow = SpikeTrains(
        [np.repeat(np.arange(1.0, 90), 2) * 1e3], unit_check=False, allow_duplicates=True
    )
    assert read_spikes(slow.save(tmp_path / "x.npz")) == slow


def test_save_refuses_other_suffixes_and_missing_folders(tmp_path):
    spikes = SpikeTrains([[0.1, 0.2]])
    with pytest.raises(SettingError, match=r"must end in .npz or .nc; got 'x.pkl'"):
        spikes.save(tmp_path / "x.pkl")
    with pytest.raises(DataError, match="names a folder that does not exist"):
        spikes.save(tmp_path / "none" / "x.npz")


def test_hash_follows_content_only():
    spikes = SpikeTrains({"a": [0.1, 0.2]})
    assert spikes.hash() == SpikeTrains({"a": [0.1, 0.2]}, source="elsewhere").hash()
    for other in (
        SpikeTrains({"b": [0.1, 0.2]}),
        SpikeTrains({"a": [0.1, 0.3]}),
        SpikeTrains({"a": [0.1, 0.2]}, stop=2),
        SpikeTrains({"a": [0.1, 0.2]}, epochs=[(0, 0.5)]),
    ):
        assert other.hash() != spikes.hash()
        assert other != spikes
    assert len({spikes, SpikeTrains({"a": [0.1, 0.2]})}) == 1


def test_repr_names_gaps_and_shortens():
    text = repr(SpikeTrains([[1.0, 2.0]] * 10, epochs=[(0, 2.5)]))
    assert "10 units, 20 spikes, 0 to 3 s, 0.5 s of it in gaps" in text
    assert text.endswith("... and 2 more")


def test_packaged_recording_is_real_and_bins():
    spikes = load_example()
    assert spikes.duration == 300
    assert spikes.summary()["rate"].between(2, 8).all()
    binned = spikes.bin()
    assert binned.num_windows == 300
    assert binned.counts.sum() == sum(spikes.counts.values())
    assert load_example("v1_trio").units == ("8", "11", "14")
    with pytest.raises(SettingError, match=r"Unknown example 'v1_pear'. Did you mean 'v1_pair'?"):
        load_example("v1_pear")


def test_packaged_pair_has_its_peak():
    spikes = load_example()
    lags = (spikes["14"][None, :] - spikes["11"][:, None]).ravel()
    counts = np.histogram(lags, bins=np.arange(-50.5, 51) * 1e-3)[0]
    shoulder = np.r_[counts[:41], counts[60:]].mean()
    assert counts[51:56].argmax() == 0
    assert counts[51] > 2 * shoulder
