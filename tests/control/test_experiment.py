"""Experiments go on without their learner, refuse torn models, and replay to the same decisions."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from probneuro.components.bilinear import BilinearPosterior
from probneuro.control import (
    BayesianBilinear,
    Experiment,
    ExperimentLog,
    MiSO,
    ModelStore,
    PatternSet,
    RandomPattern,
    Readout,
    SafetyLimits,
    SimulatedRig,
    replay,
)
from probneuro.core.errors import CheckpointError, DataError, SettingError
from probneuro.simulators.stim_population import BrainConstants, SimulatedBrain

PATTERNS = PatternSet(6, 2)
CONSTANTS = BrainConstants(num_candidates=6, num_units=20)


class Waiting:
    """A session that takes its time between trials."""

    def __init__(self, seconds: float) -> None:
        self.session, self.seconds = SimulatedBrain(CONSTANTS, seed=1).session(0), seconds

    def before(self, num_bins: int = 5):
        time.sleep(self.seconds)
        return self.session.before(num_bins)

    def after(self, electrodes=()):
        return self.session.after(electrodes)


def experiment(folder=None, seconds: float = 0.0, **settings) -> Experiment:
    """Return an experiment on a small simulated brain."""
    readout = Readout(np.random.default_rng(0).normal(size=(2, 20)) * 0.2, np.full(20, 0.5))
    return Experiment(
        rig=SimulatedRig(Waiting(seconds)), readout=readout, folder=folder,
        limits=SafetyLimits(allowed=range(6)), target=[0.5, -0.5],
        **{"deadline": 10.0, **settings},
    )  # fmt: skip


def table_policy() -> MiSO:
    return MiSO(PATTERNS, np.random.default_rng(1).normal(size=(15, 2)))


@pytest.mark.parametrize("kind", ["table", "thompson"])
def test_a_session_replays_to_the_same_decisions(tmp_path: Path, kind: str) -> None:
    posterior = BilinearPosterior.prior(6, 2)
    thompson = BayesianBilinear(patterns=PATTERNS, posterior=posterior, thompson=True, drift=0.01)
    policy = table_policy() if kind == "table" else thompson
    log = experiment(tmp_path).run(policy, 43, seed=7)
    back = ExperimentLog.read(tmp_path / "trials.jsonl")
    assert back.trials == log.trials and log.trials[-1].version == 8
    decisions = replay(back, policy, ModelStore(tmp_path))
    assert decisions == tuple(t.proposed for t in log.trials)
    with pytest.raises(CheckpointError, match=r"was chosen by model 1\. Pass the store"):
        replay(back, policy)


def test_a_late_decision_means_no_stimulation() -> None:
    ticks = iter(np.arange(0, 1000, 0.06))
    log = experiment(deadline=0.05, clock=lambda: float(next(ticks))).run(
        RandomPattern(PATTERNS), 5
    )
    assert all(t.delivered == () and t.reason == "the deadline was overrun" for t in log.trials)
    assert all(len(t.proposed) == 2 for t in log.trials)


def test_torn_models_are_refused_and_the_last_good_one_stays(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.write(1, {"table": np.ones((15, 2))})
    store.write(2, {"table": np.zeros((15, 2))})
    whole = store.path(2).read_bytes()
    for torn in (whole[:-7], whole[:10], b"", whole[:60] + b"x" + whole[61:]):
        store.path(2).write_bytes(torn)
        with pytest.raises(CheckpointError, match=r"is torn or no model.*last good one"):
            store.read(2)
        version, arrays = store.newest(after=0)
        assert version == 1 and arrays["table"].sum() == 30
        assert "model_00000002.bin" in store.refused
    assert store.newest(after=1) is None
    with pytest.raises(SettingError, match="is there already"):
        store.write(1, {})
    with pytest.raises(CheckpointError, match="cannot be read"):
        store.read(9)


def test_a_store_holds_finite_models_and_minds_its_own_files(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    with pytest.raises(DataError, match="`arrays` must be finite; table of version 0 holds NaN"):
        store.write(0, {"table": np.array([1.0, np.nan])})
    (tmp_path / "model_xxxxxxxx.bin").write_bytes(b"")
    assert store.newest() is None and not store.path(0).exists()
    store.write(4, {"table": np.ones(2)})
    assert store.newest()[0] == 4


LEARNER = """
import sys
import numpy as np
from probneuro.control import MiSO, PatternSet
from probneuro.control.experiment import learn_from_folder
table = np.random.default_rng(1).normal(size=(15, 2))
print("ready", flush=True)
learn_from_folder(MiSO(PatternSet(6, 2), table), sys.argv[1])
"""


def test_decisions_go_on_when_the_learner_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEARNER, str(tmp_path)]
    learner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert learner.stdout is not None and learner.stdout.readline() == "ready\n"
    runs = experiment(tmp_path, learns_here=False)
    killed = []

    class Killing(Waiting):
        def before(self, num_bins: int = 5):
            store = ModelStore(tmp_path)
            if not killed:
                time.sleep(0.05)
                if store.newest(after=1) is not None:
                    os.kill(learner.pid, signal.SIGKILL)
                    learner.wait()
                    store.path(9999).write_bytes(b"torn")
                    killed.append(True)
            return super().before(num_bins)

    object.__setattr__(runs, "rig", SimulatedRig(Killing(0.0)))
    try:
        log = runs.run(table_policy(), 120, seed=3)
    finally:
        learner.kill()
        learner.stdout.close()
        learner.wait()
    assert killed and len(log.trials) == 120
    versions = [t.version for t in log.trials]
    assert versions == sorted(versions) and 2 <= versions[-1] < 24
    assert versions.count(versions[-1]) > 20
    decisions = replay(log, table_policy(), ModelStore(tmp_path))
    assert decisions == tuple(t.proposed for t in log.trials)


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="`update_every` and `deadline` must be positive"):
        experiment(update_every=0)
    with pytest.raises(SettingError, match="`folder` is needed where another process learns"):
        experiment(learns_here=False)
    experiment(tmp_path).run(RandomPattern(PATTERNS), 2)
    with pytest.raises(SettingError, match="`folder` holds a log already"):
        experiment(tmp_path).run(RandomPattern(PATTERNS), 2)
    (tmp_path / "x").write_text("{}\n")
    with pytest.raises(DataError, match="`path` is no log of an experiment"):
        ExperimentLog.read(tmp_path / "x")
