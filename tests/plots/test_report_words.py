"""The verdict claims what the numbers carry, branch by branch."""

import numpy as np
import pandas as pd
import pytest

from probneuro.report import HeldOut, verdict
from probneuro.report.words import diagnosis, listed, plus_minus


def say(rows, **held_out):
    """The verdict on rows of (name, elpd, elpd_diff, dse, bits)."""
    columns = ["name", "elpd", "elpd_diff", "dse", "bits_per_spike"]
    table = pd.DataFrame(rows, columns=columns).set_index("name")
    settings = {"seconds": 10.0, "num_blocks": 10, "bits_error": 0.05} | held_out
    return verdict(table, HeldOut(**settings))


BEST = ("additive", -100.0, 0.0, 0.0, 0.31)


def test_too_small_a_difference():
    found = say([BEST, ("multiplicative", -102.1, 2.1, 3.0, 0.3)])
    assert found.headline == (
        "On this recording, additive and multiplicative cannot be told apart by how they predict "
        "the held-out 10 s; additive is nominally ahead with 0.310 ± 0.050 bits per spike over "
        "constant firing rates."
    )
    assert found.sentences[0] == (
        "The difference to multiplicative is 2.1 ± 3.0 nats (0.7 standard errors over 10 held-out "
        "blocks): too small to tell them apart on these data."
    )
    assert "these numbers favour none" in found.sentences[-1]
    assert found.best == ("additive", "multiplicative")


def test_a_likely_difference():
    found = say([BEST, ("static", -109.0, 9.0, 3.0, 0.2)])
    assert found.headline == (
        "On this recording, additive predicts the held-out 10 s best: 0.310 ± 0.050 bits per spike "
        "over constant firing rates."
    )
    assert "by 9.0 ± 3.0 nats (3.0 standard errors" in found.sentences[0]
    assert "a real difference is likely" in found.sentences[0]
    assert found.best == ("additive",)


def test_a_clear_difference():
    found = say([BEST, ("static", -165.0, 65.0, 7.0, 0.2)])
    assert found.sentences == (
        "additive predicts better than static by 65.0 ± 7.0 nats (9.3 standard errors over 10 "
        "held-out blocks): a clear difference.",
    )


@pytest.mark.parametrize("away, words", [(1.99, "too small"), (2.0, "likely"), (4.0, "clear")])
def test_limits_of_the_wording(away, words):
    found = say([BEST, ("static", -100 - away, away, 1.0, 0.2)])
    assert words in found.sentences[0]


def test_the_sign_of_the_difference_does_not_matter():
    rows = [BEST, ("static", -109.0, 9.0, 3.0, 0.2)]
    flipped = [BEST, ("static", -109.0, -9.0, 3.0, 0.2)]
    assert say(rows) == say(flipped)


def test_rules_are_taken_in_order_whatever_the_order_of_the_table():
    rows = [("static", -165.0, 65.0, 7.0, 0.2), BEST, ("multiplicative", -101.0, 1.0, 2.0, 0.3)]
    found = say(rows)
    assert found.best == ("additive", "multiplicative")
    assert "multiplicative" in found.sentences[0]
    assert "static" in found.sentences[1]


def test_a_rule_alone():
    found = say([BEST])
    assert found.headline == (
        "On this recording, additive predicts the held-out 10 s with 0.310 ± 0.050 bits per spike "
        "over constant firing rates."
    )
    assert found.sentences == ()


def test_nothing_better_than_constant_rates():
    worse = ("additive", -100.0, 0.0, 0.0, -0.02)
    alone = say([worse])
    assert "additive does not predict the held-out 10 s better than constant" in alone.headline
    assert "it stands at −0.020 ± 0.050 bits per spike" in alone.headline
    several = say([worse, ("static", -165.0, 65.0, 7.0, -0.2)])
    assert "no rule predicts the held-out 10 s better than constant firing" in several.headline
    assert "the best, additive, stands at −0.020" in several.headline


