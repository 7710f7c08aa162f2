"""Everything there is to say of a fit on later trials, in one tree that figures draw."""

from typing import Any, Final

import xarray as xr

from probneuro.core import names
from probneuro.data import StimTrials
from probneuro.models.tbfm.forecast import METHODS, Forecaster
from probneuro.models.tbfm.scores import (
    STATES,
    by_state,
    mean_r2,
    r2_by_channel,
    r2_by_horizon,
    state_dependent_r2,
)

BY_STATE: Final = "by_state"
SCORE: Final = "score"
STATE: Final = "state"


def evaluate(
    result: xr.DataTree, trials: StimTrials, *, level: float = 0.9, bins: int = STATES
) -> xr.DataTree:
    """Forecast later trials and judge the forecasts.

    Parameters
    ----------
    result : xarray.DataTree
        What ``infer(TBFM(), trials)`` returned.
    trials : StimTrials
        Later ones, none of which was trained on: see `StimTrials.split`.
    level : float
        Of the intervals; at most 0.99.
    bins : int
        States of the binned responses; fewer where there are fewer trials.

    Returns
    -------
    xarray.DataTree
        Groups ``interval_posterior`` and ``interval_leave_one_out`` (forecasts, intervals,
        responses and coverage), ``by_state`` (mean response and forecast from each state), and
        ``score`` (R2 by channel and by horizon, of means, and by state).

    Raises
    ------
    DataError
        If the trials do not fit the result.
    SettingError
        If the level is too high; see `Forecaster.intervals`.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.models.tbfm import TBFM
    >>> from probneuro.simulators.stim_lfp import simulate_ou
    >>> train, test = simulate_ou(300, 2, seed=1).split(200)
    >>> result = infer(TBFM(), train.trials, draws=2, chains=1, seed=1, progress=False)
    >>> sorted(evaluate(result, test.trials).children)
    ['by_state', 'interval_leave_one_out', 'interval_posterior', 'score']
    """
    made = Forecaster.from_result(result)
    groups: dict[str, xr.Dataset] = {}
    for method in METHODS:
        tree = made.intervals(trials, level=level, method=method)
        groups |= {name: node.to_dataset() for name, node in tree.children.items()}
    response, guess = trials.response, groups[f"interval_{METHODS[0]}"]["mean"].values
    labels: dict[str, Any] = {
        names.CHANNEL: list(made.channels),
        names.HORIZON: made.horizon_times,
    }
    state = trials.runways[:, :, -1]
    number = min(bins, len(response))
    binned = by_state(response, guess, state, number)
    dims = (STATE, names.CHANNEL, names.HORIZON)
    groups[BY_STATE] = xr.Dataset(
        {"response": (dims, binned[0]), "forecast": (dims, binned[1])}, coords=labels
    )
    groups[SCORE] = xr.Dataset(
        {
            "r2_by_channel": ((names.CHANNEL,), r2_by_channel(response, guess)),
            "r2_by_horizon": ((names.HORIZON,), r2_by_horizon(response, guess)),
            "mean_r2": mean_r2(response, guess),
            "state_dependent_r2": state_dependent_r2(response, guess, state, number),
        },
        coords=labels,
    )
    tree = xr.DataTree.from_dict(groups)
    tree.attrs |= {"signal_unit": trials.signal_unit, "trials": trials.num_trials}
    return tree
