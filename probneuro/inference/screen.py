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

    def log_accept(self, values: Tensor) -> Tensor:
        """Return the logarithm of the share of draws at these values that is let through."""
        return logsigmoid(_SHARPNESS * self.members(values).mean(dim=0)).double()


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
    rng : numpy.random.Generator
        For the draws that Z is found from.
    """

    def __init__(self, flow: Flow, screen: Screen, rng: np.random.Generator) -> None:
        super().__init__()
        self.flow, self.screen = flow, screen
        with torch.no_grad():
            values, _ = flow.push(flow.base(rng, _DRAWS))
            self.share = float(screen.log_accept(values).exp().mean())

    def base(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return base draws whose values were let through, shape (count, parameter)."""
        kept: list[Tensor] = []
        with torch.no_grad():
            while sum(map(len, kept)) < count:
                missing = count - sum(map(len, kept))
                base = self.flow.base(rng, int(1.1 * missing / self.share) + 1)
                log_accept = self.screen.log_accept(self.flow.push(base)[0])
                through = np.log(rng.random(len(base))) < log_accept.numpy()
                kept.append(base[torch.from_numpy(through)])
        return torch.cat(kept)[:count]

    def push(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return draws and their log density."""
        values, density = self.flow.push(base)
        return values, density + self.screen.log_accept(values) - float(np.log(self.share))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of values."""
        accept = self.screen.log_accept(value) - float(np.log(self.share))
        return self.flow.log_prob(value) + accept


def screened(flow: Flow, screen: Screen | None, rng: np.random.Generator) -> Flow:
    """Return the flow behind a screen, or alone where there is none, or it lets nothing through."""
    if screen is None:
        return flow
    found = ScreenedFlow(flow, screen, rng)
    return found if found.share >= _LEAST_SHARE else flow


def fit_screen(
    screen: Screen, values: Floats, failed: NDArray[np.bool_], rng: np.random.Generator
) -> bool:
    """Fit a fresh screen to simulations, and say whether there were enough of either kind.

    Weights are those that told best which of the rows kept back had failed.

    Parameters
    ----------
    screen : Screen
        Its weights are written to.
    values : numpy.ndarray
        Shape (row, parameter).
    failed : numpy.ndarray
        Shape (row,).
    rng : numpy.random.Generator
        For batches.
    """
    back = np.arange(len(values)) % _KEPT_BACK == 0
    if min(failed.sum(), (~failed).sum()) < _LEAST_ROWS:
        return False
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
    return True
