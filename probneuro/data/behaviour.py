"""A behaviour: which features a model's activity should have, on average, within a box."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.errors import DataError

Floats = NDArray[np.float64]

VARIANCE: Final = " variance"
"""What the name of a second moment adds to that of its feature."""


@final
@dataclass(frozen=True)
class Behaviour:
    r"""What features of simulated activity should be on average, and where parameters may lie.

    .. math::

        \mathrm E[f_k] = m_k, \qquad \mathrm E[(f_k - m_k)^2] = v_k

    Second moments are taken about the *target* mean, so that they are variances once the means
    are met.

    Parameters
    ----------
    bounds : mapping of str to (float, float)
        Lower and upper bound of every parameter. A box is part of every problem: without one
        the distribution of largest entropy need not exist.
    means : mapping of str to float
        Target mean by feature.
    variances : mapping of str to float or (float, float)
        Target variance by feature. A pair is a centre and a second moment about it, for a
        feature whose mean is left free.
    simplex : bool
        Whether parameters must add up to less than one, the rest being one minus their sum.
        Their bounds are then 0 and 1.

    Raises
    ------
    DataError
        If a bound is infinite or empty, a variance is not positive, or nothing is asked for.

    Examples
    --------
    >>> band = Behaviour({"x": (-5.0, 5.0)}, means={"x": 1.0}, variances={"x": 0.25})
    >>> band.statistic_names, band.targets.tolist()
    (('x', 'x variance'), [1.0, 0.25])
    >>> band.statistics(np.array([[2.0]])).tolist()
    [[2.0, 1.0]]
    """

    bounds: Mapping[str, tuple[float, float]]
    means: Mapping[str, float] = field(default_factory=dict)
    variances: Mapping[str, float | tuple[float, float]] = field(default_factory=dict)
    simplex: bool = False

    def __post_init__(self) -> None:
        if not self.bounds:
            raise DataError("`bounds` names no parameter. Pass e.g. bounds={'g': (0.0, 5.0)}.")
        for name, (lower, upper) in self.bounds.items():
            _check_bounds(name, float(lower), float(upper))
        if self.simplex and any(tuple(pair) != (0.0, 1.0) for pair in self.bounds.values()):
            raise DataError(
                f"`simplex` parameters lie between 0 and 1; got bounds {dict(self.bounds)}. "
                "Pass (0.0, 1.0) for each."
            )
        if not self.means and not self.variances:
            raise DataError(
                "The behaviour asks for nothing. Pass `means` or `variances` of some features."
            )
        for name, mean in self.means.items():
            if not np.isfinite(mean):
                raise DataError(f"`means` of '{name}' must be finite; got {mean}. Leave it out.")
        for name in self.variances:
            self._check_variance(name)

    def _check_variance(self, name: str) -> None:
        value = self.variances[name]
        pair = isinstance(value, tuple)
        if not pair and name not in self.means:
            raise DataError(
                f"`variances` of '{name}' has no centre, since `means` has none. Pass its mean, "
                "or a pair (centre, second moment) to leave the mean free."
            )
        if pair and name in self.means:
            raise DataError(
                f"`variances` of '{name}' has a centre of its own beside the mean. Pass one number."
            )
        amount = float(np.asarray(value).ravel()[-1])
        if not (np.isfinite(amount) and amount > 0):
            raise DataError(
                f"`variances` of '{name}' must be positive; got {amount}. No distribution with a "
                "density has a smaller one: pass a small tolerance, such as 0.01."
            )

    @classmethod
    def from_raw_moments(
        cls,
        bounds: Mapping[str, tuple[float, float]],
        means: Mapping[str, float],
        second_moments: Mapping[str, float],
    ) -> "Behaviour":
        """Return the behaviour of given means and raw second moments, E[f] and E[f²].

        Raises
        ------
        DataError
            If no distribution has these moments.

        Examples
        --------
        >>> Behaviour.from_raw_moments({"x": (0, 9)}, {"x": 2.0}, {"x": 5.0}).variances["x"]
        1.0
        """
        variances = {}
        for name, second in second_moments.items():
            mean = means[name]
            if second <= mean**2:
                raise DataError(
                    f"`second_moments` of '{name}' is {second:g} with mean {mean:g}: no "
                    f"distribution has it, since E[f²] is at least {mean**2:.6g}. If it is a "
                    "variance, pass it as `variances`."
                )
            variances[name] = second - mean**2
        return cls(bounds, means=means, variances=variances)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.bounds)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that a simulator has to give, in order."""
        return tuple(dict.fromkeys((*self.means, *self.variances)))

    @property
    def lower(self) -> Floats:
        """Lower bounds, shape (parameter,)."""
        return np.array([pair[0] for pair in self.bounds.values()], dtype=np.float64)

    @property
    def upper(self) -> Floats:
        """Upper bounds, shape (parameter,)."""
        return np.array([pair[1] for pair in self.bounds.values()], dtype=np.float64)

    @property
    def log_volume(self) -> float:
        """Logarithm of the volume of the support, the largest entropy of all, in nats."""
        if self.simplex:
            return float(-np.log(np.arange(1, len(self.bounds) + 1)).sum())
        return float(np.log(self.upper - self.lower).sum())

    @property
    def statistic_names(self) -> tuple[str, ...]:
        """Names of the statistics T: features, and their second moments after each."""
        names: list[str] = []
        for feature in self.features:
            names += [feature] * (feature in self.means)
            names += [feature + VARIANCE] * (feature in self.variances)
        return tuple(names)

    @property
    def targets(self) -> Floats:
        """Targets of the statistics, shape (statistic,)."""
        values: list[float] = []
        for feature in self.features:
            if feature in self.means:
                values.append(float(self.means[feature]))
            if feature in self.variances:
                values.append(float(np.asarray(self.variances[feature]).ravel()[-1]))
        return np.array(values)

    @property
    def centres(self) -> Floats:
        """Values about which second moments are taken, NaN at means, shape (statistic,)."""
        values: list[float] = []
        for feature in self.features:
            values += [np.nan] * (feature in self.means)
            values += [self.centre(feature)] * (feature in self.variances)
        return np.array(values)

    def centre(self, feature: str) -> float:
        """Return the value about which a feature's second moment is taken."""
        given = self.variances.get(feature)
        return float(given[0]) if isinstance(given, tuple) else float(self.means[feature])

    def statistics(self, features: Any) -> Any:
        """Return the statistics T of features.

        Parameters
        ----------
        features : numpy.ndarray or torch.Tensor
            Shape (draw, feature), in the order of `features`.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            Shape (draw, statistic), of the kind that was given.
        """
        columns = []
        for place, name in enumerate(self.features):
            column = features[:, place : place + 1]
            columns += [column] * (name in self.means)
            if name in self.variances:
                columns.append((column - self.centre(name)) ** 2)
        if isinstance(features, np.ndarray):
            return np.concatenate(columns, axis=1)
        import torch

        return torch.cat(columns, dim=1)


def as_behaviour(*given: Any) -> Behaviour:
    """Return the one behaviour that was given.

    Raises
    ------
    DataError
        If anything else was.

    Examples
    --------
    >>> as_behaviour(3)
    Traceback (most recent call last):
        ...
    probneuro.core.errors.DataError: A model of largest entropy needs one Behaviour; got int...
    """
    if len(given) == 1 and isinstance(given[0], Behaviour):
        return given[0]
    got = ", ".join(type(value).__name__ for value in given) or "nothing"
    raise DataError(
        f"A model of largest entropy needs one Behaviour; got {got}. Pass e.g. "
        "infer(model, Behaviour(bounds, means=...))."
    )


def _check_bounds(name: str, lower: float, upper: float) -> None:
    if not (np.isfinite(lower) and np.isfinite(upper)):
        raise DataError(
            f"`bounds` of '{name}' are ({lower}, {upper}): on an unbounded support the "
            "distribution of largest entropy need not exist (its level sets may have infinite "
            "volume). Pass finite bounds."
        )
    if not lower < upper:
        raise DataError(
            f"`bounds` of '{name}' are ({lower}, {upper}); the lower one must be below the upper "
            "one. Swap them, or leave the parameter out and fix it in the simulator."
        )
