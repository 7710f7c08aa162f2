"""The exact fit: bases, weights, noise and leave-one-out errors, without an iteration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import DataError, SettingError
from probneuro.data import StimTrials
from probneuro.models.tbfm.design import Design, Scaling, design_of, scaling_of
from probneuro.models.tbfm.reduced_rank import (
    Compression,
    compression_of,
    mean_targets,
    moments_of,
    top_bases,
)
from probneuro.models.tbfm.ridge import OwnCrossRidge
from probneuro.models.tbfm.selection import HeldOutScores, Selection, choose

Floats = NDArray[np.float64]

LEVELS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(0.75, 0.9, 0.95, 0.975, 0.99, 0.995),
)
"""Quantiles of the leave-one-out errors that are kept."""

FLAT: Final = 1e-6
"""Prior precision of an intercept, in trials: as good as none, and proper."""

JITTER: Final = 1e-6
"""Share of a channel's mean variance that its noise has at least in every direction."""

_REFILLS: Final = 2
"""Rounds in which missing responses are replaced by what is expected of them."""


@final
@dataclass(frozen=True, kw_only=True)
class Fit:
    r"""All that the model knows after a fit; responses are in units of the channels' scale.

    .. math:: y_c = x_{c,r} + s_c (\alpha_{c,k} + A_c \tilde x)^\top B + \varepsilon_c

    Parameters
    ----------
    scaling : Scaling
        How trials are scaled.
    bases : ndarray
        B, orthonormal, shape (basis, horizon).
    weight : ndarray
        Posterior mean of A, shape (channel, feature, basis).
    intercept : ndarray
        Posterior mean of α, shape (channel, pattern, basis).
    own, cross : float
        Penalties: prior precisions of weights in units of the noise.
    counts : ndarray
        Trials of each pattern, shape (pattern,); a fraction where old ones are forgotten.
    gram : ndarray
        Second moments of the features, shape (feature, feature).
    noise : ndarray
        Covariance of ε over time, shape (channel, horizon, horizon).
    quantiles : ndarray
        Quantiles `LEVELS` of standardised leave-one-out errors, shape (level, channel, horizon).
    eigenvalues : ndarray
        What each basis explains, from the first down, shape (horizon,).
    selection : Selection
        What was chosen on held-out trials.
    """

    scaling: Scaling
    bases: Floats
    weight: Floats
    intercept: Floats
    own: float
    cross: float
    counts: NDArray[Any]
    gram: Floats
    noise: Floats
    quantiles: Floats
    eigenvalues: Floats
    selection: Selection

    def ridge(self) -> OwnCrossRidge:
        """Return the regressions that the weights came from."""
        return OwnCrossRidge.from_gram(self.gram, self.scaling.runway)

    def basis_noise(self) -> Floats:
        r"""Return the noise along the bases, :math:`B \Sigma_c B^\top`: (channel, basis, basis)."""
        return self.bases @ self.noise @ self.bases.T


