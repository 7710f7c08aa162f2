import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from executor_cases import SIZES, Walker, Y, location, walk

from probneuro import infer
from probneuro.core.checkpoint import open_run
from probneuro.core.engine import Engine, RunOptions
from probneuro.core.errors import CapabilityError, CheckpointError, InferenceError, SettingError
from probneuro.inference import places, tasks
from probneuro.inference.executors import place_of
from probneuro.inference.filtering import ParticleFilter
from probneuro.inference.nuts import NUTS
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.inference.pmmh import PMMH
from probneuro.inference.site_gibbs import Gibbs
from probneuro.inference.svi import SVI
from probneuro.inference.tempered_smc import TemperedSMC
from probneuro.testing.state_space import FiniteChain

COUNTS = [1, 0, 4, 3]
ENGINES: dict[str, tuple[Any, Any, Engine]] = {
    "nuts": (location, Y, NUTS(warmup=20)),
    "particle_gibbs": (FiniteChain(), COUNTS, ParticleGibbs(warmup=5, num_particles=10)),
    "particle_filter": (FiniteChain(), COUNTS, ParticleFilter(params={"stay": 0.7})),
    "pmmh": (FiniteChain(), COUNTS, PMMH(warmup=5, num_particles=10)),
    "svi": (location, Y, SVI(steps=30)),
    "gibbs": (location, Y, Gibbs(warmup=5)),
    "tempered_smc": (location, Y, TemperedSMC(particles=100)),
}
ONE_BY_ONE = [name for name in ENGINES if name != "nuts"]


