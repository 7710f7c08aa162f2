"""Sessions cut out of spike trains, and read from NWB."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data import SpikeTrains, read_nwb_session, session_from_spikes

RNG = np.random.default_rng(4)
TRAINS = {str(n): np.sort(RNG.uniform(0, 30, 200 + 50 * n)) for n in range(3)}
SPIKES = SpikeTrains(TRAINS, start=0.0, stop=30.0)
ONSETS = [12.0, 15.123, 20.0]
PATTERNS = [[1, 0], [0, 0], [1, 1]]
SETTINGS = {"candidates": [4, 7], "grid": (3, 3), "electrodes": [0, 1, 2]}


def session(**changes):
    given = {"onsets": ONSETS, "patterns": PATTERNS, "calibration": [0.0, 3.0], **SETTINGS}
    return session_from_spikes(SPIKES, **{**given, **changes})


def test_counts_are_those_of_the_intervals() -> None:
    found = session(name="a")
    assert found.calibration.shape == (2, 30, 3)
    assert found.stimulated.tolist() == [True, False, True]
    for trial, onset in enumerate(ONSETS):
        for unit, train in enumerate(TRAINS.values()):
            for step in range(5):
                start = onset - 0.25 + 0.05 * step
                expected = np.sum((train >= start) & (train < start + 0.05))
                assert found.before[trial, step, unit] == expected
            after = np.sum((train >= onset + 0.05) & (train < onset + 0.1))
            assert found.after[trial, unit] == after
    first = [np.sum((train >= 3.0) & (train < 4.5)) for train in TRAINS.values()]
    assert found.calibration[1].sum(0).tolist() == first


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"onsets": [12.0, 15.0, 29.95]}, DataError, "trial 2 needs 30 to 30.05 s, which was not"),
        ({"onsets": [0.1, 15.0, 20.0]}, DataError, r"trial 0 needs -0\.15 to 0\.1 s"),
        ({"calibration": [29.0]}, DataError, "`calibration`: trial 0 needs 29 to 30.5 s"),
        ({"onsets": [np.nan, 1.0, 2.0]}, DataError, "`onsets` must be times in seconds"),
        ({"calibration": []}, DataError, "`calibration` must be times in seconds"),
        ({"patterns": [[1, 0]]}, DataError, "must have one row a trial"),
        ({"delay": -1.0}, SettingError, "`delay` not negative"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message) -> None:
    with pytest.raises(error, match=message):
        session(**changes)


def test_a_gap_in_the_recording_is_not_taken_for_silence() -> None:
    gap = SpikeTrains(
        {"0": [1.0, 5.0]}, start=0.0, stop=10.0, epochs=[(0.0, 4.0), (4.5, 10.0)]
    )  # fmt: skip
    with pytest.raises(DataError, match=r"trial 0 needs 3\.95 to 4\.2 s, which was not"):
        session_from_spikes(
            gap, [4.2], [[1]], calibration=[0.0], candidates=[0], grid=(1, 1)
        )  # fmt: skip


def written(path: Path, **columns: str) -> Path:
    pynwb = pytest.importorskip("pynwb")
    file = pynwb.NWBFile("a session", "s1", datetime(2026, 1, 1, tzinfo=UTC))
    for train in TRAINS.values():
        file.add_unit(spike_times=train, obs_intervals=[(0.0, 30.0)])
    file.add_trial_column(columns.get("onset", "stim_time"), "s")
    file.add_trial_column("stim_electrodes", "grid indices", index=True)
    file.add_trial_column("calibration", "no stimulation")
    onset = columns.get("onset", "stim_time")
    for start in (0.0, 3.0):
        file.add_trial(start, start + 1.5, **{onset: np.nan}, stim_electrodes=[], calibration=True)
    for time, places in zip(ONSETS, ([4], [], [4, 7]), strict=True):
        file.add_trial(
            time - 1, time + 1, **{onset: time}, stim_electrodes=places, calibration=False
        )  # fmt: skip
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


def test_nwb_gives_the_same_session(tmp_path: Path) -> None:
    found = read_nwb_session(written(tmp_path / "one.nwb"), grid=(3, 3))
    assert found.name == "one"
    assert found.hash() == session(name="one").hash()
    other = read_nwb_session(
        written(tmp_path / "two.nwb", onset="pulse"), onset="pulse", grid=(3, 3), name="one",
        candidates=[4, 7],
    )  # fmt: skip
    assert other.hash() == found.hash()


def test_nwb_without_the_columns_or_with_other_candidates_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "one.nwb")
    with pytest.raises(DataError, match=r"no column pulse in its trials \(there: start_time"):
        read_nwb_session(path, onset="pulse")
    with pytest.raises(DataError, match=r"`candidates` leaves out \[7\], which were stimulated"):
        read_nwb_session(path, grid=(3, 3), candidates=[4, 5])
    (tmp_path / "bad.nwb").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="damaged, cut short"):
        read_nwb_session(tmp_path / "bad.nwb")
