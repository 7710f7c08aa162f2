"""What the weight figure draws is the quantiles of what it was given."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from plots.synthetic_results import make_result, make_results
from probneuro.core.errors import DataError, SettingError
from probneuro.plots import weight_trajectories


def line(panel, label):
    return next(one for one in panel.get_lines() if one.get_label() == label)


def draws_with_edge(dt, synapse):
    one = dt["posterior"].to_dataset().stack(sample=("chain", "draw")).sel(synapse=synapse)
    weight = one["weight"].transpose("sample", "window").values
    return weight[one["edge"].values == 1]


def limits(band):
    """Return x, lowest and highest y of a filled band at each x."""
    vertices = band.get_paths()[0].vertices
    x = np.unique(vertices[:, 0])
    sides = [vertices[vertices[:, 0] == value, 1] for value in x]
    return x, np.array([s.min() for s in sides]), np.array([s.max() for s in sides])


def test_median_and_bands_are_quantiles_of_the_draws_with_the_edge(result):
    panel = weight_trajectories(result).axes[0]
    draws = draws_with_edge(result, "n0->n1")
    x, y = line(panel, "additive").get_data()
    np.testing.assert_allclose(x, np.arange(50) + 0.5)
    np.testing.assert_allclose(y, np.median(draws, axis=0))
    for band, (low, high) in zip(panel.collections, [(0.05, 0.95), (0.25, 0.75)], strict=False):
        time, bottom, top = limits(band)
        np.testing.assert_allclose(time, np.arange(50) + 0.5)
        np.testing.assert_allclose(bottom, np.quantile(draws, low, axis=0))
        np.testing.assert_allclose(top, np.quantile(draws, high, axis=0))


def test_titles_give_edge_probabilities_highest_first():
    result = make_result(num_neurons=5)
    figure = weight_trajectories(result)
    edge = result["posterior"]["edge"].mean(("chain", "draw"))
    ordered = edge.sortby(edge, ascending=False)[:12]
    shown = [panel.get_title(loc="left") for panel in figure.axes]
    expected = [
        f"{str(label).replace('->', ' → ')}   P(edge) {float(value):.2f}"
        for label, value in zip(ordered.synapse.values, ordered.values, strict=True)
    ]
    assert sorted(shown) == sorted(expected)
    assert [title[-4:] for title in shown] == [title[-4:] for title in expected]


def test_truth_is_drawn_on_its_own_synapse(result):
    truth = result["posterior"].to_dataset()["weight"].isel(chain=0, draw=3).to_dataset()
    tree = xr.DataTree.from_dict({"truth": truth})
    for given in (truth, tree, tree["truth"], {"truth": truth}, truth["weight"]):
        panel = weight_trajectories(result, truth=given).axes[0]
        dashed = panel.get_lines()[-1]
        np.testing.assert_allclose(dashed.get_ydata(), truth["weight"].sel(synapse="n0->n1"))


def test_truth_of_an_absent_synapse_is_zero(result):
    truth = result["posterior"].to_dataset()[["weight", "edge"]].isel(chain=0, draw=3)
    truth["edge"] = truth["edge"] * 0
    for panel in weight_trajectories(result, truth=truth).axes:
        assert not panel.get_lines()[-1].get_ydata().any()


def test_truth_without_weights_is_refused(result):
    with pytest.raises(DataError, match=r"`truth` must hold `weight`.*got dict"):
        weight_trajectories(result, truth={"edge": 1})


def test_held_out_span_is_shaded(result):
    panel = weight_trajectories(result).axes[0]
    span = panel.patches[0]
    assert (span.get_x(), span.get_x() + span.get_width()) == (50.0, 60.0)
    assert not weight_trajectories(make_result(blocks=0)).axes[0].patches


def test_rules_are_laid_over_one_another(results):
    panel = weight_trajectories(results).axes[0]
    for name, dt in results.items():
        median = np.median(draws_with_edge(dt, "n0->n1"), axis=0)
        np.testing.assert_allclose(line(panel, name).get_ydata(), median)
    colours = {line(panel, name).get_color() for name in results}
    assert len(colours) == 3


def test_no_band_from_a_handful_of_draws(result):
    rare = result.copy(deep=True)
    edge = rare["posterior"]["edge"].copy()
    edge[:, :, 0] = 0
    edge[0, :4, 0] = 1
    rare["posterior"] = xr.DataTree(rare["posterior"].to_dataset().assign(edge=edge))
    panel = weight_trajectories(rare).axes[1]
    assert "0.02" in panel.get_title(loc="left")
    assert not panel.collections


def test_a_single_window_is_drawn_over_its_width():
    panel = weight_trajectories(make_result(windows=1)).axes[0]
    np.testing.assert_allclose(line(panel, "additive").get_xdata(), [0.0, 1.0])


def test_missing_pieces_are_named(result):
    bare = xr.DataTree.from_dict({"posterior": result["posterior"].to_dataset()[["bias"]]})
    with pytest.raises(DataError, match=r"`weight` is not in group `posterior`.*\(there: bias\)"):
        weight_trajectories(bare)
    with pytest.raises(DataError, match=r"`posterior` is not a group.*groups: none"):
        weight_trajectories(xr.DataTree())
    with pytest.raises(DataError, match=r"`dt` must be an xarray.DataTree.*got ndarray"):
        weight_trajectories(np.zeros(3))
    with pytest.raises(DataError, match=r"must be an xarray.DataTree.*got int"):
        weight_trajectories({"additive": 3})
    with pytest.raises(SettingError, match="`results` is empty"):
        weight_trajectories({})


def test_returns_a_figure_and_leaves_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert isinstance(weight_trajectories(make_results(draws=20)), Figure)
    assert dict(matplotlib.rcParams) == before
