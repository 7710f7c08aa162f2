"""Multi-well containers, their readers and splits; real exports where they lie beside."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from probneuro.core.errors import DataError, SettingError
from probneuro.data import (
    Wells,
    WellSpikes,
    grouped_split,
    join_wells,
    leave_one_group_out,
    read_neural_metrics,
    read_wells,
)

MEA = Path(__file__).parents[3] / "shared" / "data" / "mea"
real = pytest.mark.skipif(not MEA.is_dir(), reason="the recordings are not here")
HEAD = "Investigator,,Time (s),Electrode,Amplitude(mV)\n"
ROWS = "Sampling Frequency,12500 Hz,0.1,A1_11,0.02\n,,0.7,A1_44,0.03\n,,1.4,B2_23,0.1\n"


def spike_list(folder: Path, text: str, name: str = "mine_DIV7_spike_list.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_metadata_in_the_rows_is_no_spike(tmp_path: Path) -> None:
    text = HEAD + ROWS + "Actual File Section Run,0s to 1m0s,,,\n"
    spikes = read_wells(spike_list(tmp_path, text))
    assert isinstance(spikes, WellSpikes)
    assert list(spikes.labels["well"]) == ["A1", "B2"]
    assert spikes.labels["div"].tolist() == [7.0, 7.0]
    assert spikes.duration == 2.0, "a section that the spikes do not reach was cut"
    assert len(spikes.electrodes) == 16, "silent electrodes of the layout are there"
    assert spikes.bin(1.0).counts.sum((1, 2)).tolist() == [2, 1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_marks(tmp_path: Path, end: str, mark: str) -> None:
    text = mark + "Plate Type,48-Well\n\n" + "Time (s),Electrode\n0.1,A1_11\n1.9,A1_12\n"
    spikes = read_wells(spike_list(tmp_path, text.replace("\n", end)))
    assert spikes.times[0]["12"].tolist() == [1.9]


def test_stated_length_and_milliseconds(tmp_path: Path) -> None:
    text = "Actual File Section Run,0s to 0m2s\nTime (ms),Electrode\n100,A1_11\n1900,A1_12\n"
    packed = tmp_path / "x_spike_list.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    spikes = read_wells(packed)
    assert spikes.duration == 2.0
    assert spikes.times[0]["11"].tolist() == [0.1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "is no Axion spike list"),
        ("Time (fs),Electrode\n1,A1_11\n", "gives times in 'fs'"),
        (HEAD, "lists no spikes"),
        (HEAD + ",,x,A1_11,0\n", "row 2 of 'mine_DIV7_spike_list.csv' is 'x, A1_11'"),
        (HEAD + ",,0.1,,0\n", "must have a time and an electrode in every row"),
        (HEAD + ROWS + HEAD + ROWS, "row 5 of .* read joined exports one by one"),
        (HEAD + ",,0.1,23,0\n", "names electrode '23', which is not of the form A1_23"),
        (HEAD + ",,-1.0,A1_11,0\n", "has a spike at -1 s"),
        (HEAD + ",,250000,A1_11,0\n", "look like milliseconds or samples"),
        (HEAD + ",,0.1,A1_11,0\n,,inf,A1_12,0\n", "has a spike at inf s"),
        (HEAD + ROWS + "Sampling Frequency,20000 Hz,1.5,A1_11,0\n", "mixes sampling frequencies"),
    ],
)
def test_malformed_spike_lists(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_wells(spike_list(tmp_path, text))


def test_quoted_cells_and_packed_files_of_any_name(tmp_path: Path) -> None:
    text = '"Time (s)","Electrode"\n0.1,"A1_11"\n'
    assert read_wells(spike_list(tmp_path, text)).times[0]["11"].tolist() == [0.1]
    text = HEAD + 'Description,"cortex, rat",0.1,A1_11,0.02\n,,0.7,A1_44,0.03\n'
    assert len(read_wells(spike_list(tmp_path, text)).times[0]) == 2
    for name in ("X.CSV.GZ", "x.csv"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        assert len(read_wells(tmp_path / name).times[0]) == 2


def test_a_later_section_begins_where_it_says(tmp_path: Path) -> None:
    """Rates are over the section, and not from 0 on; times from 0 on are left so."""
    text = "Actual File Section Run,1m0s to 1m10s\nTime (s),Electrode\n{},A1_11\n{},A1_12\n"
    spikes = read_wells(spike_list(tmp_path, text.format(60.5, 69.9)))
    assert (spikes.start, spikes.duration) == (60.0, 10.0)
    again = read_wells(spike_list(tmp_path, text.format(0.5, 9.9)))
    assert (again.start, again.duration) == (0.0, 10.0)


def test_electrodes_may_be_an_array(tmp_path: Path) -> None:
    path = spike_list(tmp_path, HEAD + ROWS)
    names = np.array(["11", "23", "44"])
    assert read_wells(path, electrodes=names).electrodes == ("11", "23", "44")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DIV,Well\nDIV7,A1\n", "days in vitro as numbers; 'log.csv' has 'DIV7'"),
        ("Well,DIV,div\nA1,7,7\n", "two columns for 'div': 'log.csv'"),
        ("Well,Treatment\nA1,x\nA1,y\n", "two things of well A1 of 'mine_DIV7_spike_list.csv'"),
        (
            "Well,Treatment\nA01,x\n",
            "names none of the wells of 'mine_DIV7_spike_list.csv', such as 'A1'",
        ),
        ("Well,Treatment\n,x\n", "`log` names none of the wells"),
        ("Plate,Well\np1,A1\np2,A1\n", "tells of plates p1, p2; .* named after none of them"),
    ],
)
def test_malformed_logs(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_wells(spike_list(tmp_path, HEAD + ROWS), log=tmp_path / "log.csv")


def test_a_log_of_several_plates_tells_of_the_one_in_the_name(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("Plate,Well,Treatment,Dose\np1,A1,x,1\np10,A1,y,2\np10,C1,z,3\n")
    for plate, treatment in (("p1", "x"), ("p10", "y")):
        path = spike_list(tmp_path, HEAD + ROWS, f"a_{plate}_DIV7_spike_list.csv")
        table = read_wells(path, log=log).labels
        assert table["treatment"].tolist() == [treatment, ""]
        assert table["dose"].tolist()[1] == "", "what a log leaves out is blank"
    assert read_wells(path, log=log, plate="p1").labels["treatment"].tolist() == ["x", ""]


def test_experiment_log(tmp_path: Path) -> None:
    log = tmp_path / "expLog.csv"
    log.write_text("Plate SN,DIV,Well,Treatment\rp1,7,A1,drug\rp1,7,B2,\rp1,7,C3,none\rp1,8,A1,x\r")
    path = spike_list(tmp_path, HEAD + ROWS)
    table = read_wells(path, log=log).labels
    assert table["treatment"].tolist() == ["drug", ""]
    assert set(table["plate"]) == {"p1"}
    silent = read_wells(path, log=log, keep_silent=True, bin_width=0.5)
    assert silent.labels["well"].tolist() == ["A1", "B2", "C3"]
    assert silent.counts[2].sum() == 0
    later = read_wells(path, log=log, div=9).labels
    assert set(later["plate"]) == {"p1"}, "a plate keeps its name on days the log leaves out"
    assert later["treatment"].tolist() == ["", ""]
    log.write_text("Plate\np1\n")
    with pytest.raises(DataError, match="none is `Well`"):
        read_wells(path, log=log)


def hdf5(path: Path, **changed) -> Path:
    held = {"spikes": [0.5, 1.5, 2.5], "sCount": [2, 1], "names": [b"A1_11", b"B1_12"],
            "well": [b"A1", b"B1"], "treatment": [b"x", b"y"]} | changed  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, values in held.items():
            if values is not None:
                file[name] = values
    return path


def test_hdf5(tmp_path: Path) -> None:
    spikes = read_wells(hdf5(tmp_path / "p_DIV05.h5"))
    assert spikes.labels["treatment"].tolist() == ["x", "y"]
    assert (spikes.start, spikes.duration) == (0.0, 3.0)
    assert spikes.labels["div"].tolist() == [5.0, 5.0]
    units = hdf5(tmp_path / "q.h5", names=[b"ch_12_unit_0", b"ch_12_unit_1"], well=None)
    counts = read_wells(units, bin_width=1.0)
    assert counts.counts[0].sum() == 3
    assert len(counts.electrodes) == 60, "a name without a well is of an 8 x 8 array"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": None}, "lacks names"),
        ({"sCount": [2, 2]}, "`sCount` says 4 spikes of 2 channels"),
        ({"spikes": np.empty(0), "sCount": [0, 0]}, "holds no spikes"),
        (
            {"spikes": np.empty(0), "sCount": np.empty(0, int), "names": np.empty(0, "S5")},
            "holds no spikes",
        ),
        ({"sCount": [4, -1]}, "It is damaged"),
        ({"spikes": [0.5, np.nan, 2.5]}, "`spikes` must be finite; 'x.h5' has NaN"),
        ({"spikes": [b"a", b"b", b"c"]}, "cannot be read as HDF5"),
        ({"spikes": [0.5, 1.5, 250000.0]}, "times look like milliseconds or samples"),
        ({"names": [b"A1_11", b"trigger"]}, "names 'trigger' beside electrodes"),
    ],
)
def test_malformed_hdf5(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_wells(hdf5(tmp_path / "x.h5", **changed))


def write_nwb(path: Path, names: list[str], column: str = "unit_name") -> Path:
    pynwb = pytest.importorskip("pynwb")
    file = pynwb.NWBFile("wells", "id", datetime(2020, 1, 1, tzinfo=UTC))
    file.add_unit_column(column, "well, column and row")
    for k, name in enumerate(names):
        file.add_unit(spike_times=0.5 * k + np.array([0.1, 1.2, 3.3]), **{column: name})
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


@pytest.mark.parametrize("column", ["unit_name", "label"])
def test_nwb_of_wells(tmp_path: Path, column: str) -> None:
    """Two units of one electrode are that electrode's spikes; names tell wells apart."""
    names = ["A1_11", "A1_44", "B2_23", "A1_11"]
    spikes = read_wells(write_nwb(tmp_path / "mine_DIV7.nwb", names, column))
    assert isinstance(spikes, WellSpikes)
    assert list(spikes.labels["well"]) == ["A1", "B2"]
    assert spikes.labels["div"].tolist() == [7.0, 7.0]
    assert len(spikes.electrodes) == 16
    assert spikes.times[0]["11"].tolist() == pytest.approx([0.1, 1.2, 1.6, 2.7, 3.3, 4.8])
    assert spikes.times[1]["23"].tolist() == pytest.approx([1.1, 2.2, 4.3])
    counts = read_wells(tmp_path / "mine_DIV7.nwb", bin_width=1.0)
    assert counts.counts.sum((1, 2)).tolist() == [9, 3]


