"""Moving a scalar and its switch together: odds by quadrature, corrected by a Metropolis step."""

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.special import logsumexp

from probneuro.core.gibbs import Conditionals
from probneuro.core.switched_scalars import HasSwitchedScalars, SwitchedScalar

_NODES, _WEIGHTS = np.polynomial.hermite.hermgauss(10)  # the paper's degree
# Steps of Fisher's scoring towards the mode.
_ROUNDS: Final = 4
# Log odds that a proposal stays within: a bad guess must not stop all moves.
_SURE: Final = 6.0
# Degrees of freedom of the proposal: tails above those of any normal.
_FREEDOM: Final = 5.0
_T_CONSTANT: Final = (
    math.lgamma(0.5 * (_FREEDOM + 1.0))
    - math.lgamma(0.5 * _FREEDOM)
    - 0.5 * math.log(_FREEDOM * math.pi)
)


class _Peak(NamedTuple):
    """Where a scalar's conditional lies, how wide it is, and its log mass by quadrature."""

    mode: float
    scale: float
    log_evidence: float

    def log_density(self, value: float) -> float:
        z = (value - self.mode) / self.scale
        return _T_CONSTANT - math.log(self.scale) - 3.0 * math.log1p(z * z / _FREEDOM)


def move_scalar(
    own: SwitchedScalar, on: bool, value: float, rng: np.random.Generator
) -> tuple[bool, float]:
    r"""Move a switch and its scalar, whose posterior stays what it is.

    .. math::

        \hat Z = \sqrt 2 s \sum_{i=1}^{10} \omega_i e^{x_i^2}
        L(\hat w + \sqrt 2 s x_i)\, p(\hat w + \sqrt 2 s x_i)

    The switch is proposed from the odds :math:`\rho \hat Z / (1 - \rho)`, relative to the
    likelihood with the switch off; the scalar from Student's t about the mode :math:`\hat w`, or
    from its prior where the switch is off. Both depend on neither, so that a Metropolis step on
    the pair corrects what quadrature and mode get wrong.

    Parameters
    ----------
    own : SwitchedScalar
        Prior and likelihood.
    on : bool
        Where the switch is.
    value : float
        Where the scalar is.
    rng : numpy.random.Generator
        The chain's stream.

    Returns
    -------
    tuple
        The new switch and scalar.

    Notes
    -----
    Source: Linderman, Stock and Adams (2014), who draw the switch from these odds by
    Gauss-Hermite quadrature and the scalar by adaptive rejection. Deviation: the Metropolis step,
    which makes the move exact.
    """
    null = own.likelihood(0.0)
    peak = _peak(own)
    guess = own.log_prior_odds + peak.log_evidence - null
    odds = min(max(guess, -_SURE), _SURE)

    def log_weight(on: bool, value: float) -> float:
        if not on:
            return null + float(np.logaddexp(0.0, odds))
        density = own.likelihood(value) + float(own.prior.log_density(value))
        chance = -float(np.logaddexp(0.0, -odds))
        return own.log_prior_odds + density - peak.log_density(value) - chance

    wanted = bool(np.log(rng.random()) < -np.logaddexp(0.0, -odds))
    if wanted:
        proposed = peak.mode + peak.scale * float(rng.standard_t(_FREEDOM))
    else:
        proposed = float(own.prior.sample(rng, 1)[0])
    if np.log(rng.random()) < log_weight(wanted, proposed) - log_weight(on, value):
        return wanted, proposed
    return on, value


def move_scalars(point: Conditionals, block: int, rng: np.random.Generator) -> None:
    """Move a block's switched scalar where there is one."""
    if not isinstance(point, HasSwitchedScalars):
        return
    own = point.switched_scalar(block)
    if own is not None:
        point.set_scalar(block, *move_scalar(own, *point.scalar(block), rng))


def draw_switch(point: Conditionals, block: int, rng: np.random.Generator) -> None:
    """Draw the switch of a block's scalar, if it has one, given the scalar."""
    if not isinstance(point, HasSwitchedScalars):
        return
    own = point.switched_scalar(block)
    if own is not None:
        value = point.scalar(block)[1]
        odds = own.log_prior_odds + own.likelihood(value) - own.likelihood(0.0)
        on = bool(np.log(rng.random()) < -np.logaddexp(0.0, -odds))
        point.set_scalar(block, on, value)


def _peak(own: SwitchedScalar) -> _Peak:
    """Return the mode from a fixed start, and the mass about it."""
    mode, prior = own.prior.location, own.prior
    for _ in range(_ROUNDS):
        slope, information = own.likelihood.slope_and_information(mode)
        precision = information + prior.scale**-2
        step = (slope - (mode - prior.location) / prior.scale**2) / precision
        mode += min(max(step, -2.0 * prior.scale), 2.0 * prior.scale)
    scale = 1.0 / math.sqrt(own.likelihood.slope_and_information(mode)[1] + prior.scale**-2)
    states = mode + math.sqrt(2.0) * scale * _NODES
    terms = np.array([own.likelihood(float(x)) for x in states]) + prior.log_density(states)
    mass = float(logsumexp(terms + _NODES**2 + np.log(_WEIGHTS)))
    return _Peak(mode, scale, mass + math.log(math.sqrt(2.0) * scale))
