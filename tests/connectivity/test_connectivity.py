"""One call, several methods, and their scores against a truth in any form."""

import importlib

import numpy as np
import pytest
import xarray as xr

import probneuro as pn
from probneuro import connectivity as face
from probneuro.components.edge_scorer import EdgeScorer
from probneuro.components.links import Exponential
from probneuro.core.detection import auc, average_precision, brier
from probneuro.core.errors import DataError, SettingError
from probneuro.data import BinnedSpikes, example_truth, load_example
from probneuro.data.truth import edge_truth
from probneuro.models.stdp_glm import STDPGLM, Candidates, FullyConnected
from probneuro.simulators.lif_network import simulate_lif_network

# The package offers the function under the name of its module.
module = importlib.import_module("probneuro.connectivity")

UNITS = ["0", "1", "2", "6"]
QUICK = ["cross_correlation", "group_lasso"]
TINY = {"draws": 20, "warmup": 20, "chains": 1, "seed": 1, "progress": False}


class Constant(EdgeScorer):
    """A method of one's own: every pair the same score."""

    name = "constant"

    def __init__(self, value=0.0):
        self.value = value

    def score(self, data):
        return {"score": np.full((data.num_neurons, data.num_neurons), self.value)}


@pytest.fixture(scope="module")
def spikes():
    return load_example("neuron_network").select(UNITS).restrict(0, 12)


@pytest.fixture(scope="module")
def found(spikes):
    return face(spikes, methods=[*QUICK, "static"], truth=example_truth(), **TINY)


def test_scores_carry_the_labels_of_results(found):
    scores, posterior = found.scores, found.results["static"]["posterior"]
    assert scores["score"].dims == ("method", "synapse")
    assert scores["method"].values.tolist() == [*QUICK, "static"]
    assert scores["synapse"].values.tolist() == posterior["synapse"].values.tolist()
    ends = zip(scores["pre"].values, scores["post"].values, strict=True)
    assert [f"{a}->{b}" for a, b in ends] == scores["synapse"].values.tolist()
    assert set(found.details) == set(QUICK)
    assert list(found.results) == ["static"]


def test_the_score_of_a_rule_is_the_edge_probability(found):
    edge = found.results["static"]["posterior"]["edge"].mean(("chain", "draw")).values
    one = found.scores.sel({"method": "static"})
    np.testing.assert_array_equal(one["probability"].values, edge)
    np.testing.assert_array_equal(np.clip(one["score"].values, 0.0, 1.0), edge)
    assert np.unique(one["score"].values[edge == 1.0]).size == (edge == 1.0).sum()  # no ties
    assert np.isnan(found.scores["probability"].sel({"method": QUICK})).all()
    own = found.details["group_lasso"]["score"].values
    np.testing.assert_array_equal(found.scores["score"].sel({"method": "group_lasso"}).values, own)


def test_the_table_is_that_of_the_scores(found):
    truth = found.scores["truth"].values
    known = example_truth().sel(synapse=found.scores["synapse"].values)
    np.testing.assert_array_equal(truth, known["edge"].values)
    assert found.table["auc"].is_monotonic_decreasing
    for name in found.table.index:
        score = found.scores["score"].sel({"method": name}).values
        assert found.table.at[name, "auc"] == auc(score, truth)
        assert found.table.at[name, "average_precision"] == average_precision(score, truth)
    assert found.table.at["static", "brier"] == brier(
        found.scores["probability"].sel({"method": "static"}).values, truth
    )
    assert found.table["brier"].isna().sum() == 2
    assert found.table["auc_diff"].iloc[0] == 0.0 == found.table["auc_dse"].iloc[0]


def test_every_form_of_a_truth_says_the_same():
    spikes, arrays = simulate_lif_network(duration=5.0, seed=3)
    data = spikes.bin(1e-3, 1.0)
    labels = [f"{a}->{b}" for a in spikes.units for b in spikes.units if a != b]
    dims = {"edge": ("synapse", arrays["edge"])}
    weights = {"weight": (("synapse", "window"), arrays["weight"])}
    dataset = xr.Dataset({**dims, **weights}, coords={"synapse": labels})
    matrix = np.zeros((10, 10), int)
    matrix[~np.eye(10, dtype=bool)] = arrays["edge"]
    tree = xr.DataTree.from_dict({"truth": dataset})
    shuffled = dataset.isel(synapse=np.random.default_rng(0).permutation(90))
    for truth in (arrays, dataset, tree, shuffled):
        read = edge_truth(truth, data, labels)
        np.testing.assert_array_equal(read["truth"].values, arrays["edge"])
        gone = (arrays["weight"][:, -1] < 0.2 * arrays["weight"][:, 0]) & (arrays["edge"] == 1)
        np.testing.assert_array_equal(read["decayed"].values, gone)
    read = edge_truth(matrix, data, labels)
    np.testing.assert_array_equal(read["truth"].values, arrays["edge"])
    assert "decayed" not in read


