"""Sessions hold what they were given, refuse what does not fit, and choose electrodes in order."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data.latent_trials import LatentTrials
from probneuro.data.stim_sessions import Sessions, StimSession, read_sessions
from probneuro.data.usable import UsableCriteria, coincidence, usable_electrodes
from probneuro.models.omiso import aligned, latent_space, latent_trials


def session(name: str = "0", **changes):
    """Return a small session."""
    rng = np.random.default_rng(0)
    given = {
        "calibration": rng.poisson(1.0, (4, 6, 5)),
        "before": rng.poisson(1.0, (7, 3, 5)),
        "patterns": np.eye(7, 8),
        "after": rng.poisson(1.0, (7, 5)),
    }
    settings = {"candidates": np.arange(8), "grid": (3, 4), "name": name}
    settings |= {k: v for k, v in changes.items() if k not in given}
    given |= {k: v for k, v in changes.items() if k in given}
    return StimSession(*given.values(), **settings)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_files_bring_back_what_was_saved(tmp_path: Path, suffix: str) -> None:
    sessions = Sessions([session(), session("1", usable=[1, 0, 1, 1, 1])])
    back = read_sessions(sessions.save(tmp_path / f"sessions{suffix}"))
    assert back.hash() == sessions.hash() and back[1].usable.sum() == 4
    assert repr(back) == "Sessions: 2 sessions, 14 trials, grid 3 x 4"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = Sessions([session()]).save(tmp_path / "s.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["session_0/after"] = arrays["session_0/after"] + 1
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"`path` is damaged.*Write it again"):
        read_sessions(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="`path` is no numpy archive"):
        read_sessions(path)
    np.savez(path, **{"session_x/after": np.ones(3)})
    with pytest.raises(DataError, match="'session_x', which names no session"):
        read_sessions(path)
    np.savez(path, **{"session_0/after": np.ones(3)})
    with pytest.raises(DataError, match=r"`path` lacks calibration.*arguments of StimSession"):
        read_sessions(path)


def test_no_flipped_byte_gets_through(tmp_path: Path) -> None:
    path = Sessions([session()]).save(tmp_path / "s.npz")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(len(whole), size=60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(DataError):
            assert read_sessions(path).hash() == Sessions([session()]).hash()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"after": np.ones((6, 5))}, r"one row a trial; got 7, 7 and 6.*incomplete"),
        ({"before": np.ones((7, 3, 4))}, r"`before` has 4 electrodes, `after` has 5"),
        ({"patterns": np.full((7, 8), 2)}, r"`patterns` must hold 0 and 1.*Mark"),
        ({"after": -np.ones((7, 5))}, r"`after` must hold counts.*Leave"),
        ({"after": np.ones(7)}, r"`after` must have shape \(trial, electrode\).*Reshape"),
        ({"candidates": np.arange(8) + 9}, r"`candidates` must lie on the grid of 3 x 4"),
        ({"candidates": np.zeros(8)}, r"`candidates` must be 8 different places"),
        ({"candidates": np.arange(8) + 0.5}, r"`candidates` must be 8 different.*whole numbers"),
        ({"usable": [True]}, r"`usable` must be true or false for each of 5"),
        ({"usable": ["no"] * 5}, r"`usable` must be true or false for each of 5"),
        ({"grid": (16,)}, r"`grid` must be \(height, width\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words) -> None:
    with pytest.raises(DataError, match=words):
        session(**changes)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`sessions` holds none"):
        Sessions([])
    with pytest.raises(DataError, match="different names"):
        Sessions([session(), session()])
    with pytest.raises(DataError, match=r"must share bins; session 1 has 3 of 0\.5 s"):
        Sessions([session(), session("1", bin_width=0.5)])
    with pytest.raises(SettingError, match=r"in seconds; got 50.*Pass 0\.05"):
        session(bin_width=50)
    with pytest.raises(DataError, match="must share grid and candidates; session 1"):
        Sessions([session(), session("1", grid=(4, 3))])
    with pytest.raises(SettingError, match=r"must end in \.npz or \.nc"):
        Sessions([session()]).save(tmp_path / "s.mat")
    with pytest.raises(DataError, match="names a folder that does not exist"):
        Sessions([session()]).save(tmp_path / "no" / "s.npz")
    with pytest.raises(DataError, match="`path` is no file"):
        read_sessions(tmp_path / "s.npz")
    with pytest.raises(SettingError, match="`bin_width` must be positive"):
        session(bin_width=0.0)
    with pytest.raises(SettingError, match="`order` holds 'size'"):
        UsableCriteria(order=("size",))
    with pytest.raises(SettingError, match="`window` must not be negative"):
        UsableCriteria(window=-1.0)
    with pytest.raises(DataError, match="leaves no usable electrode"):
        session().choose_usable(criteria=UsableCriteria(least_rate=1e6))
    with pytest.raises(DataError, match="must have shapes"):
        LatentTrials(np.eye(3), np.zeros((3, 5, 2)), np.zeros((3, 3)))
    with pytest.raises(DataError, match="must be finite"):
        LatentTrials(np.eye(3), np.full((3, 5, 2), np.nan), np.zeros((3, 2)))
    with pytest.raises(DataError, match="chooses none"):
        LatentTrials(np.eye(3), np.zeros((3, 5, 2)), np.zeros((3, 2))).take(np.zeros(3, bool))


def test_coincidence_is_that_of_merged_trains() -> None:
    rng = np.random.default_rng(0)
    trains = [np.sort(rng.uniform(0, 20, 300)) for _ in range(3)]
    trains.append(np.sort(trains[0] + rng.uniform(0, 4e-4, 300)))
    found = coincidence(trains)
    for i in range(4):
        for j in range(i):
            merged = np.sort(np.concatenate([trains[i], trains[j]]))
            count = (np.diff(merged) <= 0.0005).sum()
            assert found[i, j] == count / 300 and found[j, i] == count / 300
    assert found[3, 0] > 0.9


def test_the_order_of_criteria_matters() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(1.0, (40, 30, 3)).astype(float)
    counts[..., 2] = 0.01
    good = np.sort(rng.uniform(0, 60, 1200))
    trains = [good, np.sort(rng.uniform(0, 60, 1200)), good[:20] + 1e-4]
    first = usable_electrodes(counts, 0.05, trains=trains)
    last = UsableCriteria(order=("rate", "fano", "coincidence"))
    assert first.tolist() == [True, True, False]
    trains[2] = np.sort(np.concatenate([good + 1e-4, trains[1] + 1e-4]))
    assert usable_electrodes(counts, 0.05, trains=trains, criteria=last).tolist()[:2] == [True] * 2
    counts[0, :, 0] = 500.0
    assert usable_electrodes(counts, 0.05).tolist() == [False, True, False]


def test_inputs_of_the_choice_are_checked() -> None:
    with pytest.raises(DataError, match=r"`counts` must have shape \(trial, time, electrode\)"):
        usable_electrodes(np.ones((3, 4)), 0.05)
    with pytest.raises(DataError, match="one train an electrode, 5; got 1"):
        usable_electrodes(np.ones((3, 4, 5)), 0.05, trains=[[1.0]])
    with pytest.raises(DataError, match="of electrode 1 must be increasing"):
        coincidence([[1.0], [2.0, 1.0]])


def test_what_cannot_be_aligned_is_said_at_once() -> None:
    still = session(calibration=np.ones((4, 6, 5)))
    with pytest.raises(DataError, match="no usable electrode whose counts change"):
        latent_space(still, 2)
    space = latent_space(session(), 2)
    with pytest.raises(SettingError, match="stable"):
        aligned(space, space, method="stabel")  # type: ignore[arg-type]
    rest = Sessions([session(patterns=np.zeros((7, 8)))])
    with pytest.raises(DataError, match="no stimulated trial"):
        latent_trials(rest, [space])
