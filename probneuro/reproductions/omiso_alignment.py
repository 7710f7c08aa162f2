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
    words, scores, good = [], [], []
    for share in preset["turnover"]:
        rows = []
        for number in range(preset["seeds"]):
            values, score = alignment_row(setting.seed + number, share)
            rows.append([values[name] for name in METHODS])
            scores.append(score)
            good.append(values["robust"] >= _GOOD)
        means = np.mean(rows, axis=0)
        told = ", ".join(f"{n} {m:.2f}" for n, m in zip(METHODS, means, strict=True))
        words.append(f"{share:.0%}: {told}")
    yield Finding("alignment", f"R2 over {preset['seeds']} brains at turnover " + "; ".join(words))
    yield Finding("alignment_check", check_words(np.array(scores), np.array(good)))


def alignment_row(seed: int, turnover: float) -> tuple[dict[str, float], float]:
    """Return R2 of a second session's latents by method, and the check's score of the robust one.

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
        "all": align_all(first, second).rotation,
        "stable": align_stable(first, second).rotation,
        "robust": align_robust(first, second, seed=seed).rotation,
        "known": procrustes(first[same], second[same]),
    }
    truth = _with_one(states[1]) @ np.linalg.lstsq(_with_one(states[0]), latents[0])[0]
    ideal = latents[1] @ procrustes(truth, latents[1]).T
    spread = (ideal**2).sum()
    found = {
        name: float(1 - ((latents[1] @ turn.T - ideal) ** 2).sum() / spread)
        for name, turn in turns.items()
    }
    return found, check_alignment(first, second, align_robust, draws=15, seed=seed).score


def check_words(scores: Floats, good: NDArray[np.bool_]) -> str:
    """Return how well the check's score tells alignments that hold from those that do not."""
    if good.all() or not good.any():
        return f"all {len(good)} alignments are on one side of R2 {_GOOD}; no ROC"
    flagged = scores < _GOOD
    return (
        f"{int((~good).sum())} of {len(good)} alignments have R2 below {_GOOD}; area under ROC "
        f"{auc(-scores, ~good):.3f}; {int((flagged & ~good).sum())} of them flagged, and "
        f"{int((flagged & good).sum())} of {int(good.sum())} good ones"
    )


def _with_one(values: Floats) -> Floats:
    return np.concatenate([values, np.ones((len(values), 1))], axis=1)
