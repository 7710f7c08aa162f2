"""Three recordings made by others; set PROBNEURO_DATA to where they are, or they are skipped."""

import os
from pathlib import Path

import numpy as np
import pytest

from probneuro.data import load_example, read_spikes

_BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FOLDER = Path(os.environ.get("PROBNEURO_DATA", _BESIDE)) / "spikes"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recordings in {FOLDER}")


def test_cell_array_of_visual_cortex():
    spikes = read_spikes(FOLDER / "all_unit.mat")
    assert spikes.units == tuple(str(k) for k in range(1, 17))
    assert min(spikes.counts.values()) == 485
    assert max(spikes.counts.values()) == 5230
    assert (spikes.start, spikes.stop) == (0, 999)
    binned = spikes.bin()
    assert binned.counts.sum() == sum(spikes.counts.values())


def test_packaged_extract_is_what_it_says():
    whole = read_spikes(FOLDER / "all_unit.mat", units=["8", "11", "14"], start=240, stop=540)
    extract = load_example("v1_trio")
    for unit in extract.units:
        np.testing.assert_allclose(extract[unit], whole[unit] - 240, atol=1e-9)


def test_nested_cells_of_hippocampus_keep_their_clock():
    spikes = read_spikes(FOLDER / "linear-track_spikes.mat")
    assert spikes.num_units == 31
    assert sum(spikes.counts.values()) == 28_829
    assert len({unit.split(".")[0] for unit in spikes.units}) == 6
    assert spikes.start == pytest.approx(4396.9975)
    assert spikes.duration == pytest.approx(1968.27, abs=0.01)


def test_nwb_without_observed_intervals():
    pytest.importorskip("pynwb")
    spikes = read_spikes(FOLDER / "A8604-211122.nwb")
    assert spikes.counts == {"6": 11_020, "191": 4690, "206": 5644}
    assert spikes.epochs == ((0.0, 1088.0),)


def test_truncated_nwb(tmp_path):
    pytest.importorskip("pynwb")
    data = (FOLDER / "A8604-211122.nwb").read_bytes()
    for size in (len(data) // 2, len(data) - 1, 2000):
        (tmp_path / "cut.nwb").write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"cannot be read as NWB: .*cut.nwb' is damaged"):
            read_spikes(tmp_path / "cut.nwb")
