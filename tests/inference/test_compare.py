from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logsumexp

from probneuro import az, compare
from probneuro.compare import rolling_log_predictive
from probneuro.core.errors import DataError, SettingError
from probneuro.core.results import build_result

DIMS = {
    "log_likelihood": ["block", "neuron"],
    "spike_count": ["block", "neuron"],
    "baseline_log_likelihood": ["block", "neuron"],
}


def result(level: float = 0.0, seed: int = 0, **changes: Any) -> xr.DataTree:
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(99).normal(-5, 2, size=(10, 3))
    held_out = {
        "log_likelihood": level + base + 0.3 * rng.normal(size=(4, 50, 10, 3)),
        "spike_count": np.full((10, 3), 4),
        "baseline_log_likelihood": np.full((10, 3), -8.0),
        **changes.get("held_out", {}),
    }
    held_out = {k: v for k, v in held_out.items() if v is not None}
    coords = {"block": 50.0 + np.arange(10), "neuron": ["a", "b", "c"], **changes.get("coords", {})}
    coords = {k: v for k, v in coords.items() if v is not None}
    return build_result({}, groups={"held_out": held_out}, dims=DIMS, coords=coords)


def by_definition(log_likelihood: np.ndarray) -> np.ndarray:
    """The sequential weights of the definition, one block and neuron at a time."""
    draws, blocks, neurons = log_likelihood.shape
    out = np.zeros((blocks, neurons))
    for n in range(neurons):
        weights = np.full(draws, 1 / draws)
        for j in range(blocks):
            density = np.exp(log_likelihood[:, j, n])
            out[j, n] = np.log(weights @ density)
            weights = weights * density / (weights @ density)
    return out


def test_rolling_predictive_is_the_definition_and_telescopes() -> None:
    values = np.random.default_rng(1).normal(size=(30, 6, 2))
    ours = rolling_log_predictive(values)
    np.testing.assert_allclose(ours, by_definition(values), rtol=1e-10)
    whole = logsumexp(values.sum(1), axis=0) - np.log(30)
    np.testing.assert_allclose(ours.sum(0), whole)


def test_rolling_predictive_survives_tiny_densities() -> None:
    values = -2000 + np.random.default_rng(1).normal(size=(30, 6, 2))
    assert np.isfinite(rolling_log_predictive(values)).all()


def test_table() -> None:
    good, bad = result(0.0, 1), result(-0.2, 2)
    table = compare({"bad": bad, "good": good})
    assert list(table.index) == ["good", "bad"]
    assert list(table["rank"]) == [0, 1]
    ll = good["held_out/log_likelihood"].values.reshape(200, 10, 3)
    blocks = by_definition(ll).sum(1)
    assert table.loc["good", "elpd"] == pytest.approx(blocks.sum())
    assert table.loc["good", "se"] == pytest.approx(np.sqrt(10) * blocks.std(ddof=1))
    other = by_definition(bad["held_out/log_likelihood"].values.reshape(200, 10, 3)).sum(1)
    assert table.loc["bad", "elpd_diff"] == pytest.approx((other - blocks).sum())
    assert table.loc["bad", "elpd_diff"] < 0
    assert table.loc["bad", "dse"] == pytest.approx(np.sqrt(10) * (other - blocks).std(ddof=1))
    assert table.loc["good", ["elpd_diff", "dse"]].tolist() == [0, 0]
    assert table["weight"].sum() == pytest.approx(1)
    bits = (blocks.sum() + 8 * 30) / np.log(2) / 120
    assert table.loc["good", "bits_per_spike"] == pytest.approx(bits)
    assert table["p"].between(1, 10).all()
    assert not table["warning"].any()
    assert table["warning"].dtype == bool
    pd.testing.assert_frame_equal(table, compare({"bad": bad, "good": good}))


def test_monte_carlo_error_is_that_of_repeated_runs() -> None:
    tables = [compare({"a": result(0, s), "b": result(-1, s + 500)}) for s in range(40)]
    spread = np.std([t.loc["a", "elpd"] for t in tables], ddof=1)
    told = np.mean([t.loc["a", "mcse"] for t in tables])
    assert 0.5 < told / spread < 2


def test_few_blocks_and_one_chain_warn() -> None:
    def small(level: float) -> xr.DataTree:
        part = result(level)["held_out"].to_dataset().isel(chain=[0], block=slice(3))
        return xr.DataTree.from_dict({"held_out": part})

    table = compare({"a": small(0), "b": small(-1)})
    assert table["warning"].all()
    assert table["mcse"].isna().all()


