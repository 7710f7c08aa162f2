"""Alignment on motor cortex: two sessions each of two monkeys, with the hand's motion as judge.

    OMP_NUM_THREADS=1 python benchmarks/omiso_m1.py FOLDER

FOLDER holds chewie_demo.mat and mihi_demo.mat (KordingLab/DAD): counts (Y) and kinematics (X) of a
session to train on (tr) and a later one (te). Units are taken by their number; nothing in the files
says that it is the same unit. For each way to align, what the check says, and R2 of the kinematics
of the second session, read from its latents by a regression of the first session: a judge that the
alignment never saw. "own" is a regression of the second session itself, every tenth bin left out in
turn.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.io

from probneuro.components.alignment import align_all, align_robust, align_stable
from probneuro.components.alignment_check import check_alignment
from probneuro.core.factor_analysis import FactorMoments, fit_profile

Floats = np.ndarray
WAYS = {"all": align_all, "stable": lambda a, b: align_stable(a, b, num_stable=40)}


def with_one(values: Floats) -> Floats:
    return np.concatenate([values, np.ones((len(values), 1))], axis=1)


def r2(truth: Floats, guess: Floats) -> float:
    return float(1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum())


def own_r2(latents: Floats, motion: Floats) -> float:
    guess = np.empty_like(motion)
    for held in (np.arange(first, len(motion), 10) for first in range(10)):
        rest = np.setdiff1d(np.arange(len(motion)), held)
        weights = np.linalg.lstsq(with_one(latents[rest]), motion[rest])[0]
        guess[held] = with_one(latents[held]) @ weights
    return r2(motion, guess)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latents", type=int, nargs="+", default=[5, 10])
    chosen = parser.parse_args()
    for monkey in ("chewie", "mihi"):
        held = scipy.io.loadmat(chosen.folder / f"{monkey}_demo.mat")
        counts = [np.asarray(held[name], np.float64) for name in ("Ytr", "Yte")]
        motion = [np.asarray(held[name], np.float64) for name in ("Xtr", "Xte")]
        common = min(c.shape[1] for c in counts)
        usable = np.all([c[:, :common].var(axis=0) > 0 for c in counts], axis=0)
        counts = [c[:, :common][:, usable] for c in counts]
        sizes = " and ".join(str(len(c)) for c in counts)
        print(f"{monkey}: {sizes} bins, {int(usable.sum())} units by number")
        for number in chosen.latents:
            fits = [fit_profile(FactorMoments.of(c), number) for c in counts]
            latents = [fit.posterior_mean(c) for fit, c in zip(fits, counts, strict=True)]
            weights = np.linalg.lstsq(with_one(latents[0]), motion[0])[0]
            print(f"  {number} latents; own {own_r2(latents[1], motion[1]):.3f}")
            print(f"    none: {r2(motion[1], with_one(latents[1]) @ weights):.3f}")
            rows = fits[0].loading, fits[1].loading
            for name, align in {**WAYS, "robust": align_robust}.items():
                turned = latents[1] @ align(*rows).rotation.T
                found = r2(motion[1], with_one(turned) @ weights)
                words = check_alignment(*rows, align, draws=100, seed=0).words()
                print(f"    {name}: {found:.3f}. {words}", flush=True)


if __name__ == "__main__":
    main()
