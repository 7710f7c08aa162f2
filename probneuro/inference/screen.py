"""Where simulations fail, learned from those that did: a flow whose hopeless draws are rejected."""

from itertools import pairwise
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, silu

from probneuro.core.flow import Flow
from probneuro.data.behaviour import Behaviour

Floats = NDArray[np.float64]

_MEMBERS: Final = 4
"""Networks whose log odds are averaged: one alone is too sure of itself on a few hundred rows."""
_HIDDEN: Final = 48
_STEPS: Final = 400
_BATCH: Final = 256
_LOOK: Final = 25
_KEPT_BACK: Final = 5
_RATE: Final = 3e-3
_DECAY: Final = 1e-2
_SHARPNESS: Final = 4.0
"""Factor on the log odds: a step at one half would make the fewest mistakes, a slope leaves every
point some density."""
_DRAWS: Final = 8192
"""Draws from which the accepted share is found: its logarithm errs by 0.02 at a share of 0.3."""
_LEAST_ROWS: Final = 20
"""Of either kind, for a screen to be fitted."""
_LEAST_SHARE: Final = 0.02
"""Accepted share below which a screen is left out: it would reject for ever."""
_HALVINGS: Final = 20


@final
class Screen(nn.Module):
    """Log odds that a simulation does not fail, by parameters: a few small networks' mean.

    Parameters
    ----------
    behaviour : Behaviour
        Its bounds bring parameters to between -1 and 1.
    rng : numpy.random.Generator
        For the first weights.
    """

    def __init__(self, behaviour: Behaviour, rng: np.random.Generator) -> None:
        super().__init__()
        self._lower = torch.from_numpy(behaviour.lower)
        self._width = torch.from_numpy(behaviour.upper - behaviour.lower)
        sizes = (len(behaviour.parameters), _HIDDEN, _HIDDEN, 1)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in pairwise(sizes):
            weight = rng.standard_normal((_MEMBERS, n_in, n_out)) * np.sqrt(2.0 / n_in)
            self.weights.append(nn.Parameter(torch.from_numpy(weight).float()))
            self.biases.append(nn.Parameter(torch.zeros(_MEMBERS, 1, n_out)))

    def members(self, values: Tensor) -> Tensor:
        """Return every network's log odds, shape (network, draw)."""
        layer = (2.0 * (values - self._lower) / self._width - 1.0).float()
        layer = layer.expand(_MEMBERS, *layer.shape)
        last = len(self.weights) - 1
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            layer = torch.baddbmm(bias, layer, weight)
            layer = silu(layer) if place < last else layer
        return layer[..., 0]

    def log_odds(self, values: Tensor) -> Tensor:
        """Return the mean of the networks' log odds, shape (draw,)."""
        return self.members(values).mean(dim=0).double()