def test_decay_is_judged_within_the_recording():
    weight = np.array([[10.0, 6.0, 1.0], [10.0, 10.0, 10.0]])
    coords = {"synapse": ["0->1", "1->0"], "window": [0.0, 1.0, 2.0]}
    truth = xr.Dataset(
        {"edge": ("synapse", [1, 1]), "weight": (("synapse", "window"), weight)}, coords
    )
    counts = np.ones((3, 2), int)
    for windows, expected in ((3, [1, 0]), (2, [0, 0])):
        data = BinnedSpikes(counts[:windows], bin_width=1.0, bins_per_window=1)
        read = edge_truth(truth, data, coords["synapse"])
        assert read["decayed"].values.tolist() == expected


def test_a_method_of_ones_own_takes_part(spikes):
    found = face(spikes, methods=[Constant(), "cross_correlation"], truth=example_truth())
    assert found.table.at["constant", "auc"] == 0.5


def test_candidates_and_link_of_the_model_hold_for_all(spikes):
    pairs = (("0", "1"), ("2", "6"), ("6", "2"))
    model = STDPGLM(network=Candidates(pairs), link=Exponential())
    found = face(spikes, methods=QUICK, model=model, truth=example_truth())
    assert found.scores["synapse"].values.tolist() == ["0->1", "2->6", "6->2"]
    other = face(spikes, methods=["group_lasso"], link="softplus")
    areas = [f.details["group_lasso"]["area"].sel(synapse="2->6") for f in (found, other)]
    assert abs(float(areas[0])) < 0.5 * abs(float(areas[1]))  # log-Hz are not Hz


def test_fits_in_hand_are_not_repeated(spikes, found, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("fitted again")

    monkeypatch.setattr(module, "infer", refuse)
    again = face(spikes, methods=["static"], fitted=found.results, truth=example_truth())
    xr.testing.assert_equal(again.scores, found.scores.sel({"method": ["static"]}))
    with pytest.raises(DataError, match=r"`fitted` has a result of 'static' with other synapses"):
        face(spikes.select(["0", "1"]), methods=["static"], fitted=found.results)


def test_the_scores_are_saved_and_read_back(found, tmp_path):
    pn.save(found.tree(), tmp_path / "scores.nc")
    read = pn.load(tmp_path / "scores.nc")
    xr.testing.assert_identical(read["edge_scores"].to_dataset(), found.scores)
    assert set(read.children) == {"edge_scores", *QUICK}


def test_without_a_truth_there_is_no_table(spikes):
    found = face(spikes, methods=["cross_correlation"])
    assert found.table is None
    assert "truth" not in found.scores
    from probneuro.connectivity import score_table

    with pytest.raises(DataError, match=r"`scores` has no `truth`"):
        score_table(found.scores)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], r"`methods` is empty. Name at least one"),
        (["aditive"], r"Unknown method 'aditive'. Did you mean 'additive'.*cross_correlation"),
        (["static", "static"], r"`methods` must have different names; got static, static"),
    ],
)
def test_methods_are_checked(spikes, methods, message):
    with pytest.raises(SettingError, match=message):
        face(spikes, methods=methods)


def test_a_network_without_doubt_has_nothing_to_score(spikes):
    model = STDPGLM(network=FullyConnected())
    with pytest.raises(
        SettingError, match=r"edges of its network are certain, so that 'static' has"
    ):
        face(spikes.select(["0", "1"]).restrict(0, 4), methods=["static"], model=model, **TINY)


def test_recordings_are_checked(spikes):
    with pytest.raises(DataError, match=r"`spikes` must hold two units or more.*got 1"):
        face(spikes.select(["0"]), methods=QUICK)
    silent = BinnedSpikes(np.column_stack([np.ones(2000, int), np.zeros(2000, int)]))
    with pytest.raises(DataError, match=r"Unit 1 has no spikes"):
        face(silent, methods=QUICK)


def test_a_method_with_broken_scores_is_named(spikes):
    with pytest.raises(DataError, match=r"`score` of the method 'constant' must be finite"):
        face(spikes, methods=[Constant(np.nan)])


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.zeros((3, 3)), r"`truth` must be zeros and ones of shape \(4, 4\).*got shape \(3, 3\)"),
        (np.full((4, 4), 2), r"`truth` must be zeros and ones"),
        ({"edge": np.zeros(5)}, r"`truth` must hold `edge` of all 12 ordered pairs.*got \(5,\)"),
        ({"weight": np.zeros((12, 2))}, r"got no `edge`"),
        (xr.Dataset({"edge": ("synapse", [1])}), r"must hold `edge` with labels on `synapse`"),
        (xr.DataTree(), r"`truth` has no group `truth` \(groups: none\)"),
        (np.zeros((4, 4)), r"`truth` must have true and false items.*all 12 are false"),
        (
            xr.Dataset({"edge": ("synapse", [1])}, coords={"synapse": ["a->b"]}),
            r"`truth` says nothing about the synapse '0->1'",
        ),
    ],
)
def test_truths_are_checked_before_anything_is_fitted(spikes, truth, message, monkeypatch):
    monkeypatch.setattr(module, "infer", None)
    with pytest.raises(DataError, match=message):
        face(spikes, methods=["static"], truth=truth)
