"""Metrics of constructed trains with known answers, and names as an export writes them."""

import numpy as np
import pytest

from probneuro.components.neural_metrics import (
    METRIC_NAMES,
    MetricSettings,
    bursts_of_train,
    metrics_table,
    network_bursts,
    spike_time_tiling,
    spikes_of_counts,
    synchrony,
    well_metrics,
)
from probneuro.core.errors import SettingError
from probneuro.data import Wells, WellSpikes

REGULAR = np.concatenate([start + 0.05 * np.arange(10) for start in (1.0, 4.0, 9.0)])
SPARSE = np.array([0.5, 2.5, 7.5])


def metrics(trains: dict, **more) -> dict[str, float]:
    return well_metrics(trains, **{"duration": 60.0, "num_electrodes": 4, **more})


def test_there_are_44() -> None:
    assert len(METRIC_NAMES) == len(set(METRIC_NAMES)) == 44
    assert tuple(metrics({"11": SPARSE})) == METRIC_NAMES


def test_activity() -> None:
    found = metrics({"11": REGULAR, "12": SPARSE})
    assert found["Number of Spikes"] == 33
    assert found["Mean Firing Rate (Hz)"] == pytest.approx(33 / 60 / 4)
    assert found["Number of Active Electrodes"] == 1, "3 spikes a minute are too few"
    assert found["Weighted Mean Firing Rate (Hz)"] == pytest.approx(0.5)
    each = [np.std(np.diff(t), ddof=1) / np.mean(np.diff(t)) for t in (REGULAR, SPARSE)]
    assert found["ISI Coefficient of Variation - Avg"] == pytest.approx(np.mean(each))


def test_an_electrode_at_the_threshold_is_active() -> None:
    assert metrics({"11": np.arange(5.0)})["Number of Active Electrodes"] == 1


def test_electrode_bursts() -> None:
    found = metrics({"11": REGULAR, "12": SPARSE, "13": REGULAR[:20] + 0.3})
    assert found["Number of Bursts"] == 5
    assert found["Number of Bursting Electrodes"] == 2
    assert found["Burst Duration - Avg (sec)"] == pytest.approx(0.45)
    assert found["Burst Duration - Std (sec)"] == pytest.approx(0.0, abs=1e-12)
    assert found["Number of Spikes per Burst - Avg"] == 10
    assert found["Mean ISI within Burst - Avg (sec)"] == pytest.approx(0.05)
    assert found["Median/Mean ISI within Burst - Avg"] == pytest.approx(1.0)
    assert found["Burst Frequency - Avg (Hz)"] == pytest.approx((3 + 2) / 2 / 60)
    assert found["Burst Frequency - Std (Hz)"] == pytest.approx(np.std([3, 2], ddof=1) / 60)
    assert found["Burst Percentage - Avg"] == pytest.approx(200 / 3), "the silent one counts"


def test_inter_burst_interval_runs_from_start_to_start() -> None:
    found = metrics({"11": REGULAR})
    assert found["Inter-Burst Interval - Avg (sec)"] == pytest.approx(4.0)
    assert found["IBI Coefficient of Variation - Avg"] == pytest.approx(np.sqrt(2) / 4)
    assert found["Inter-Burst Interval - Std (sec)"] == 0.0, "one electrode: an export says 0"
    assert np.isnan(found["Burst Duration - Std (sec)"]), "one electrode: an export is blank"


def test_an_interval_of_the_threshold_belongs_to_the_burst() -> None:
    assert len(bursts_of_train(0.1 * np.arange(5) + 0.37)) == 1
    assert not bursts_of_train(0.1001 * np.arange(5))
    assert not bursts_of_train(0.1 * np.arange(4))


def network(electrodes: int) -> dict[str, np.ndarray]:
    return {str(e): np.array([2.0, 5.0, 11.0])[:, None].repeat(15, 1).ravel()
            + np.tile(0.02 * np.arange(15), 3) + 0.001 * e for e in range(electrodes)}  # fmt: skip


def test_network_bursts() -> None:
    found = metrics(network(4))
    assert found["Number of Network Bursts"] == 3
    assert found["Network Burst Frequency"] == pytest.approx(0.05)
    assert found["Network Burst Duration - Avg (sec)"] == pytest.approx(0.283)
    assert found["Number of Spikes per Network Burst - Avg"] == 60
    assert found["Number of Elecs Participating in Burst - Avg"] == 4
    assert found["Number of Spikes per Network Burst per Channel - Avg"] == 15
    assert found["Network Burst Percentage"] == pytest.approx(100.0)
    assert found["Network IBI Coefficient of Variation"] == pytest.approx(
        np.std([3, 6], ddof=1) / 4.5
    )
    assert found["Network Normalized Duration IQR"] == pytest.approx(0.0, abs=1e-9)
    assert found["Mean ISI within Network Burst - Avg (sec)"] == pytest.approx(0.283 / 59)
    assert found["Median ISI within Network Burst - Avg (sec)"] == pytest.approx(0.001)


