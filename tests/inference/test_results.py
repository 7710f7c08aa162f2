import json
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from probneuro.core import results
from probneuro.core.errors import DataError
from probneuro.core.results import build_result, load, plain_attrs, save

SYNAPSES = ["a->b", "b->a", "a->a'é"]


def example() -> xr.DataTree:
    rng = np.random.default_rng(1)
    return build_result(
        {
            "bias": rng.normal(size=(2, 5, 2)),
            "edge": rng.random((2, 5, 3)) < 0.5,
            "weight": rng.normal(size=(2, 5, 3, 4)).astype(np.float32),
        },
        {"lp": rng.normal(size=(2, 5)), "diverging": rng.random((2, 5)) < 0.5},
        dims={
            "bias": ["neuron"],
            "edge": ["synapse"],
            "weight": ["synapse", "window"],
            "spike_count": ["window", "neuron"],
            "held_out/spike_count": ["block", "neuron"],
            "log_likelihood": ["block", "neuron"],
            "elbo": ["chain", "iteration"],
        },
        coords={
            "neuron": ["a", "b"],
            "synapse": SYNAPSES,
            "pre": ("synapse", ["a", "b", "a"]),
            "window": np.arange(4.0),
            "block": np.array([50.0, 51.0, 52.0]),
        },
        attrs={"seed": 7, "seconds": 0.1, "settings": {"a": [1]}, "dense": False, "empty": ""},
        groups={
            "observed_data": {"spike_count": np.arange(8, dtype=np.int32).reshape(4, 2)},
            "constant_data": {"group_of_synapse": np.zeros(3, dtype=np.int64)},
            "held_out": {
                "log_likelihood": rng.normal(size=(2, 5, 3, 2)),
                "spike_count": np.ones((3, 2), dtype=np.int64),
            },
            "fit_history": {"elbo": np.array([[1.0, np.nan]] * 2)},
        },
    )


def test_dims_coords_and_dtypes() -> None:
    tree = example()
    assert tree["posterior/edge"].dtype == np.int8
    assert tree["sample_stats/diverging"].dtype == bool
    assert tree["posterior/weight"].dims == ("chain", "draw", "synapse", "window")
    assert tree["constant_data"]["pre"].dims == ("synapse",)
    assert "pre" not in tree["posterior"].coords  # it would break ArviZ' summary
    assert tree["held_out/log_likelihood"].dims == ("chain", "draw", "block", "neuron")
    assert tree["held_out/spike_count"].dims == ("block", "neuron")
    assert tree["observed_data/spike_count"].dims == ("window", "neuron")
    assert tree["fit_history/elbo"].dims == ("chain", "iteration")
    assert json.loads(tree.attrs["settings"]) == {"a": [1]}
    assert tree.attrs["dense"] == "false"


def test_netcdf_is_lossless(tmp_path: Path) -> None:
    tree = example()
    back = load(save(tree, tmp_path / "r.nc"))
    xr.testing.assert_identical(tree, back)
    for node in tree.subtree:
        for name, variable in node.variables.items():
            again = back[node.path].variables[name]
            assert again.dtype == variable.dtype, name
    assert {k: type(v) for k, v in back.attrs.items()} == {
        k: type(v) for k, v in tree.attrs.items()
    }
    xr.testing.assert_identical(back, load(save(back, tmp_path / "again.nc")))
    assert os.listdir(tmp_path) == ["r.nc", "again.nc"] or len(os.listdir(tmp_path)) == 2


def test_extreme_values_survive(tmp_path: Path) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 5e-324, -0.0, 9.969209968386869e36])
    tree = build_result({}, groups={"truth": {"x": values, "n": np.array([-128, 127], np.int8)}})
    back = load(save(tree, tmp_path / "x.nc"))
    assert back["truth/x"].values.tobytes() == values.tobytes()
    np.testing.assert_array_equal(back["truth/n"], [-128, 127])
    assert back["truth/n"].dtype == np.int8


def test_saving_replaces(tmp_path: Path) -> None:
    save(example(), tmp_path / "r.nc")
    other = build_result({"x": np.zeros((1, 3))})
    save(other, tmp_path / "r.nc")
    xr.testing.assert_identical(load(tmp_path / "r.nc"), other)


def test_big_integers_in_attributes() -> None:
    assert plain_attrs({"seed": 2**64}) == {"seed": str(2**64)}
    assert plain_attrs({"x": np.float32(0.5), "y": np.array([1, 2])}) == {"x": 0.5, "y": "[1, 2]"}


@pytest.mark.parametrize(
    ("posterior", "dims", "message"),
    [
        ({"x": np.zeros((2, 5, 3))}, {"x": []}, r"`x` in group `posterior` has shape \(2, 5, 3\)"),
        ({"x": np.zeros(3)}, {}, r"its dimensions are \(chain, draw\)"),
        ({"x": np.zeros((2, 5, 3))}, {"x": ["neuron"]}, "length 3 along `neuron`.* 2 labels"),
        ({"x": np.array([[{}]])}, {}, "holds Python objects"),
        ({"x": np.zeros((2, 5, 4))}, {"x": ["synapse"]}, r"`pre` has shape \(3,\)"),
    ],
)
def test_misfits_are_told(
    posterior: dict[str, np.ndarray], dims: dict[str, list[str]], message: str
) -> None:
    coords = {"neuron": ["a", "b"], "pre": ("synapse", ["a", "b", "c"])}
    with pytest.raises(DataError, match=message):
        build_result(posterior, dims=dims, coords=coords)


def test_loading_what_is_not_there_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        load(tmp_path / "nothing.nc")
    (tmp_path / "text.nc").write_text("hello, world")
    with pytest.raises(DataError, match="is not a netCDF-4 file; it starts with b'hello, w'"):
        load(tmp_path / "text.nc")
    (tmp_path / "empty.nc").write_bytes(b"")
    with pytest.raises(DataError, match="is not a netCDF-4 file"):
        load(tmp_path / "empty.nc")
    xr.Dataset().to_netcdf(tmp_path / "void.nc", engine="netcdf4")
    with pytest.raises(DataError, match="without any variables"):
        load(tmp_path / "void.nc")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_truncated_files_are_told(tmp_path: Path, share: float) -> None:
    whole = save(example(), tmp_path / "r.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match="damaged or cut short"):
        load(tmp_path / "cut.nc")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        save(example(), tmp_path / "a/b.nc")


def test_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(example(), tmp_path / "r.nc")
    before = path.read_bytes()

    def broken(source: Path, target: Path) -> None:
        raise OSError("No space left on device")

    class Usage:
        free = 10

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(DataError, match=r"Cannot write .*No space left"):
        save(example(), path)
    monkeypatch.setattr(results.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(DataError, match="the disk is full"):
        save(example(), path)
    assert os.listdir(tmp_path) == ["r.nc"]
    assert path.read_bytes() == before
