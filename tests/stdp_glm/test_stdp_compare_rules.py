"""What `compare_rules` refuses and says while it runs."""

from typing import Any

import numpy as np
import pytest

from probneuro.compare_rules import compare_rules
from probneuro.core.errors import DataError
from probneuro.core.progress import Silent
from probneuro.data import SpikeTrains
from probneuro.inference import runner


def recording(stop: float, last: float) -> SpikeTrains:
    rng = np.random.default_rng(0)
    times = {name: np.sort(rng.uniform(0.0, last, 60)) for name in ("a", "b")}
    return SpikeTrains(times, start=0.0, stop=stop)


def test_a_silent_end_is_refused() -> None:
    words = r"`held_out`: the last 2 s, from 6 s on, hold no spikes.* hold out more"
    with pytest.raises(DataError, match=words):
        compare_rules(recording(8.0, 5.9), held_out=2.0, progress=False)


def test_progress_names_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = []

    def display(progress: bool, label: str = "") -> Any:
        labels.append(label)
        return Silent()

    monkeypatch.setattr(runner, "progress_display", display)
    sizes = {"draws": 2, "warmup": 2, "chains": 1, "seed": 1}
    compare_rules(recording(6.0, 6.0), rules=["static", "additive"], held_out=2.0, **sizes)
    assert labels == ["static, CollapsedGibbs", "additive, CollapsedGibbs"]
