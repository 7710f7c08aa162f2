import gzip
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr

from probneuro.core.errors import DataError, SettingError
from probneuro.data import SpikeTrains, from_neo, from_pynapple, read_spikes

A, B = np.array([0.1, 0.5, 1.25]), np.array([0.2, 0.9])


def check(spikes, names=("a", "b")):
    assert spikes.units == names
    np.testing.assert_allclose(spikes[names[0]], A)
    np.testing.assert_allclose(spikes[names[1]], B)


def labelled():
    times = np.r_[A, B]
    order = np.argsort(times)
    return times[order], np.array(["a"] * 3 + ["b"] * 2)[order]


def test_npz_of_units(tmp_path):
    np.savez(tmp_path / "x.npz", a=A, b=B, start=0.0, stop=4.0, epochs=[(0.0, 3.0)])
    spikes = read_spikes(tmp_path / "x.npz")
    check(spikes)
    assert (spikes.stop, spikes.epochs) == (4.0, ((0.0, 3.0),))
    assert read_spikes(tmp_path / "x.npz", variable="b").units == ("b",)


def test_npz_of_times_and_labels(tmp_path):
    times, labels = labelled()
    np.savez(tmp_path / "x.npz", times=times, labels=labels)
    check(read_spikes(tmp_path / "x.npz"))
    np.savez(tmp_path / "y.npz", times=times, labels=np.where(labels == "a", 7.0, 9.0))
    check(read_spikes(tmp_path / "y.npz"), ("7", "9"))


@pytest.mark.parametrize(
    "text",
    [
        "unit,time\na,0.1\nb,0.2\na,0.5\nb,0.9\na,1.25\n",
        "a,0.1\nb,0.2\na,0.5\nb,0.9\na,1.25\n",
        "\ufeffTime, depth, Neuron\n0.1,3,a\n0.2,3,b\n0.5,3,a\n0.9,3,b\n1.25,3,a\n",
        "time (ms),unit\n100,a\n200,b\n500,a\n900,b\n1250,a\n",
        "# made by hand\ncluster_id,spike_time\na,0.1\nb,0.2\na,0.5\nb,0.9\na,1.25\n",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_csv(tmp_path, text, packed):
    file = tmp_path / ("x.csv.gz" if packed else "x.csv")
    data = text.encode()
    file.write_bytes(gzip.compress(data) if packed else data)
    check(read_spikes(file))


def test_csv_told_in_samples(tmp_path):
    (tmp_path / "x.csv").write_text("1,2000\n2,4000\n1,10000\n2,18000\n1,25000\n")
    check(read_spikes(tmp_path / "x.csv", unit="samples", sampling_rate=20_000), ("1", "2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit,depth\na,1\n", r"a column of units and a column of times; 'x.csv' has unit, depth"),
        ("unit,time\n", r"It has a header but no rows"),
        ("unit,time\na,1\nb,x\n", r"row 3 of 'x.csv' is 'b, x'. Correct or delete it"),
        ("unit,time\na,1\n,2\n", r"row 3 of 'x.csv' is 'nan, 2'"),
        ("unit,time\na,1\na,2,3,4\n", r"cannot be read as a table: .*x.csv' is damaged"),
    ],
)
def test_messages_about_csv(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_spikes(tmp_path / "x.csv")


def cells(*trains):
    array = np.empty((1, len(trains)), dtype=object)
    for k, train in enumerate(trains):
        array[0, k] = np.asarray(train)[:, None]
    return array


def test_mat_of_cells_vectors_labels_and_structs(tmp_path):
    file = tmp_path / "x.mat"
    scipy.io.savemat(file, {"trains": cells(A, [], B), "rate": 20_000.0, "note": "hello"})
    check(read_spikes(file), ("1", "3"))
    scipy.io.savemat(file, {"a": A, "b": B[:, None], "rate": 20_000.0})
    check(read_spikes(file))
    times, labels = labelled()
    scipy.io.savemat(file, {"times": times, "labels": np.where(labels == "a", 1, 2)})
    check(read_spikes(file), ("1", "2"))
    scipy.io.savemat(file, {"data": {"a": {"times": A, "depth": 3.0}, "b": {"times": B}}})
    check(read_spikes(file))
    scipy.io.savemat(file, {"x": cells(A, B), "y": cells(B)})
    with pytest.raises(
        DataError, match=r"several with vectors: x, y. Pass for example variable='x'"
    ):
        read_spikes(file)
    check(read_spikes(file, variable="x"), ("1", "2"))
    with pytest.raises(DataError, match=r"`variable` 'z' is not in 'x.mat'. It holds: x, y"):
        read_spikes(file, variable="z")


def test_mat_of_one_vector_keeps_its_name(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"spikes": A})
    assert read_spikes(tmp_path / "x.mat").units == ("spikes",)


def test_mat_of_version_7_3(tmp_path):
    with h5py.File(tmp_path / "x.mat", "w") as file:
        refs = file.create_group("#refs#")
        refs["a"], refs["b"] = A[None], B[None]
        pointers = np.array([[refs["a"].ref], [refs["b"].ref]], dtype=h5py.ref_dtype)
        file.create_dataset("trains", data=pointers).attrs["MATLAB_class"] = b"cell"
        note = file.create_dataset("note", data=np.array([[104, 105]], dtype=np.uint16))
        note.attrs["MATLAB_class"] = b"char"
        empty = file.create_dataset("nothing", data=np.array([0, 0], dtype=np.uint64))
        empty.attrs["MATLAB_empty"] = 1
    check(read_spikes(tmp_path / "x.mat"), ("1", "2"))


def test_mat_without_times(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"note": "hello"})
    with pytest.raises(DataError, match=r"holds no spike times: 'x.mat'.*Save a cell array"):
        read_spikes(tmp_path / "x.mat")


