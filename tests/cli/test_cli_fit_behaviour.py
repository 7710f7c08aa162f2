"""`probneuro fit dsn`: a behaviour and a simulator in, draws, figures and a report out."""

import pytest

from probneuro.core.results import load

SIMULATOR = """
def simulate(z):
    return {"sum": z["x"] + z["y"]}
"""
BEHAVIOUR = """
simulator = "adder.py:simulate"

[bounds]
x = [0.0, 4.0]
y = [0.0, 4.0]

[means]
sum = 2.0

[engine]
rounds = 3
simulations = 200
steps = 5
"""


@pytest.fixture
def behaviour(tmp_path):
    (tmp_path / "adder.py").write_text(SIMULATOR, encoding="utf-8")
    path = tmp_path / "adder.toml"
    path.write_text(BEHAVIOUR, encoding="utf-8")
    return path


def test_it_fits_and_writes(run, behaviour, tmp_path):
    out = tmp_path / "o"
    words = ("fit", "dsn", behaviour, "--out", out, "--draws", "50", "--chains", "2")
    words += ("--seed", "1", "--no-progress")
    done = run(*words)
    assert done.code == 0, done.err
    assert "dual entropy" in done.out
    for name in ("dsn.nc", "report.html", "figures/dsn_solution_pairs.png"):
        assert (out / name).exists(), name
    assert load(out / "dsn.nc")["posterior/z"].shape == (2, 50, 2)
    assert "dsn: finished before" in run(*words).out
    behaviour.write_text(BEHAVIOUR.replace("sum = 2.0", "sum = 3.0"), encoding="utf-8")
    assert "behaviour (there" in run(*words).err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("adder.py:simulate", "adder.py:missing", "cannot be loaded"),
        ("adder.py:simulate", "no.py:simulate", "cannot be loaded"),
        ("adder.py:simulate", "adder", "names no simulator"),
        ("[engine]", "[motor]", "table 'motor'"),
        ("rounds = 3", "round = 3", "'round'"),
        ("[means]", "[means", "is no TOML file"),
    ],
)
def test_a_file_that_does_not_say_what_it_must(run, behaviour, tmp_path, old, new, message):
    behaviour.write_text(BEHAVIOUR.replace(old, new), encoding="utf-8")
    refused = run("fit", "dsn", behaviour, "--out", tmp_path / "o", "--no-progress")
    assert refused.code == 2
    assert message in refused.err


def test_no_file(run, tmp_path):
    refused = run("fit", "dsn", tmp_path / "no.toml", "--out", tmp_path / "o")
    assert refused.code == 2
    assert "`path` is no file" in refused.err