@final
class ScreenedFlow(Flow):
    r"""A flow of whose draws a screen lets some through.

    .. math:: q_a(z) = q(z) \, a(z) / Z, \qquad Z = \mathrm E_q[a(z)]

    A flow is smooth, and where simulations fail often has a sharp edge in many parameters:
    rejecting draws (Bauer and Mnih 2019, resampled densities) costs no simulation.

    Parameters
    ----------
    flow : Flow
        The density whose draws are screened.
    screen : Screen
        How likely each is to fail.
    share : float
        Z, the share of the flow's draws that are let through.
    strictness : float
        Log odds at which half of the draws are.
    """

    def __init__(self, flow: Flow, screen: Screen, share: float, strictness: float = 0.0) -> None:
        super().__init__()
        self.flow, self.screen = flow, screen
        self.share, self.strictness = share, strictness

    def base(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return base draws whose values were let through, shape (count, parameter)."""
        kept: list[Tensor] = []
        with torch.no_grad():
            while sum(map(len, kept)) < count:
                missing = count - sum(map(len, kept))
                base = self.flow.base(rng, int(1.1 * missing / self.share) + 1)
                odds = self.screen.log_odds(self.flow.push(base)[0])
                log_accept = _log_accept(odds, self.strictness)
                through = np.log(rng.random(len(base))) < log_accept.numpy()
                kept.append(base[torch.from_numpy(through)])
        return torch.cat(kept)[:count]

    def push(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return draws and their log density."""
        values, density = self.flow.push(base)
        return values, density + self._screened(values)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of values."""
        return self.flow.log_prob(value) + self._screened(value)

    def _screened(self, values: Tensor) -> Tensor:
        """Return what the screen adds to the log density."""
        odds = self.screen.log_odds(values)
        return _log_accept(odds, self.strictness) - float(np.log(self.share))


def _log_accept(odds: Tensor, strictness: float) -> Tensor:
    """Return the logarithm of the share of draws with these log odds that is let through."""
    return logsigmoid(_SHARPNESS * (odds - strictness))


def _strictness(odds: Tensor, tolerated: float) -> float:
    """Return the least log odds to stand at so that no more of those let through fail."""
    low, high = 0.0, max(0.0, float(odds.quantile(1.0 - 2.0 * _LEAST_SHARE)))
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        accept = _log_accept(odds, middle).exp()
        failing = float((accept * (-odds).sigmoid()).sum() / accept.sum())
        low, high = (low, middle) if failing <= tolerated else (middle, high)
    return high if low > 0.0 else 0.0


def screened(
    flow: Flow, screen: Screen | None, rng: np.random.Generator, tolerated: float = 1.0
) -> Flow:
    """Return the flow behind a screen, or alone where there is none, or it lets nothing through.

    Parameters
    ----------
    flow : Flow
        The density whose draws are screened.
    screen : Screen or None
        How likely each is to fail.
    rng : numpy.random.Generator
        For the draws that the share let through is found from.
    tolerated : float
        Share of the draws let through that may fail, as far as the screen can tell: it becomes
        stricter than even odds until no more do. One leaves it at even odds.
    """
    if screen is None:
        return flow
    with torch.no_grad():
        odds = screen.log_odds(flow.push(flow.base(rng, _DRAWS))[0])
        strictness = _strictness(odds, tolerated)
        share = float(_log_accept(odds, strictness).exp().mean())
    return ScreenedFlow(flow, screen, share, strictness) if share >= _LEAST_SHARE else flow


def fit_screen(
    behaviour: Behaviour, values: Floats, failed: NDArray[np.bool_], rng: np.random.Generator
) -> Screen | None:
    """Return a screen fitted to simulations; None where there are too few of either kind.

    Weights are those that told best which of the rows kept back had failed.

    Parameters
    ----------
    behaviour : Behaviour
        For its bounds.
    values : numpy.ndarray
        Shape (row, parameter).
    failed : numpy.ndarray
        Shape (row,).
    rng : numpy.random.Generator
        For first weights and batches.
    """
    back = np.arange(len(values)) % _KEPT_BACK == 0
    if min(failed.sum(), (~failed).sum()) < _LEAST_ROWS:
        return None
    screen = Screen(behaviour, rng)
    rows, labels = torch.from_numpy(values), torch.from_numpy(~failed).float()
    known, told = rows[torch.from_numpy(~back)], labels[torch.from_numpy(~back)]
    optimiser = torch.optim.AdamW(screen.parameters(), lr=_RATE, weight_decay=_DECAY)
    best, least = {}, np.inf
    for step in range(1, _STEPS + 1):
        chosen = torch.from_numpy(rng.integers(len(known), size=_BATCH))
        odds = screen.members(known[chosen])
        loss = binary_cross_entropy_with_logits(odds, told[chosen].expand_as(odds))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % _LOOK:
            continue
        with torch.no_grad():
            odds = screen.members(rows[torch.from_numpy(back)]).mean(dim=0)
            score = float(binary_cross_entropy_with_logits(odds, labels[torch.from_numpy(back)]))
        if score < least:
            best = {name: value.clone() for name, value in screen.state_dict().items()}
            least = score
    screen.load_state_dict(best)
    return screen
