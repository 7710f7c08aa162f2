"""What a session does when numbers, logs, models or proposals are not what they should be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from probneuro.components.bilinear import BilinearPosterior
from probneuro.control import (
    BayesianBilinear,
    Choice,
    Experiment,
    ExperimentLog,
    InverseNetwork,
    InversePolicy,
    MiSO,
    ModelStore,
    PatternSet,
    Policy,
    Readout,
    Rig,
    SafetyLimits,
    replay,
)
from probneuro.control.adaptive import Trial
from probneuro.control.experiment import learn_from_folder
from probneuro.control.inverse_training import ClippedUpdate
from probneuro.core.errors import CheckpointError, DataError, SettingError

PATTERNS = PatternSet(6, 2)
READOUT = Readout(np.random.default_rng(0).normal(size=(2, 4)), np.full(4, 0.5))
KINDS = ["table", "inverse", "bayesian"]


class Scripted(Rig):
    """Counts by chance, with what is planted in some trials put into them."""

    def __init__(self, before=None, after=None) -> None:
        self.planted, self.lost = before or {}, after or {}
        self.rng, self.trial, self.delivered = np.random.default_rng(1), -1, []

    def before(self):
        self.trial += 1
        counts = self.rng.poisson(1.0, (5, 4)).astype(float)
        counts[-1, 0] = self.planted.get(self.trial, counts[-1, 0])
        return counts

    def after(self, electrodes):
        self.delivered.append(electrodes)
        counts = self.rng.poisson(1.0, 4).astype(float)
        counts[0] = self.lost.get(self.trial, counts[0])
        return counts

    def now(self) -> float:
        return self.trial * 3.0


class Wants(Policy):
    """A policy that proposes the same always."""

    def __init__(self, proposal) -> None:
        self.proposal = proposal

    def choose(self, target, before, trial, rng) -> Choice:
        return Choice(self.proposal, explored=np.bool_(False))


def experiment(rig: Rig, **settings) -> Experiment:
    """Return an experiment on a rig of four electrodes."""
    return Experiment(
        rig=rig, readout=READOUT,
        **{"deadline": 10.0, "target": [0.5, -0.5], "limits": SafetyLimits(allowed=range(6)),
           **settings},
    )  # fmt: skip


def policy_of(kind: str):
    """Return a policy that learns."""
    if kind == "table":
        return MiSO(PATTERNS, np.random.default_rng(1).normal(size=(15, 2)))
    if kind == "bayesian":
        return BayesianBilinear(patterns=PATTERNS, posterior=BilinearPosterior.prior(6, 2))
    network = InverseNetwork.fresh(2, 5, 6, widths=(8,), seed=1)
    return InversePolicy(network=network, num_stimulated=2, update=ClippedUpdate(epochs=2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e60])
def test_latents_that_are_not_finite_mean_no_stimulation(tmp_path: Path, kind, value) -> None:
    rig = Scripted(before={1: value, 7: -value})
    found = experiment(rig, folder=tmp_path).run(policy_of(kind), 12, seed=2)
    for trial in (1, 7):
        assert rig.delivered[trial] == () == found.trials[trial].proposed
        assert found.trials[trial].reason == "the latents before stimulation are not finite"
    assert all(rig.delivered[t] for t in range(12) if t not in (1, 7))
    back = ExperimentLog.read(tmp_path / "trials.jsonl")
    wanted = tuple(t.proposed for t in found.trials)
    assert replay(back, policy_of(kind), ModelStore(tmp_path)) == wanted
    assert all(np.isfinite(a).all() for a in ModelStore(tmp_path).read(2).values())


def test_a_target_that_is_not_finite_means_no_stimulation() -> None:
    rig = Scripted()
    found = experiment(rig, target=lambda trial: [np.nan if trial % 2 else 0.5, 0.0]).run(
        policy_of("table"), 4
    )
    assert [bool(d) for d in rig.delivered] == [True, False, True, False]
    assert found.trials[1].reason == "the target is not finite"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learns_here", [True, False])
def test_what_came_after_is_learned_from_only_if_finite(tmp_path: Path, kind, learns_here) -> None:
    rig = Scripted(after={0: np.nan, 3: np.inf, 11: np.nan})
    shared = tmp_path if learns_here else None
    found = experiment(rig, folder=shared, update_every=5 if learns_here else 99).run(
        policy_of(kind), 10, seed=4
    )
    good = [t.as_trial() for t in found.trials[:5] if t.trial not in (0, 3)]
    wanted = policy_of(kind).learned(good).arrays()
    if not learns_here:
        rows = [json.dumps({"seed": 4}), *(json.dumps(vars(t)) for t in found.trials)]
        (tmp_path / "trials.jsonl").write_text("\n".join(rows) + "\n")
        learn_from_folder(policy_of(kind), tmp_path, until=lambda version: version == 2)
    stored = ModelStore(tmp_path).read(1)
    assert all(np.array_equal(stored[name], array) for name, array in wanted.items())


def test_an_update_that_goes_wrong_keeps_the_last_good_model(tmp_path: Path, caplog) -> None:
    update = ClippedUpdate(epochs=2, learning_rate=float("inf"))
    policy = replace(policy_of("inverse"), update=update)
    found = experiment(Scripted(), folder=tmp_path).run(policy, 11)
    assert found.trials[-1].version == 2 and all(t.delivered for t in found.trials)
    for name, array in ModelStore(tmp_path).read(2).items():
        assert np.array_equal(array, policy.arrays()[name])
    assert "the last good model stays in use" in caplog.text


def test_a_session_begins_with_finite_knowledge() -> None:
    policy = MiSO(PATTERNS, np.full((15, 2), np.nan))
    rig = Scripted()
    with pytest.raises(DataError, match="`policy` knows table with NaN or infinity"):
        experiment(rig).run(policy, 3)
    assert rig.delivered == []


@pytest.mark.parametrize(
    ("proposal", "logged", "delivered"),
    [
        ((np.int64(1), np.int64(2)), (1, 2), (1, 2)),
        (np.array([1, 2]), (1, 2), (1, 2)),
        ([1, 2], (1, 2), (1, 2)),
        (None, ("None",), ()),
        ((1.5, 2), ("(1.5, 2)",), ()),
        (np.array([1.0]), ("array([1.])",), ()),
        ({1}, ("{1}",), ()),
    ],
)
def test_any_proposal_can_be_logged(tmp_path: Path, proposal, logged, delivered) -> None:
    rig, policy = Scripted(), Wants(proposal)
    found = experiment(rig, folder=tmp_path).run(policy, 2)
    assert rig.delivered == [delivered] * 2
    assert [t.proposed for t in found.trials] == [logged] * 2
    back = ExperimentLog.read(tmp_path / "trials.jsonl")
    assert back == found and replay(back, policy) == (logged, logged)


def test_what_went_out_is_logged_even_if_nothing_comes_back(tmp_path: Path) -> None:
    class Broken(Scripted):
        def after(self, electrodes):
            super().after(electrodes)
            if self.trial == 2:
                raise OSError("the amplifier is gone")
            return np.ones((1, 4)) if self.trial == 9 else np.ones(4)

    session = experiment(Broken(), folder=tmp_path)
    with pytest.raises(OSError, match="the amplifier is gone"):
        session.run(Wants((1, 2)), 5)
    back = ExperimentLog.read(tmp_path / "trials.jsonl")
    assert [t.delivered for t in back.trials] == [(1, 2)] * 3
    assert np.isnan(back.trials[2].after).all()
    assert session.safety.dose == 3 * 6.25 * 2 * 2 and session.safety.last == 6.0


def test_a_rig_without_a_clock_stimulates_nothing(tmp_path: Path) -> None:
    class Clockless(Scripted):
        def now(self):
            return None

    rig = Clockless()
    found = experiment(rig, folder=tmp_path).run(Wants((1, 2)), 2)
    assert rig.delivered == [(), ()]
    assert found.trials[0].reason == "the time is no finite number"
    assert np.isnan(ExperimentLog.read(tmp_path / "trials.jsonl").trials[1].time)


def test_dose_and_interval_go_on_from_run_to_run() -> None:
    class Still(Scripted):
        time = 1.0

        def now(self) -> float:
            return self.time

    rig = Still()
    session = experiment(rig, limits=SafetyLimits(allowed=range(6), most_dose=60.0))
    assert session.run(Wants((1, 2)), 1).trials[0].delivered == (1, 2)
    assert session.run(Wants((1, 2)), 1).trials[0].reason == "too soon after the last train"
    rig.time = 4.0
    assert session.run(Wants((1, 2)), 1).trials[0].delivered == (1, 2)
    rig.time = 8.0
    assert session.run(Wants((1, 2)), 1).trials[0].reason == "the session's dose is used up"
    other = replace(session, delivered=session.safety)
    assert other.run(Wants((1, 2)), 1).trials[0].reason == "the session's dose is used up"


@pytest.mark.parametrize("target", [0.5, [0.5], [[0.5, 0.5]], "near", None])
def test_targets_of_another_size_are_refused(target) -> None:
    with pytest.raises(SettingError, match="`target` must"):
        experiment(Scripted(), target=target)
    rig = Scripted()
    with pytest.raises(SettingError, match="`target` must"):
        experiment(rig, target=lambda trial: target).run(policy_of("table"), 1)
    assert rig.trial == -1


def test_counts_of_another_shape_are_refused() -> None:
    class Flat(Scripted):
        def before(self):
            return super().before()[0]

    class Deep(Scripted):
        def after(self, electrodes):
            return super().after(electrodes)[None]

    with pytest.raises(DataError, match=r"`Rig\.before` must return counts \(bin, electrode\)"):
        experiment(Flat()).run(policy_of("table"), 1)
    with pytest.raises(DataError, match=r"`Rig\.after` must return counts \(electrode,\)"):
        experiment(Deep()).run(policy_of("table"), 1)


def test_a_learner_started_again_goes_on(tmp_path: Path) -> None:
    wanted = experiment(Scripted(), folder=tmp_path / "here").run(policy_of("table"), 20, seed=3)
    rows = [json.dumps({"seed": 3}), *(json.dumps(vars(t)) for t in wanted.trials)]
    (tmp_path / "trials.jsonl").write_text("\n".join(rows) + "\n")
    for stop in (2, 4):
        until = stop.__eq__
        assert learn_from_folder(policy_of("table"), tmp_path, until=until) == stop
    for version in range(1, 5):
        here = ModelStore(tmp_path / "here").read(version)["table"]
        assert np.array_equal(ModelStore(tmp_path).read(version)["table"], here)
    with pytest.raises(CheckpointError, match="`arrays` must be"):
        learn_from_folder(policy_of("inverse"), tmp_path)


def test_a_model_of_another_kind_does_not_end_a_session(tmp_path: Path, caplog) -> None:
    store = ModelStore(tmp_path)
    store.write(3, {"tabel": np.ones(3)})
    rig = Scripted()
    found = experiment(rig, folder=tmp_path, learns_here=False).run(policy_of("table"), 4)
    assert all(rig.delivered) and {t.version for t in found.trials} == {0}
    assert caplog.text.count("model_00000003.bin is not used; the last good one stays") == 1


@pytest.mark.parametrize(
    "content",
    [
        None, b"", b"\xff\xfe\n", b"[1]\n", b'{"seed": "x"}\n', b'{"seed": 1}\n{"a": 1}\n',
        b'{"seed": 1}\n[1, 2]\n', b'{"seed": 1}\nnonsense\n', "extra", "text", "ragged",
    ],
)  # fmt: skip
def test_what_is_no_log_is_refused(tmp_path: Path, content) -> None:
    path = tmp_path / "trials.jsonl"
    if isinstance(content, str):
        found = experiment(Scripted()).run(Wants((1, 2)), 1)
        row = vars(found.trials[0])
        changed = {"extra": {"more": 1}, "text": {"target": ["a", "b"]}, "ragged": {"after": [1.0]}}
        content = ('{"seed": 1}\n' + json.dumps({**row, **changed[content]}) + "\n").encode()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="`path` is no log of an experiment"):
        ExperimentLog.read(path)
    if content is not None and content.startswith(b'{"seed": 1}'):
        with pytest.raises(DataError, match=r"line 2 .* as it was written"):
            learn_from_folder(policy_of("table"), tmp_path, update_every=1)


def test_replay_refuses_a_policy_that_the_session_did_not_begin_with(tmp_path: Path) -> None:
    found = experiment(Scripted(), folder=tmp_path).run(policy_of("table"), 6)
    other = MiSO(PATTERNS, np.zeros((15, 2)))
    with pytest.raises(CheckpointError, match="is not the one that the session began with"):
        replay(found, other, ModelStore(tmp_path))
    first = other.with_arrays(ModelStore(tmp_path).read(0))
    decisions = replay(found, first, ModelStore(tmp_path))
    assert decisions == tuple(t.proposed for t in found.trials)


def test_trials_say_whether_they_can_be_learned_from() -> None:
    good = Trial(np.zeros(2), np.zeros((5, 2)), (1, 2), np.ones(2))
    assert good.is_finite
    for name in ("target", "before", "after"):
        bad = np.full_like(getattr(good, name), np.nan)
        assert not replace(good, **{name: bad}).is_finite
