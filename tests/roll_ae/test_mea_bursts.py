"""The synthetic recordings against the probabilities they were made with."""

import numpy as np
import pytest

from probneuro.core.errors import SettingError
from probneuro.simulators.mea_bursts import BurstClass, simulate_mea_bursts, sixteen_classes

SILENT = {"spike": 0.0, "burst": 0.0}


def share(kind: BurstClass, *, bins: int = 300, num: int = 60) -> np.ndarray:
    return simulate_mea_bursts([kind], num_recordings=num, num_bins=bins, seed=1).counts


def check(found: np.ndarray, expected: float) -> None:
    """Hold the mean over recordings, which are independent, against its expectation."""
    each = found.reshape(len(found), -1).mean(1)
    assert abs(each.mean() - expected) < 4.9 * each.std(ddof=1) / np.sqrt(len(each))


def test_sporadic_spikes() -> None:
    check(share(BurstClass(spike=0.1, burst=0.0)), 0.1)


def test_bursts_fill_delta_plus_one_bins() -> None:
    """A bin is silent if none of the starts that may reach it, up to 5 bins ago, fires it."""
    chance = 0.9 * 0.025
    reach = [1.0, 1.0, 1.0, 1.0, 2 / 3, 1 / 3]
    expected = 1 - np.prod([1 - chance * r for r in reach])
    counts = share(BurstClass(spike=0.0, burst=0.025))
    check(counts[..., 10:], expected)
    with pytest.raises(AssertionError):
        check(counts[..., 10:], 1 - np.prod([1 - chance * r for r in reach[1:]]))


def test_cycles_repeat() -> None:
    counts = share(BurstClass(**SILENT, cycle=True)).astype(float)
    spectrum = (np.abs(np.fft.rfft(counts - counts.mean(-1, keepdims=True))) ** 2).mean((0, 1))
    peak = int(np.argmax(spectrum[5:]) + 5)
    assert 300 / 19.5 <= peak <= 300 / 14.5


def test_network_bursts_fade_with_distance() -> None:
    counts = share(BurstClass(**SILENT, network=True), num=200).astype(float)
    together = [(counts[:, 0] * counts[:, e]).mean() for e in (1, 2, 7)]
    assert together[0] > together[1] > together[2] > 0
    alone = simulate_mea_bursts([BurstClass(**SILENT)], num_recordings=2).counts
    assert alone.sum() == 0


def test_classes_and_seeds() -> None:
    assert len({kind.label for kind in sixteen_classes()}) == 16
    one, two, three = (simulate_mea_bursts(num_recordings=2, seed=s).counts for s in (0, 0, 1))
    assert np.array_equal(one, two) and not np.array_equal(one, three)
    assert set(np.unique(one)) == {0, 1}


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="`spike` must be a probability"):
        BurstClass(spike=2.0)
    with pytest.raises(SettingError, match="must be 1 or more; got 16, 0 and 300"):
        simulate_mea_bursts(num_recordings=0)
