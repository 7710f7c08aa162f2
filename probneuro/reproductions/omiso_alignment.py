"""Alignment while units are replaced: five ways, and whether the check sees a failure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probneuro.components.alignment import align_all, align_robust, align_stable, procrustes
from probneuro.components.alignment_check import check_alignment
from probneuro.core.detection import auc
from probneuro.core.factor_analysis import FactorMoments, fit_profile
from probneuro.core.reproduction import Finding, Setting
from probneuro.plots import latent_trajectories, save_figures
from probneuro.simulators.stim_population import BrainConstants, SimulatedBrain

Floats = NDArray[np.float64]

METHODS: Final = ("none", "all", "stable", "robust", "known")
_LEARNT: Final = {"all": align_all, "stable": align_stable, "robust": align_robust}
_GOOD: Final = 0.8
_BINS: Final = 30
"""Of a calibration trial, as `BrainSession.calibrate` makes them."""


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
    shown = _trajectories(setting.seed, preset["turnover"][-1])
    save_figures({"alignment": shown}, setting.figures)
    start = f"R2 over {preset['seeds']} brains at turnover "
    yield Finding("alignment", start + "; ".join(words), ("alignment",))
    checked = [f"{n}: {check_words(np.array(scores[n]), np.array(good[n]))}" for n in _LEARNT]
    yield Finding("alignment_check", "; ".join(checked))


def alignment_row(seed: int, turnover: float) -> tuple[dict[str, float], dict[str, float]]:
    """Return R2 of a second session's latents by method, and the check's score of the learnt ones.

    R2 is that of the aligned latents against the same latents aligned by the true states, which
    are mapped into the reference space as fits the reference session best: what the choice of
    electrodes costs, without the noise of single bins.
    """
    (first, second), latents, states, same = _two_sessions(seed, turnover)
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


def _two_sessions(
    seed: int, turnover: float
) -> tuple[list[Floats], list[Floats], list[Floats], NDArray[np.bool_]]:
    """Return loadings, latents and true states of two sessions, and which units they share."""
    brain = SimulatedBrain(BrainConstants(turnover=turnover), seed=seed)
    loadings, latents, states, units = [], [], [], []
    for number in (0, 1):
        session = brain.session(number)
        counts, true = session.calibrate()
        flat = counts.reshape(-1, counts.shape[-1])
        fit = fit_profile(FactorMoments.of(flat), brain.constants.num_latents)
        loadings.append(fit.loading)
        latents.append(fit.posterior_mean(flat))
        states.append(true.reshape(len(flat), -1))
        units.append(session.unit_names)
    return loadings, latents, states, units[0] == units[1]


def _trajectories(seed: int, turnover: float) -> Figure:
    """Draw the latents of two sessions before and after robust alignment, by memory condition."""
    (first, second), latents, states, _ = _two_sessions(seed, turnover)
    aligned = latents[1] @ align_robust(first, second).rotation.T
    paths = [part.reshape(-1, _BINS, part.shape[1]) for part in (*latents, aligned)]
    # The two conditions pull the true state to either side of its first dimension's diagonal.
    first_kind, other_kind = (
        s.reshape(-1, _BINS, s.shape[1])[:, :, :2].mean(1) @ [-1.0, 1.0] > 0 for s in states
    )
    apart = paths[0][first_kind].mean((0, 1)) - paths[0][~first_kind].mean((0, 1))
    one, two = np.argsort(-np.abs(apart))[:2]
    return latent_trajectories(
        *paths, dimensions=(int(one), int(two)), conditions=(first_kind, other_kind)
    )


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
