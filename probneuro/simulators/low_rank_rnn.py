"""Rank-one recurrent networks: dynamic mean-field theory, and finite networks to check it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probneuro.data.behaviour import Behaviour

Floats = NDArray[np.float64]

PARAMETERS: Final = ("M_m", "M_n", "S_m", "S_n", "g")
_NODES: Final = 50
_INNER_NODES: Final = 30
_DAMPING: Final = 0.8
_STEPS: Final = 200
_CHAOTIC_STEPS: Final = 120
_LARGEST: Final = 150.0


@final
@dataclass(frozen=True)
class MeanField:
    r"""Readout of a rank-one network with Gaussian connectivity vectors, at its stationary state.

    .. math::

        \kappa = M_n \langle\tanh u\rangle + S_{nI} \langle 1 - \tanh^2 u\rangle, \quad
        \Delta_0 = g^2 \langle\tanh^2 u\rangle + S_m^2 \kappa^2 + S_I^2, \quad
        u = M_m \kappa + \sqrt{\Delta_0} z

    with :math:`S_I^2 = (S_{nI}/S_n)^2 + S_\perp^2`: the input overlaps with n by
    :math:`S_{nI}` and is else random. Go is an input with ``overlap``, No-Go one without.

    Parameters
    ----------
    overlap : float
        :math:`S_{nI}` of the Go input.
    input_sd : float
        :math:`S_\perp`, spread of the part of inputs that is random.
    chaotic : bool
        Where the stationary state is unstable, :math:`r_g = g \sqrt{\langle\tanh'^2\rangle} > 1`,
        the network fluctuates: True solves the equations of that state, False gives NaN.

    Notes
    -----
    Mastrogiuseppe and Ostojic (2018), Eq. 98 and those before it, time constant 1. Solved by
    damped iteration from :math:`\kappa = 1`, without a record, and differentiated implicitly:
    :math:`\mathrm dv = (I - J)^{-1} \mathrm dG`. Started at :math:`\kappa = 0`, as in the first
    published code, No-Go would stay there whatever the parameters are, since tanh is odd, and
    the constraint on it would be vacuous.

    Examples
    --------
    >>> values = {"M_m": 3.5, "M_n": 1.0, "S_m": 1.0, "S_n": 1.0, "g": 0.8}
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> found = MeanField()({name: value * one for name, value in values.items()})
    >>> [round(found[name].item(), 4) for name in ("go", "no_go")]
    [0.9985, 0.9274]
    """

    overlap: float = 1.0
    input_sd: float = 1.0
    chaotic: bool = False

    def __call__(self, parameters: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return ``go`` and ``no_go``, the readouts under both inputs, and their ``r_g``."""
        names = torch.stack([torch.as_tensor(parameters[name]) for name in PARAMETERS], dim=1)
        go, go_ratio = self.readout(names, self.overlap)
        no_go, no_go_ratio = self.readout(names, 0.0)
        return {"go": go, "no_go": no_go, "go_ratio": go_ratio, "no_go_ratio": no_go_ratio}

    def readout(self, parameters: Tensor, overlap: float) -> tuple[Tensor, Tensor]:
        """Return the readout and r_g of rows of parameters, both of shape (draw,)."""
        start = torch.ones(len(parameters), 2, dtype=parameters.dtype)
        state = _solved(_static, start, parameters, (overlap, self.input_sd), _STEPS)
        kappa, spread = state.unbind(dim=1)
        m_m, g = parameters[:, 0], parameters[:, 4]
        nodes, weights = _gauss(_NODES)
        u = (m_m * kappa)[:, None] + spread.clamp_min(1e-12).sqrt()[:, None] * nodes
        ratio = g * ((1.0 - torch.tanh(u) ** 2) ** 2 @ weights).sqrt()
        unstable = ratio.detach() > 1.0
        if not bool(unstable.any()):
            return kappa, ratio
        if not self.chaotic:
            return torch.where(unstable, torch.full_like(kappa, torch.nan), kappa), ratio
        rows = unstable.nonzero().squeeze(1)
        begin = torch.stack(
            [kappa[rows], 0.4 * spread[rows] ** 2, 0.5 * spread[rows]], dim=1
        ).detach()
        found = _solved(
            _fluctuating, begin, parameters[rows], (overlap, self.input_sd), _CHAOTIC_STEPS
        )
        return kappa.index_put((rows,), found[:, 0]), ratio