def write_nwb(file, intervals=None, spikes=True):
    pynwb = pytest.importorskip("pynwb")
    from datetime import UTC, datetime

    nwb = pynwb.NWBFile("test", "id", datetime(2020, 1, 1, tzinfo=UTC))
    if spikes:
        for k, train in enumerate([A, B]):
            extra = {} if intervals is None else {"obs_intervals": np.array(intervals[k])}
            nwb.add_unit(spike_times=train, id=k + 4, **extra)
    with pynwb.NWBHDF5IO(file, "w") as io:
        io.write(nwb)


def test_nwb(tmp_path):
    write_nwb(tmp_path / "x.nwb")
    check(read_spikes(tmp_path / "x.nwb"), ("4", "5"))
    with pytest.raises(SettingError, match=r"`unit` is 'ms', but the file says 's'"):
        read_spikes(tmp_path / "x.nwb", unit="ms")


def test_nwb_observed_intervals_are_those_of_all_units(tmp_path):
    write_nwb(tmp_path / "x.nwb", [[(0.0, 0.4), (0.45, 3.0)], [(0.0, 1.0)]])
    spikes = read_spikes(tmp_path / "x.nwb")
    assert spikes.epochs == ((0.0, 0.4), (0.45, 1.0))
    assert spikes["4"].tolist() == [0.1, 0.5]
    write_nwb(tmp_path / "y.nwb", [[(0.0, 2.0)], [(5.0, 9.0)]])
    with pytest.raises(DataError, match=r"no time in common: its units were recorded in different"):
        read_spikes(tmp_path / "y.nwb")


def test_nwb_without_units_or_without_pynwb(tmp_path, monkeypatch):
    write_nwb(tmp_path / "x.nwb", spikes=False)
    with pytest.raises(
        DataError, match=r"Its units table is missing or has no column `spike_times`"
    ):
        read_spikes(tmp_path / "x.nwb")
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(
        DataError, match=r"pynwb, which reads it, is not installed: 'x.nwb'. Run pip"
    ):
        read_spikes(tmp_path / "x.nwb")


def test_pickled_npz_is_not_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([A, B], dtype=object))
    with pytest.raises(DataError, match=r"holds pickled objects: 'x.npz'. Loading them could run"):
        read_spikes(tmp_path / "x.npz")


