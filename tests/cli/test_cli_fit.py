"""`probneuro fit`: one model on one recording."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from plots import synthetic_results

from probneuro.core import registry


@pytest.fixture
def inferred(monkeypatch, tiny_figures):
    log = SimpleNamespace(calls=[])

    def infer(model, data, **settings):
        log.calls.append((model, data, settings))
        return synthetic_results.make_result(model.rule.name, draws=20, windows=5, blocks=0)

    module = ModuleType("probneuro.infer")
    module.infer = infer
    monkeypatch.setitem(sys.modules, "probneuro.infer", module)
    return log


def test_it_fits_writes_and_says_what_was_found(run, inferred, recording, tmp_path):
    out = tmp_path / "o"
    words = ("fit", "stdp_glm", recording, "--out", out, "--rule", "multiplicative", "--seed", 4)
    done = run(*words, "--link", "exp", "--window", 2, "--draws", 20, "--warmup", 30)
    assert done.code == 0, done.err
    model, data, settings = inferred.calls[0]
    assert isinstance(model, registry.load("model", "stdp_glm"))
    assert model.rule.name == "multiplicative"
    assert type(model.link).__name__ == "Exponential"
    assert data.bins_per_window == 2000
    assert (settings["draws"], settings["seed"]) == (20, 4)
    assert settings["engine"] == registry.load("engine", "collapsed_gibbs")(warmup=30)
    assert settings["checkpoint"] == out / "checkpoint"
    for name in ("multiplicative.nc", "report.html", "run.json", "figures/held_out_comparison.png"):
        assert (out / name).exists(), name
    assert "τ+ (ms)" in done.out
    assert "Linderman" in (out / "report.html").read_text(encoding="utf-8")


def test_running_again_loads_and_other_settings_are_refused(run, inferred, recording, tmp_path):
    words = ("fit", "stdp_glm", recording, "--out", tmp_path / "o")
    assert run(*words).code == 0
    again = run(*words)
    assert again.code == 0, again.err
    assert "additive: finished before" in again.out
    other = run(*words, "--rule", "static")
    assert "rule (there additive, now static)" in other.err
    assert len(inferred.calls) == 1


def test_a_fit_does_not_go_into_the_folder_of_a_comparison(run, inferred, recording, tmp_path):
    assert run("fit", "stdp_glm", recording, "--out", tmp_path, "--seed", 1).code == 0
    failed = run("compare", recording, "--out", tmp_path, "--seed", 1)
    assert "holds a run of `probneuro fit`, now it is `probneuro compare`" in failed.err


@pytest.mark.parametrize(
    "words, message",
    [
        (["stdp-glm"], "Unknown model 'stdp-glm'. Did you mean 'stdp_glm'?"),
        (["stdp_glm", "--rule", "ojja"], "Unknown learning rule 'ojja'."),
        (["stdp_glm", "--link", "logit"], "link"),
        (["stdp_glm", "--engine", "nutz"], "Unknown engine 'nutz'. Did you mean 'nuts'?"),
        (["stdp_glm", "--engine", "svi", "--warmup", "3"], "does not apply to the engine 'svi'"),
        (["stdp_glm", "--window", "0.0015"], "window"),
    ],
)
def test_mistakes_are_one_line(run, inferred, recording, tmp_path, words, message):
    failed = run("fit", words[0], recording, "--out", tmp_path / "o", *words[1:])
    assert failed.code == 2
    assert message in failed.err
    assert failed.err.count("\n") == 1
    assert inferred.calls == []
