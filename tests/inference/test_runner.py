import errno
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from probneuro.core import checkpoint as checkpoint_module
from probneuro.core.checkpoint import ChainStore, Segment, open_run
from probneuro.core.engine import Arrays, Kernel
from probneuro.core.errors import CheckpointError, InferenceError, SettingError
from probneuro.core.progress import ChainStatus, Plain, progress_display
from probneuro.inference.runner import ChainDraws, run_chains


class Walk(Kernel):
    """A random walk that adapts its scale while warming up, and can be slowed or made to fail."""

    def __init__(self, pause: float = 0.0, fail_at: int = -1, fail_chain: float = 2.0) -> None:
        self.pause = pause
        self.fail_at = fail_at
        self.fail_chain = fail_chain

    def init(self, rng: np.random.Generator) -> Arrays:
        zero = np.zeros(3)
        return {"x": zero, "scale": np.array(1.0), "step": np.array(0), "id": rng.random(1)}

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        if self.pause:
            time.sleep(self.pause * random.random())
        if int(state["step"]) == self.fail_at and state["id"][0] < self.fail_chain:
            raise FloatingPointError("all particles dead")
        scale = state["scale"] * 1.01 if warmup else state["scale"]
        x = state["x"] + scale * rng.standard_normal(3, dtype=np.float32)
        fresh = {"x": x, "scale": scale, "step": state["step"] + 1, "id": state["id"]}
        return fresh, {"acceptance_rate": np.array(0.8), "diverging": np.array(bool(x[0] > 9))}

    def draw(self, state: Arrays) -> Arrays:
        return {"x": state["x"], "edge": (state["x"] > 0).astype(np.int8)}


SETTINGS = {"draws": 40, "warmup": 20, "chains": 3, "seed": 11, "progress": False}


def run(kernel: Kernel | None = None, **changes: object) -> ChainDraws:
    return run_chains(kernel or Walk(), **{**SETTINGS, **changes})  # type: ignore[arg-type]


def assert_same(a: ChainDraws, b: ChainDraws) -> None:
    for kind in ("posterior", "sample_stats", "warmup_posterior", "warmup_sample_stats"):
        left, right = getattr(a, kind), getattr(b, kind)
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].dtype == right[name].dtype
            np.testing.assert_array_equal(left[name], right[name])


def test_shapes_dtypes_and_streams() -> None:
    result = run(keep_warmup=True)
    assert result.posterior["x"].shape == (3, 40, 3)
    assert result.posterior["edge"].dtype == np.int8
    assert result.sample_stats["diverging"].dtype == bool
    assert result.warmup_posterior["x"].shape == (3, 20, 3)
    assert len({result.posterior["x"][c, 0, 0] for c in range(3)}) == 3
    assert run().warmup_posterior == {}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_draws_do_not_depend_on_workers(workers: int) -> None:
    assert_same(run(), run(Walk(pause=1e-4), workers=workers))


def test_a_chain_does_not_depend_on_its_neighbours() -> None:
    np.testing.assert_array_equal(run(chains=1).posterior["x"][0], run(chains=3).posterior["x"][0])


def test_a_chain_of_a_larger_run_runs_alone(tmp_path: Path) -> None:
    alone = run(chains=1, first_chain=2, checkpoint=tmp_path)
    np.testing.assert_array_equal(alone.posterior["x"][0], run().posterior["x"][2])
    assert alone.first_chain == 2
    assert [path.name for path in tmp_path.glob("chain-*")] == ["chain-2"]
    with pytest.raises(InferenceError, match=r"Chain 2 failed at step 5 \(warm-up\), seed 11"):
        run(Walk(fail_at=5), chains=1, first_chain=2)
    with pytest.raises(SettingError, match="`first_chain` must be an integer of at least 0"):
        run(first_chain=-1)


