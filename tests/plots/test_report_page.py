"""The report is one file that loads nothing, says what was found and escapes what it is given."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from plots.synthetic_results import make_result, make_results
from probneuro.core.errors import DataError, SettingError
from probneuro.report import held_out_facts, table_rows, verdict, write_report
from probneuro.report.facts import (
    diagnostics,
    edges_in_words,
    parameter_rows,
    recording_rows,
    settings_rows,
)

EVIL = '<script>alert("x")</script>'


class Balanced(HTMLParser):
    """Every tag that is opened is closed, in order."""

    void = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.sources = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tiny_figure():
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    return figure


@pytest.fixture(scope="module")
def report(tmp_path_factory, results, table):
    figures = {"held_out_comparison": tiny_figure(), "additive_learning_rule": tiny_figure()}
    summary = pd.DataFrame({"unit": ["n0", EVIL], "spikes": [10, 20], "rate": [1.0, 2.0]})
    path = write_report(
        results,
        table,
        tmp_path_factory.mktemp("report") / "new",
        figures=figures,
        summary=summary,
        title=f"Rules on {EVIL}",
        command=f"probneuro compare '{EVIL}' --seed 3",
        references=[f"Author {EVIL}"],
    )
    return path.read_text(encoding="utf-8")


def test_it_is_well_formed_and_loads_nothing(report):
    parsed = Balanced()
    parsed.feed(report)
    assert parsed.open == []
    assert parsed.sources
    assert all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert not parsed.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import|https?://", report)


def test_what_the_user_gave_is_escaped(report):
    assert EVIL not in report
    assert report.count("&lt;script&gt;") >= 5


def test_it_says_what_was_found(report, results, table):
    words = verdict(table, held_out_facts(results, table))
    for text in (words.headline, *words.sentences):
        assert text in report
    assert "--seed 3" in report
    assert "numpy 2.4" in report
    assert "softplus(1 Hz)" in report
    assert "additive</td>" in report
    assert report.count("<img") == 2


def test_diagnostics_are_shown_and_temper_the_verdict(tmp_path, table):
    results = make_results()
    results["additive"].attrs["diagnostics"] = json.dumps(["`bias`: R-hat 1.72. <b>Run longer."])
    text = write_report(results, table, tmp_path).read_text(encoding="utf-8")
    assert "One diagnostic raises a warning:" in text
    assert "R-hat 1.72. &lt;b&gt;Run longer." in text
    assert "The diagnostics of additive raise warnings" in text


def test_figures_go_to_the_rule_with_the_longest_name(tmp_path):
    results = {"additive": make_result(), "additive_bounded": make_result()}
    figures = {"additive_bounded_trace_rank": tiny_figure()}
    text = write_report(results, None, tmp_path, figures=figures).read_text(encoding="utf-8")
    assert text.index("<summary>additive_bounded") < text.index("<img")


def test_a_fit_alone_needs_no_table(tmp_path):
    path = write_report({"additive": make_result()}, None, tmp_path, title="stdp_glm")
    text = path.read_text(encoding="utf-8")
    assert path.name == "report.html"
    assert "Of 2 possible synapses" in text
    assert "τ+ (ms)" in text


def test_it_refuses_what_does_not_fit(tmp_path, table):
    with pytest.raises(SettingError, match="`results` is empty"):
        write_report({}, None, tmp_path)
    with pytest.raises(DataError, match="no held-out data for 'additive'"):
        write_report({"additive": make_result(blocks=0)}, table.loc[["additive"]], tmp_path)


def test_facts_of_the_held_out_span(table):
    result = make_result()
    held_out = result["held_out"].to_dataset()
    one = held_out["log_likelihood"].isel(chain=0, draw=0, drop=True)
    # With equal draws the predictive density of a block is that of any one of them.
    held_out["log_likelihood"] = one.broadcast_like(held_out["log_likelihood"])
    result["held_out"] = xr.DataTree(held_out)
    found = held_out_facts({"additive": result}, table.loc[["additive"]])
    assert (found.seconds, found.num_blocks) == (10.0, 10)
    gain = (one - held_out["baseline_log_likelihood"]).sum("neuron")
    bits = float(gain.std(ddof=1)) * 10**0.5 / float(held_out["spike_count"].sum()) / np.log(2)
    assert found.bits_error == pytest.approx(bits)


def test_one_block_has_the_width_of_a_window(table):
    found = held_out_facts({"additive": make_result(blocks=1)}, table.loc[["additive"]])
    assert (found.seconds, found.num_blocks) == (1.0, 1)
    assert found.bits_error != found.bits_error


def test_rows_of_the_table(table):
    columns, rows = table_rows(table.iloc[::-1])
    assert columns[0] == "rule"
    assert [row[0] for row in rows] == list(table.index)
    assert rows[0][-1] == "–"
    assert "±" in rows[1][-1]


def test_parameters_are_quantiles_in_readable_units(result):
    rows = {row[0]: row[1:] for row in parameter_rows(result)}
    tau = result["posterior"]["tau_plus"].quantile([0.05, 0.5, 0.95]).values * 1e3
    assert rows["τ+ (ms)"] == [f"{tau[1]:.3g}", f"{tau[0]:.3g} to {tau[2]:.3g}"]
    assert parameter_rows(make_result("static")) == []


def test_other_facts(result):
    assert edges_in_words(xr.DataTree.from_dict({"posterior": xr.Dataset()})) == ""
    assert diagnostics(xr.DataTree()) is None
    assert diagnostics(result) == []
    rows = dict(settings_rows(result))
    assert rows["engine settings"] == "particles 100"
    assert "diagnostics" not in rows
    columns, _ = recording_rows(pd.DataFrame({"unit": ["a"], "median_interval": [0.1]}))
    assert columns == ["unit", "median interval (s)"]