@final
@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What a closed-form fit leaves open.

    Parameters
    ----------
    num_bases : int or None
        Temporal bases; None chooses on held-out trials.
    own, cross : float or None
        Penalties a trial; None chooses.
    max_bases : int
        Most bases to choose from.
    held_out : float
        Share of the training trials, the last ones, to choose on.
    carry : bool
        Whether forecasts start from the runway's last sample; if not, from the channel's mean.
    state_dependent : bool
        Whether forecasts look at the runway at all; if not, they are the mean response, as under
        the paper's sham runways.
    """

    num_bases: int | None = None
    own: float | None = None
    cross: float | None = None
    max_bases: int = 20
    held_out: float = 0.2
    carry: bool = True
    state_dependent: bool = True

    def __post_init__(self) -> None:
        for name in ("own", "cross"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise SettingError(
                    f"`{name}` must be positive and finite; got {value!r}. Leave it out to choose "
                    "it on held-out trials; state_dependent=False leaves the runway out."
                )
        if not 0 < self.held_out < 1:
            raise SettingError(
                f"`held_out` must lie between 0 and 1; got {self.held_out!r}. Pass e.g. 0.2."
            )
        for name, number in (("max_bases", self.max_bases), ("num_bases", self.num_bases)):
            whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
            if number is not None and not (whole and number >= 1):
                raise SettingError(
                    f"`{name}` must be at least 1, and whole; got {number!r}. The paper "
                    "takes 12 to 15."
                )

    def scaling(self, trials: StimTrials) -> Scaling:
        """Return the scaling of training trials under these options."""
        return scaling_of(
            trials,
            carried=self.carry and self.state_dependent,
            state_dependent=self.state_dependent,
        )


def fit_closed_form(trials: StimTrials, options: FitOptions) -> Fit:
    """Fit bases, weights and noise to trials.

    Parameters
    ----------
    trials : StimTrials
        What to train on.
    options : FitOptions
        What to choose, and what is given.

    Returns
    -------
    Fit

    Raises
    ------
    DataError
        If trials are too few or all channels dead.
    SettingError
        If there are not enough trials to hold some out.
    """
    scaling = options.scaling(trials)
    design = design_of(trials, scaling)
    filled = _refilled(design, options) if _has_gaps(design) else design
    return _fitted(filled, _selected(filled, options))


def selected_penalties(trials: StimTrials, options: FitOptions) -> Selection:
    """Return the penalties and the number of bases that the last trials speak for."""
    design = design_of(trials, options.scaling(trials))
    return _selected(design, options)


def _selected(design: Design, options: FitOptions) -> Selection:
    """Choose what is not given on the last trials of the design."""
    _check_bases(options, design.targets.shape[2])
    if options.own is not None and options.cross is not None and options.num_bases is not None:
        return Selection(
            own=options.own, cross=options.cross, num_bases=options.num_bases,
            tried=np.full((1, 3), np.nan),
        )  # fmt: skip
    total = len(design.features)
    late = round(options.held_out * total)
    if not 1 <= late <= total - 2:
        raise SettingError(
            f"`held_out` of {options.held_out!r} leaves {total - late} of {total} trials to fit "
            "and the others to choose penalties on. Pass e.g. 0.2, or more trials."
        )
    last = design.part(slice(total - late, total))
    # Windows cut from one recording may overlap; those across the border know the answers.
    before = design.start[: total - late]
    clear = before + design.duration <= last.start[0] + 1e-9
    early = design.part(np.flatnonzero(clear))
    _check_patterns(early, len(design.scaling.patterns), options.held_out)
    scores = HeldOutScores(
        early, last, compression_of(early.targets), options.num_bases or options.max_bases
    )
    return choose(scores, options.own, options.cross, options.num_bases)


def _fitted(
    design: Design, selection: Selection, shared: tuple[Floats, Floats] | None = None
) -> Fit:
    """Return the fit at given penalties and number of bases, or with bases shared by sessions."""
    scaling, total = design.scaling, len(design.features)
    own, cross = selection.own * total, selection.cross * total
    ridge = OwnCrossRidge(design.features, scaling.runway)
    compression = (
        compression_of(design.targets) if shared is None else Compression(components=shared[0])
    )
    targets = compression.apply(design.targets)
    means = mean_targets(targets, design.pattern, len(scaling.patterns))
    counts = np.bincount(design.pattern, minlength=len(means))
    moments = moments_of(design.features, targets - means[design.pattern])
    if shared is None:
        explained = ridge.explained(ridge.rotate(moments), own, cross)
        explained = explained + _of_means(means, counts)
        short, eigenvalues = top_bases(explained, selection.num_bases)
        bases = compression.expand(short)
    else:
        bases, eigenvalues = shared
        short = np.eye(len(bases))
    weight = ridge.solve(moments @ short.T, own, cross).transpose(1, 0, 2)
    shrink = (counts / (counts + FLAT))[:, None, None]
    intercept = (shrink * (means @ short.T)).transpose(1, 0, 2)
    for channel in np.flatnonzero((~design.observed).any(0) & scaling.alive):
        exact = solve_channel(design, bases, int(channel), own, cross)[0]
        intercept[channel], weight[channel] = exact[: len(means)], exact[len(means) :]
    weight[~scaling.alive] = 0.0
    intercept[~scaling.alive] = 0.0
    leverage = ridge.spread(design.features, own, cross) + 1 / counts[design.pattern][:, None]
    noise, quantiles = _noise(design, bases, weight, intercept, leverage)
    return Fit(
        scaling=scaling, bases=bases, weight=weight, intercept=intercept, own=own, cross=cross,
        counts=counts, gram=ridge.gram, noise=noise, quantiles=quantiles,
        eigenvalues=eigenvalues, selection=selection,
    )  # fmt: skip


def _of_means(means: Floats, counts: NDArray[np.int64]) -> Floats:
    """Return what mean responses explain, shape (time, time)."""
    flat = (means * np.sqrt(counts)[:, None, None]).reshape(-1, means.shape[2])
    return flat.T @ flat


def fit_sessions(sessions: Sequence[StimTrials], options: FitOptions) -> list[Fit]:
    r"""Fit several sessions with the same bases and weights of their own.

    .. math:: B = \text{first eigenvectors of } \sum_s S_s

    Sessions may differ in channels; penalties are chosen for each.

    Parameters
    ----------
    sessions : sequence of StimTrials
        With the same horizon.
    options : FitOptions
        For all; where `num_bases` is None, the largest that a session chooses is taken.

    Returns
    -------
    list of Fit
        One a session.

    Raises
    ------
    DataError
        If horizons differ, or a session cannot be fitted.
    """
    horizons = {session.horizon for session in sessions}
    if len(horizons) != 1:
        raise DataError(
            f"`sessions` must have one horizon to share bases; got {sorted(horizons)} samples. Cut "
            "all of them with the same window."
        )
    designs = [design_of(session, options.scaling(session)) for session in sessions]
    designs = [_refilled(d, options) if _has_gaps(d) else d for d in designs]
    chosen = [_selected(design, options) for design in designs]
    number = max(selection.num_bases for selection in chosen)
    total = np.zeros((sessions[0].horizon,) * 2)
    for design, selection in zip(designs, chosen, strict=True):
        total += _explained(design, selection)
    bases, eigenvalues = top_bases(total, number)
    return [
        _fitted(design, selection, (bases, eigenvalues))
        for design, selection in zip(designs, chosen, strict=True)
    ]


def _explained(design: Design, selection: Selection) -> Floats:
    """Return what a session's regressions and means explain, shape (horizon, horizon)."""
    trials = len(design.features)
    ridge = OwnCrossRidge(design.features, design.scaling.runway)
    compression = compression_of(design.targets)
    targets = compression.apply(design.targets)
    means = mean_targets(targets, design.pattern, len(design.scaling.patterns))
    moments = moments_of(design.features, targets - means[design.pattern])
    rotated = ridge.rotate(moments)
    found = ridge.explained(rotated, selection.own * trials, selection.cross * trials)
    found = found + _of_means(means, np.bincount(design.pattern, minlength=len(means)))
    return compression.expand(compression.expand(found).T)


