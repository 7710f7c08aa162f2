"""Policies do what their equations say."""

import numpy as np
import pytest

from probneuro import infer
from probneuro.components.bilinear import BilinearPosterior, bilinear_features
from probneuro.control import (
    BayesianBilinear,
    ExactInverse,
    InverseNetwork,
    InversePolicy,
    MiSO,
    PatternSet,
    Readout,
    ResponseCache,
    Static,
    Trial,
)
from probneuro.control.adaptive import Exploration
from probneuro.control.inverse_training import ClippedUpdate, Cloning, inversion_error
from probneuro.control.response_cache import NoState
from probneuro.core.errors import CheckpointError, DataError, SettingError
from probneuro.data.latent_trials import LatentTrials
from probneuro.models.omiso import (
    PatternCNN,
    ResponseModel,
    StateLSTM,
    StateMLP,
    batch_prediction,
    response_cache,
)

SMALL = PatternCNN(channels=(3, 3), width=6, features=4)


def some_trials(seed: int = 0) -> LatentTrials:
    """Return trials of eight candidates on a grid of 3 x 4."""
    rng = np.random.default_rng(seed)
    return LatentTrials(
        rng.random((60, 8)) < 0.4, rng.normal(size=(60, 5, 2)), rng.normal(size=(60, 2)),
        session=np.arange(60) % 5, candidates=[0, 1, 3, 4, 6, 8, 9, 11], grid=(3, 4),
    )  # fmt: skip


@pytest.mark.parametrize("state", [None, StateMLP(bins=4, width=7), StateLSTM(features=5)])
def test_exact_inversion_is_brute_force(state) -> None:
    data, patterns = some_trials(), PatternSet(8, 3)
    model = ResponseModel(pattern=SMALL, state=state, epochs=2, learning_rate=1e-2)
    result = infer(model, data, seed=1, progress=False)
    cache = response_cache(model, result, data, patterns)
    policy = ExactInverse(patterns, cache)
    rng = np.random.default_rng(0)
    for _ in range(5):
        before, target = rng.normal(size=(5, 2)), rng.normal(size=2)
        every = LatentTrials(
            patterns.marks, np.broadcast_to(before, (len(patterns), 5, 2)),
            np.zeros((len(patterns), 2)), candidates=data.candidates, grid=data.grid,
        )  # fmt: skip
        weights = result["posterior/weights"].values[0]
        slow = model.predict(weights, every).mean(axis=0)
        assert np.allclose(cache.predict(before), slow, atol=1e-5)
        batch = batch_prediction(model, result, data, patterns)(
            np.arange(len(patterns)), every.before
        )
        assert np.allclose(batch, slow, atol=1e-5)
        errors = np.abs(slow - target).sum(axis=1)
        chosen = patterns.index(policy.choose(target, before, 0, rng).electrodes)
        assert errors[chosen] <= errors.min() + 1e-5


def test_pattern_sets_of_any_size() -> None:
    assert len(PatternSet(20, 5)) == 15_504 and len(PatternSet(64, 1)) == 64
    few = PatternSet(10, 2, allowed=[1, 4, 7])
    assert few.members.tolist() == [[1, 4], [1, 7], [4, 7]] and few.index((7, 1)) == 1
    with pytest.raises(SettingError, match="is no pattern of this set"):
        few.index((0, 1))
    with pytest.raises(SettingError, match="`allowed` must be candidates, 0 to 9"):
        PatternSet(10, 2, allowed=[10])
    with pytest.raises(SettingError, match="`num_stimulated` must be between 1 and 3"):
        PatternSet(10, 4, allowed=[1, 4, 7])
    with pytest.raises(SettingError, match=r"more than 1000000\. Use an InversePolicy"):
        PatternSet(60, 10)


def test_exploration_is_that_of_equations_5_and_6() -> None:
    exploration = Exploration(initial=0.5, decay=0.9, floor=0.1)
    assert exploration.share(3) == 0.5 * 0.9**3 and exploration.share(50) == 0.1
    scores = np.array([0.9, 0.1, 0.5, 0.0])
    rng = np.random.default_rng(0)
    drawn = [exploration.choose(scores, 1, 0, rng) for _ in range(8000)]
    explored = [c.electrodes[0] for c in drawn if c.explored]
    assert all(c.electrodes == (0,) for c in drawn if not c.explored)
    assert abs(len(explored) / 8000 - 0.5) < 4.9 * np.sqrt(0.25 / 8000)
    wanted = np.exp(scores) / np.exp(scores).sum()
    shares = np.bincount(explored, minlength=4) / len(explored)
    assert (np.abs(shares - wanted) < 4.9 * np.sqrt(wanted * (1 - wanted) / len(explored))).all()
    for bad in ({"initial": 1.5}, {"temperature": 0.0}):
        with pytest.raises(SettingError, match="must be"):
            Exploration(**bad)


