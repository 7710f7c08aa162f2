"""A fit that learns from further trials as they arrive, without the old ones."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import SettingError
from probneuro.data import StimTrials
from probneuro.models.tbfm.closed_form import Fit
from probneuro.models.tbfm.design import Design, check_horizon, design_of
from probneuro.models.tbfm.ridge import OwnCrossRidge

Floats = NDArray[np.float64]


def update(fit: Fit, trials: StimTrials, *, memory: float = 1.0) -> Fit:
    r"""Return the fit after further trials, with the bases it has.

    .. math::

        G' = \gamma G + X^\top X + \frac{\gamma n m}{\gamma n + m} \delta_x \delta_x^\top, \qquad
        H' = \gamma H + X^\top P + \frac{\gamma n m}{\gamma n + m} \delta_x \delta_p^\top

    with X and P the new features and projected responses about their own means, and δ what these
    means differ from the old ones, pattern by pattern. The old moments H come back from the
    weights, so that nothing but the fit is kept.

    Parameters
    ----------
    fit : Fit
        What was learned so far.
    trials : StimTrials
        New ones, of the channels and pulse patterns that were trained on. Channels with missing
        responses learn nothing from those trials.
    memory : float
        γ: 1 weighs all trials alike, and gives the fit to all of them at these bases, scales and
        penalties; less forgets old ones, by that factor each call.

    Returns
    -------
    Fit

    Raises
    ------
    SettingError
        If the memory is not within 0 and 1.
    DataError
        If the trials do not fit.
    """
    if not 0 < memory <= 1:
        raise SettingError(f"`memory` must lie within 0 and 1; got {memory!r}. Pass e.g. 0.99.")
    check_horizon(trials, fit.bases.shape[1])
    design = design_of(trials, fit.scaling)
    moments = _moments(fit) * memory
    gram = fit.gram * memory
    counts = (fit.counts * memory).astype(np.float64)
    mean, intercept = fit.scaling.feature_mean.copy(), fit.intercept.copy()
    predicted = _predicted(fit, design)
    projected = np.where(design.observed[:, :, None], design.targets @ fit.bases.T, predicted)
    for k in np.unique(design.pattern):
        here = design.pattern == k
        x, p, n, m = design.features[here], projected[here], counts[k], int(here.sum())
        shift, step = x.mean(0), p.mean(0) - intercept[:, k]
        share = n * m / (n + m)
        centred = x - shift
        gram = gram + centred.T @ centred + share * np.outer(shift, shift)
        own = np.tensordot(centred, p - p.mean(0), (0, 0))
        moments = moments + own + share * shift[:, None, None] * step
        mean[k] += shift * m / (n + m)
        intercept[:, k] += step * m / (n + m)
        counts[k] += m
    # Penalties stay what they are: prior precisions do not grow with the trials.
    ridge = OwnCrossRidge.from_gram(gram, fit.scaling.runway)
    weight = ridge.solve(moments, fit.own, fit.cross).transpose(1, 0, 2)
    weight[~fit.scaling.alive] = 0.0
    return replace(
        fit, gram=gram, weight=weight, intercept=intercept, counts=counts,
        scaling=replace(fit.scaling, feature_mean=mean),
        noise=_noise(fit, design, predicted, memory),
    )  # fmt: skip


def _moments(fit: Fit) -> Floats:
    """Return features times projected responses, which the weights were solved from."""
    channels, width = len(fit.weight), fit.scaling.runway
    moments = np.tensordot(fit.gram, fit.weight, (1, 1)) + fit.cross * fit.weight.transpose(1, 0, 2)
    for channel in range(channels):
        own = slice(channel * width, (channel + 1) * width)
        moments[own, channel] += (fit.own - fit.cross) * fit.weight[channel, own]
    return moments


def _predicted(fit: Fit, design: Design) -> Floats:
    """Return expected basis weights of trials, shape (trial, channel, basis)."""
    found = np.tensordot(design.features, fit.weight, (1, 1))
    return found + fit.intercept[:, design.pattern].transpose(1, 0, 2)


def _noise(fit: Fit, design: Design, predicted: Floats, memory: float) -> Floats:
    """Return the noise, to which the new trials add their errors before they were learned from."""
    ridge = fit.ridge()
    spread = ridge.spread(design.features, fit.own, fit.cross)
    spread = spread + 1 / fit.counts[design.pattern][:, None]
    inside = fit.bases.T @ fit.bases
    outside = np.eye(len(inside)) - inside
    old = memory * float(fit.counts.sum())
    noise = fit.noise.copy()
    for channel in np.flatnonzero(fit.scaling.alive):
        known = design.observed[:, channel]
        error = design.targets[known, channel] - predicted[known, channel] @ fit.bases
        along = (error @ inside) / np.sqrt(1 + spread[known, channel])[:, None]
        rest = error @ outside
        total = along.T @ along + rest.T @ rest
        noise[channel] = (old * noise[channel] + total) / (old + known.sum())
    return noise
