import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from plots import synthetic_results

from probneuro import plots
from probneuro.cli import lookup, main
from probneuro.data import SpikeTrains


@pytest.fixture
def recording(tmp_path):
    rng = np.random.default_rng(0)
    times = {name: np.sort(rng.uniform(0, 60, 600)) for name in ("a", "b")}
    return SpikeTrains(times, stop=60.0).save(tmp_path / "recording.npz")


@pytest.fixture
def fitted(monkeypatch):
    """The fits that were asked for, made without fitting; `fail` names rules that break."""
    log = SimpleNamespace(rules=[], settings=[], fail={})

    def compare_rules(spikes, *, rules, **settings):
        for rule in rules:
            log.rules.append(rule)
            log.settings.append(settings)
            if rule in log.fail:
                raise log.fail[rule]
        results = synthetic_results.make_results(rules, draws=20, windows=5)
        for dt in results.values():
            dt.attrs["seed"] = settings["seed"]
        return SimpleNamespace(results=results)

    module = ModuleType("probneuro.compare_rules")
    module.compare_rules = compare_rules
    monkeypatch.setitem(sys.modules, "probneuro.compare_rules", module)
    monkeypatch.setattr(lookup, "references_of", lambda entries: [f"{e}" for e in entries])
    return log


@pytest.fixture
def tiny_figures(monkeypatch):
    """One small figure instead of twenty, where figures are not the point."""

    def draw(*_, **__):
        figure = Figure(figsize=(1, 1))
        figure.subplots()
        return {"held_out_comparison": figure}

    monkeypatch.setattr(plots, "comparison_figures", draw)
    monkeypatch.setattr(plots, "result_figures", draw)


@pytest.fixture
def run(capsys):
    """Run the command line; return exit code, standard output and standard error."""

    def call(*words):
        code = main([str(word) for word in words])
        streams = capsys.readouterr()
        return SimpleNamespace(code=code, out=streams.out, err=streams.err)

    return call