class Here(Executor):
    """An executor that runs at once what it is given, as an object or as bytes."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(pickle.loads(pickle.dumps(function(*args, **kwargs))))
        except Exception as error:
            future.set_exception(error)
        return future


def run(name: str, executor: Any, **settings: Any) -> xr.DataTree:
    model, data, engine = ENGINES[name]
    return infer(model, data, engine=engine, executor=executor, **{**SIZES, **settings})


def steps(log: Path) -> list[str]:
    """The process of every step that was done."""
    return log.read_text().splitlines() if log.exists() else []


def assert_same(a: xr.DataTree, b: xr.DataTree) -> None:
    assert [node.path for node in a.subtree] == [node.path for node in b.subtree]
    for node in a.subtree:
        xr.testing.assert_identical(
            node.to_dataset(inherit=False).drop_attrs(),
            b[node.path].to_dataset(inherit=False).drop_attrs(),
        )
    varying = {"seconds", "created_at"}
    assert {k: v for k, v in a.attrs.items() if k not in varying} == {
        k: v for k, v in b.attrs.items() if k not in varying
    }


@pytest.fixture(scope="module")
def alone() -> dict[str, xr.DataTree]:
    """What every engine gives without executor; NUTS, one chain after the other."""
    with ThreadPoolExecutor(1) as thread:
        return {name: run(name, None if name in ONE_BY_ONE else thread) for name in ENGINES}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    where = {"dashboard_address": None, "host": "127.0.0.1"}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **where) as own,
        distributed.Client(own) as client,
    ):
        yield client


@pytest.mark.parametrize("name", ENGINES)
def test_draws_are_the_same_in_threads(name: str, alone: dict[str, xr.DataTree]) -> None:
    with ThreadPoolExecutor(2) as threads:
        assert_same(run(name, threads), alone[name])
    assert sys.getswitchinterval() == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("particle_gibbs", 2),
        pytest.param("nuts", 1, marks=pytest.mark.slow),
        pytest.param("nuts", 2, marks=pytest.mark.slow),
        pytest.param("tempered_smc", 2, marks=pytest.mark.slow),
    ],
)
def test_draws_are_the_same_in_processes(
    name: str, workers: int, alone: dict[str, xr.DataTree]
) -> None:
    assert_same(run(name, "processes", workers=workers), alone[name])


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) for n in ("nuts", "particle_gibbs", "svi")],
)
def test_draws_are_the_same_on_a_cluster(
    name: str, alone: dict[str, xr.DataTree], cluster: Any
) -> None:
    assert_same(run(name, cluster), alone[name])


def test_chains_of_a_batch_agree_until_a_last_bit_grows(alone: dict[str, xr.DataTree]) -> None:
    batch, apart = (r["warmup_posterior/centre"] for r in (
        run("nuts", None, save_warmup=True), run("nuts", Here(), save_warmup=True)
    ))  # fmt: skip
    np.testing.assert_allclose(batch[:, :5], apart[:, :5], rtol=1e-6)


def test_a_program_of_a_notebook_runs_on_a_cluster(cluster: Any) -> None:
    def coin(heads: torch.Tensor) -> None:
        bias = pyro.sample("bias", dist.Beta(1.0, 1.0))
        pyro.sample("heads", dist.Binomial(10, bias), obs=heads)

    result = infer(coin, torch.tensor(7.0), engine=NUTS(warmup=20), executor=cluster, **SIZES)
    assert result["posterior/bias"].shape == (3, 12)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_process_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = tmp_path / "log"
    settings = {"dies_at": 9, "mark": str(tmp_path / "mark"), "checkpoint": tmp_path / "run"}
    result = walk("processes", workers=1, log=str(log), **settings)
    assert (tmp_path / "mark").exists()
    assert "A worker process died; chains 0, 1, 2 go on in new ones (try 1 of 3)" in caplog.text
    assert_same(result, walk(None))
    # The step that killed it is the only one that was done twice.
    assert len(steps(log)) == 3 * 15 + 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_worker_of_a_cluster_is_survived(tmp_path: Path, cluster: Any) -> None:
    settings = {"dies_at": 9, "mark": str(tmp_path / "mark"), "checkpoint": tmp_path / "run"}
    result = walk(cluster, **settings)
    assert (tmp_path / "mark").exists()
    assert_same(result, walk(None))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_processes_that_keep_dying_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "TRIES", 1)
    with pytest.raises(InferenceError, match="died 2 times with chains 0 unfinished"):
        walk("processes", dies_at=2, chains=1)


def test_finished_tasks_are_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, folder = tmp_path / "log", tmp_path / "run"
    first = walk(Here(), log=str(log), checkpoint=folder, progress=True)
    said = capsys.readouterr().err
    assert re.search(r"Walker: chain [012] finished after \d+ s, 2 of 3\.", said)
    assert len(steps(log)) == 45
    again = walk(Here(), log=str(log), checkpoint=folder, progress=True)
    assert "3 of 3 chains were finished before" in capsys.readouterr().err
    assert len(steps(log)) == 45
    assert_same(again, first)
    more = walk(Here(), log=str(log), checkpoint=folder, chains=4)
    assert len(steps(log)) == 60
    assert_same(more, walk(None, chains=4))


def test_other_labels_and_damaged_results_come_from_segments(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, folder = tmp_path / "log", tmp_path / "run"
    walk(Here(), log=str(log), checkpoint=folder)
    labels = {"axis": ["left", "right"], "chain": ["a", "b", "c"]}
    labelled = walk(Here(), log=str(log), checkpoint=folder, coords=labels)
    assert labelled["posterior/x"].axis.values.tolist() == labels["axis"]
    assert labelled["posterior/x"].chain.values.tolist() == labels["chain"]
    for path in folder.glob("task-1/result-*.nc"):
        path.write_bytes(path.read_bytes()[:1000])
    assert_same(walk(Here(), log=str(log), checkpoint=folder), walk(None))
    assert "Chain 1 is run again from its segments" in caplog.text
    assert len(steps(log)) == 45


def test_another_run_is_refused(tmp_path: Path) -> None:
    walk(Here(), checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="`seed` was 4, is now 5"):
        walk(Here(), checkpoint=tmp_path, seed=5)
    with pytest.raises(CheckpointError, match="`one_task_a_chain` was True, is now 'absent'"):
        walk(None, checkpoint=tmp_path)


def test_a_folder_that_an_earlier_worker_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PATIENCE_SECONDS", 0.2)
    with (
        open_run(tmp_path / "task-1", {}),
        pytest.raises(CheckpointError, match="task-1` is in use by another running process"),
    ):
        walk(Here(), checkpoint=tmp_path)


def test_a_failure_names_chain_and_worker() -> None:
    message = r"Chain [012] failed at step 4 \(draws\), seed 4: the walk fell off"
    with pytest.raises(InferenceError, match=message) as caught:
        walk(Here(), fails_at=5)
    assert "In the worker:" in caught.value.__notes__[0]


def test_a_lost_task_is_an_error_of_ours() -> None:
    class Lossy(Here):
        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(OSError("the node is gone"))
            return future

    with pytest.raises(InferenceError, match=r"chain [012] was lost \(OSError: the node is gone\)"):
        walk(Lossy())


def test_a_folder_that_workers_do_not_share_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "save", lambda result, path: path)
    with pytest.raises(InferenceError, match="Put `checkpoint` on a disk that all workers share"):
        walk(Here(), checkpoint=tmp_path)


def test_an_engine_that_runs_another_chain_is_refused() -> None:
    with pytest.raises(CapabilityError, match=r"asks Walker for chain [12] alone; it ran \[0\]"):
        walk(Here(), numbered=False)


def test_a_model_that_cannot_be_sent_is_refused() -> None:
    def inner(y: torch.Tensor) -> None:
        location(y)

    with pytest.raises(SettingError, match=r"`model` cannot be sent to another process .*module"):
        infer(inner, Y, executor="processes", **SIZES)
    with pytest.raises(SettingError, match=r"`args\[1\]` cannot be sent"):
        infer(location, Y, (y for y in Y), executor=Here(), engine=Walker(), **SIZES)
    with ThreadPoolExecutor(1) as threads:  # needs nothing sent
        infer(inner, Y, engine=Walker(), executor=threads, **SIZES)


def test_a_model_that_a_worker_cannot_find_is_told() -> None:
    outcome = tasks.attempt(b"cprobneuro_no_such_module\nprogram\n.", 0)
    assert isinstance(outcome, SettingError)
    assert "`model` cannot be rebuilt in a worker process (ModuleNotFoundError" in str(outcome)


def test_executors_that_are_none() -> None:
    with pytest.raises(SettingError, match=r"`executor` must be None, .* got 'dask'"):
        place_of("dask", RunOptions())
    with ThreadPoolExecutor(1) as own, pytest.raises(SettingError, match="`workers` is 2, but"):
        place_of(own, RunOptions(workers=2))
    for wrong in ({"chains": 0}, {"workers": -1}):
        with pytest.raises(SettingError, match="must be an integer of at least 1"):
            place_of("processes", RunOptions(**wrong))


CHILD = """
import sys
sys.path.insert(0, "tests/inference")
from executor_cases import walk
if __name__ == "__main__":
    walk("processes", workers=2, draws=1000, pause=0.01, segment_seconds=1000.0, chains=2,
         log=sys.argv[2], checkpoint=sys.argv[1])
