"""The other figures: what is drawn equals what can be computed from the result by hand."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from plots.synthetic_results import make_result
from probneuro.core.errors import DataError, SettingError
from probneuro.plots import (
    comparison_figures,
    connectivity,
    held_out_comparison,
    impulse_responses,
    learning_rule_curve,
    result_figures,
    save_figures,
    trace_rank,
    weight_trajectories,
)
from probneuro.plots.chains import rank_counts
from probneuro.plots.held_out import block_scores
from probneuro.plots.style import colours


def test_importing_plots_leaves_pyplot_out():
    code = "import sys, probneuro.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_colours_are_steady_and_distinct():
    some = colours(["static", "additive", "mine", "yours"])
    assert len(set(some.values())) == 4
    assert some["additive"] == colours(["additive"])["additive"]


def values(result, name):
    return result["posterior"][name].isel(rule_group=0).values.ravel()


def curves(panel):
    return [line for line in panel.get_lines() if len(line.get_xdata()) > 2]


def test_learning_rule_is_the_double_exponential(result):
    panel = learning_rule_curve(result).axes[0]
    right, left = curves(panel)
    for line, side, sign in ((right, "plus", 1), (left, "minus", -1)):
        lag = np.abs(line.get_xdata()) * 1e-3
        amplitude, tau = values(result, f"amplitude_{side}"), values(result, f"tau_{side}")
        change = sign * amplitude[:, None] * np.exp(-lag / tau[:, None])
        np.testing.assert_allclose(line.get_ydata(), np.median(change, axis=0))
    assert right.get_xdata().min() > 0 > left.get_xdata().max()
    assert panel.get_ylabel() == "weight change per spike pair"


def test_multiplicative_rule_is_a_fraction_and_never_above_one():
    result = make_result("multiplicative")
    posterior = result["posterior"].to_dataset()
    posterior["amplitude_plus"] = posterior["amplitude_plus"] * 0 + 1.5
    result["posterior"] = xr.DataTree(posterior)
    panel = learning_rule_curve(result).axes[0]
    assert panel.get_ylabel() == "fraction of remaining distance"
    assert curves(panel)[0].get_ydata().max() == 1.0


def test_every_rule_group_has_its_panel(result):
    posterior = result["posterior"].to_dataset()
    doubled = xr.concat([posterior, posterior], "rule_group", data_vars="minimal")
    doubled = doubled.assign_coords(rule_group=["fast", "slow"])
    tree = xr.DataTree.from_dict({"posterior": doubled})
    tree.attrs = result.attrs
    titles = [panel.get_title(loc="left") for panel in learning_rule_curve(tree).axes]
    assert titles == ["additive, fast", "additive, slow"]
    assert len(learning_rule_curve(tree, max_groups=1).axes) == 1


def with_kernel(result, coefficients):
    """The same result with a curve of free shape: one at each of two bumps, by their values."""
    posterior = (
        result["posterior"]
        .to_dataset()
        .drop_vars(["amplitude_plus", "amplitude_minus", "tau_plus", "tau_minus"])
    )
    draws = posterior["weight_noise"] / posterior["weight_noise"].mean()
    for name, value in coefficients.items():
        posterior[name] = value * draws
    lags = np.array([-0.04, -0.02, 0.02, 0.04])
    functions = xr.DataArray(
        [[0.0, 0.0, 1.0, 0.5], [0.5, 1.0, 0.0, 0.0]],
        dims=("kernel", "pair_lag"), coords={"kernel": list(coefficients), "pair_lag": lags},
    )  # fmt: skip
    constant = xr.Dataset({"kernel_function": functions})
    tree = xr.DataTree.from_dict({"posterior": posterior, "constant_data": constant})
    tree.attrs = {**result.attrs, "rule": "pair_kernel"}
    return tree, draws.isel(rule_group=0).values.ravel()


def test_free_curve_is_the_sum_of_its_bumps(result):
    tree, draws = with_kernel(result, {"kernel_after_1": 2e-3, "kernel_before_1": -1e-3})
    panel = learning_rule_curve(tree).axes[0]
    right, left = curves(panel)
    for line, value, sign in ((right, 2e-3, 1), (left, -1e-3, -1)):
        lag = sign * line.get_xdata() * 1e-3
        bump = np.where(lag <= 0.04, np.interp(lag, [0.02, 0.04], [1.0, 0.5]), 0.0)
        np.testing.assert_allclose(line.get_ydata(), np.median(value * draws) * bump, atol=1e-12)


def test_truth_is_drawn_over_any_curve(result):
    truth = {"amplitude_plus": 3e-3, "amplitude_minus": 1e-3, "tau_plus": 0.02, "tau_minus": 0.04}
    truth = {name: np.array([value]) for name, value in truth.items()}
    free, _ = with_kernel(result, {"kernel_after_1": 2e-3, "kernel_before_1": -1e-3})
    for tree in (result, free):
        panel = learning_rule_curve(tree, truth).axes[0]
        right, left = (line for line in curves(panel) if line.get_label() == "truth")
        lag = right.get_xdata() * 1e-3
        np.testing.assert_allclose(right.get_ydata(), 3e-3 * np.exp(-lag / 0.02))
        lag = left.get_xdata() * 1e-3
        np.testing.assert_allclose(left.get_ydata(), -1e-3 * np.exp(lag / 0.04))
    for nothing in ({}, {"weight_noise": np.ones(1)}, {"truth": {"tau_plus": np.ones(1)}}):
        panel = learning_rule_curve(free, nothing).axes[0]
        assert not [line for line in curves(panel) if line.get_label() == "truth"]
    own = {"kernel_after_1": np.array([1e-3]), "kernel_before_1": np.array([0.0])}
    panel = learning_rule_curve(free, own).axes[0]
    right = next(line for line in curves(panel) if line.get_label() == "truth")
    assert right.get_ydata().max() == pytest.approx(1e-3)


def test_triplet_results_show_their_pairs(result):
    posterior = result["posterior"].to_dataset()
    posterior["amplitude_triplet_plus"] = posterior["amplitude_plus"]
    tree = xr.DataTree.from_dict({"posterior": posterior})
    tree.attrs = {**result.attrs, "rule": "triplet"}
    assert len(learning_rule_curve(tree).axes) == 1


def test_static_rule_has_no_curve():
    with pytest.raises(SettingError, match=r"no pairwise learning rule.*got static"):
        learning_rule_curve(make_result("static"))


def test_impulse_response_is_the_weighted_basis(result):
    panel = impulse_responses(result).axes[0]
    one = result["posterior"].to_dataset().sel(synapse="n0->n1")
    one = one.stack(sample=("chain", "draw"))
    theta = one["impulse"].transpose("sample", "basis").values[one["edge"].values == 1]
    response = theta @ result["constant_data"]["basis_function"].values
    line = panel.get_lines()[0]
    np.testing.assert_allclose(line.get_ydata(), np.median(response, axis=0))
    np.testing.assert_allclose(line.get_xdata(), np.arange(1, 201))


def test_impulse_response_needs_the_basis(result):
    bare = xr.DataTree.from_dict({"posterior": result["posterior"].to_dataset()})
    with pytest.raises(DataError, match=r"`constant_data` is not a group.*groups: posterior"):
        impulse_responses(bare)


def test_connectivity_has_pre_in_rows(result):
    left, right, *_ = connectivity(result).axes
    shown = left.images[0].get_array()
    edge = result["posterior"]["edge"].mean(("chain", "draw"))
    assert shown[0, 1] == pytest.approx(float(edge.sel(synapse="n0->n1")))
    assert shown[1, 0] == pytest.approx(float(edge.sel(synapse="n1->n0")))
    assert np.ma.getmaskarray(shown)[0, 0] or np.isnan(shown[0, 0])
    one = result["posterior"].to_dataset().stack(sample=("chain", "draw")).sel(synapse="n0->n1")
    mean = one["weight"].where(one["edge"] == 1).mean()
    assert right.images[0].get_array()[0, 1] == pytest.approx(float(mean))
    assert left.get_xlabel() == "postsynaptic"
    assert left.get_ylabel() == "presynaptic"


def test_connectivity_reads_the_labels_where_pre_and_post_are_missing(result):
    bare = result["posterior"].to_dataset().drop_vars(["pre", "post"])
    trees = (result, xr.DataTree.from_dict({"posterior": bare}))
    one, other = (connectivity(dt).axes[0] for dt in trees)
    np.testing.assert_array_equal(one.images[0].get_array(), other.images[0].get_array())


def test_connectivity_hides_weights_of_improbable_edges():
    result = make_result(num_neurons=4, seed=2)
    edge = result["posterior"]["edge"].mean(("chain", "draw"))
    _, right, *_ = connectivity(result).axes
    hidden = np.ma.filled(np.ma.masked_invalid(right.images[0].get_array()), np.nan)
    assert np.isfinite(hidden).sum() == int((edge >= 0.5).sum())
    _, right, *_ = connectivity(result, min_probability=0.0).axes
    assert np.isfinite(np.ma.filled(right.images[0].get_array(), np.nan)).sum() == (edge > 0).sum()


def test_thirty_neurons_keep_their_labels():
    left, *_ = connectivity(make_result(num_neurons=30, draws=5, windows=3)).axes
    assert len(left.get_xticklabels()) == 30
    assert not left.texts


def test_traces_are_the_draws(result):
    figure = trace_rank(result, ["tau_plus"])
    trace, _ = figure.axes
    for chain, line in enumerate(trace.get_lines()):
        drawn = result["posterior"]["tau_plus"].values[chain, :, 0]
        np.testing.assert_allclose(line.get_ydata(), drawn)


def test_trace_rank_shows_twelve_scalars_and_says_so():
    figure = trace_rank(make_result(num_neurons=6))
    assert len(figure.axes) == 24
    assert "first 12 of 18" in figure.axes[0].get_title(loc="left")
    assert figure.axes[0].get_ylabel() == "log posterior"


def test_trace_rank_refuses_an_unknown_name(result):
    with pytest.raises(SettingError, match=r"`var_names` has 'taau'.*Choose among: lp, bias"):
        trace_rank(result, ["taau"])


def test_ranks_of_a_chain_that_is_off_stand_out():
    rng = np.random.default_rng(0)
    same = rank_counts(rng.normal(size=(4, 200)), 5)
    assert same.sum(1).tolist() == [200] * 4
    assert same.min() > 20
    shifted = rng.normal(size=(4, 200))
    shifted[0] += 3
    assert rank_counts(shifted, 5)[0, 0] == 0


def test_held_out_totals_are_those_of_the_table(results, table):
    left, right = held_out_comparison(results, table).axes
    spikes = float(results["static"]["held_out"]["spike_count"].sum())
    drawn = [container.lines[0] for container in left.containers]
    expected = table["elpd_diff"].to_numpy() / spikes / np.log(2)
    np.testing.assert_allclose([line.get_xdata()[0] for line in drawn], expected, atol=1e-12)
    bar = left.containers[1].lines[2][0].get_segments()[0]
    width = 2 * table["dse"].iloc[1] / spikes / np.log(2)
    assert bar[1, 0] - bar[0, 0] == pytest.approx(width)
    ends = {line.get_label(): line.get_ydata()[-1] for line in right.get_lines()}
    for name in table.index[1:]:
        assert ends[name] == pytest.approx(table.at[name, "elpd_diff"])


def test_block_scores_are_those_of_the_comparison(results, table):
    for name, dt in results.items():
        assert block_scores(dt).sum() == pytest.approx(table.at[name, "elpd"], rel=1e-12)


def test_held_out_sign_of_the_difference_does_not_matter(results, table):
    flipped = table.assign(elpd_diff=-table["elpd_diff"])
    one, other = (held_out_comparison(results, t).axes[0] for t in (table, flipped))
    assert one.get_xlim() == other.get_xlim()


def test_held_out_refuses_what_does_not_fit(results, table):
    with pytest.raises(DataError, match="`table` has no column `dse`"):
        held_out_comparison(results, table.drop(columns="dse"))
    with pytest.raises(DataError, match="`table` has the row 'static'"):
        held_out_comparison({k: v for k, v in results.items() if k != "static"}, table)
    with pytest.raises(DataError, match="`held_out` is not a group"):
        held_out_comparison({**results, "additive": make_result(blocks=0)}, table)
    with pytest.raises(DataError, match="held out on different blocks"):
        held_out_comparison({**results, "static": make_result("static", blocks=4)}, table)


def test_one_rule_alone_can_be_drawn(results, table):
    held_out_comparison({"additive": results["additive"]}, table.loc[["additive"]])


def test_all_figures_are_written(results, table, tmp_path):
    small = {name: results[name] for name in ("static", "additive")}
    figures = comparison_figures(small, table.loc[[n for n in table.index if n in small]])
    names = set(figures)
    assert {"held_out_comparison", "learning_rules", "additive_learning_rule"} <= names
    assert "static_learning_rule" not in names
    paths = save_figures({"a": figures["additive_learning_rule"]}, tmp_path / "new", dpi=40)
    assert paths["a"].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_rule_that_was_not_scored_has_no_line(results, table, value, tmp_path):
    lost = results["static"].copy(deep=True)
    held_out = lost["held_out"].to_dataset()
    held_out["log_likelihood"] = held_out["log_likelihood"] * 0 + value
    lost["held_out"] = xr.DataTree(held_out)
    missing = table.copy()
    missing.loc["static", ["elpd", "elpd_diff", "bits_per_spike"]] = [value, value, value]
    figure = held_out_comparison({**results, "static": lost}, missing)
    save_figures({"a": figure}, tmp_path, dpi=40)
    left, right = figure.axes
    assert "not scored" in [text.get_text() for text in left.texts]
    assert "static" not in [text.get_text() for text in right.texts]


def test_a_single_unit_has_no_synapses_to_draw(result):
    lone = result.copy(deep=True)
    lone["posterior"] = xr.DataTree(result["posterior"].to_dataset().isel(synapse=slice(0)))
    assert set(result_figures(lone)) == {"learning_rule", "trace_rank"}
    with pytest.raises(DataError, match="`dt` has no synapses"):
        weight_trajectories(lone)


def test_trace_rank_names_units_where_there_are_any(result):
    def labels(dt, wanted):
        return [axes.get_ylabel() for axes in trace_rank(dt, wanted).axes[::2]]

    rate = result.copy(deep=True)
    rate.attrs["link"] = "softplus(1 Hz)"
    assert labels(rate, ["tau_plus", "amplitude_plus"]) == ["tau plus (s)", "amplitude plus"]
    assert all(label.endswith(" (Hz)") for label in labels(rate, ["bias"]))
    rate.attrs["link"] = "exp"
    assert not any("(" in label for label in labels(rate, ["bias"]))
    own = rate["posterior"].to_dataset()
    own["amplitude_plus"].attrs["units"] = "mV"
    rate["posterior"] = own
    assert labels(rate, ["amplitude_plus"]) == ["amplitude plus (mV)"]
