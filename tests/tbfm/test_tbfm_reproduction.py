"""The paper's experiments run, go on where they stopped, and name targets of the shelf."""

import json
from pathlib import Path

import pytest

from probneuro.core.registry import shelf_path
from probneuro.core.reproduction import Setting
from probneuro.reproductions import tbfm

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds

TINY = {
    "seeds": 1, "channels": 2, "train": 150, "test": 100, "epochs": 1, "latency_blocks": 1,
}  # fmt: skip


def test_all_targets_are_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(folder=tmp_path, progress=False)
    first = list(tbfm.TBFMReproduction().run(TINY, setting))
    expected = json.loads(shelf_path("model", "tbfm", "expected.json").read_text())
    assert [f.target for f in first] == [target["name"] for target in expected["targets"]]
    drawn = {path.stem for path in setting.figures.glob("*.png")}
    assert {name for f in first for name in f.figures} == drawn
    assert "best possible" in first[0].found

    def again(*arguments: object, **settings: object) -> None:
        raise AssertionError("what a file holds is not made again")

    monkeypatch.setattr(tbfm, "evaluate", again)
    second = list(tbfm.TBFMReproduction().run(TINY, setting))
    assert [f.found for f in second[:4]] == [f.found for f in first[:4]]