def solve_channel(
    design: Design, bases: Floats, channel: int, own: float, cross: float
) -> tuple[Floats, Floats]:
    """Return one channel's exact coefficients from its complete trials, and their precision.

    Parameters
    ----------
    design : Design
        Trials.
    bases : ndarray
        Shape (basis, horizon).
    channel : int
        Which.
    own, cross : float
        Penalties.

    Returns
    -------
    coefficient : ndarray
        Shape (regressor, basis).
    precision : ndarray
        Of the rows, in units of the noise, shape (regressor, regressor).
    """
    known = design.observed[:, channel]
    rows = design.regressors[known]
    precision = rows.T @ rows + np.diag(prior_precision(design.scaling, channel, own, cross))
    moments = rows.T @ (design.targets[known, channel] @ bases.T)
    return np.linalg.solve(precision, moments), precision


def prior_precision(scaling: Scaling, channel: int, own: float, cross: float) -> Floats:
    """Return the prior precision of one channel's coefficients, shape (regressor,)."""
    width, patterns = scaling.runway, len(scaling.patterns)
    precision = np.full(patterns + scaling.feature_mean.shape[1], cross)
    precision[:patterns] = FLAT
    first = patterns + channel * width
    precision[first : first + width] = own
    return precision


def _noise(
    design: Design, bases: Floats, weight: Floats, intercept: Floats, leverage: Floats
) -> tuple[Floats, Floats]:
    r"""Return the noise's covariance, and quantiles of leave-one-out errors.

    .. math:: \Sigma_c = \frac1n \sum_i \frac{e_i e_i^\top}{1 - h_{ic}}

    with residuals e and leverages h: the mean leave-one-out outer product, each less what the
    trial's own leverage adds. Blocks between bases and the rest are dropped, so that projections
    on the bases lose nothing of the weights.
    """
    channels, horizon = design.targets.shape[1:]
    noise = np.empty((channels, horizon, horizon))
    quantiles = np.zeros((len(LEVELS), channels, horizon))
    inside = bases.T @ bases
    outside = np.eye(horizon) - inside
    paths = np.tensordot(design.features, weight, axes=(1, 1)) + intercept[
        :, design.pattern
    ].swapaxes(0, 1)
    for channel in range(channels):
        known = design.observed[:, channel]
        if not known.any():
            noise[channel] = np.eye(horizon)
            continue
        residual = design.targets[known, channel] - paths[known, channel] @ bases
        shrunk = np.sqrt(np.maximum(1 - leverage[known, channel], 0.01))[:, None]
        errors = residual / shrunk
        raw = errors.T @ errors / len(errors)
        parted = inside @ raw @ inside + outside @ raw @ outside
        floor = JITTER * np.trace(raw) / horizon
        noise[channel] = 0.5 * (parted + parted.T) + floor * np.eye(horizon)
        # errors = e / sqrt(1 - h) has the noise's own spread, so that at another state it is
        # stretched by that state's sqrt(1 + h).
        quantiles[:, channel] = np.quantile(np.sort(errors.T, axis=1), LEVELS, axis=1)
    return noise, quantiles


