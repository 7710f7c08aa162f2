"""`probneuro connectivity`: what it writes, how it goes on, and what it refuses."""

import pandas as pd
import pytest

from probneuro.core.results import load

PART = ("example:neuron_network", "--units", "0,1,2", "--stop", 6, "--no-progress")
TINY = ("--draws", 8, "--warmup", 8, "--chains", 1, "--workers", 1)
TRUTH = ("--truth", "example:neuron_network")


@pytest.fixture
def words(tmp_path):
    return ("connectivity", *PART, *TINY, "--out", tmp_path / "o")


def test_scores_figures_and_table_are_written(run, words, tmp_path):
    done = run(*words, *TRUTH, "--methods", "cross_correlation,group_lasso,static", "--seed", 1)
    assert done.code == 0, done.err
    assert "Synapses told from other pairs, best first" in done.out
    out = tmp_path / "o"
    scores = pd.read_csv(out / "scores.csv", dtype={"pre": str, "post": str})
    methods = ["cross_correlation", "group_lasso", "static"]
    assert scores.columns.tolist() == ["pre", "post", *methods, "truth"]
    assert len(scores) == 6
    saved = load(out / "edge_scores.nc")["edge_scores"].to_dataset()
    assert saved["score"].sel({"method": "static"}).values == pytest.approx(scores["static"].values)
    table = pd.read_csv(out / "table.csv", index_col=0)
    assert set(table.index) == set(methods)
    figures = {path.stem for path in (out / "figures").glob("*.png")}
    assert figures == {
        "roc_curves", "precision_recall_curves", "reliability_curves", "score_matrices"
    }  # fmt: skip
    assert load(out / "static.nc").attrs["rule"] == "static"
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "Synapses among 3 neurons" in report
    assert report.count("data:image/png") == 4
    assert "possible synapses" in report
    assert "probneuro connectivity" in report


def test_running_again_loads_finished_fits_and_overwrite_drops_them(run, words, tmp_path):
    words = (*words, "--methods", "static", "--seed", 1)
    assert run(*words).code == 0
    again = run(*words, *TRUTH)
    assert "static: finished before, loaded" in again.out
    assert (tmp_path / "o" / "table.csv").exists()
    other = run(*words[:-1], 2)
    assert other.code == 2
    assert "seed (there 1, now 2)" in other.err
    fresh = run(*words[:-1], 2, "--overwrite")
    assert "static: fitting" in fresh.out
    assert not (tmp_path / "o" / "table.csv").exists()


def test_only_synapses_onto_the_named_units_are_scored(run, words, tmp_path):
    done = run(*words, "--methods", "group_lasso,static", "--onto", "2", "--seed", 1)
    assert done.code == 0, done.err
    scores = pd.read_csv(tmp_path / "o" / "scores.csv", dtype={"pre": str, "post": str})
    assert scores[["pre", "post"]].values.tolist() == [["0", "2"], ["1", "2"]]
    other = run(*words, "--methods", "static", "--onto", "1", "--seed", 1)
    assert other.code == 2
    assert "onto (there 2, now 1)" in other.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "aditive"), "Unknown method 'aditive'. Did you mean 'additive'?"),
        (("--methods", ","), "`--methods` must name at least one method. Choose among: cross"),
        (("--truth", "example:v1_pair"), "nobody knows the synapses of 'v1_pair'"),
        (("--truth", "example:none"), "Unknown example 'none'"),
        (("--truth", "missing.nc"), "missing.nc"),
        (("--onto", "2,9"), "Unknown neuron '9'"),
        (("--onto", "2,2"), "`neurons` must be named once each"),
        (("--units", "0"), "`spikes` must hold two units or more to have a synapse; got 1"),
    ],
)
def test_mistakes_are_told_in_one_line(run, words, options, message):
    done = run(*words, *options)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