def test_messages_about_npz(tmp_path):
    np.savez(tmp_path / "x.npz", times=A, labels=[1, 2])
    with pytest.raises(DataError, match=r"'x.npz' has 2 labels for 3 times"):
        read_spikes(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", start=0.0)
    with pytest.raises(DataError, match=r"holds no spike times: 'y.npz'"):
        read_spikes(tmp_path / "y.npz")
    with pytest.raises(DataError, match=r"`variable` 'a' is not in 'y.npz'. It holds: start"):
        read_spikes(tmp_path / "y.npz", variable="a")
    np.savez(tmp_path / "z.npz", format="probneuro.SpikeTrains.9", sizes=[3])
    with pytest.raises(DataError, match=r"format 'probneuro.SpikeTrains.9'; this version reads"):
        read_spikes(tmp_path / "z.npz")


def test_own_file_that_was_changed(tmp_path):
    file = SpikeTrains({"a": A}).save(tmp_path / "x.npz")
    with np.load(file) as archive:
        parts = {name: archive[name] for name in archive.files}
    np.savez(file, **parts | {"sizes": np.array([2])})
    with pytest.raises(DataError, match=r"the checksum differs"):
        read_spikes(file)


def test_foreign_netcdf(tmp_path):
    xr.Dataset({"x": ("t", [1.0])}).to_netcdf(tmp_path / "x.nc")
    with pytest.raises(DataError, match=r"is netCDF but holds no spike trains of ours: 'x.nc'"):
        read_spikes(tmp_path / "x.nc")


def whole_file(folder, suffix):
    spikes = SpikeTrains([np.sort(np.random.default_rng(k).uniform(0, 500, 3000)) for k in (1, 2)])
    file = folder / f"recording{suffix}"
    if suffix in (".npz", ".nc"):
        spikes.save(file)
    elif suffix == ".mat":
        scipy.io.savemat(file, {"trains": cells(*spikes.times)}, do_compression=True)
    elif suffix == ".nwb":
        write_nwb(file)
    else:
        rows = [f"{k},{t}" for k, train in enumerate(spikes.times) for t in train]
        file.write_bytes(gzip.compress("\n".join(rows).encode()))
    return file


@pytest.mark.parametrize("suffix", [".npz", ".nc", ".mat", ".nwb", ".csv.gz"])
def test_damaged_files_end_in_one_clear_line(tmp_path, suffix):
    file = whole_file(tmp_path, suffix)
    data = file.read_bytes()
    read_spikes(file)
    message = r"`path` cannot be read as .*recording.* is damaged, cut short or of another kind"
    for content in (data[: len(data) // 2], data[:100], data[:7], b"\xff\x00garbage\x9c" * 50):
        file.write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            read_spikes(file)
        assert caught.value.__cause__ is None
        assert "\n" not in str(caught.value)


def test_messages_about_paths(tmp_path):
    (tmp_path / "session_1.npz").touch()
    with pytest.raises(
        DataError, match=r"does not exist: .*sesion_1.npz'. Did you mean 'session_1.npz'"
    ):
        read_spikes(tmp_path / "sesion_1.npz")
    with pytest.raises(DataError, match=r"does not exist: .*xyz'. Check the path"):
        read_spikes(tmp_path / "xyz")
    with pytest.raises(DataError, match=r"nor does the folder '.*none'\). Check the path"):
        read_spikes(tmp_path / "none" / "x.npz")
    with pytest.raises(DataError, match=r"`path` is empty: '.*session_1.npz' has 0 bytes"):
        read_spikes(tmp_path / "session_1.npz")
    with pytest.raises(DataError, match=r"`path` is a folder"):
        read_spikes(tmp_path)
    (tmp_path / "x.plx").write_text("x")
    with pytest.raises(DataError, match=r"of a kind we cannot read: 'x.plx'. Known: .npz, .csv"):
        read_spikes(tmp_path / "x.plx")


def test_part_of_a_file(tmp_path):
    np.savez(tmp_path / "x.npz", a=A, b=B)
    spikes = read_spikes(tmp_path / "x.npz", units=["b", "a"], start=0.3, stop=1.0)
    assert (spikes.units, spikes.start, spikes.stop) == (("b", "a"), 0.3, 1.0)
    assert spikes["a"].tolist() == [0.5]
    wide = read_spikes(tmp_path / "x.npz", stop=60)
    assert (wide.stop, wide.epochs) == (60.0, ((0.0, 60.0),))
    with pytest.raises(DataError, match=r"outside the recording, 0 to 2 s; got 5 to 9 s"):
        read_spikes(tmp_path / "x.npz", start=5, stop=9)
    with pytest.raises(SettingError, match=r"Unknown unit 'c'"):
        read_spikes(tmp_path / "x.npz", units=["c"])


def test_pynapple_objects():
    support = SimpleNamespace(start=np.array([0.0, 1.0]), end=np.array([0.95, 2.0]))

    class Group(dict):
        time_support = support

    group = Group({0: SimpleNamespace(t=A), 1: SimpleNamespace(t=B)})
    spikes = from_pynapple(group)
    check(spikes, ("0", "1"))
    assert spikes.epochs == ((0.0, 0.95), (1.0, 2.0))
    with pytest.raises(DataError, match=r"`group` must be a pynapple TsGroup or Ts; got dict"):
        from_pynapple({"a": A})


class Milliseconds:
    """A quantity as neo has it."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def rescale(self, unit):
        assert unit == "s"
        return SimpleNamespace(magnitude=self.values / 1e3)


def neo_train(times, name="", start=0.0, stop=2000.0):
    return SimpleNamespace(
        times=Milliseconds(times * 1e3),
        t_start=Milliseconds(start),
        t_stop=Milliseconds(stop),
        name=name,
    )


def test_neo_objects():
    named = [neo_train(A, "a"), neo_train(B, "b")]
    check(from_neo(named))
    check(from_neo(SimpleNamespace(spiketrains=[neo_train(A), neo_train(B)])), ("0", "1"))
    block = SimpleNamespace(segments=[SimpleNamespace(spiketrains=named)])
    check(from_neo(block))
    assert from_neo(named[0]).stop == 2.0
    block.segments.append(block.segments[0])
    with pytest.raises(DataError, match=r"one session; got a block of 2 segments"):
        from_neo(block)
    with pytest.raises(DataError, match=r"one session; their `t_start` or `t_stop` differ"):
        from_neo([neo_train(A), neo_train(B, start=50.0)])
    for wrong in ([], [1, 2], 5):
        with pytest.raises(DataError, match=r"must hold neo spike trains; got"):
            from_neo(wrong)