def _gauss(count: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of the standard normal measure."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def _input_variance(parameters: Tensor, setting: tuple[float, float]) -> Tensor:
    overlap, input_sd = setting
    return (overlap / parameters[:, 3]) ** 2 + input_sd**2


def _static(state: Tensor, parameters: Tensor, setting: tuple[float, float]) -> Tensor:
    """Return the next (kappa, Delta_0) of the stationary state."""
    kappa, spread = state.unbind(dim=1)
    m_m, m_n, s_m, _, g = parameters.unbind(dim=1)
    nodes, weights = _gauss(_NODES)
    rate = torch.tanh((m_m * kappa)[:, None] + spread.clamp_min(1e-12).sqrt()[:, None] * nodes)
    square = rate**2 @ weights
    fresh = m_n * (rate @ weights) + setting[0] * (1.0 - square)
    wide = g**2 * square + s_m**2 * kappa**2 + _input_variance(parameters, setting)
    return torch.stack([fresh, wide], dim=1)


def _fluctuating(state: Tensor, parameters: Tensor, setting: tuple[float, float]) -> Tensor:
    """Return the next (kappa, x, Delta_inf), x = (Delta_0^2 - Delta_inf^2) / 2."""
    kappa, x, slow = state.unbind(dim=1)
    m_m, m_n, s_m, _, g = parameters.unbind(dim=1)
    slow = slow.clamp_min(1e-12)
    spread = (2.0 * x.clamp_min(0.0) + slow**2).sqrt()
    fast = (spread - slow).clamp_min(1e-12)
    mean = m_m * kappa
    nodes, weights = _gauss(_INNER_NODES)
    u = mean[:, None] + spread.sqrt()[:, None] * nodes
    rate = torch.tanh(u)
    fresh = m_n * (rate @ weights) + setting[0] * (1.0 - rate**2 @ weights)
    inner = (
        mean[:, None, None]
        + fast.sqrt()[:, None, None] * nodes[:, None]
        + slow.sqrt()[:, None, None] * nodes
    )
    potential = ((_log_cosh(inner) * weights[:, None]).sum(dim=1) ** 2) @ weights
    overlap = ((torch.tanh(inner) * weights[:, None]).sum(dim=1) ** 2) @ weights
    given = s_m**2 * kappa**2 + _input_variance(parameters, setting)
    energy = g**2 * (_log_cosh(u) ** 2 @ weights - potential) + given * fast
    return torch.stack([fresh, energy, g**2 * overlap + given], dim=1)


def _log_cosh(u: Tensor) -> Tensor:
    """Return log cosh without overflow."""
    size = u.abs()
    return size + torch.log1p(torch.exp(-2.0 * size)) - float(np.log(2.0))


def _solved(
    step: Any, start: Tensor, parameters: Tensor, setting: tuple[float, float], steps: int
) -> Tensor:
    """Return a fixed point that can be differentiated by the parameters, at the cost of one step.

    The iteration leaves no record; the implicit function theorem gives the derivative.
    """
    with torch.no_grad():
        state = start
        for _ in range(steps):
            fresh = (1.0 - _DAMPING) * state + _DAMPING * step(state, parameters, setting)
            state = fresh.clamp(-_LARGEST, _LARGEST**2)
    if not parameters.requires_grad:
        return state
    with torch.enable_grad():
        at = state.clone().requires_grad_()
        mapped = step(at, parameters.detach(), setting)
        rows = [
            torch.autograd.grad(mapped[:, place].sum(), at, retain_graph=True)[0]
            for place in range(state.shape[1])
        ]
    jacobian = torch.stack(rows, dim=1)
    eye = torch.eye(state.shape[1], dtype=state.dtype)
    moved = step(state, parameters, setting)
    change = (moved - moved.detach())[:, :, None]
    return state + torch.linalg.solve(eye - jacobian, change).squeeze(2)


def go_no_go(
    *, largest_gain: float = 5.0, go_variance: float = 0.05, no_go_square: float = 0.01
) -> Behaviour:
    """Return responding to Go by a readout of 1, and not to No-Go, as a behaviour.

    Parameters
    ----------
    largest_gain : float
        Upper bound of g.
    go_variance : float
        Variance of the readout under Go.
    no_go_square : float
        Mean square of the readout under No-Go; its mean is left free, since the branch that is
        followed makes it positive.

    Examples
    --------
    >>> go_no_go().statistic_names
    ('go', 'go variance', 'no_go variance')
    """
    bounds = {
        "M_m": (-5.0, 5.0),
        "M_n": (-5.0, 5.0),
        "S_m": (0.0, 5.0),
        "S_n": (0.05, 5.0),
        "g": (0.0, largest_gain),
    }
    return Behaviour(
        bounds,
        means={"go": 1.0},
        variances={"go": go_variance, "no_go": (0.0, no_go_square)},
    )


def simulate_network(
    values: Mapping[str, float],
    overlap: float,
    *,
    neurons: int = 1500,
    seed: int = 0,
    duration: float = 60.0,
    step: float = 0.2,
    input_sd: float = 1.0,
) -> float:
    """Return the readout of one finite network, averaged over the last third of its run.

    Parameters
    ----------
    values : mapping of str to float
        ``M_m``, ``M_n``, ``S_m``, ``S_n`` and ``g``.
    overlap : float
        Overlap of the input with n: that of Go, or 0 for No-Go.
    neurons : int
        Size of the network.
    seed : int
        Of its connectivity and input.
    duration, step : float
        Length of the run and Euler's step, in units of the time constant.
    input_sd : float
        Spread of the random part of the input.

    Returns
    -------
    float
        n @ tanh(x) / N.

    Examples
    --------
    >>> calm = {"M_m": 1.0, "M_n": 0.5, "S_m": 0.1, "S_n": 1.0, "g": 0.1}
    >>> abs(simulate_network(calm, 0.0, neurons=200, duration=20.0)) < 0.3
    True
    """
    rng = np.random.default_rng(seed)
    x1, x2, random = rng.standard_normal((3, neurons))
    m = values["M_m"] + values["S_m"] * x1
    n = values["M_n"] + values["S_n"] * x2
    current = overlap / values["S_n"] * x2 + input_sd * random
    weights = values["g"] * rng.standard_normal((neurons, neurons)) / np.sqrt(neurons)
    state = np.abs(values["M_m"]) * np.sign(m) + current
    if values["M_m"] < 0:
        state = m + current
    late, count = 0.0, 0
    steps = round(duration / step)
    for place in range(steps):
        rate = np.tanh(state)
        kappa = float(n @ rate) / neurons
        if place >= 2 * steps // 3:
            late, count = late + kappa, count + 1
        state = state + step * (-state + weights @ rate + m * kappa + current)
    return late / count
