"""What a comparison says, in words that claim no more than the numbers do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, hypot, inf, isfinite, log10
from typing import final

import pandas as pd

TELL_APART = 2.0
"""Below this many standard errors two rules are not told apart."""
CLEAR = 4.0
"""From this many standard errors a difference is called clear."""
FEW_BLOCKS = 10
"""With fewer held-out blocks than this the standard error itself is rough."""


@final
@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What was held out, and what the diagnostics of each rule complain about.

    Parameters
    ----------
    seconds : float
        Length of the held-out span in s.
    num_blocks : int
        Blocks it is scored in.
    bits_error : float
        Standard error of the best rule's bits per spike over constant rates, NaN if unknown.
    warnings : mapping of str to sequence of str
        Diagnostic messages by rule.
    """

    seconds: float
    num_blocks: int
    bits_error: float = float("nan")
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A comparison in words.

    Parameters
    ----------
    headline : str
        One sentence.
    sentences : tuple of str
        What follows it: one on each further rule, then what limits the claim.
    best : tuple of str
        The best rule and those that cannot be told apart from it, best first.
    """

    headline: str
    sentences: tuple[str, ...]
    best: tuple[str, ...]


def plus_minus(value: float, error: float) -> str:
    """Write a value with its standard error, to the error's two leading digits.

    Parameters
    ----------
    value, error : float
        In the same unit; an error that is not finite is left out.

    Returns
    -------
    str

    Examples
    --------
    >>> plus_minus(2.0849, 3.0211), plus_minus(-651.2, 73.3), plus_minus(0.3, float("nan"))
    ('2.1 ± 3.0', '−651 ± 73', '0.3')
    """
    if not isfinite(error):
        return f"{value:.3g}".replace("-", "−")
    decimals = max(0, 1 - floor(log10(error))) if error > 0 else 2
    return f"{value:.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")


def listed(items: Sequence[str]) -> str:
    """Write items as a list in a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def verdict(table: pd.DataFrame, held_out: HeldOut) -> Verdict:
    """Say which rule predicts best, and how sure that is.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a rule with columns ``elpd``, ``elpd_diff`` (to the best, of either sign),
        ``dse`` (its paired standard error), all in nats, and ``bits_per_spike``; the Monte Carlo
        error ``mcse`` (nats) counts if it is there.
    held_out : HeldOut
        What the numbers rest on.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> table = pd.DataFrame({"elpd": [-10.0, -12.1], "elpd_diff": [0.0, 2.1], "dse": [0.0, 3.0],
    ...                       "bits_per_spike": [0.31, 0.3]}, index=["additive", "static"])
    >>> print(verdict(table, HeldOut(seconds=10, num_blocks=10, bits_error=0.05)).sentences[0])
    The difference to static is 2.1 ± 3.0 nats (0.7 standard errors over 10 held-out blocks): \
too small to tell them apart on these data.
    """
    ordered = table.sort_values("elpd", ascending=False)
    scored = [str(name) for name in ordered.index if isfinite(float(ordered.at[name, "elpd"]))]
    lost = [str(name) for name in ordered.index if str(name) not in scored]
    tail = [
        f"{name} could not be scored: its held-out log likelihood is not finite. "
        "Look at its diagnostics."
        for name in lost
    ]
    if not scored:
        headline = f"No rule could be scored on the held-out {held_out.seconds:g} s."
        return Verdict(headline=headline, sentences=tuple(tail), best=())
    best, *others = scored
    equals = [name for name in others if not _told_apart(ordered, name, held_out)]
    sentences = [_difference(ordered, best, name, held_out) for name in others]
    sentences += [*tail, *_limits(scored, equals, held_out)]
    return Verdict(
        headline=_headline(ordered, best, others, equals, held_out),
        sentences=tuple(sentences),
        best=(best, *equals),
    )


def _errors_away(table: pd.DataFrame, name: str, held_out: HeldOut) -> float:
    """Return a difference in standard errors; NaN if there is no standard error."""
    difference, error = abs(float(table.at[name, "elpd_diff"])), float(table.at[name, "dse"])
    if held_out.num_blocks < 2 or not isfinite(error):
        return float("nan")
    if error == 0:
        return float("inf") if difference > 0 else 0.0
    return difference / error