def test_finished_checkpoint_gives_the_same_draws_without_running(tmp_path: Path) -> None:
    first = run(checkpoint=tmp_path / "c", keep_warmup=True, segment_seconds=0.0)
    assert len(list((tmp_path / "c/chain-0").glob("segment-*.npz"))) == 60
    again = run(Walk(fail_at=0), checkpoint=tmp_path / "c", keep_warmup=True)
    assert_same(first, again)
    assert_same(first, run(keep_warmup=True))


@pytest.mark.parametrize("keep", [0, 7, 20, 21, 59])
def test_resume_from_any_segment(tmp_path: Path, keep: int) -> None:
    full = run(checkpoint=tmp_path, keep_warmup=True, segment_seconds=0.0)
    for path in tmp_path.glob("chain-*/segment-*.npz"):
        if int(path.stem.split("-")[1]) >= keep:
            path.unlink()
    assert_same(full, run(checkpoint=tmp_path, keep_warmup=True, segment_seconds=0.003))


def test_truncated_last_segment_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = run(checkpoint=tmp_path, segment_seconds=0.0)
    last = max((tmp_path / "chain-1").glob("*.npz"))
    last.write_bytes(last.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert_same(full, run(checkpoint=tmp_path))
    assert "damaged and is passed over" in caplog.text


def test_damaged_middle_and_missing_segments_are_refused(tmp_path: Path) -> None:
    run(checkpoint=tmp_path, segment_seconds=0.0)
    middle = tmp_path / "chain-1/segment-00004.npz"
    middle.write_bytes(b"PK nonsense")
    with pytest.raises(CheckpointError, match=r"is damaged .* Delete it and the later ones"):
        run(checkpoint=tmp_path)
    middle.unlink()
    with pytest.raises(CheckpointError, match="step 4 was expected, so one is missing"):
        run(checkpoint=tmp_path)


def test_another_run_is_refused_by_name(tmp_path: Path) -> None:
    run(checkpoint=tmp_path, fingerprint={"engine": {"particles": 100}})
    with pytest.raises(CheckpointError, match=r"another run: `seed` was 11, is now 12"):
        run(checkpoint=tmp_path, fingerprint={"engine": {"particles": 100}}, seed=12)
    with pytest.raises(CheckpointError, match=r"`engine\.particles` was 100, is now 99"):
        run(checkpoint=tmp_path, fingerprint={"engine": {"particles": 99}})


def test_segments_without_a_run_file_are_refused(tmp_path: Path) -> None:
    run(checkpoint=tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"no `run\.json` that says which"):
        run(checkpoint=tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        run(checkpoint=tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path, {}), pytest.raises(CheckpointError, match="in use by another"):
        run(checkpoint=tmp_path)


def test_objects_are_refused(tmp_path: Path) -> None:
    class Odd(Walk):
        def init(self, rng: np.random.Generator) -> Arrays:
            return {"x": np.array([{}])}

    with pytest.raises(InferenceError, match="`x` holds Python objects"):
        run(Odd())
    with pytest.raises(CheckpointError, match="`x` in the chain's state holds Python objects"):
        ChainStore(tmp_path, 0).append(Segment(0, 1, {}, {"x": np.array([{}])}))


def test_failure_names_chain_step_and_seed_and_keeps_the_rest(tmp_path: Path) -> None:
    said = r"Chain (\d) failed at step 30 \(draws\), seed 11: .*all particles dead"
    with pytest.raises(InferenceError, match=said) as caught:
        run(Walk(fail_at=30), checkpoint=tmp_path)
    failed = re.search(said, str(caught.value))
    assert failed is not None
    assert ChainStore(tmp_path, int(failed[1])).read()[-1].stop == 30
    assert_same(run(), run(checkpoint=tmp_path))


def test_one_failing_chain_stops_the_others(tmp_path: Path) -> None:
    kernel = Walk(pause=0.01, fail_at=5, fail_chain=0.5)
    start = time.monotonic()
    with pytest.raises(InferenceError, match="failed at step 5"):
        run(kernel, chains=8, workers=8, draws=100_000, checkpoint=tmp_path)
    assert time.monotonic() - start < 10
    assert any(ChainStore(tmp_path, chain).read() for chain in range(8))


def test_changing_shapes_and_dtypes_are_told(tmp_path: Path) -> None:
    class Growing(Walk):
        def draw(self, state: Arrays) -> Arrays:
            return {"x": np.zeros(int(state["step"]))}

    class Typed(Walk):
        def draw(self, state: Arrays) -> Arrays:
            return {"x": np.array(1 if int(state["step"]) < 25 else 1.5)}

    with pytest.raises(InferenceError, match=r"`x` changed from float64 of shape \(21,\)"):
        run(Growing())
    with pytest.raises(InferenceError, match=r"`x` changed from int64 .* to float64"):
        run(Typed())


@pytest.mark.parametrize(
    ("name", "value"), [("draws", 0), ("warmup", -1), ("chains", 0), ("workers", 0), ("draws", 1.5)]
)
def test_bad_counts(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"`{name}` must be an integer of at least"):
        run(**{name: value})


def test_disk_full_goes_on_in_memory_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = checkpoint_module.write_atomically
    calls: list[Path] = []

    def full(path: Path, content: bytes) -> None:
        calls.append(path)
        if 2 < len(calls) < 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpoint_module, "write_atomically", full)
    with caplog.at_level(logging.WARNING):
        result = run(checkpoint=tmp_path, chains=1, segment_seconds=0.0)
    assert "the disk is full. Kept on disk: steps before 1. Free some space" in caplog.text
    assert_same(result, run(chains=1))
    monkeypatch.undo()
    assert_same(result, run(checkpoint=tmp_path, chains=1))


def test_disk_full_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_atomically", full)
    with pytest.raises(CheckpointError, match=r"the disk is full\. Kept on disk: nothing yet"):
        run(checkpoint=tmp_path)


def test_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        checkpoint_module.write_atomically(tmp_path / "a.npz", b"abc")
    assert list(tmp_path.iterdir()) == []


def test_interrupt_stops_keeps_and_says_how_to_resume(tmp_path: Path) -> None:
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt, match="make the same call again to resume"):
        run(Walk(pause=0.02), draws=2000, workers=3, checkpoint=tmp_path)
    timer.join()
    stops = [ChainStore(tmp_path, c).read()[-1].stop for c in range(3)]
    assert all(0 < s < 2020 for s in stops)
    assert_same(run(draws=2000), run(draws=2000, checkpoint=tmp_path))