"""


def start_child(tmp_path: Path, root: Path) -> subprocess.Popen[str]:
    """Start a run in two processes, and return when both are under way."""
    script = tmp_path / "script.py"
    script.write_text(CHILD)
    child = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run"), str(tmp_path / "log")],
        cwd=root, text=True, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    end = time.monotonic() + 60
    while len(set(steps(tmp_path / "log"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    return child


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
@pytest.mark.parametrize(
    "number",
    [pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGKILL)],
    ids=["ctrl_c", "kill"],
)
def test_workers_end_with_the_run_and_keep_what_they_did(
    tmp_path: Path, request: pytest.FixtureRequest, number: signal.Signals
) -> None:
    child, log = start_child(tmp_path, Path(request.config.rootpath)), tmp_path / "log"
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    if number == signal.SIGINT:
        assert "Stopped by the user after 0 of 2 chains" in said
    time.sleep(0.5)
    done = len(steps(log))
    time.sleep(0.2)
    assert len(steps(log)) == done  # nobody steps any more
    # Segments were due after a quarter of an hour, so what is there was written in parting.
    assert len(list((tmp_path / "run").glob("task-*/chain-*/segment-*.npz"))) == 2
    again = {"draws": 1000, "chains": 2, "segment_seconds": 1000.0, "log": str(log)}
    resumed = walk(Here(), checkpoint=tmp_path / "run", **again)
    assert_same(resumed, walk(None, draws=1000, chains=2))
    assert len(steps(log)) == 2 * 1003
