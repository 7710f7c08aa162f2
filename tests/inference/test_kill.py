"""A run that is killed at any moment goes on to the very draws of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from kill_nursery import CASES

from probneuro import load

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
FEW, MANY = 1, 20


class Nursery:
    """A process that forks runs for us."""

    def __init__(self, root: Path) -> None:
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, str(here / "kill_nursery.py")], cwd=root, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{here}"},
        )  # fmt: skip

    def run(
        self, engine: str, folder: Path | None, out: Path, moment: float | None = None
    ) -> dict[str, Any]:
        """Run an engine, killed after a time in s if one is given; return how it ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        order = {"engine": engine, "folder": folder and str(folder), "out": str(out)}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        if moment is not None:
            time.sleep(moment)
            with suppress(ProcessLookupError):  # it may have ended just before
                os.kill(pid, signal.SIGKILL)
        ended: dict[str, Any] = json.loads(self._process.stdout.readline())
        return ended

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def nursery(request: pytest.FixtureRequest) -> Iterator[Nursery]:
    own = Nursery(Path(request.config.rootpath))
    yield own
    own.close()


def read_whole(folder: Path) -> int:
    """Read every file under its final name to the end, and count the segments."""
    segments = sorted(folder.rglob("*.npz"))
    for path in segments:
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].size >= 0 for name in file.files)
    for path in folder.rglob("run.json"):
        json.loads(path.read_text())
    return len(segments)


def assert_same(a: xr.DataTree, b: xr.DataTree) -> None:
    assert [node.path for node in a.subtree] == [node.path for node in b.subtree]
    for node in a.subtree:
        xr.testing.assert_equal(
            node.to_dataset(inherit=False), b[node.path].to_dataset(inherit=False)
        )


def kill_and_resume(nursery: Nursery, engine: str, folder: Path, number: int, seed: int) -> int:
    reference = folder / "reference.nc"
    seconds = nursery.run(engine, folder / "unhurt", reference)["seconds"]
    expected = load(reference)
    first = min(path.stat().st_mtime for path in (folder / "unhurt").rglob("*.npz"))
    begin = seconds - (reference.stat().st_mtime - first)
    rng = np.random.default_rng([seed, *engine.encode()])
    landed = begun = 0
    for trial in range(number):
        run, out = folder / f"run-{trial}", folder / f"result-{trial}.nc"
        # Every other one while segments are being written, which may be a small part of it all.
        moment = rng.uniform(0.0 if trial % 2 else begin, seconds)
        code = nursery.run(engine, run, out, moment)["code"]
        landed += code == -signal.SIGKILL
        begun += code != 0 and read_whole(run) > 0
        if out.exists():
            assert_same(load(out), expected)
        assert nursery.run(engine, run, out)["code"] == 0
        assert_same(load(out), expected)
        read_whole(run)
    counts = f"{landed} of {number} kills landed, {begun} after a segment was written"
    sys.stdout.write(f"{engine}: {counts}; all resumed to the same draws\n")
    return landed


@pytest.mark.slow
@pytest.mark.parametrize("engine", CASES)
def test_resume_after_a_kill_at_any_moment(nursery: Nursery, engine: str, tmp_path: Path) -> None:
    kill_and_resume(nursery, engine, tmp_path, FEW, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", CASES)
def test_resume_after_many_kills(nursery: Nursery, engine: str, tmp_path: Path) -> None:
    nursery.run(engine, None, tmp_path / "first.nc")  # may compile, and would mislead the clock
    assert kill_and_resume(nursery, engine, tmp_path, MANY, seed=2) > MANY // 4
