"""A pairwise rule of free shape, learnt as a sum of bumps."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import ArrayLike

from probneuro.core.errors import SettingError
from probneuro.core.model import Reference
from probneuro.core.priors import Normal, Prior
from probneuro.learning_rules.lag_bumps import LagBumps
from probneuro.learning_rules.pair_curve import CurveBasis, Floats, HasCurveBasis
from probneuro.learning_rules.pairs import SpikePairs
from probneuro.learning_rules.random_walk import STEVENSON
from probneuro.learning_rules.rule import UnboundedRule

ROBINSON = Reference(
    "Robinson BS, Berger TW, Song D",
    2016,
    "Identification of stable spike-timing-dependent plasticity from spiking activity with "
    "generalized multilinear modeling",
    "Neural Computation 28, 2320-2351",
)

_LAGS_A_SIDE = 200


@final
class PairKernel(UnboundedRule, HasCurveBasis):
    r"""Additive STDP with a curve of any shape: each pair moves the weight by K(lag).

    .. math::

        \ell_k = \sum_{\text{pairs in } k} K(t_{post} - t_{pre}), \qquad
        K(d) = \sum_b c^{+}_b \phi_b(d)\,[d > 0] + c^{-}_b \phi_b(-d)\,[d < 0]

    with the bumps :math:`\phi_b` of :class:`LagBumps`. A pair belongs to the window of its later
    spike; coincident spikes are no pair. Coefficient ``kernel_after_b`` (``kernel_before_b``)
    is the curve's value where the postsynaptic spike comes later (earlier) by the b-th peak's
    lag; the first peak is at zero. The prior of each is Normal(0, ``scale`` times the weight
    scale); 0.02 is the prior mean of the additive rule's amplitudes. Nothing forces the curve
    to be smooth beyond its bumps, or to change sign at zero.

    Parameters
    ----------
    bumps : LagBumps, optional
        Bumps on each side of zero; five up to 100 ms by default.
    scale : float
        Prior standard deviation of the curve's values, in weight scales.

    Raises
    ------
    SettingError
        If the scale is not positive.

    Notes
    -----
    Source: Stevenson and Koerding (2011); Robinson et al. (2016). Both fit a curve for given
    weights; here weights and curve have one posterior.

    Examples
    --------
    >>> PairKernel(bumps=LagBumps(num_bumps=2)).coefficients
    ('kernel_after_1', 'kernel_after_2', 'kernel_before_1', 'kernel_before_2')
    """

    name: ClassVar[str] = "pair_kernel"
    affine: ClassVar[bool] = True
    references: ClassVar[tuple[Reference, ...]] = (STEVENSON, ROBINSON)

    def __init__(self, *, bumps: LagBumps | None = None, scale: float = 0.02) -> None:
        if not scale > 0:
            raise SettingError(
                f"`scale` of the kernel must be positive; got {scale}. Pass e.g. 0.02."
            )
        self.bumps = bumps or LagBumps()
        self.scale = scale

    @property
    def coefficients(self) -> tuple[str, ...]:
        """Names of the coefficients: after 1, 2, ..., then before 1, 2, ..."""
        numbers = range(1, self.bumps.num_bumps + 1)
        return tuple(f"kernel_{side}_{b}" for side in ("after", "before") for b in numbers)

    def parameters(self, weight_scale: float) -> Mapping[str, Prior]:
        """Return the priors of the coefficients, in weight units."""
        return dict.fromkeys(self.coefficients, Normal(0.0, self.scale * weight_scale))

    def drift(self, weight: Any, pairs: SpikePairs, parameters: Mapping[str, Any]) -> Any:
        """Return the sum of coefficients times pair sums, the same for every weight."""
        after, before = pairs.post_after_pre_in(self.bumps), pairs.pre_after_post_in(self.bumps)
        change = 0.0 * weight
        for name, sums in zip(self.coefficients, (*after, *before), strict=True):
            own = torch.from_numpy(sums) if isinstance(weight, torch.Tensor) else sums
            change = change + parameters[name] * own
        return change

    def curve(self, lags: ArrayLike, parameters: Mapping[str, ArrayLike]) -> Floats:
        """Return K at some lags (post minus pre, s)."""
        stacked = [np.asarray(parameters[name], dtype=np.float64) for name in self.coefficients]
        change: Floats = np.stack(stacked, axis=-1) @ self._functions(lags)
        return change

    def curve_basis(self) -> CurveBasis:
        """Return the bumps on both sides of zero, in order of the coefficients."""
        side = np.linspace(0.0, self.bumps.max_lag, _LAGS_A_SIDE + 1)[1:]
        lags = np.concatenate([-side[::-1], side])
        return CurveBasis(lags, self.coefficients, self._functions(lags))

    def _functions(self, lags: ArrayLike) -> Floats:
        lag = np.asarray(lags, dtype=np.float64)
        bumps = self.bumps.evaluate(np.abs(lag))
        return np.concatenate([bumps * (lag > 0.0), bumps * (lag < 0.0)])
