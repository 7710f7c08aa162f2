"""Does the response depend on the state it meets? Permutation tests, channel by channel."""

from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import digamma

from probneuro.core.errors import DataError, SettingError, unknown_name
from probneuro.core.rng import generator
from probneuro.data import StimTrials

Floats = NDArray[np.float64]
Measure = Literal["ksg", "hsic"]

NEIGHBOURS: Final = 3
"""Of the KSG estimator; Kraskov et al. (2004) advise 2 to 4."""

FEWEST: Final = NEIGHBOURS + 2
"""Trials, below which no estimate has its neighbours, and no order is rare."""

FARTHEST: Final = 5.0
"""Standard deviations; states beyond are left out, as in Bryan et al. (2025), section 6.5."""


def state_dependence(
    trials: StimTrials,
    *,
    measure: Measure = "hsic",
    state_time: float = 0.040,
    window: tuple[float, float] = (0.045, 0.070),
    permutations: int = 1000,
    max_trials: int = 300,
    replace: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Test each channel for a response that depends on the channel's own state before it.

    .. math:: r_n = x_n - b_{m(n)}, \qquad f_n = r_n - \bar r, \qquad
              H_0: f_n \perp x_n(t_0)

    with b the resting trial that a stimulation trial is matched to by its state at :math:`t_0`.

    Parameters
    ----------
    trials : StimTrials
        With resting trials.
    measure : {"ksg", "hsic"}
        Mutual information by nearest neighbours, or the Hilbert-Schmidt independence criterion.
    state_time : float
        Seconds from the trial's start at which the state is read.
    window : (float, float)
        Seconds from the trial's start between which responses are looked at.
    permutations : int
        Random orders that the measure is compared with.
    max_trials : int
        Trials to use at most, spread evenly over the session.
    replace : bool
        Whether a resting trial may be matched more than once, as in the paper. Trials that share
        one share its noise, which passes for dependence on the state they share.
    seed : int
        Of the permutations.

    Returns
    -------
    pandas.DataFrame
        One row a channel: ``value`` of the measure, ``p`` and ``trials`` used. A channel with
        fewer than five complete trials, such as a dead one, is not tested: NaN.

    Raises
    ------
    DataError
        If there are no resting trials, or too few without replacement.
    SettingError
        If the measure is unknown, or times lie outside the trials.

    Notes
    -----
    Source: Bryan et al. (2025), section 6.5; Kraskov et al. (2004); Gretton et al. (2007), whose
    gamma approximation is replaced by permutations. The p-value counts the data themselves among
    the permutations, so that it is never 0 and its level is exact.

    Examples
    --------
    >>> from probneuro.simulators.stim_lfp import simulate_paired_pulses
    >>> trials = simulate_paired_pulses(80, 1, num_resting=80, seed=1).trials
    >>> table = state_dependence(trials, permutations=99)
    >>> bool(0 < table["p"][0] <= 1)
    True
    """
    if measure not in ("ksg", "hsic"):
        raise unknown_name("measure", measure, ("ksg", "hsic"))
    rest = _resting(trials, replace)
    rate, length = trials.sampling_rate, trials.values.shape[2]
    at, first, last = (round(t * rate) for t in (state_time, *window))
    if not 0 <= at < length or not 0 <= first < last <= length:
        raise SettingError(
            f"`state_time` and `window` must lie within the {length / rate:g} s of a trial; got "
            f"{state_time:g} and {window}. Pass seconds from the trial's start."
        )
    rows = []
    for channel, name in enumerate(trials.channels):
        state, change = _matched(
            trials.values[:, channel], rest[:, channel], (at, first, last), max_trials, replace
        )
        value, p = np.nan, np.nan
        if len(state) >= FEWEST:
            value, p = independence_test(
                state, change, measure, permutations=permutations, seed=seed + channel
            )
        rows.append({"channel": name, "value": value, "p": p, "trials": len(state)})
    return pd.DataFrame(rows)


def independence_test(
    state: ArrayLike,
    change: ArrayLike,
    measure: Measure = "hsic",
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a measure of dependence between two variables, and its permutation p-value.

    Parameters
    ----------
    state : array_like
        Shape (trial,) or (trial, any).
    change : array_like
        Shape (trial, any).
    measure : {"ksg", "hsic"}
        Which.
    permutations : int
        Random orders.
    seed : int
        Of the permutations.

    Returns
    -------
    value, p : float
        Mutual information in nats, or HSIC.

    Raises
    ------
    DataError
        If trials are fewer than five, or samples missing or infinite.
    """
    x, y = _checked(state, change)
    rng = generator(seed, "independence_test")
    x, y = x / max(x.std(), 1e-300), y / max(y.std(), 1e-300)
    if measure == "ksg":
        tables = cdist(x, x, "chebyshev"), cdist(y, y, "chebyshev")
        score = _mutual_information
    else:
        tables = _centred_kernel(x), _centred_kernel(y)
        score = _hsic
    value = score(*tables)
    beaten = 0
    for _ in range(permutations):
        order = rng.permutation(len(x))
        beaten += score(tables[0], tables[1][np.ix_(order, order)]) >= value
    return value, (1 + beaten) / (1 + permutations)


def _checked(state: ArrayLike, change: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as (trial, any); a comparison with NaN never holds, and would look rare."""
    x, y = (np.asarray(part, dtype=np.float64) for part in (state, change))
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) < FEWEST or not x.size * y.size:
        raise DataError(
            f"`state` and `change` must have one row for each of at least {FEWEST} trials; got "
            f"shapes {x.shape} and {y.shape}. Pass the same trials in both."
        )
    for name, part in (("state", x), ("change", y)):
        lost = int((~np.isfinite(part)).sum())
        if lost:
            raise DataError(
                f"`{name}` must be finite; got {lost} missing or infinite of {part.size} samples. "
                "Leave those trials out of both."
            )
    return x.reshape(len(x), -1), y.reshape(len(y), -1)


def _resting(trials: StimTrials, replace: bool) -> NDArray[np.floating]:
    if trials.resting is None:
        raise DataError(
            "`trials` hold no resting trials, and responses are told from rest. Cut some: "
            "Continuous.cut(..., resting=[(start, stop)])."
        )
    return trials.resting


def _matched(
    values: NDArray[np.floating],
    rest: NDArray[np.floating],
    times: tuple[int, int, int],
    max_trials: int,
    replace: bool,
) -> tuple[Floats, Floats]:
    """Return states, and responses less the resting trials of like states less their mean."""
    at, first, last = times
    known = np.isfinite(values[:, [at, *range(first, last)]]).all(1)
    at_rest = rest[np.isfinite(rest[:, [at, *range(first, last)]]).all(1)]
    if min(known.sum(), len(at_rest)) < FEWEST:
        return np.zeros(0), np.zeros((0, last - first))
    stimulated = values[known].astype(np.float64)
    state = stimulated[:, at]
    near = np.abs(state - state.mean()) <= FARTHEST * state.std()
    stimulated = stimulated[near]
    number = min(max_trials, len(stimulated), len(stimulated) if replace else len(at_rest))
    stimulated = stimulated[np.linspace(0, len(stimulated) - 1, number).round().astype(int)]
    gap = np.abs(stimulated[:, at, None] - at_rest[None, :, at])
    matched = gap.argmin(1) if replace else linear_sum_assignment(gap)[1]
    change = stimulated[:, first:last] - at_rest[matched, first:last]
    return stimulated[:, at], change - change.mean(0)


def _mutual_information(x: Floats, y: Floats) -> float:
    """Return the first KSG estimate from tables of distances, in nats."""
    number = len(x)
    joint = np.maximum(x, y)
    radius = np.partition(joint, NEIGHBOURS, axis=1)[:, NEIGHBOURS, None]
    # Each row counts itself, which is the estimator's one more.
    near_x, near_y = (x < radius).sum(1), (y < radius).sum(1)
    close = digamma(np.maximum(near_x, 1)) + digamma(np.maximum(near_y, 1))
    return float(digamma(NEIGHBOURS) + digamma(number) - close.mean())


def _hsic(x: Floats, y: Floats) -> float:
    return float((x * y).sum() / len(x) ** 2)


def _centred_kernel(x: Floats) -> Floats:
    """Return a Gaussian kernel of the median distance, centred on both sides."""
    squares = cdist(x, x, "sqeuclidean")
    width = np.median(squares[np.triu_indices(len(x), 1)])
    kernel = np.exp(-squares / max(float(width), 1e-300))
    centred: Floats = kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
    return centred
