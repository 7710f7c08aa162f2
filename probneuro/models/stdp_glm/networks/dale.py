"""Dale's law: a neuron excites all others or inhibits all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probneuro.core.errors import unknown_name
from probneuro.models.stdp_glm.networks.graphs import Floats


@dataclass(frozen=True)
class DalesLaw:
    r"""Weights of one sign for each presynaptic neuron.

    The rule, with its bounds 0 and :math:`w_{max}`, moves the size of the weight; onto it comes
    the sign of the presynaptic neuron. So an inhibitory weight lies in
    :math:`[-w_{max}, 0]`, and what strengthens an excitatory synapse makes an inhibitory one
    more inhibitory. It goes with every network; the rule must have bounds.

    Parameters
    ----------
    inhibitory : sequence of str
        Names of the inhibitory neurons; all others are excitatory.

    Raises
    ------
    SettingError
        On use, if a name is unknown.

    Examples
    --------
    >>> DalesLaw(("b",)).signs(["a", "b"])
    array([ 1., -1.])
    """

    inhibitory: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "inhibitory", tuple(map(str, self.inhibitory)))

    def signs(self, units: Sequence[str]) -> Floats:
        """Return 1 for every excitatory and -1 for every inhibitory neuron, shape (neuron,)."""
        for name in self.inhibitory:
            if name not in units:
                raise unknown_name("neuron", name, units)
        return np.where(np.isin(list(units), list(self.inhibitory)), -1.0, 1.0)