def _has_gaps(design: Design) -> bool:
    return not bool(design.observed[:, design.scaling.alive].all())


def _refilled(design: Design, options: FitOptions) -> Design:
    """Replace missing responses by what a fit expects of them, a few times over."""
    missing = ~design.observed & design.scaling.alive
    targets = design.targets.copy()
    for channel in np.flatnonzero(missing.any(0)):
        for k in range(len(design.scaling.patterns)):
            here = design.pattern == k
            known = here & design.observed[:, channel]
            _check_known(design, int(channel), k, bool(known.any()))
            targets[here & missing[:, channel], channel] = design.targets[known, channel].mean(0)
    design = replace(design, targets=targets)
    selection = _selected(design, options)
    for _ in range(_REFILLS):
        fit = _fitted(design, selection)
        targets = design.targets.copy()
        for channel in np.flatnonzero(missing.any(0)):
            rows = missing[:, channel]
            path = design.features[rows] @ fit.weight[channel]
            path = path + fit.intercept[channel][design.pattern[rows]]
            targets[rows, channel] = path @ fit.bases
        design = replace(design, targets=targets)
    return design


def _check_known(design: Design, channel: int, pattern: int, known: bool) -> None:
    """Refuse a channel of which no response to a pulse pattern is complete."""
    if known:
        return
    names = design.scaling.channels
    name = str(channel) if names is None else names[channel]
    onsets = ", ".join(f"{value:g}" for value in design.scaling.patterns[pattern])
    count = int((design.pattern == pattern).sum())
    raise DataError(
        f"`trials` must tell how each channel responds to each pulse pattern; channel '{name}' is "
        f"complete in none of the {count} trials of pattern {pattern} ({onsets}). Leave out the "
        "channel (trials.select), or these trials (trials.take)."
    )


def _check_patterns(early: Design, number: int, held_out: float) -> None:
    """Refuse to choose penalties where the early trials lack a pulse pattern, or are none."""
    present = np.unique(early.pattern).size
    if present < number:
        raise SettingError(
            f"`held_out` of {held_out!r} leaves {len(early.features)} trials with {present} of "
            f"{number} pulse patterns to fit. Hold out fewer, or give `own`, `cross` and "
            "`num_bases`."
        )


def _check_bases(options: FitOptions, horizon: int) -> None:
    if options.num_bases is not None and not 1 <= options.num_bases <= horizon:
        raise SettingError(
            f"`num_bases` must be between 1 and the {horizon} samples of the response; got "
            f"{options.num_bases}. The paper takes 12 to 15."
        )
