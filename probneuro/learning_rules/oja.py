"""Oja's rule: Hebbian growth that the neuron's total input holds in check."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

from probneuro.core.model import Reference
from probneuro.core.priors import Gamma, LogNormal, Prior
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.rule import UnboundedRule

OJA = Reference(
    "Oja E",
    1982,
    "Simplified neuron model as a principal component analyzer",
    "Journal of Mathematical Biology 15, 267-273",
    "doi:10.1007/BF00275687",
)

# Added to a squared rate in Hz^2: nothing next to one spike, and no division by zero without.
_TINY = 1e-12
# Exponents beyond which growth is over, and a double would underflow.
_OVER = 600.0


@final
class Oja(UnboundedRule):
    r"""Oja's rule on windowed rates: the weights onto a neuron compete for one length.

    .. math::

        \dot w_i = \eta\, y\, (x_i - y\, w_i / c^2), \qquad y = \sum_j a_j w_j x_j

    with the presynaptic rates :math:`x_j` (Hz) of the window and the output y of Oja's linear
    neuron, the rate that all present synapses onto the neuron evoke. Weights turn towards the
    rates' principal direction, and their Euclidean length towards c (``weight_norm``). Each
    weight's change depends on all weights onto the neuron; absent synapses take no part.

    The prior of :math:`\eta` (``learning_rate``, in s: per Hz squared and s) is Gamma(2, 2e4/s),
    mean 1e-4 s: at three inputs of 20 Hz weights grow by 12 % a second. That of c is log-normal,
    its median the weight scale. Both are our choices.

    Notes
    -----
    Source: Oja (1982), Eq. 3, who has c = 1. Deviation: one Euler step a window would diverge where
    weights are large, so that :math:`\ell_k` is the exact solution over a window of constant rates.
    With :math:`X = \sum_j a_j x_j^2`, :math:`E = e^{-2 \eta X \Delta}` and
    :math:`q = y^2 / (c^2 X)`,

    .. math::

        y' = \frac{y}{\sqrt{E + q (1 - E)}}, \qquad
        w_i' = \sqrt{E}\, \frac{y'}{y} \Bigl(w_i - \frac{y}{X} x_i\Bigr) + \frac{y'}{X} x_i .

    With the recorded postsynaptic rate in the place of y, synapses would not depend on each other
    given the spikes.

    Examples
    --------
    >>> sorted(Oja().priors(1.0))
    ['learning_rate', 'weight_noise', 'weight_norm']
    """

    name: ClassVar[str] = "oja"
    coupled: ClassVar[bool] = True
    references: ClassVar[tuple[Reference, ...]] = (OJA,)

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors of the learning rate (s) and of the length (weight units)."""
        return {
            "learning_rate": Gamma(2.0, 2e4),
            "weight_norm": LogNormal(weight_scale, 0.5),
        }

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return what Oja's equation, solved over the window, adds to each weight."""
        rate = pairs.pre_rate(weight)
        output = pairs.incoming_sum(weight * rate)
        power = pairs.incoming_sum(rate * rate) + _TINY
        growth = (parameters["learning_rate"] * power * pairs.window).clip(max=0.5 * _OVER)
        left = math.e ** (-2.0 * growth)
        share = output * output / (parameters["weight_norm"] ** 2 * power)
        gain = (left + share * (1.0 - left)) ** -0.5
        turned = left**0.5 * gain * (weight - rate * output / power)
        return turned + rate * output * gain / power - weight
