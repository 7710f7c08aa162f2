"""Alignment while units are replaced: five ways, and whether the check sees a failure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from probneuro.components.alignment import align_all, align_robust, align_stable, procrustes
from probneuro.components.alignment_check import check_alignment
from probneuro.core.detection import auc
from probneuro.core.factor_analysis import FactorMoments, fit_profile
from probneuro.core.reproduction import Finding, Setting
from probneuro.simulators.stim_population import BrainConstants, SimulatedBrain

Floats = NDArray[np.float64]

METHODS: Final = ("none", "all", "stable", "robust", "known")
_LEARNT: Final = {"all": align_all, "stable": align_stable, "robust": align_robust}
_GOOD: Final = 0.8


def align_under_turnover(preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Align two sessions of each brain, more and more of its units replaced.

    Parameters
    ----------
    preset : mapping
        ``turnover``: shares; ``seeds``.
    setting : Setting
        Where and how.

    Yields
    ------
    Finding
        ``alignment`` and ``alignment_check``.
    """
    words = []
    scores: dict[str, list[float]] = {name: [] for name in _LEARNT}
    good: dict[str, list[bool]] = {name: [] for name in _LEARNT}
    for share in preset["turnover"]:
        rows = []
        for number in range(preset["seeds"]):
            values, told = alignment_row(setting.seed + number, share)
            rows.append([values[name] for name in METHODS])
            for name in _LEARNT:
                scores[name].append(told[name])
                good[name].append(values[name] >= _GOOD)
        means = np.mean(rows, axis=0)
        named = ", ".join(f"{n} {m:.2f}" for n, m in zip(METHODS, means, strict=True))
        words.append(f"{share:.0%}: {named}")
    yield Finding("alignment", f"R2 over {preset['seeds']} brains at turnover " + "; ".join(words))
    checked = [f"{n}: {check_words(np.array(scores[n]), np.array(good[n]))}" for n in _LEARNT]
    yield Finding("alignment_check", "; ".join(checked))


def alignment_row(seed: int, turnover: float) -> tuple[dict[str, float], dict[str, float]]:
    """Return R2 of a second session's latents by method, and the check's score of the learnt ones.

    R2 is that of the aligned latents against the same latents aligned by the true states, which
    are mapped into the reference space as fits the reference session best: what the choice of
    electrodes costs, without the noise of single bins.
    """
    brain = SimulatedBrain(BrainConstants(turnover=turnover), seed=seed)
    fits, states, latents, units = [], [], [], []
    for number in (0, 1):
        session = brain.session(number)
        counts, true = session.calibrate()
        flat = counts.reshape(-1, counts.shape[-1])
        fit = fit_profile(FactorMoments.of(flat), brain.constants.num_latents)
        fits.append(fit)
        states.append(true.reshape(len(flat), -1))
        latents.append(fit.posterior_mean(flat))
        units.append(session.unit_names)
    first, second = (fit.loading for fit in fits)
    same = units[0] == units[1]
    turns = {
        "none": np.eye(first.shape[1]),
        **{name: align(first, second).rotation for name, align in _LEARNT.items()},
        "known": procrustes(first[same], second[same]),
    }
    truth = _with_one(states[1]) @ np.linalg.lstsq(_with_one(states[0]), latents[0])[0]
    ideal = latents[1] @ procrustes(truth, latents[1]).T
    spread = (ideal**2).sum()
    found = {
        name: float(1 - ((latents[1] @ turn.T - ideal) ** 2).sum() / spread)
        for name, turn in turns.items()
    }
    scores = {
        name: check_alignment(first, second, align, draws=15, seed=seed).score
        for name, align in _LEARNT.items()
    }
    return found, scores


def check_words(scores: Floats, good: NDArray[np.bool_]) -> str:
    """Return how well the check's score tells alignments that hold from those that do not."""
    flagged = scores < _GOOD
    if good.all() or not good.any():
        side = "at least" if good.all() else "below"
        return f"all {len(good)} alignments have R2 {side} {_GOOD}; {flagged.sum()} flagged"
    return (
        f"{int((~good).sum())} of {len(good)} alignments have R2 below {_GOOD}; area under ROC "
        f"{auc(-scores, ~good):.3f}; {int((flagged & ~good).sum())} of them flagged, and "
        f"{int((flagged & good).sum())} of {int(good.sum())} good ones"
    )


def _with_one(values: Floats) -> Floats:
    return np.concatenate([values, np.ones((len(values), 1))], axis=1)