def test_a_network_burst_needs_its_share_of_all_electrodes() -> None:
    assert len(network_bursts(network(4), 11)) == 3
    assert not network_bursts(network(4), 12), "4 of 12 is less than 35 %"


def test_silent_wells_have_counts_of_zero_and_blanks() -> None:
    found = metrics({})
    zeros = [name for name, value in found.items() if value == 0]
    assert zeros == [
        "Number of Spikes", "Mean Firing Rate (Hz)", "Number of Active Electrodes",
        "Number of Bursts", "Number of Bursting Electrodes", "Number of Network Bursts",
    ]  # fmt: skip
    assert sum(np.isnan(v) for v in found.values()) == 44 - len(zeros)


def test_tiling_coefficient() -> None:
    rng = np.random.default_rng(0)
    one, two = (np.sort(rng.uniform(0, 1000, 1000)) for _ in range(2))
    limits = {"start": 0.0, "stop": 1000.0}
    assert abs(spike_time_tiling(one, two, **limits)) < 0.05
    assert spike_time_tiling(one, one, **limits) == pytest.approx(1.0)
    apart = spike_time_tiling([1.0], [5.0], start=0.0, stop=10.0, window=0.5)
    assert apart == pytest.approx(-0.1), "no spike is near: -T of the other"
    assert np.isnan(spike_time_tiling([], [1.0], **limits))
    assert synchrony({"a": one, "b": one, "c": []}, **limits) == pytest.approx(1.0)
    assert np.isnan(synchrony({"a": one}, **limits))


def test_tiling_equals_a_fine_grid() -> None:
    """The same by marking a grid of 0.1 ms: nothing but its width apart."""
    rng = np.random.default_rng(1)
    trains = [np.sort(rng.uniform(0, 5, 40)) for _ in range(2)]
    grid = np.arange(0, 5, 1e-4)
    near = [np.abs(grid[:, None] - t).min(1) <= 0.02 for t in trains]
    share = [m.mean() for m in near]
    hits = [(np.abs(t[:, None] - o).min(1) <= 0.02).mean() for t, o in (trains, trains[::-1])]
    exact = np.mean([(hits[0] - share[1]) / (1 - hits[0] * share[1]),
                     (hits[1] - share[0]) / (1 - hits[1] * share[0])])  # fmt: skip
    assert spike_time_tiling(*trains, start=0.0, stop=5.0) == pytest.approx(exact, abs=1e-3)


def test_bins_of_500_ms_leave_no_electrode_bursts_of_sparse_bins() -> None:
    """A burst of five spikes at 100 ms is seen in bins of 500 ms only when it fills one."""
    counts = np.zeros((1, 4, 40), dtype=int)
    counts[0, 0, ::8] = 4
    spread = spikes_of_counts(Wells(counts, 0.5))
    table = metrics_table(spread)
    assert table["Number of Bursts"][0] == 0
    assert np.isnan(table["Inter-Burst Interval - Avg (sec)"][0])
    counts[0, 0, ::8] = 6
    assert metrics_table(Wells(counts, 0.5))["Number of Bursts"][0] == 5


def test_counts_come_back_from_their_spikes() -> None:
    counts = np.random.default_rng(3).poisson(1.5, (2, 3, 20))
    assert np.array_equal(spikes_of_counts(Wells(counts, 0.3)).bin(0.3).counts, counts)


def test_table_has_a_row_a_recording() -> None:
    spikes = WellSpikes([network(4), {}], 60.0, electrodes=list("0123"))
    table = metrics_table(spikes, with_synchrony=True)
    assert table.shape == (2, 45)
    assert table["Number of Network Bursts"].tolist() == [3, 0]


def test_settings_and_windows_are_checked() -> None:
    with pytest.raises(SettingError, match="`min_spikes` must be positive; got 0"):
        MetricSettings(min_spikes=0)
    with pytest.raises(SettingError, match="`window` and `stop` - `start` must be positive"):
        spike_time_tiling([1.0], [1.0], start=0.0, stop=0.0)


def test_spikes_at_one_time_have_no_variation() -> None:
    """Intervals of 0 alone leave a coefficient of variation blank, without a warning."""
    found = well_metrics({"11": [1.0] * 6}, duration=10.0, num_electrodes=4)
    assert found["Number of Bursts"] == 1.0
    assert np.isnan(found["ISI Coefficient of Variation - Avg"])
    assert np.isnan(found["Median/Mean ISI within Burst - Avg"])


@pytest.mark.parametrize(
    ("trains", "duration", "electrodes", "message"),
    [
        ({"11": [1.0]}, 0.0, 4, "`duration` must be positive seconds; got 0.0"),
        ({"11": [1.0]}, float("nan"), 4, "`duration` must be positive seconds; got nan"),
        ({"11": [1.0], "12": [2.0]}, 10.0, 1, "`num_electrodes` must be 2 or more"),
        ({"11": [1.0, float("nan")]}, 10.0, 4, "`trains` of electrode 11 must be finite"),
    ],
)
def test_wells_are_checked(trains: dict, duration: float, electrodes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        well_metrics(trains, duration=duration, num_electrodes=electrodes)
