"""The commands that look things up, and how the command line starts and fails."""

import subprocess
import sys

import pytest

from probneuro import __version__
from probneuro.cli.lookup import find_kind, references_of, to_bibtex
from probneuro.core import registry
from probneuro.core.model import Reference
from probneuro.core.source_text import class_docstring


def test_starting_up_imports_nothing_heavy():
    code = (
        "import sys, probneuro.cli; heavy = {'torch', 'numpy', 'xarray', 'matplotlib'} "
        "& set(sys.modules); sys.exit(f'imported at start: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_module_runs_and_exits_with_the_code():
    words = [sys.executable, "-m", "probneuro", "list", "--nonsense"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: No such option")
    assert done.stderr.count("\n") == 1


def test_version(run):
    done = run("--version")
    assert (done.code, done.out) == (0, f"probneuro {__version__}\n")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(run, words):
    done = run(*words)
    assert done.code == 0
    for command in ("compare", "fit", "simulate", "list", "info", "cite"):
        assert f" {command} " in done.out


def test_unknown_command_is_one_line(run):
    done = run("compre")
    assert done.code == 2
    assert "compare" in done.err
    assert done.err.count("\n") == 1


def test_list_shows_every_name(run):
    done = run("list")
    assert done.code == 0
    for kind in ("model", "learning_rule", "engine"):
        for name in registry.names(kind):
            assert name in done.out


def test_info_on_a_rule_shows_equation_and_sources(run):
    done = run("info", "additive")
    assert done.code == 0
    assert ".. math::" in done.out
    assert "Song S" in done.out


def test_info_on_a_model_shows_its_card(run):
    done = run("info", "stdp_glm")
    assert done.code == 0
    card = registry.card_path("model", "stdp_glm").read_text(encoding="utf-8")
    assert card.splitlines()[0] in done.out


def test_cite(run):
    assert "10.1038/78829" in run("cite", "additive").out
    entry = run("cite", "additive", "--bibtex").out
    assert entry.startswith("@article{song2000,")
    assert "author = {Song, S. and Miller, K. D. and Abbott, L. F.}" in entry


def test_unknown_names_suggest_the_nearest(run):
    for command in ("info", "cite"):
        done = run(command, "aditive")
        assert done.code == 2
        assert "Unknown model, learning rule or engine 'aditive'. Did you mean" in done.err
    assert find_kind("nuts") == "engine"


def test_each_reference_once():
    rules = [("learning_rule", "additive"), ("learning_rule", "additive")]
    lines = references_of(rules)
    assert lines
    assert len(lines) == len(set(lines))


def test_bibtex_escapes_and_keeps_odd_names():
    entry = to_bibtex(Reference("Müller-Öz A, Lab of B", 2001, "A & B", "J. 100%", "arXiv:1"))
    assert entry.startswith("@article{mllerz2001,")
    assert "author = {Müller-Öz, A. and Lab of, B.}" in entry
    assert r"title = {{A \& B}}" in entry
    assert r"journal = {J. 100\%}" in entry
    assert "note = {arXiv:1}" in entry


def test_list_and_summaries_import_nothing_heavy():
    code = (
        "import sys; from probneuro.cli import main; main(['list']); "
        "heavy = {'torch', 'pyro', 'numba', 'xarray'} & set(sys.modules); "
        "sys.exit(f'imported to list names: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("model", "stdp_glm"), ("learning_rule", "additive_bounded"), ("engine", "nuts")],
)
def test_a_summary_is_the_first_line_of_the_docstring(kind, name):
    first = (registry.load(kind, name).__doc__ or "").strip().partition("\n")[0]
    assert registry.summary(kind, name) == first != ""


def test_source_is_read_without_running_it(tmp_path, monkeypatch):
    package = tmp_path / "made_up"
    package.mkdir()
    (package / "__init__.py").write_text("from .inner import Thing as Other\nraise SystemExit\n")
    (package / "inner.py").write_text('class Thing:\n    """What it is.\n\n    More."""\n')
    (package / "broken.py").write_text("class Thing(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert class_docstring("made_up", "Other") == "What it is.\n\nMore."
    for module, name in [
        *(("made_up", "Absent"), ("made_up.broken", "Thing"), ("made_up.absent", "Thing")),
        *(("not_there", "Thing"), ("math", "Thing")),
    ]:
        assert class_docstring(module, name) is None
