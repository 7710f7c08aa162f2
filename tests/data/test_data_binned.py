import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data import BinnedSpikes, SpikeTrains
from probneuro.data.binned import bin_index


@pytest.mark.parametrize("start", [0.0, 0.1, 4396.9975])
@pytest.mark.parametrize("width", [1e-4, 5e-4, 1e-3, 2e-3, 0.1])
def test_times_on_bin_borders_stay_in_their_bin(start, width):
    bins = np.arange(100_000)
    for times in (start + bins * width, np.round(start + bins * width, 6)):
        np.testing.assert_array_equal(bin_index(times, start, width), bins)
    np.testing.assert_array_equal(bin_index(start + (bins + 0.5) * width, start, width), bins)


def test_decimal_fractions_that_division_gets_wrong():
    times = np.arange(1, 5000) / 1000
    plain = np.floor(times / 0.001).astype(int)
    assert (plain != np.arange(1, 5000)).any(), "the trap this guards against is gone"
    np.testing.assert_array_equal(bin_index(times, 0.0, 0.001), np.arange(1, 5000))


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_conserved_and_match_a_slow_loop(seed):
    rng = np.random.default_rng(seed)
    width, window = rng.choice([1e-3, 2e-3, 5e-3]), 1.0
    times = [np.sort(rng.uniform(0, 20, n)) for n in (200, 500)]
    binned = SpikeTrains(times, stop=20).bin(width, window)
    assert binned.counts.sum(axis=0).tolist() == [200, 500]
    assert binned.trimmed == pytest.approx(0)
    slow = np.zeros_like(binned.counts)
    for column, train in enumerate(times):
        for t in train:
            slow[int(t // width), column] += 1
    np.testing.assert_array_equal(binned.counts, slow)
    np.testing.assert_array_equal(binned.window_counts().sum(axis=0), binned.counts.sum(axis=0))


def test_several_spikes_in_a_bin_stay_several():
    binned = SpikeTrains([[0.5001, 0.5002, 0.5009, 0.7]]).bin()
    assert binned.counts[500, 0] == 3


def test_spike_at_the_very_end_is_counted():
    binned = SpikeTrains([[0.5, 2.0]], stop=2.0).bin()
    assert binned.counts[-1, 0] == 1


def test_form_of_the_counts():
    binned = SpikeTrains([[0.1, 0.5], [0.2, 1.4]]).bin()
    assert binned.counts.dtype == np.int32
    assert binned.counts.flags.c_contiguous
    assert not binned.counts.flags.writeable
    assert (binned.num_bins, binned.num_windows, binned.num_neurons) == (2000, 2, 2)
    np.testing.assert_array_equal(binned.window_starts, [0.0, 1.0])
    np.testing.assert_array_equal(binned.rates, [1.0, 1.0])


def test_what_fills_no_window_is_cut_and_told():
    binned = SpikeTrains([[0.1, 0.5, 2.3]], stop=2.75).bin()
    assert (binned.num_windows, binned.counts.sum()) == (2, 2)
    assert binned.trimmed == pytest.approx(0.75)
    assert "0.75 s trimmed" in repr(binned)


def test_start_of_the_recording_is_the_first_bin():
    binned = SpikeTrains([[100.25, 101.5]], start=100, stop=102).bin()
    assert np.flatnonzero(binned.counts[:, 0]).tolist() == [250, 1500]
    np.testing.assert_array_equal(binned.window_starts, [100, 101])


def test_gaps_are_unobserved_and_empty():
    spikes = SpikeTrains([[0.5, 1.0, 2.5]], stop=3, epochs=[(0, 1.2), (2.0, 3.0)])
    binned = spikes.bin()
    np.testing.assert_array_equal(np.flatnonzero(~binned.observed), np.arange(1200, 2000))
    assert binned.counts.sum() == 3
    assert binned.rates[0] == pytest.approx(3 / 2.2)
    assert "0.8 s in gaps" in repr(binned)


def test_bins_that_a_gap_cuts_are_unobserved_and_empty():
    spikes = SpikeTrains([[0.5, 1.2003, 2.5]], stop=3, epochs=[(0, 1.2005), (2.0005, 3.0)])
    binned = spikes.bin()
    np.testing.assert_array_equal(np.flatnonzero(~binned.observed), np.arange(1200, 2001))
    assert binned.counts.sum() == 2


def test_stimulus_is_trimmed_with_the_counts():
    stimulus = np.arange(5500.0).reshape(2750, 2)
    spikes = SpikeTrains([[0.1, 0.5, 2.3]], stop=2.75)
    binned = spikes.bin(stimulus=stimulus, channels=["light", "sound"])
    np.testing.assert_array_equal(binned.stimulus, stimulus[:2000])
    assert binned.channels == ("light", "sound")
    train, test = binned.split(1.0)
    np.testing.assert_array_equal(np.r_[train.stimulus, test.stimulus], binned.stimulus)
    assert spikes.bin(stimulus=stimulus[:, 0]).stimulus.shape == (2000, 1)


def test_split_and_head():
    binned = SpikeTrains([np.arange(0.05, 10, 0.1)]).bin()
    train, test = binned.split(2.5)
    assert (train.num_windows, test.num_windows, test.start) == (7, 3, 7.0)
    np.testing.assert_array_equal(np.r_[train.counts, test.counts], binned.counts)
    assert binned.split(2.0)[1].num_windows == 2
    np.testing.assert_array_equal(binned.head(4).counts, binned.counts[:4000])
    assert train == binned.head(7)
    for wrong in (0, 11):
        with pytest.raises(SettingError, match=r"`num_windows` must lie between 1 and 10"):
            binned.head(wrong)


def test_held_out_of_a_tenth_of_a_second_is_one_window():
    assert SpikeTrains([[0.1, 2.9]]).bin(0.001, 0.1).split(0.3)[1].num_windows == 3


def test_hash_follows_every_part():
    counts = np.ones((4, 2), dtype=int)
    base = BinnedSpikes(counts, bin_width=0.5, bins_per_window=2)
    assert base == BinnedSpikes(counts.astype(float), bin_width=0.5, bins_per_window=2)
    hidden = counts * np.array([1, 1, 1, 0])[:, None]
    others = [
        BinnedSpikes(2 * counts, bin_width=0.5, bins_per_window=2),
        BinnedSpikes(counts, bin_width=0.25, bins_per_window=2),
        BinnedSpikes(counts, bin_width=0.5, bins_per_window=4),
        BinnedSpikes(counts, bin_width=0.5, bins_per_window=2, start=1.0),
        BinnedSpikes(counts, bin_width=0.5, bins_per_window=2, units=["a", "b"]),
        BinnedSpikes(counts, bin_width=0.5, bins_per_window=2, stimulus=np.zeros(4)),
        BinnedSpikes(hidden, bin_width=0.5, bins_per_window=2),
        BinnedSpikes(hidden, bin_width=0.5, bins_per_window=2, observed=[1, 1, 1, 0]),
    ]
    hashes = {binned.hash() for binned in [base, *others]}
    assert len(hashes) == len(others) + 1


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ([1, 2], {}, r"`counts` must have shape \(time, neuron\); got \(2,\)"),
        ([["a"]], {}, r"`counts` must be finite numbers"),
        ([[np.nan]], {}, r"`counts` must be finite numbers"),
        ([[0], [-1]], {}, r"whole numbers, 0 or more; bin 1 of neuron 0 is -1"),
        ([[0.5], [1]], {}, r"bin 0 of neuron 0 is 0.5. Pass spikes per bin, not rates"),
        (
            [[1]],
            {"bins_per_window": 2},
            r"fill at least one window; got 1 s and a window of 2",
        ),
        ([[1]], {"units": ["a", "b"]}, r"`units` must name every spike train; got 2 names for 1"),
        ([[1]], {"observed": [True, True]}, r"`observed` must have one value a bin, 1; got"),
        ([[1]], {"observed": [False]}, r"`observed` is False everywhere"),
        ([[1], [2]], {"observed": [True, False]}, r"must be 0 where `observed` is False; got 2"),
        ([[1]], {"stimulus": [1.0, 2.0]}, r"`stimulus` must have one row a bin, 1; got shape"),
        ([[1]], {"stimulus": [np.nan]}, r"`stimulus` must be finite; row 0 is not"),
        (
            [[1]],
            {"stimulus": [1.0], "channels": ["a", "b"]},
            r"`channels` must name every stimulus channel once; got \['a', 'b'\] for 1",
        ),
    ],
)
def test_messages_about_counts(counts, settings, message):
    with pytest.raises(DataError, match=message):
        BinnedSpikes(counts, **{"bin_width": 1.0, "bins_per_window": 1} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bin_width": 0}, r"`bin_width` must be a positive number; got 0"),
        ({"bin_width": "x"}, r"`bin_width` must be a positive number; got 'x'"),
        ({"bins_per_window": 0}, r"`bins_per_window` must be a whole number above 0; got 0"),
        ({"bins_per_window": 1.5}, r"`bins_per_window` must be a whole number above 0; got 1.5"),
        ({"channels": ["a"]}, r"`channels` names stimulus channels, but there is no `stimulus`"),
    ],
)
def test_messages_about_settings(settings, message):
    with pytest.raises(SettingError, match=message):
        BinnedSpikes([[1]], **{"bin_width": 1.0, "bins_per_window": 1} | settings)


def test_check_fittable_after_a_split():
    train, _ = SpikeTrains({"a": [0.1, 0.2], "b": [2.5, 2.6]}).bin().split(1.0)
    with pytest.raises(DataError, match=r"Unit b has no spikes and cannot be fitted"):
        train.check_fittable()
    train.check_fittable(min_spikes=0)