def test_electrodes_that_are_not_allowed_are_never_chosen() -> None:
    network = InverseNetwork.fresh(2, 5, 12, widths=(8,), seed=1)
    policy = InversePolicy(network=network, num_stimulated=3, allowed=(0, 2, 5, 9))
    rng = np.random.default_rng(0)
    for trial in range(200):
        chosen = policy.choose(rng.normal(size=2), rng.normal(size=(5, 2)), trial, rng).electrodes
        assert len(chosen) == 3 and set(chosen) <= {0, 2, 5, 9}


def trial_of(error: float, electrodes=(0, 2)) -> Trial:
    """Return a trial that missed its target by so much."""
    return Trial(np.zeros(2), np.ones((5, 2)), electrodes, np.array([error, 0.0]))


def test_clipped_objective_is_that_of_equation_8() -> None:
    update = ClippedUpdate(clip=0.2, baseline=0.7)
    old, new = (InverseNetwork.fresh(2, 5, 4, widths=(6,), seed=s) for s in (0, 1))
    trials = [trial_of(0.1), trial_of(2.0, (1, 3)), trial_of(0.7, (2,))]
    total = 0.0
    for trial in trials:
        advantage = -trial.error + 0.7
        for e in trial.electrodes:
            ratio = new.suitability(trial.target, trial.before)[e]
            ratio = ratio / old.suitability(trial.target, trial.before)[e]
            total += min(ratio * advantage, float(np.clip(ratio, 0.8, 1.2)) * advantage)
    assert update.objective(new, old, trials) == pytest.approx(total, rel=1e-4)


def test_updates_raise_what_worked_and_lower_what_did_not() -> None:
    network = InverseNetwork.fresh(2, 5, 4, widths=(16,), seed=0)
    update = ClippedUpdate(learning_rate=1e-3)
    place = np.zeros(2), np.ones((5, 2))
    start = network.suitability(*place)
    good = update.apply(network, [trial_of(0.0)]).suitability(*place)
    bad = update.apply(network, [trial_of(3.0)]).suitability(*place)
    assert (good[[0, 2]] > start[[0, 2]]).all() and (bad[[0, 2]] < start[[0, 2]]).all()
    assert update.apply(network, [trial_of(0.0, ())]) is network


def test_saturated_suitabilities_do_not_break_the_update() -> None:
    network = InverseNetwork.fresh(2, 5, 4, widths=(6,), seed=0)
    weights, offsets = network.layers[-1]
    frozen = InverseNetwork((network.layers[0], (weights, offsets - 200.0)))
    moved = ClippedUpdate(learning_rate=1.0).apply(frozen, [trial_of(0.0)])
    assert all(np.isfinite(part).all() for layer in moved.layers for part in layer)
    with pytest.raises(SettingError, match="`clip` must be between 0 and 1"):
        ClippedUpdate(clip=1.0)


def test_cloning_learns_to_invert() -> None:
    patterns, rng = PatternSet(6, 2), np.random.default_rng(0)
    effects = rng.normal(size=(6, 2))

    def predict(chosen, before):
        return patterns.marks[chosen] @ effects + 0.3 * before[:, -1]

    states = rng.normal(size=(200, 3, 2))
    network = InverseNetwork.fresh(2, 3, 6, widths=(64,), seed=0)
    before = states[rng.integers(200, size=300)]
    targets = predict(rng.integers(15, size=300), before)
    start = inversion_error(network, predict, targets, before, patterns)
    found, errors = Cloning(
        epochs=400, samples=256, learning_rate=5e-3, validate_every=50, validation=200
    ).fit(network, predict, states, patterns, seed=1)
    assert len(errors) == 8
    assert inversion_error(found, predict, targets, before, patterns) < 0.5 * start
    with pytest.raises(SettingError, match="`patience` must be at least 1"):
        Cloning(patience=0)


def test_tables_learn_where_they_looked() -> None:
    patterns = PatternSet(4, 2)
    table = np.zeros((6, 2))
    policy = MiSO(patterns, table).learned(
        [Trial(np.ones(2), np.zeros((5, 2)), (0, 3), np.ones(2))]
    )
    row = patterns.index((0, 3))
    assert np.allclose(policy.table[row], 0.1) and np.delete(policy.table, row, 0).any() == 0
    assert table.sum() == 0
    static = Static(patterns, policy.table).choose(
        np.ones(2), np.zeros((5, 2)), 0, np.random.default_rng(0)
    )
    assert static.electrodes == (0, 3)


