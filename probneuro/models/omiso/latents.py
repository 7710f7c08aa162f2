"""From sessions of counts to trials in one latent space."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import numpy as np
from numpy.typing import NDArray

from probneuro.components.alignment import Alignment, align_all, align_robust, align_stable
from probneuro.components.alignment_check import AlignmentCheck, check_alignment
from probneuro.core.errors import DataError, unknown_name
from probneuro.core.factor_analysis import FactorFit, FactorMoments, fit_profile, varies
from probneuro.data.latent_trials import LatentTrials
from probneuro.data.stim_sessions import Sessions, StimSession

Floats = NDArray[np.float64]
Method = Literal["robust", "stable", "all"]


@final
@dataclass(frozen=True)
class LatentSpace:
    """One session's way from counts to latents of the reference space.

    Parameters
    ----------
    fit : FactorFit
        Of the session's usable electrodes, rotated into the reference space.
    usable : ndarray
        Which recorded electrodes it reads, shape (electrode,).
    electrodes : ndarray
        Grid index of those, shape (usable,).
    alignment : Alignment or None
        None for the reference itself.
    check : AlignmentCheck or None
        How sure the alignment is.
    """

    fit: FactorFit
    usable: NDArray[np.bool_]
    electrodes: NDArray[np.int64]
    alignment: Alignment | None = None
    check: AlignmentCheck | None = None

    def latents(self, counts: Floats) -> Floats:
        """Return latents of counts of all recorded electrodes, shape (..., latent)."""
        return self.fit.posterior_mean(np.asarray(counts)[..., self.usable])


def latent_space(session: StimSession, num_latents: int = 5) -> LatentSpace:
    """Return the latent space of a session's calibration trials, not aligned yet.

    Raises
    ------
    DataError
        If no usable electrode ever changes.
    SettingError
        If there are not fewer latents than electrodes.
    """
    counts = session.calibration[..., session.usable]
    moving = varies(counts.reshape(-1, counts.shape[-1]))
    if not moving.any():
        raise DataError(
            f"`calibration` of session {session.name} has no usable electrode whose counts change, "
            f"in {counts.shape[0]} trials of {counts.shape[1]} bins. Record more of them."
        )
    usable = session.usable.copy()
    usable[np.flatnonzero(usable)[~moving]] = False
    flat = session.calibration[..., usable].reshape(-1, int(usable.sum()))
    fit = fit_profile(FactorMoments.of(flat), num_latents)
    return LatentSpace(fit, usable, session.electrodes[usable])


def aligned(
    space: LatentSpace,
    reference: LatentSpace,
    *,
    method: Method = "robust",
    num_stable: int = 40,
    draws: int = 20,
    seed: int = 0,
) -> LatentSpace:
    """Return a latent space rotated into that of the reference session.

    Parameters
    ----------
    space, reference : LatentSpace
        Of a session, and of the reference.
    method : {"robust", "stable", "all"}
        Cauchy weights, the paper's stable electrodes, or all that both have.
    num_stable : int
        Electrodes to keep with ``"stable"``.
    draws : int
        Resamples of the check; 0 for none.
    seed : int
        Of the robust starts and of the check.

    Raises
    ------
    DataError
        If the sessions share fewer electrodes than there are latents.
    SettingError
        If there is no such method.
    """
    if method not in get_args(Method):
        raise unknown_name("method", method, get_args(Method))
    shared, first, second = np.intersect1d(
        reference.electrodes, space.electrodes, return_indices=True
    )
    if len(shared) < space.fit.loading.shape[1]:
        raise DataError(
            f"`space` shares {len(shared)} usable electrodes with the reference; "
            f"{space.fit.loading.shape[1]} latents need as many. Take another reference session."
        )

    def align(one: Floats, other: Floats) -> Alignment:
        if method == "all":
            return align_all(one, other)
        if method == "stable":
            return align_stable(one, other, num_stable=num_stable)
        return align_robust(one, other, seed=seed)

    rows = reference.fit.loading[first], space.fit.loading[second]
    found = align(*rows)
    check = check_alignment(*rows, align, draws=draws, seed=seed) if draws else None
    turned = space.fit.rotated(found.rotation)
    return LatentSpace(turned, space.usable, space.electrodes, found, check)


def align_sessions(
    sessions: Sessions,
    *,
    num_latents: int = 5,
    method: Method = "robust",
    num_stable: int = 40,
    draws: int = 20,
    seed: int = 0,
) -> tuple[LatentSpace, ...]:
    """Return the latent spaces of all sessions, aligned to the first one's; see `aligned`."""
    reference, *others = [latent_space(session, num_latents) for session in sessions]
    settings = {"method": method, "num_stable": num_stable, "draws": draws, "seed": seed}
    return (reference, *(aligned(space, reference, **settings) for space in others))  # type: ignore[arg-type]


def latent_trials(sessions: Sessions, spaces: Sequence[LatentSpace]) -> LatentTrials:
    """Return all stimulation trials of sessions in the shared latent space.

    Raises
    ------
    DataError
        If no session has a stimulated trial.
    """
    if not any(session.stimulated.any() for session in sessions):
        raise DataError(
            "`sessions` holds no stimulated trial: all patterns are empty. Pass sessions whose "
            "`patterns` mark what was stimulated."
        )
    parts = []
    for number, (session, space) in enumerate(zip(sessions, spaces, strict=True)):
        chosen = session.stimulated
        parts.append(
            (
                session.patterns[chosen], space.latents(session.before[chosen]),
                space.latents(session.after[chosen]), np.full(int(chosen.sum()), number),
            )
        )  # fmt: skip
    patterns, before, after, numbers = (np.concatenate(p) for p in zip(*parts, strict=True))
    return LatentTrials(
        patterns, before, after, session=numbers, candidates=sessions[0].candidates,
        grid=sessions[0].grid,
    )  # fmt: skip
