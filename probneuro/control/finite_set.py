"""Finite control set model predictive control: forecast every action, take the cheapest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import DataError

Floats = NDArray[np.float64]


def choose(
    chances: Mapping[str, ArrayLike], effort: Mapping[str, float] | None = None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    r"""Return the action of least expected cost for every trial.

    .. math:: a_n = \arg\min_a \; (1 - p_{n,a}) + e_a

    Parameters
    ----------
    chances : mapping of str to array_like
        Probability that what is wanted comes about under each action, shape (trial,); or 0 and 1,
        where forecasts are taken at their word.
    effort : mapping of str to float, optional
        What an action costs by itself, in units of a miss; 0 by default.

    Returns
    -------
    actions : tuple of str
        In the order given; the first wins a tie.
    choice : ndarray
        Index of the action, shape (trial,).

    Notes
    -----
    Source: Karamanakos and Geyer (2020), for the method; Bryan et al. (2025), section 6.3, have
    the two actions of stimulating and not.

    Examples
    --------
    >>> choose({"wait": [0.2, 0.5], "stimulate": [0.9, 0.6]}, {"stimulate": 0.2})[1].tolist()
    [1, 0]
    """
    if not chances:
        raise DataError("`chances` holds no action. Give at least one.")
    costs = [
        1 - np.asarray(chance, dtype=np.float64) + (effort or {}).get(name, 0.0)
        for name, chance in chances.items()
    ]
    return tuple(chances), np.stack(costs).argmin(0)


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a controller fared over a session.

    Parameters
    ----------
    actions : tuple of str
        What it could do.
    choice : ndarray
        Index of what it did, shape (trial,).
    reached : ndarray
        Whether what was wanted came about, shape (trial,).
    """

    actions: tuple[str, ...]
    choice: NDArray[np.int64]
    reached: NDArray[np.bool_]

    @property
    def success(self) -> float:
        """Share of trials in which what was wanted came about."""
        return float(self.reached.mean())

    def share(self, action: str) -> float:
        """Return the share of trials in which an action was taken."""
        return float((self.choice == self.actions.index(action)).mean())


def closed_loop(
    decide: Callable[[Any], str],
    runways: Sequence[Any],
    react: Mapping[str, Callable[[int], Any]],
    reached: Callable[[int, Any], bool],
) -> Outcome:
    """Run a controller through a simulated session, trial by trial.

    Parameters
    ----------
    decide : callable
        Takes a runway and returns an action; it sees nothing else.
    runways : sequence
        What was recorded before each decision.
    react : mapping of str to callable
        Takes the number of a trial and returns what follows the action in it.
    reached : callable
        Takes the number of a trial and what followed, and returns whether it was wanted.

    Returns
    -------
    Outcome

    Raises
    ------
    DataError
        If the controller takes an action that the simulator does not know.

    Examples
    --------
    >>> outcome = closed_loop(lambda runway: "up" if runway < 0 else "wait", [-1, 1],
    ...                       {"up": lambda n: 1, "wait": lambda n: 0}, lambda n, y: y > 0)
    >>> outcome.success, outcome.share("up")
    (0.5, 0.5)
    """
    actions = tuple(react)
    choice, hits = [], []
    for number, runway in enumerate(runways):
        action = decide(runway)
        if action not in react:
            raise DataError(
                f"`decide` took the action {action!r} in trial {number}; known are "
                f"{', '.join(actions)}. Return one of those."
            )
        choice.append(actions.index(action))
        hits.append(bool(reached(number, react[action](number))))
    return Outcome(actions=actions, choice=np.array(choice), reached=np.array(hits, dtype=bool))