def test_bayesian_choice_is_brute_force_over_features() -> None:
    patterns, rng = PatternSet(8, 3), np.random.default_rng(0)
    posterior = BilinearPosterior.prior(8, 2).updated(
        bilinear_features(rng.random((50, 8)) < 0.4, rng.normal(size=(50, 2))),
        rng.normal(size=(50, 2)),
    )
    policy = BayesianBilinear(patterns=patterns, posterior=posterior, drift=0.01)
    before, target = rng.normal(size=(5, 2)), rng.normal(size=2)
    slow = (
        bilinear_features(patterns.marks, np.tile(before[-1], (len(patterns), 1))) @ posterior.mean
    )
    assert np.allclose(policy.predict(before), slow)
    best = patterns.members[np.abs(slow - target).sum(axis=1).argmin()]
    assert policy.choose(target, before, 0, rng).electrodes == tuple(best)
    again = policy.with_arrays(policy.arrays())
    assert np.array_equal(again.posterior.mean, posterior.mean)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"allowed": (1, 2)}, "`num_stimulated` must be a whole number between 1 and 2.*got 3"),
        ({"allowed": (1, 1, 1)}, "`num_stimulated` must be a whole number between 1 and 1"),
        ({"num_stimulated": 2.5}, r"`num_stimulated` must be a whole number.*got 2\.5"),
        ({"num_stimulated": 0}, "`num_stimulated` must be a whole number.*got 0"),
        ({"allowed": (0.9, 1.9, 2.0)}, "`allowed` must be candidates, whole numbers from 0 to 11"),
        ({"allowed": (1, 2, 12)}, "`allowed` must be candidates.*Leave others out"),
        ({"allowed": (-1, 2, 3)}, "`allowed` must be candidates"),
    ],
)
def test_an_inverse_policy_cannot_be_told_to_choose_what_is_barred(settings, words) -> None:
    network = InverseNetwork.fresh(2, 5, 12, widths=(8,), seed=1)
    with pytest.raises(SettingError, match=words):
        InversePolicy(network=network, **{"num_stimulated": 3, **settings})


def test_suitabilities_that_are_no_numbers_choose_nothing() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 1.0):
        exploration = Exploration(initial=share, floor=share)
        assert exploration.choose(np.array([0.1, np.nan, -np.inf]), 2, 0, rng).electrodes == ()


@pytest.mark.parametrize("kind", ["table", "inverse", "bayesian"])
def test_knowledge_of_another_kind_or_size_is_refused(kind: str) -> None:
    network = InverseNetwork.fresh(2, 5, 6, widths=(8,), seed=1)
    policy = {
        "table": MiSO(PatternSet(6, 2), np.zeros((15, 2))),
        "inverse": InversePolicy(network=network, num_stimulated=2),
        "bayesian": BayesianBilinear(
            patterns=PatternSet(6, 2), posterior=BilinearPosterior.prior(6, 2)
        ),
    }[kind]
    known = dict(policy.arrays())
    name = next(iter(known))
    again = policy.with_arrays({n: a.copy() for n, a in known.items()}).arrays()
    assert all(np.array_equal(again[n], a) and again[n].dtype == a.dtype for n, a in known.items())
    with pytest.raises(CheckpointError, match=rf"`arrays` must be .*{name}.*; got tabel"):
        policy.with_arrays({"tabel": known[name]})
    with pytest.raises(CheckpointError, match=r"must be numbers of shape .*; got float.* of shape"):
        policy.with_arrays({**known, name: known[name][:3]})
    with pytest.raises(CheckpointError, match="`arrays` must be finite"):
        policy.with_arrays({**known, name: np.full_like(known[name], np.nan)})


def test_counts_of_other_electrodes_are_refused() -> None:
    readout = Readout(np.ones((2, 4)), np.zeros(4))
    with pytest.raises(DataError, match=r"`counts` must have 4 electrodes.*got shape \(5, 1\)"):
        readout.latents(np.ones((5, 1)))
    with pytest.raises(DataError, match=r"`counts` must have 4 electrodes.*got shape \(\)"):
        readout.latents(1.0)
    with pytest.raises(DataError, match=r"`matrix` must have shape \(latent, electrode\)"):
        Readout(np.ones((2, 4)), np.zeros(3))
    with pytest.raises(DataError, match=r"`table` must have shape .* 15 patterns; got \(3, 2\)"):
        MiSO(PatternSet(6, 2), np.zeros((3, 2)))


def test_shapes_are_checked() -> None:
    with pytest.raises(DataError, match="`pattern_parts`, `out_weights` and `out_offsets`"):
        ResponseCache(np.zeros((2, 3, 4)), NoState((2, 4)), np.zeros((2, 2, 5)), np.zeros((2, 2)))
    with pytest.raises(DataError, match="`matrix` must have one column a usable electrode, 2"):
        Readout.of(np.ones((2, 3)), np.ones(3), [True, True, False])
    found = Readout.of([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0], [True, False, True], [1])
    assert found.latents([2.0, 99.0, 3.0]).tolist() == [11.0]
