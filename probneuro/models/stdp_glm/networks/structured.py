"""Networks in which cell classes or places say how likely a synapse is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probneuro.core.errors import SettingError
from probneuro.models.stdp_glm.networks.classes import as_classes, unknown_unit
from probneuro.models.stdp_glm.networks.graphs import Floats, Integers, Network, every_pair


@dataclass(frozen=True)
class StochasticBlock(Network):
    r"""Pairs are joined independently, with a probability that their classes set.

    .. math:: a_{ij} \sim \mathrm{Bernoulli}(\rho_{c(i)\,c(j)})

    Parameters
    ----------
    classes : mapping of str to str
        Class of every unit by its name.
    probability : mapping of (str, str) to float
        Prior probability of a synapse from a class to a class, 0 to 1, for every ordered pair
        of classes. Zero leaves these pairs out; one makes their synapses certain.

    Raises
    ------
    SettingError
        If a pair of classes is missing or unknown, or a probability lies outside 0 to 1; on
        use, if a unit of the recording has no class.

    Notes
    -----
    Source: Holland, Laskey and Leinhardt (1983), *Stochastic blockmodels*, Social Networks 5,
    109-137; here the classes are known.

    Examples
    --------
    >>> rho = {("E", "E"): 0.1, ("E", "I"): 0.5, ("I", "E"): 0.5, ("I", "I"): 0.0}
    >>> network = StochasticBlock({"a": "E", "b": "E", "c": "I"}, rho)
    >>> network.edge_probability(["a", "b", "c"])
    array([0.1, 0.5, 0.1, 0.5, 0.5, 0.5])
    """

    classes: Mapping[str, str]
    probability: Mapping[tuple[str, str], float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", as_classes(self.classes))
        names = list(dict.fromkeys(self.classes.values()))
        needed = {(a, b) for a in names for b in names}
        given = dict(self.probability) if isinstance(self.probability, Mapping) else {}
        if set(given) != needed:
            missing, unknown = sorted(needed - set(given)), sorted(set(given) - needed, key=str)
            raise SettingError(
                "`probability` must hold every ordered pair of classes once; missing: "
                f"{missing}, unknown: {unknown}. Pass e.g. {{('E', 'I'): 0.5, ...}}."
            )
        for pair, value in given.items():
            if not 0.0 <= value <= 1.0:
                raise SettingError(
                    f"`probability` of {pair} must lie between 0 and 1; got {value}."
                )
        object.__setattr__(self, "probability", given)

    def candidates(self, units: Sequence[str]) -> tuple[Integers, Integers]:
        """Return every ordered pair whose classes may be joined."""
        pre, post = every_pair(len(units))
        possible = self._every_probability(units) > 0.0
        return pre[possible], post[possible]

    def edge_probability(self, units: Sequence[str]) -> Floats:
        """Return the probability of each candidate by its classes."""
        probability = self._every_probability(units)
        return probability[probability > 0.0]

    def _every_probability(self, units: Sequence[str]) -> Floats:
        for unit in units:
            if unit not in self.classes:
                raise unknown_unit(f"unit '{unit}'", self.classes)
        pairs = zip(*every_pair(len(units)), strict=True)
        own = [self.classes[unit] for unit in units]
        return np.array([self.probability[own[i], own[j]] for i, j in pairs], dtype=np.float64)


@dataclass(frozen=True)
class DistanceDependent(Network):
    r"""Pairs are joined independently, the less likely the farther they are apart.

    .. math:: a_{ij} \sim \mathrm{Bernoulli}(\rho\, e^{-|x_i - x_j| / s})

    Parameters
    ----------
    positions : mapping of str to sequence of float
        Where every unit is, by its name, in any number of dimensions and any unit of length.
    scale : float
        The distance s over which the probability falls by e, in the same unit; positive.
    probability : float
        Probability :math:`\rho` at no distance, above 0 and below 1.

    Raises
    ------
    SettingError
        If positions differ in dimensions or are not finite, the scale is not positive or the
        probability outside (0, 1); on use, if a unit of the recording has no position.

    Examples
    --------
    >>> network = DistanceDependent({"a": (0.0, 0.0), "b": (30.0, 40.0)}, 50.0, 0.8)
    >>> network.edge_probability(["a", "b"]).round(3)
    array([0.294, 0.294])
    """

    positions: Mapping[str, Sequence[float]]
    scale: float
    probability: float = 0.5

    def __post_init__(self) -> None:
        places = {str(u): tuple(float(x) for x in p) for u, p in self.positions.items()}
        lengths = {len(place) for place in places.values()}
        finite = all(np.isfinite(place).all() for place in places.values())
        if len(lengths) != 1 or not finite:
            raise SettingError(
                "`positions` must be finite numbers, as many for each unit; got "
                f"{sorted(lengths)} dimensions. Pass e.g. {{'a': (0, 10), 'b': (5, 20)}}."
            )
        if not self.scale > 0.0:
            raise SettingError(
                f"`scale` of distances must be positive; got {self.scale}. Pass it in the unit "
                "of the positions."
            )
        if not 0.0 < self.probability < 1.0:
            raise SettingError(
                f"`probability` at no distance must lie between 0 and 1; got {self.probability}."
            )
        object.__setattr__(self, "positions", places)

    def candidates(self, units: Sequence[str]) -> tuple[Integers, Integers]:
        """Return every ordered pair."""
        return every_pair(len(units))

    def edge_probability(self, units: Sequence[str]) -> Floats:
        """Return the probability of each pair by its distance."""
        for unit in units:
            if unit not in self.positions:
                raise SettingError(
                    f"`positions` does not hold unit '{unit}'; got {', '.join(self.positions)}. "
                    "Give every unit of the recording its place."
                )
        place = np.array([self.positions[unit] for unit in units])
        pre, post = every_pair(len(units))
        distance = np.linalg.norm(place[pre] - place[post], axis=1)
        # Far pairs stay possible: an edge that is impossible could not be told from its odds.
        return np.maximum(self.probability * np.exp(-distance / self.scale), 1e-12)