def test_nwb_without_names_is_one_well(tmp_path: Path) -> None:
    spikes = read_wells(write_nwb(tmp_path / "x.nwb", ["a", "b"], "quality"))
    assert list(spikes.labels["well"]) == [""]
    assert spikes.electrodes == ("0", "1")


def test_damaged_and_unknown_files(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        read_wells(tmp_path / "x.h5")
    (tmp_path / "x.spk").write_bytes(b"1")
    with pytest.raises(DataError, match="of a kind we cannot read"):
        read_wells(tmp_path / "x.spk")
    with pytest.raises(DataError, match="does not exist"):
        read_wells(tmp_path / "none.csv")


def wells(num: int = 6) -> Wells:
    counts = np.random.default_rng(0).poisson(1.0, (num, 4, 10))
    labels = {"plate": list("aabbcc"), "well": ["A1", "A2"] * 3, "div": [5, 7] * 3}
    return Wells(counts, 0.5, labels=labels)


def test_npz_comes_back(tmp_path: Path) -> None:
    before = wells()
    after = read_wells(before.save(tmp_path / "x.npz"))
    assert after.hash() == before.hash()
    pd.testing.assert_frame_equal(after.labels, before.labels)


def test_npz_is_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", counts=np.ones((2, 3, 4)), plate=["a", "b"])
    with pytest.raises(SettingError, match="`bin_width` is needed"):
        read_wells(tmp_path / "x.npz")
    assert read_wells(tmp_path / "x.npz", bin_width=1.0).labels["plate"].tolist() == ["a", "b"]
    with pytest.raises(SettingError, match=r"`bin_width` is 1 s, but the file says 0\.5 s"):
        read_wells(wells().save(tmp_path / "y.npz"), bin_width=1.0)
    with pytest.raises(SettingError, match="`log` does not apply to counts"):
        read_wells(tmp_path / "x.npz", bin_width=1.0, log="log.csv")
    for name, value, message in (
        ("div", [7.0], "`div` has 1 values for 2 recordings"),
        ("bin_width", [0.5, 0.5], "cannot be read as npz"),
        ("electrodes", "11", "`electrodes` must be 3 different names"),
    ):
        np.savez(tmp_path / "w.npz", counts=np.ones((2, 3, 4)), **{name: value})
        with pytest.raises(DataError, match=message):
            read_wells(tmp_path / "w.npz", bin_width=1.0)
    np.savez(tmp_path / "z.npz", other=1)
    with pytest.raises(DataError, match="has no array `counts`"):
        read_wells(tmp_path / "z.npz")
    with pytest.raises(SettingError, match=r"must end in \.npz"):
        wells().save(tmp_path / "z.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.ones((2, 3))}, "must have shape"),
        ({"counts": np.full((1, 1, 1), "a")}, "`counts` must be numbers"),
        ({"counts": np.full((1, 1, 1), np.nan)}, "`counts` must be finite"),
        ({"counts": np.full((1, 1, 1), -1)}, "whole numbers of 0 or more"),
        ({"counts": np.full((1, 1, 1), 0.5)}, "whole numbers of 0 or more"),
        ({"bin_width": 0.0}, "`bin_width` must be positive"),
        ({"electrodes": ["a", "a", "b"]}, "`electrodes` must be 3 different names"),
        ({"labels": {"plate": ["a"]}}, "`plate` has 1 values for 2 recordings"),
        ({"labels": {"div": ["x", "y"]}}, "`div` must be days in vitro"),
    ],
)
def test_bad_counts(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Wells(**{"counts": np.ones((2, 3, 4)), "bin_width": 1.0, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": []}, "`times` holds no recording"),
        ({"duration": 0.0}, "`duration` must be positive"),
        ({"times": [{"13": [0.1]}]}, "names electrode '13'"),
        ({"times": [{"11": [np.nan]}]}, "must be finite"),
        ({"times": [{"11": [100.0]}]}, "has a spike at 100 s, outside 0 to 1 s"),
    ],
)
def test_bad_spikes(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        WellSpikes(**{"times": [{}], "duration": 1.0, "electrodes": ["11"], **change})


def test_bins_and_selections() -> None:
    spikes = WellSpikes([{"a": [0.1, 0.3]}, {}], 0.95, electrodes=["a"])
    assert spikes.bin(0.1).num_bins == 9
    assert spikes.bin(0.1).counts[0, 0].tolist() == [0, 1, 0, 1, 0, 0, 0, 0, 0]
    assert len(spikes.select([False, True])) == 1
    with pytest.raises(SettingError, match="`bin_width` must be positive and at most"):
        spikes.bin(2.0)
    with pytest.raises(DataError, match="selects no recording"):
        spikes.select([False, False])
    with pytest.raises(DataError, match="selects no recording"):
        wells().select(wells().labels["plate"] == "z")
    with pytest.raises(SettingError, match="`factor` must be 1 to 10"):
        wells().rebin(11)
    assert wells().rebin(5).counts.sum() == wells().counts.sum()
    assert dict(wells().to_dataset().sizes) == {"recording": 6, "electrode": 4, "time": 10}


def test_splits_keep_groups_together() -> None:
    labels = wells().labels
    for seed in range(5):
        first, second = grouped_split(labels, by=["plate"], seed=seed)
        assert not set(labels["plate"][first]) & set(labels["plate"][second])
        assert sorted([*first, *second]) == list(range(6))
    assert len(list(leave_one_group_out(labels))) == 3
    with pytest.raises(SettingError, match="`held_out` must lie between 0 and 1"):
        grouped_split(labels, held_out=1.0)
    with pytest.raises(SettingError, match=r"`by` names \['day'\]; known: plate"):
        grouped_split(labels, by=["day"])
    with pytest.raises(SettingError, match="gives a single group, which cannot be split"):
        grouped_split(labels.assign(plate="a"), by=["plate"])
    with pytest.raises(SettingError, match="gives a single group, which cannot be left out"):
        list(leave_one_group_out(labels.assign(plate="a")))


def test_joining() -> None:
    with pytest.raises(DataError, match="`parts` is empty"):
        join_wells([])
    with pytest.raises(DataError, match="must share electrodes and bins; part 1"):
        join_wells([wells(), wells().rebin(2)])
    assert len(join_wells([wells(), wells()])) == 12


METRICS = (
    "\ufeffFile Type,24-well\n\nElectrode Burst Settings,\n    Max ISI (ms),100.0\n\n"
    "Well Averages,A1,A2,\nTreatment/ID,drug,,\nActivity Metrics\n    Number of Spikes,7.0,3.0,\n"
    "    Mean Firing Rate (Hz),1.5, ,\n\nMeasurement,A1_11,A1_12\nActivity Metrics\n"
    "    Number of Spikes,4,3\n"
)


def test_neural_metrics(tmp_path: Path) -> None:
    path = spike_list(tmp_path, METRICS, "x_neuralMetrics.csv")
    found = read_neural_metrics(path)
    assert found.wells.loc["A1", "Number of Spikes"] == 7
    assert np.isnan(found.wells.loc["A2", "Mean Firing Rate (Hz)"])
    assert found.treatment.to_dict() == {"A1": "drug", "A2": ""}
    assert found.electrodes["Number of Spikes"].tolist() == [4, 3]
    assert found.settings["Electrode Burst Settings/Max ISI (ms)"] == "100.0"
    with pytest.raises(DataError, match="does not exist"):
        read_neural_metrics(tmp_path / "none.csv")
    with pytest.raises(DataError, match="has no row `Well Averages`"):
        read_neural_metrics(spike_list(tmp_path, "a,b\n"))
    bad = METRICS.replace("7.0,3.0,", "7.0,3.0,5.0")
    with pytest.raises(DataError, match="has 3 values of 'Number of Spikes' for 2 wells"):
        read_neural_metrics(spike_list(tmp_path, bad))


@real
def test_real_exports() -> None:
    from probneuro.components.neural_metrics import METRIC_NAMES

    export = read_neural_metrics(next(MEA.glob("*_neuralMetrics.csv")))
    assert set(METRIC_NAMES) <= set(export.wells)
    assert export.wells.shape[0] == 24 and export.electrodes.shape[0] == 384
    axion = next(MEA.glob("*DIV3_spike_list.csv.gz"))
    spikes = read_wells(axion, log=next(MEA.glob("*_expLog.csv.gz")))
    assert len(spikes) == 20 and 55 < spikes.duration < 65, "four wells were silent"
    assert set(spikes.labels["plate"]) == {"plate1"}
    epa = read_wells(next(MEA.glob("epa_CO_*.h5")), bin_width=1.0)
    assert epa.counts.sum() == 53081 and len(epa.electrodes) == 16
    cells = read_wells(next((MEA / "hipsc").glob("*.h5")), bin_width=1.0)
    assert len(cells.electrodes) == 60


@real
def test_an_exports_averages_follow_from_its_electrodes() -> None:
    """The conventions that `well_metrics` states, read off a real export."""
    export = read_neural_metrics(next(MEA.glob("*_neuralMetrics.csv")))
    well = export.electrodes.index.str.split("_").str[0]
    pairs = {"Burst Duration - Avg (sec)": "Burst Duration - {} (sec)",
             "Burst Percentage": "Burst Percentage - {}",
             "Inter-Burst Interval - Avg (sec)": "Inter-Burst Interval - {} (sec)"}  # fmt: skip
    for column, name in pairs.items():
        each = export.electrodes[column].groupby(well)
        for kind, found in (("Avg", each.mean()), ("Std", each.std(ddof=1))):
            told = export.wells[name.format(kind)]
            known = (found.notna() & told.notna()).reindex(told.index)
            assert np.allclose(found[told.index][known], told[known], atol=2e-6), (name, kind)
