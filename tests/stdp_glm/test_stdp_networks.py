"""Priors over graphs by class and distance, and sharing by class, in every part of the model."""

from typing import Any

import numpy as np
import pytest

from probneuro import infer
from probneuro.core.errors import SettingError
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.learning_rules import Additive
from probneuro.models.stdp_glm import (
    STDPGLM,
    DistanceDependent,
    ErdosRenyi,
    PerClass,
    StochasticBlock,
)
from probneuro.testing import check_gibbs_target
from stdp_glm.problems import recording

CLASSES = {"0": "E", "1": "I", "2": "E", "spare": "I"}
RHO = {("E", "E"): 0.2, ("E", "I"): 1.0, ("I", "E"): 0.7, ("I", "I"): 0.4}
PLACES = {"0": (0.0, 0.0), "1": (3.0, 4.0), "2": (0.0, 1e4)}


def test_blocks_read_pre_and_post_the_right_way_round() -> None:
    network = StochasticBlock(CLASSES, RHO)
    units = ["0", "1", "2"]
    pre, post = network.candidates(units)
    expected = [RHO[CLASSES[units[a]], CLASSES[units[b]]] for a, b in zip(pre, post, strict=True)]
    np.testing.assert_array_equal(network.edge_probability(units), expected)
    assert network.edge_probability(["0", "1"]).tolist() == [1.0, 0.7]


def test_blocks_that_are_never_joined_are_no_candidates() -> None:
    network = StochasticBlock(CLASSES, {**RHO, ("I", "E"): 0.0})
    pre, post = network.candidates(["0", "1", "2"])
    joined = list(zip(pre.tolist(), post.tolist(), strict=True))
    assert joined == [(0, 1), (0, 2), (2, 0), (2, 1)]
    assert network.edge_probability(["0", "1", "2"]).tolist() == [1.0, 0.2, 0.2, 1.0]


def test_probability_falls_with_distance() -> None:
    probability = DistanceDependent(PLACES, 5.0, 0.8).edge_probability(["0", "1", "2"])
    np.testing.assert_allclose(probability[[0, 2]], 0.8 * np.exp(-1.0))
    assert np.all(probability[[1, 3, 4, 5]] == 1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "network",
    [StochasticBlock(CLASSES, RHO), DistanceDependent({**PLACES, "2": (0.0, 2.0)}, 5.0)],
    ids=["block", "distance"],
)
def test_program_and_conditionals_agree_on_networks(network: Any, seed: int) -> None:
    model = STDPGLM(network=network, sharing=PerClass(CLASSES))
    check_gibbs_target(model, recording(seed), seed=seed)


def test_groups_are_pairs_of_classes() -> None:
    names = STDPGLM().synapse_names(recording(0))
    group, labels = PerClass(CLASSES).groups(names)
    by_name = {name: labels[g] for name, g in zip(names, group, strict=True)}
    assert by_name["0->1"] == by_name["2->1"] == "E->I"
    assert by_name["1->0"] == by_name["1->2"] == "I->E"
    assert by_name["0->2"] == "E->E" and len(labels) == 3


def test_rules_are_sampled_by_class() -> None:
    model = STDPGLM(sharing=PerClass(CLASSES), network=StochasticBlock(CLASSES, RHO))
    engine = CollapsedGibbs(warmup=3)
    result = infer(model, recording(0), engine=engine, draws=3, chains=1, seed=1, progress=False)
    posterior = result["posterior"]
    assert posterior["amplitude_plus"]["rule_group"].values.tolist() == ["E->I", "E->E", "I->E"]
    certain = posterior["edge"].sel(synapse=["0->1", "2->1"])
    assert bool((certain == 1).all())


@pytest.mark.slow
@pytest.mark.stat
def test_without_data_edges_follow_the_blocks() -> None:
    data = recording(1, windows=2, size=10, mean=0.02)
    model = STDPGLM(rule=Additive(), network=StochasticBlock(CLASSES, RHO))
    result = infer(
        model, data, engine=CollapsedGibbs(warmup=20), draws=200, chains=1, seed=1, progress=False
    )
    edge = result["posterior"]["edge"].values[0]
    expected = model.network.edge_probability(data.units)
    free = expected < 1.0
    # Nearly no data: each synapse stays near its prior, which differs by a factor of 3.5.
    assert np.abs(edge.mean(axis=0)[free] - expected[free]).max() < 0.2
    assert bool((edge[:, ~free] == 1).all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StochasticBlock({}, {}), r"`classes` must give each unit's class.*got \{\}"),
        (lambda: StochasticBlock(["E"], {}), r"`classes` must give.*got \['E'\]"),
        (
            lambda: StochasticBlock({"a": "E", "b": "I"}, {("E", "E"): 0.1, ("E", "X"): 0.1}),
            r"missing: \[\('E', 'I'\), .*unknown: \[\('E', 'X'\)\]",
        ),
        (lambda: StochasticBlock({"a": "E"}, np.eye(1)), r"missing: \[\('E', 'E'\)\]"),
        (
            lambda: StochasticBlock({"a": "E"}, {("E", "E"): 1.5}),
            r"`probability` of \('E', 'E'\) must lie between 0 and 1; got 1.5",
        ),
        (
            lambda: StochasticBlock(CLASSES, RHO).candidates(["0", "x"]),
            r"`classes` does not hold unit 'x'; got 0, 1, 2, spare\. Give every unit",
        ),
        (
            lambda: PerClass(CLASSES).groups(["0->1", "0->x"]),
            "`classes` does not hold a unit of synapse '0->x'",
        ),
        (
            lambda: DistanceDependent({"a": (0.0,), "b": (0.0, 1.0)}, 1.0),
            r"`positions` must be finite numbers, as many for each unit; got \[1, 2\] dim",
        ),
        (
            lambda: DistanceDependent({"a": (float("nan"),)}, 1.0),
            "`positions` must be finite numbers",
        ),
        (lambda: DistanceDependent(PLACES, 0.0), "`scale` of distances must be positive; got 0.0"),
        (lambda: DistanceDependent(PLACES, 1.0, 1.0), r"`probability` at no distance.*got 1\.0"),
        (
            lambda: DistanceDependent(PLACES, 1.0).edge_probability(["0", "x"]),
            "`positions` does not hold unit 'x'; got 0, 1, 2. Give every unit",
        ),
    ],
)
def test_senseless_networks_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()


def test_a_network_of_equal_blocks_is_that_of_erdos_and_renyi() -> None:
    equal = StochasticBlock(CLASSES, dict.fromkeys(RHO, 0.3))
    units = ["0", "1", "2"]
    np.testing.assert_array_equal(
        equal.edge_probability(units), ErdosRenyi(0.3).edge_probability(units)
    )
