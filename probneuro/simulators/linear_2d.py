"""Two-dimensional linear systems: eigenvalues in closed form, and the exact largest entropy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import xlogy
from torch import Tensor

from probneuro.core.errors import DataError
from probneuro.core.tilting import Tilt, tilt
from probneuro.data.behaviour import Behaviour

Floats = NDArray[np.float64]

PARAMETERS: Final = ("a1", "a2", "a3", "a4")
_PANELS: Final = 24
_NODES: Final = 12


def eigenvalues(parameters: Mapping[str, Any]) -> dict[str, Tensor]:
    r"""Return real and imaginary part of the first eigenvalue of :math:`\dot x = A x`.

    .. math::

        \lambda_1 = s + \sqrt q, \qquad s = \tfrac{a_1 + a_4}{2}, \quad
        q = \left(\tfrac{a_1 - a_4}{2}\right)^2 + a_2 a_3

    with the time constant 1. The imaginary part is :math:`\sqrt{-q}` where q is negative, else
    zero.

    Parameters
    ----------
    parameters : mapping
        Tensors ``a1`` to ``a4`` of shape (draw,), the rows of A one after the other.

    Returns
    -------
    dict
        ``real`` and ``imaginary``, shape (draw,).

    Notes
    -----
    Bittner and Cunningham (2018), Fig. 2. The first published code had a plus in front of
    :math:`a_2 a_3` in the discriminant of :math:`s^2 - (a_1 a_4 - a_2 a_3)`; this is the minus.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> found = eigenvalues({"a1": 0 * one, "a2": 2 * one, "a3": -2 * one, "a4": 0 * one})
    >>> found["real"].item(), found["imaginary"].item()
    (0.0, 2.0)
    """
    a1, a2, a3, a4 = (torch.as_tensor(parameters[name]) for name in PARAMETERS)
    middle, half = (a1 + a4) / 2.0, (a1 - a4) / 2.0
    square = half**2 + a2 * a3
    # The square root's slope at zero is infinite, and would spoil gradients where it is unused.
    real = torch.where(square > 0, square, torch.ones_like(square)).sqrt()
    imaginary = torch.where(square < 0, -square, torch.ones_like(square)).sqrt()
    zero = torch.zeros_like(square)
    return {
        "real": middle + torch.where(square > 0, real, zero),
        "imaginary": torch.where(square < 0, imaginary, zero),
    }


def oscillation(
    *,
    limit: float = 10.0,
    frequency: float = 2.0 * np.pi,
    real_sd: float = 0.5,
    imaginary_sd: float = 0.2 * np.pi,
) -> Behaviour:
    """Return a band of oscillations as a behaviour.

    Parameters
    ----------
    limit : float
        Every entry of A lies between minus and plus this.
    frequency : float
        Mean of the imaginary part.
    real_sd, imaginary_sd : float
        Standard deviations; the real part has mean zero. The defaults are those of EPI's
        published example; ``limit=20, frequency=4 * pi, real_sd=1, imaginary_sd=1`` those of
        the DSN abstract, its second moments read as variances.

    Raises
    ------
    DataError
        If no matrix in the box oscillates at that frequency.

    Examples
    --------
    >>> oscillation().targets.round(4).tolist()
    [0.0, 0.25, 6.2832, 0.3948]
    """
    if frequency >= limit:
        raise DataError(
            f"`frequency` {frequency:g} needs imaginary parts beyond {limit:g}, the largest that "
            f"entries up to `limit` allow. Raise `limit` above {frequency:g}."
        )
    return Behaviour(
        dict.fromkeys(PARAMETERS, (-limit, limit)),
        means={"real": 0.0, "imaginary": frequency},
        variances={"real": real_sd**2, "imaginary": imaginary_sd**2},
    )


@dataclass(frozen=True)
class ExactEntropy:
    """The exact distribution of largest entropy of the linear system.

    Parameters
    ----------
    entropy : float
        Its entropy in nats.
    multipliers : numpy.ndarray
        Shape (statistic,): its density is proportional to ``exp(-multipliers @ T)``.
    targets : numpy.ndarray
        Shape (statistic,).
    """

    entropy: float
    multipliers: Floats
    targets: Floats

    def divergence(self, entropy: float, means: Floats) -> float:
        r"""Return the Kullback-Leibler divergence of any density to the optimum, in nats.

        .. math:: KL(q \| p^*) = H^* - H(q) + \eta^* \cdot (\mathrm E_q T - \mu)
        """
        return float(self.entropy - entropy + self.multipliers @ (means - self.targets))


def exact_entropy(behaviour: Behaviour) -> ExactEntropy:
    r"""Return the exact largest entropy of `eigenvalues` under a behaviour, by quadrature.

    With :math:`s = (a_1 + a_4)/2` and :math:`w` the imaginary part, the volume element of the
    four entries integrates over the other two in closed form, so that two dimensions are left:
    (s, w) where the eigenvalues are complex, (s, r) with :math:`r = \sqrt q` where they are real.

    Parameters
    ----------
    behaviour : Behaviour
        As `oscillation` returns it.

    Returns
    -------
    ExactEntropy

    Examples
    --------
    >>> round(exact_entropy(oscillation()).entropy, 4)
    7.7349
    """
    limit = float(behaviour.upper[0])
    real, imaginary, log_volume = _nodes(limit)
    names = {"real": real, "imaginary": imaginary}
    features = np.stack([names[name] for name in behaviour.features], axis=1)
    found: Tilt = tilt(log_volume, behaviour.statistics(features), behaviour.targets)
    return ExactEntropy(found.entropy, found.multipliers, behaviour.targets)


def _nodes(limit: float) -> tuple[Floats, Floats, Floats]:
    """Return real and imaginary part at quadrature nodes, and the log volume of each."""
    s, s_weight = _panels(-limit, limit)
    w, w_weight = _panels(0.0, limit)
    middle, wave = np.meshgrid(s, w, indexing="ij")
    room = limit - np.abs(middle)
    reach = np.minimum(room, np.sqrt(limit**2 - wave**2))
    inner = reach * np.log(limit**2) - (
        xlogy(reach, reach**2 + wave**2) - 2 * reach + 2 * wave * np.arctan2(reach, wave)
    )
    complex_part = 16.0 * wave * inner * s_weight[:, None] * w_weight
    r, r_weight = _panels(0.0, np.sqrt(2.0) * limit)
    middle_r, root = np.meshgrid(s, r, indexing="ij")
    room = limit - np.abs(middle_r)
    least = np.sqrt(np.maximum(root**2 - limit**2, 0.0))
    upper = np.maximum(room, least)
    inner = (upper - least) * np.log(limit**2) - (_potential(upper, root) - _potential(least, root))
    real_part = 16.0 * root * inner * s_weight[:, None] * r_weight
    real = np.concatenate([middle.ravel(), (middle_r + root).ravel()])
    imaginary = np.concatenate([wave.ravel(), np.zeros(root.size)])
    volume = np.concatenate([complex_part.ravel(), real_part.ravel()])
    some = volume > 0
    return real[some], imaginary[some], np.log(volume[some])


def _potential(d: Floats, r: Floats) -> Floats:
    """Return the integral of log|r² - d²| over d."""
    return np.asarray(xlogy(d + r, d + r) + xlogy(d - r, np.abs(d - r)) - 2.0 * d)


def _panels(start: float, stop: float) -> tuple[Floats, Floats]:
    """Return Gauss-Legendre nodes and weights on equal panels."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(start, stop, 2 * _PANELS + 1)
    half = np.diff(edges) / 2.0
    middle = (edges[1:] + edges[:-1]) / 2.0
    places = middle[:, None] + half[:, None] * nodes
    return places.ravel(), (half[:, None] * weights).ravel()