def _monte_carlo(table: pd.DataFrame, name: str) -> float:
    """Return the Monte Carlo error of a difference to the best; infinite where it is unknown."""
    if "mcse" not in table:
        return 0.0
    errors = [float(table["mcse"].iloc[0]), float(table.at[name, "mcse"])]
    return hypot(*errors) if all(isfinite(error) for error in errors) else inf


def _told_apart(table: pd.DataFrame, name: str, held_out: HeldOut) -> bool:
    settled = abs(float(table.at[name, "elpd_diff"])) >= TELL_APART * _monte_carlo(table, name)
    return settled and _errors_away(table, name, held_out) >= TELL_APART


def _headline(
    table: pd.DataFrame, best: str, others: list[str], equals: list[str], held_out: HeldOut
) -> str:
    bits = float(table.at[best, "bits_per_spike"])
    score = f"{plus_minus(bits, held_out.bits_error)} bits per spike"
    span = f"the held-out {held_out.seconds:g} s"
    if bits <= 0:
        who = "no rule predicts" if others else f"{best} does not predict"
        note = f"; the best, {best}, stands at" if others else ": it stands at"
        return f"On this recording, {who} {span} better than constant firing rates{note} {score}."
    if not others:
        return f"On this recording, {best} predicts {span} with {score} over constant firing rates."
    if not equals:
        return (
            f"On this recording, {best} predicts {span} best: {score} over constant firing rates."
        )
    return (
        f"On this recording, {listed([best, *equals])} cannot be told apart by how they predict "
        f"{span}; {best} is nominally ahead with {score} over constant firing rates."
    )


def _difference(table: pd.DataFrame, best: str, name: str, held_out: HeldOut) -> str:
    difference, error = abs(float(table.at[name, "elpd_diff"])), float(table.at[name, "dse"])
    away = _errors_away(table, name, held_out)
    if not isfinite(away) and away != float("inf"):
        return (
            f"{name} is {difference:.3g} nats behind {best}, but from "
            f"{_blocks(held_out.num_blocks)} no standard error can be computed: on these data they "
            "cannot be told apart. Hold out a longer span."
        )
    if difference == 0:
        return f"{name} and {best} predict the held-out blocks identically."
    size = f"{plus_minus(difference, error)} nats"
    if isfinite(away):
        size += f" ({away:.1f} standard errors over {_blocks(held_out.num_blocks)})"
    if away < TELL_APART:
        return f"The difference to {name} is {size}: too small to tell them apart on these data."
    if _monte_carlo(table, name) == inf:
        return (
            f"{best} is ahead of {name} by {size}, but one chain cannot tell its own Monte Carlo "
            "error: run two or more to tell them apart."
        )
    if not _told_apart(table, name, held_out):
        return (
            f"{best} is ahead of {name} by {size}, but the chains leave a Monte Carlo error of "
            f"{_monte_carlo(table, name):.2g} nats on that: run longer ones to tell them apart."
        )
    if away < CLEAR:
        return (
            f"{best} predicts better than {name} by {size}: a real difference is likely, and a "
            "longer held-out span would confirm it."
        )
    return f"{best} predicts better than {name} by {size}: a clear difference."


def _blocks(number: int) -> str:
    return f"{number} held-out block{'' if number == 1 else 's'}"


def _limits(scored: list[str], equals: list[str], held_out: HeldOut) -> list[str]:
    sentences = []
    if len(scored) > 1 and 2 <= held_out.num_blocks < FEW_BLOCKS:
        sentences.append(
            f"The standard errors rest on only {_blocks(held_out.num_blocks)} and are rough "
            "themselves."
        )
    if equals:
        sentences.append(
            "A longer recording or held-out span may separate them; these numbers favour none."
        )
    bad = [name for name in scored if held_out.warnings.get(name)]
    if bad:
        sentences.append(
            f"The diagnostics of {listed(bad)} raise warnings: read the numbers with care "
            "until longer chains have settled them."
        )
    return sentences


def diagnosis(messages: Sequence[str] | None) -> str:
    """Say in one sentence what the diagnostics of a run amount to.

    Parameters
    ----------
    messages : sequence of str or None
        The messages, or None if none were recorded.

    Returns
    -------
    str

    Examples
    --------
    >>> diagnosis([])
    'The chains agree: no diagnostic raised a warning.'
    """
    if messages is None:
        return "No diagnostics were recorded with this result."
    if not messages:
        return "The chains agree: no diagnostic raised a warning."
    number = "One diagnostic raises" if len(messages) == 1 else f"{len(messages)} diagnostics raise"
    return f"{number} a warning:"