@pytest.mark.parametrize("dse, blocks", [(3.0, 1), (np.nan, 10)])
def test_without_a_standard_error_nothing_is_told_apart(dse, blocks):
    found = say([BEST, ("static", -165.0, 65.0, dse, 0.2)], num_blocks=blocks)
    assert "no standard error can be computed" in found.sentences[0]
    assert "Hold out a longer span." in found.sentences[0]
    assert "cannot be told apart" in found.headline
    assert f"{blocks} held-out block{'' if blocks == 1 else 's'} no" in found.sentences[0]


def test_equal_and_constant_differences():
    same = say([BEST, ("static", -100.0, 0.0, 0.0, 0.31)])
    assert "static and additive predict the held-out blocks identically." in same.sentences
    steady = say([BEST, ("static", -105.0, 5.0, 0.0, 0.2)])
    assert "by 5.00 ± 0.00 nats: a clear difference." in steady.sentences[0]


def test_few_blocks_make_rough_errors():
    found = say([BEST, ("static", -165.0, 65.0, 7.0, 0.2)], num_blocks=5, seconds=5.0)
    assert "rest on only 5 held-out blocks and are rough" in found.sentences[-1]
    assert "held-out 5 s" in found.headline


def test_a_rule_that_was_not_scored():
    found = say([BEST, ("static", np.nan, np.nan, np.nan, np.nan)])
    assert found.headline.startswith("On this recording, additive predicts")
    assert "static could not be scored" in found.sentences[0]
    none = say([("static", np.nan, np.nan, np.nan, np.nan)])
    assert none.headline == "No rule could be scored on the held-out 10 s."
    assert none.best == ()


def test_warnings_temper_the_verdict():
    found = say([BEST], warnings={"additive": ["R-hat of bias is 1.2."]})
    assert "diagnostics of additive raise warnings" in found.sentences[-1]
    assert say([BEST], warnings={"additive": []}).sentences == ()


def test_no_error_on_the_bits_leaves_it_out():
    assert "0.31 bits per spike" in say([BEST], bits_error=float("nan")).headline


@pytest.mark.parametrize(
    "value, error, text",
    [
        (0.312, 0.051, "0.312 ± 0.051"),
        (65.3, 7.3, "65.3 ± 7.3"),
        (-651.2, 73.3, "−651 ± 73"),
        (12345.6, 234.5, "12346 ± 234"),
        (1.0, 0.0, "1.00 ± 0.00"),
        (0.123456, float("inf"), "0.123"),
    ],
)
def test_numbers_carry_their_errors_digits(value, error, text):
    assert plus_minus(value, error) == text


def test_small_words():
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert diagnosis(None) == "No diagnostics were recorded with this result."
    assert diagnosis(["x"]) == "One diagnostic raises a warning:"
    assert diagnosis(["x", "y"]) == "2 diagnostics raise a warning:"


def with_monte_carlo_error(best, other):
    table = pd.DataFrame(
        {
            "elpd": [-100.0, -110.0],
            "elpd_diff": [0.0, -10.0],
            "dse": [0.0, 2.0],
            "bits_per_spike": [0.3, 0.2],
            "mcse": [best, other],
        },
        index=["additive", "static"],
    )
    return verdict(table, HeldOut(seconds=10.0, num_blocks=10))


def test_monte_carlo_error_forbids_to_tell_apart():
    found = with_monte_carlo_error(3.0, 4.1)
    assert "Monte Carlo error of 5.1 nats on that: run longer" in found.sentences[0]
    assert "cannot be told apart" in found.headline
    assert found.best == ("additive", "static")


def test_small_monte_carlo_error_does_not():
    assert "a clear difference" in with_monte_carlo_error(3.0, 4.0).sentences[0]


@pytest.mark.parametrize("errors", [(np.nan, 4.0), (np.nan, np.nan)])
def test_unknown_monte_carlo_error_forbids_it_too(errors):
    found = with_monte_carlo_error(*errors)
    assert "one chain cannot tell its own Monte Carlo error" in found.sentences[0]
    assert found.best == ("additive", "static")
