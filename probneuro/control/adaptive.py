"""What a policy is: it chooses a pattern, and may learn from the trials that it chose."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import CheckpointError, SettingError

Floats = NDArray[np.float64]

_LARGEST: Final = float(np.finfo(np.float32).max)
"""Networks are in single precision: what is larger is infinite to them."""


def is_finite(values: NDArray[Any]) -> bool:
    """Return whether all numbers can be reckoned with, in single precision too."""
    return bool((np.abs(values) <= _LARGEST).all())


def not_finite(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the names of arrays that hold NaN or infinity."""
    kinds = {name: np.asarray(array) for name, array in arrays.items()}
    return [n for n, a in kinds.items() if a.dtype.kind in "fc" and not np.isfinite(a).all()]


def matching_arrays(
    arrays: Mapping[str, NDArray[Any]], known: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return arrays that can stand in the place of others.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What is to be taken over.
    known : mapping of str to ndarray
        What a policy knows now: the names and shapes that are wanted.

    Raises
    ------
    CheckpointError
        If a name or a shape differs, or a number is not finite.
    """
    if set(arrays) != set(known):
        raise CheckpointError(
            f"`arrays` must be {', '.join(sorted(known))}; got {', '.join(sorted(arrays))}. Pass "
            "those of the same kind of policy."
        )
    found = {}
    for name, old in known.items():
        new = np.asarray(arrays[name])
        if new.shape != np.shape(old) or new.dtype.kind not in "fiu":
            raise CheckpointError(
                f"`arrays['{name}']` must be numbers of shape {np.shape(old)}; got {new.dtype} of "
                f"shape {new.shape}. Pass those of a policy of the same sizes."
            )
        found[name] = new.astype(np.result_type(old, np.float32), copy=False)
    wrong = not_finite(found)
    if wrong:
        raise CheckpointError(
            f"`arrays` must be finite; {', '.join(wrong)} holds NaN or infinity. Keep the last "
            "good model."
        )
    return found


@final
@dataclass(frozen=True)
class Choice:
    """What a policy wants.

    Parameters
    ----------
    electrodes : tuple of int
        Places among the candidates; empty for no stimulation.
    explored : bool
        Whether chance chose them.
    """

    electrodes: tuple[int, ...]
    explored: bool = False


@final
@dataclass(frozen=True)
class Trial:
    """What a policy learns from.

    Parameters
    ----------
    target : ndarray
        Shape (latent,).
    before : ndarray
        Shape (bin, latent).
    electrodes : tuple of int
        That were stimulated.
    after : ndarray
        Shape (latent,).
    """

    target: Floats
    before: Floats
    electrodes: tuple[int, ...]
    after: Floats

    @property
    def error(self) -> float:
        """Distance of what came about from the target, L1."""
        return float(np.abs(self.target - self.after).sum())

    @property
    def is_finite(self) -> bool:
        """Whether every number of the trial can be learned from."""
        return all(is_finite(part) for part in (self.target, self.before, self.after))


class Policy(ABC):
    """A way to choose stimulation. Decisions use numpy alone."""

    @abstractmethod
    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return a choice for a trial, numbered from 0; randomness comes from ``rng`` alone."""


class AdaptivePolicy(Policy):
    """A policy that learns, and whose knowledge is a few arrays that can go through a file."""

    @abstractmethod
    def learned(self, trials: Sequence[Trial]) -> "AdaptivePolicy":
        """Return the policy after trials that it has not seen before; itself it stays as it is."""

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return what it knows."""

    @abstractmethod
    def with_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> "AdaptivePolicy":
        """Return the policy with other knowledge.

        Raises
        ------
        CheckpointError
            If names or shapes are not those of `arrays`, or numbers are not finite.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Exploration:
    r"""Epsilon-greedy choice of electrodes by their suitability.

    .. math::

        \varepsilon_k = \max(\varepsilon_{init} \gamma^k, \varepsilon_{floor}), \qquad
        p_e \propto \exp(\hat s_e / T)

    Parameters
    ----------
    initial, decay, floor : float
        Of the share of trials that explore.
    temperature : float
        T. At 1, as in the paper, suitabilities between 0 and 1 give nearly uniform choices.

    Raises
    ------
    SettingError
        If a number is out of its range.

    Notes
    -----
    Source: Minai et al. (2025), Eq. 5 and 6 and table S1.

    Examples
    --------
    >>> Exploration().share(0), Exploration().share(1000)
    (0.5, 0.1)
    """

    initial: float = 0.5
    decay: float = 0.95
    floor: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("initial", "decay", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(
                    f"`{name}` must be between 0 and 1; got {getattr(self, name)!r}. The paper has "
                    "0.5, 0.95 and 0.1."
                )
        if not self.temperature > 0:
            raise SettingError(
                f"`temperature` must be positive; got {self.temperature!r}. The paper has 1."
            )

    def share(self, trial: int) -> float:
        """Return the chance to explore in a trial."""
        return max(self.initial * self.decay**trial, self.floor)

    def choose(
        self, suitability: Floats, number: int, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return the most suitable electrodes, or some drawn without replacement.

        Parameters
        ----------
        suitability : ndarray
            Shape (candidate,); minus infinity where an electrode is not allowed.
        number : int
            Electrodes to choose.
        trial : int
            Number of the trial.
        rng : numpy.random.Generator
            For the choice to explore, and for what.

        Returns
        -------
        Choice
            Of no electrode if a suitability is not a number: to sort those is to choose blindly.
        """
        if np.isnan(suitability).any():
            return Choice(())
        if rng.random() >= self.share(trial):
            best = np.argsort(-suitability, kind="stable")[:number]
            return Choice(tuple(sorted(int(e) for e in best)))
        # The largest of log weights plus Gumbel noise are draws without replacement.
        keys = suitability / self.temperature + rng.gumbel(size=len(suitability))
        drawn = np.argsort(-keys, kind="stable")[:number]
        return Choice(tuple(sorted(int(e) for e in drawn)), explored=True)