def test_plot_compare_takes_the_table() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    table = compare({"a": result(0), "b": result(-1, 1), "c": result(-2, 2)})
    drawing = az.plot_compare(table, backend="matplotlib", relative_scale=True)
    axes = drawing.viz["plot"].item()
    points = np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])
    points = points[np.argsort(-points[:, 1])]
    assert points[0, 0] == 0.0
    assert np.all(np.diff(points[:, 0]) < 0)  # worse models further to the left
    matplotlib.pyplot.close("all")


def counts(value: int) -> dict[str, Any]:
    return {"held_out": {"spike_count": np.full((10, 3), value)}}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"coords": {"block": 51.0 + np.arange(10)}}, r"differ in `block`: 10 \(50\.0 to 59\.0\)"),
        ({"coords": {"neuron": ["a", "b", "x"]}}, r"differ in `neuron`: 3 \(a to c\)"),
        (counts(5), r"other spike counts in `held_out` \(120 and 150 spikes\)"),
        ({"held_out": {"spike_count": None}}, "'two' has no `spike_count` in `held_out`"),
        ({"held_out": {"log_likelihood": np.zeros((10, 3))}}, "it needs .chain, draw, block"),
        ({"held_out": {"log_likelihood": np.full((2, 9, 10, 3), np.nan)}}, "holds 540 values"),
    ],
)
def test_misfits_are_told(other: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare({"one": result(), "two": result(**other)})


def test_missing_group_unknown_measure_and_single_results() -> None:
    bare = build_result({"x": np.zeros((2, 5))})
    with pytest.raises(DataError, match=r"'two' has no group `held_out`; it has posterior\."):
        compare({"one": result(), "two": bare})
    with pytest.raises(SettingError, match=r"Did you mean 'held_out'\?"):
        compare({"one": result(), "two": result()}, by="heldout")
    with pytest.raises(SettingError, match="at least two results to compare; got 1"):
        compare({"one": result()})
    with pytest.raises(DataError, match="no group `log_likelihood`"):
        compare({"one": bare, "two": bare}, by="loo")
    with pytest.raises(DataError, match="no group `sample_stats`"):
        compare({"one": bare, "two": bare}, by="evidence")


def test_evidence() -> None:
    def run(values: list[float]) -> xr.DataTree:
        stats = {"log_marginal_likelihood": np.array(values)[:, None]}
        return build_result({}, stats)

    table = compare({"a": run([-10.0, -10.2]), "b": run([-9.0, -9.0])}, by="evidence")
    assert list(table.index) == ["b", "a"]
    exact = np.log(np.mean(np.exp([-10.0, -10.2])))
    assert table.loc["a", "elpd"] == pytest.approx(exact)
    assert table.loc["a", "elpd_diff"] == pytest.approx(exact + 9)
    assert table["weight"].sum() == pytest.approx(1)
    with pytest.raises(DataError, match="no `log_marginal_likelihood`"):
        compare({"a": run([1.0]), "b": build_result({}, {"lp": np.zeros((1, 4))})}, by="evidence")


def test_loo_is_arviz() -> None:
    def run(shift: float) -> xr.DataTree:
        rng = np.random.default_rng(3)
        values = rng.normal(-1 + shift, 0.1, size=(4, 100, 20))
        return build_result(
            {"x": rng.normal(size=(4, 100))},
            groups={"log_likelihood": {"y": values}, "observed_data": {"y": np.zeros(20)}},
        )

    table = compare({"a": run(0.0), "b": run(-0.5)}, by="loo")
    assert table.loc["b", "elpd_diff"] == pytest.approx(-10, abs=0.1)


def test_loo_of_several_observed_variables_asks_which() -> None:
    def run(shift: float) -> xr.DataTree:
        values = np.random.default_rng(3).normal(-1 + shift, 0.1, size=(4, 100, 20))
        other = np.random.default_rng(4).normal(-2 - shift, 0.1, size=(4, 100, 20))
        draws = np.random.default_rng(5).normal(size=(4, 100))
        return build_result({"x": draws}, groups={"log_likelihood": {"y": values, "z": other}})

    results = {"a": run(0.0), "b": run(-0.5)}
    assert compare(results, by="loo", var_name="y").index[0] == "a"
    assert compare(results, by="loo", var_name="z").index[0] == "b"
    with pytest.raises(SettingError, match=r"has the log likelihood of y, z\. Say which"):
        compare(results, by="loo")
    with pytest.raises(DataError, match="no log likelihood of `w`; it has that of y, z"):
        compare(results, by="loo", var_name="w")
    with pytest.raises(SettingError, match='`var_name` chooses what to compare by "loo"'):
        compare(results, by="lfo", var_name="y")