CHILD = """
import sys
from tests.inference.test_runner import Walk, run
run(Walk(pause=0.004), draws=400, checkpoint=sys.argv[1], segment_seconds=0.05)
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_resume_after_kill_gives_the_same_draws(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = Path(request.config.rootpath)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], cwd=root)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("chain-*/segment-*.npz")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(np.random.default_rng(5).uniform(0.0, 0.3))
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert ChainStore(tmp_path, 0).read()[-1].stop < 420
    assert_same(run(draws=400), run(draws=400, checkpoint=tmp_path))


def test_plain_progress_lines() -> None:
    lines: list[str] = []
    status = ChainStatus(total=10, warmup=5, step=7, divergences=2, acceptance=0.8)
    with Plain("gibbs", lines.append, seconds=0.0) as display:
        display.show([status])
    assert "gibbs: 7/10 steps" in lines[0]
    assert "draws, accept 0.80, 2 divergent" in lines[0]


def test_progress_runs_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(progress=True, label="toy")
    assert capsys.readouterr().out == ""
    with progress_display(False) as display:
        display.show([])


def test_draws_that_no_memory_holds_are_refused_before_any_step(tmp_path: Path) -> None:
    class Wide(Walk):
        def draw(self, state: Arrays) -> Arrays:
            return {"path": np.broadcast_to(0.0, (1000, 1800))}

    with pytest.raises(SettingError, match=r"13\.7 MiB each.*Pass fewer `draws`"):
        run(Wide(fail_at=0), draws=10**6, checkpoint=tmp_path / "run")
