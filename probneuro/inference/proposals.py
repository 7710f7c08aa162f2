"""Rows drawn from several proposals, each weighted as a draw from the mixture of all of them."""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from probneuro.core.engine import Arrays
from probneuro.core.flow import Flow

Floats = NDArray[np.float64]

OWN: Final = ("values", "statistics", "drawn", "origin", "densities")
"""Arrays with one row a simulation, the newest first."""


def empty(rows: int, columns: int, parameters: int, statistics: int) -> Arrays:
    """Return a buffer without rows.

    Parameters
    ----------
    rows : int
        Simulations kept.
    columns : int
        Rounds that these can come from, at most.
    parameters, statistics : int
        Numbers of a row.
    """
    return {
        "values": np.full((rows, parameters), np.nan),
        "statistics": np.full((rows, statistics), np.nan),
        "drawn": np.zeros(rows, dtype=bool),
        "origin": np.full(rows, -1),
        "densities": np.full((rows, columns), np.nan),
        "log_proposal": np.full(rows, np.nan),
    }


def add(
    state: Arrays,
    new: Arrays,
    column: int,
    flow_at: Callable[[int], Flow],
    uniform_share: float,
    log_volume: float,
) -> Arrays:
    r"""Return the buffer with new rows in front, and every row's density under the mixture.

    .. math::

        m(z) = \sum_r \frac{n_r}{n} \left[(1 - u) q_r(z) + u / V\right]

    with :math:`n_r` rows of round r. A row's own proposal alone would give the few rows that an
    early, wide proposal put where later ones are dense most of the weight.

    Parameters
    ----------
    state : dict of numpy.ndarray
        As of `empty`.
    new : dict of numpy.ndarray
        ``values``, ``statistics`` and ``drawn``.
    column : int
        Of the round that they come from; no row kept comes from an older round of that column.
    flow_at : callable
        Gives a round's flow by column.
    uniform_share, log_volume : float
        Share of the uniform density in a proposal, and the log volume of the support.

    Notes
    -----
    Cornuet, Marin, Mira and Robert (2012), Adaptive multiple importance sampling.
    """
    rows, count = len(state["origin"]), len(new["values"])
    unknown = np.full((count, state["densities"].shape[1]), np.nan)
    fresh = {**new, "origin": np.full(count, column), "densities": unknown}
    fresh = {name: np.concatenate([fresh[name], state[name]])[:rows] for name in OWN}
    seen = fresh["origin"] >= 0
    present, numbers = np.unique(fresh["origin"][seen], return_counts=True)
    for each in present:
        asked = seen if each == column else fresh["origin"] == column
        with torch.no_grad():
            found = flow_at(int(each)).log_prob(torch.from_numpy(fresh["values"][asked]))
        fresh["densities"][asked, each] = found.numpy()
    wide = np.log(uniform_share) - log_volume
    own = np.log1p(-uniform_share) + fresh["densities"][np.ix_(seen, present)]
    shares = np.log(numbers / numbers.sum())
    fresh["log_proposal"] = np.full(rows, np.nan)
    fresh["log_proposal"][seen] = np.logaddexp.reduce(np.logaddexp(own, wide) + shares, axis=1)
    return fresh
