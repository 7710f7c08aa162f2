"""Alignment finds the rotation, whatever was replaced, and says when it cannot."""

import numpy as np
import pytest

from probneuro.components.alignment import align_all, align_robust, align_stable, procrustes
from probneuro.components.alignment_check import (
    check_alignment,
    loading_posterior,
    rotation_agreement,
)
from probneuro.core.errors import DataError, SettingError


def sessions(seed: int, replaced: float, size: int = 90, latents: int = 5):
    """Return loadings of two sessions and the rotation between them."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(size, latents))
    turn = np.linalg.qr(rng.normal(size=(latents, latents)))[0]
    second = first @ turn + 0.15 * rng.normal(size=first.shape)
    new = rng.permutation(size)[: round(replaced * size)]
    second[new] = rng.normal(size=(len(new), latents))
    return first, second, turn


def test_procrustes_beats_any_other_rotation() -> None:
    for seed in range(5):
        first, second, _ = sessions(seed, 0.3)
        best = ((first - second @ procrustes(first, second).T) ** 2).sum()
        rng = np.random.default_rng(seed)
        for _ in range(20):
            other = np.linalg.qr(rng.normal(size=(5, 5)))[0]
            assert ((first - second @ other.T) ** 2).sum() >= best


@pytest.mark.parametrize("replaced", [0.0, 0.4, 0.7])
def test_robust_alignment_finds_the_rotation(replaced: float) -> None:
    for seed in range(4):
        first, second, turn = sessions(seed, replaced)
        assert rotation_agreement(align_robust(first, second).rotation, turn) > 0.97


def test_stable_electrodes_are_those_that_stayed() -> None:
    first, second, turn = sessions(0, 0.4)
    found = align_stable(first, second, num_stable=40)
    assert len(found.electrodes) == 40 and rotation_agreement(found.rotation, turn) > 0.98
    silent = first.copy()
    silent[3] = 1e-4
    assert 3 not in align_all(silent, second).electrodes


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_the_check_tells_alignments_that_hold_from_those_that_do_not(seed: int) -> None:
    good = check_alignment(*sessions(seed, 0.3)[:2], align_robust, draws=20)
    bad = check_alignment(*sessions(seed, 1.0)[:2], align_robust, draws=20)
    assert not good.failed and bad.failed
    assert "holds" in good.words() and "cannot be trusted" in bad.words()


def test_rotations_spread_as_the_loadings_errors_say() -> None:
    first, second, _ = sessions(1, 0.0)
    wide = loading_posterior(first, second, 0.5, draws=200)
    tight = loading_posterior(first, second, 0.05, draws=200)
    assert wide.std(axis=0).max() > 5 * tight.std(axis=0).max()


def test_refusals_say_what_to_do() -> None:
    first, second, _ = sessions(0, 0.0)
    with pytest.raises(DataError, match=r"same shape.*Pass the rows"):
        align_all(first[:50], second)
    with pytest.raises(DataError, match=r"shares 3 electrodes.*another reference"):
        align_robust(first[:3], second[:3])
    with pytest.raises(SettingError, match=r"`num_stable` must be at least.*paper keeps 40"):
        align_stable(first, second, num_stable=4)
