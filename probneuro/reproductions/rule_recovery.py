"""Does the true learning rule predict best, and do its bands hold the truth? (Figure 2.)"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.compare_rules import compare_rules
from probneuro.core.priors import Normal
from probneuro.core.registry import load
from probneuro.core.reproduction import Finding, Setting
from probneuro.models.stdp_glm import STDPGLM, Candidates
from probneuro.plots import recovery_dots, save_figures, weight_trajectories
from probneuro.plots.held_out import block_scores
from probneuro.reproductions.kept import kept, labelled_weights
from probneuro.simulators.plastic_glm import simulate_plastic_glm

Floats = NDArray[np.float64]

TRUTH: Final[Mapping[str, Mapping[str, float]]] = {
    "static": {},
    "additive": {
        "amplitude_plus": 0.006, "amplitude_minus": 0.009, "tau_plus": 0.02, "tau_minus": 0.02,
        "weight_noise": 0.03,
    },
    "multiplicative": {
        "amplitude_plus": 0.006, "amplitude_minus": 0.004, "tau_plus": 0.02, "tau_minus": 0.02,
        "weight_noise": 0.03, "weight_max": 3.0,
    },
}  # fmt: skip
"""What is simulated; the paper does not print its constants."""
START: Final = {"static": 1.0, "additive": 1.0, "multiplicative": 0.2}
"""Weights at the start: the multiplicative one below its balance, where it would be all but static.
"""
BAND: Final = (0.05, 0.95)


def recover_rules(preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Simulate two neurons under each rule, fit every rule to them, and compare.

    Parameters
    ----------
    preset : mapping
        ``rules``; ``recordings`` of each; ``duration`` and ``held_out`` (s); ``steps`` of warm-up,
        and as many draws.
    setting : Setting
        Where and how.

    Yields
    ------
    Finding
        ``true_rule_wins_<rule>`` for each, and ``trajectory_coverage``.
    """
    rules: Sequence[str] = preset["rules"]
    scores: dict[str, Floats] = {}
    inside: list[float] = []
    for truth in rules:
        rows = []
        for number in range(preset["recordings"]):
            fits, known = _fit_all(truth, setting.seed + number, preset, setting)
            rows.append([float(block_scores(fits[rule]).sum()) for rule in rules])
            inside += _coverage(fits[truth], known) if truth != "static" else []
            if number == 0:
                drawn = weight_trajectories(
                    fits, labelled_weights(fits[truth], known["weight"][:1])
                )
                save_figures({f"trajectories_{truth}": drawn}, setting.figures)
        scores[truth] = np.array(rows)
        save_figures({"rule_recovery": recovery_dots(scores, rules)}, setting.figures)
        shown = ("rule_recovery", f"trajectories_{truth}")
        yield Finding(f"true_rule_wins_{truth}", _in_words(scores[truth], rules, truth), shown)
    if inside:
        yield Finding("trajectory_coverage", _coverage_in_words(inside))


def _fit_all(
    truth: str, seed: int, preset: Mapping[str, Any], setting: Setting
) -> tuple[dict[str, xr.DataTree], Mapping[str, Any]]:
    """Return a recording's fits under every rule, and its truth."""
    spikes, known = simulate_plastic_glm(
        load("learning_rule", truth)(), duration=preset["duration"], seed=seed,
        synapses=[(0, 1)], parameters=TRUTH[truth], initial_weight=START[truth],
    )  # fmt: skip
    model = STDPGLM(bias_prior=Normal(20.0, 5.0), network=Candidates((("0", "1"),)))
    options = {"draws": preset["steps"], "warmup": preset["steps"], "chains": 1, "seed": seed}
    options |= {"workers": setting.workers, "progress": setting.progress}

    def fit(rule: str, place: Path) -> xr.DataTree:
        return compare_rules(
            spikes, rules=[rule], held_out=preset["held_out"], model=model, checkpoint=place,
            **options,
        ).results[rule]  # fmt: skip

    folder = setting.folder / "recovery"
    found = {
        rule: kept(folder / f"{truth}-{seed}-{rule}.nc", partial(fit, rule))
        for rule in preset["rules"]
    }
    return found, known


def _in_words(scores: Floats, rules: Sequence[str], truth: str) -> str:
    """Return mean scores, their paired differences to the truth's, and how often it was first."""
    own = scores[:, rules.index(truth)]
    means = ", ".join(f"{m:.2f} ({r})" for m, r in zip(scores.mean(axis=0), rules, strict=True))
    gaps = []
    for column, rule in zip(scores.T, rules, strict=True):
        if rule != truth:
            gaps.append(f"{rule} {mean_with_error(column - own)}")
    first = np.mean(scores.argmax(axis=1) == rules.index(truth))
    return (
        f"mean held-out log-likelihood {means}; minus the true rule's, paired over "
        f"{len(scores)} recordings: {', '.join(gaps)}; the true rule is first in {first:.0%}"
    )


def mean_with_error(values: Floats) -> str:
    """Return a mean with its standard error as text.

    Examples
    --------
    >>> mean_with_error(np.array([1.0, 2.0, 3.0]))
    '2.00 +- 0.58'
    """
    if values.size < 2:
        return f"{values.mean():.2f}"
    return f"{values.mean():.2f} +- {values.std(ddof=1) / np.sqrt(values.size):.2f}"


def _coverage(result: xr.DataTree, known: Mapping[str, Any]) -> list[float]:
    """Return the share of windows whose true weight a 90 % band holds."""
    posterior = result["posterior"].to_dataset()
    weight = posterior["weight"].where(posterior["edge"] != 0)
    low, high = weight.quantile(BAND, dim=("chain", "draw")).values[:, 0]
    if not np.isfinite(low).all():
        return [0.0]
    true = np.asarray(known["weight"])[0, : low.size]
    return [float(np.mean((low <= true) & (true <= high)))]


def _coverage_in_words(inside: Sequence[float]) -> str:
    return (
        f"90 % bands of the true rule's fit hold {np.mean(inside):.1%} of the true weights, from "
        f"{min(inside):.0%} to {max(inside):.0%} over {len(inside)} recordings"
    )
