"""Gradient steps on flows whose weights and moments live in a chain's state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import huber_loss

from probneuro.core.engine import Arrays, Engine
from probneuro.core.errors import InferenceError, SettingError
from probneuro.core.flow import Flow, flatten

Floats = NDArray[np.float64]

_LOWEST: Final = 1e3
_LOOKS: Final = 4
_CLEARLY_WORSE: Final = 0.3
"""Nats by which a fitted flow may be worse on rows kept back before the fit is undone."""
_LARGEST_SLOPE: Final = 20.0
"""Norm beyond which a gradient is shortened: one batch must not throw the flow away."""


def check_settings(engine: Engine, *, positive: Sequence[str], shares: Sequence[str] = ()) -> None:
    """Refuse settings that are not positive, or shares not strictly between 0 and 1.

    Raises
    ------
    SettingError
        Names the setting and its default.
    """
    for name in (*positive, *shares):
        value = getattr(engine, name)
        if not (value > 0 and (name in positive or value < 1)):
            what = "positive" if name in positive else "between 0 and 1"
            raise SettingError(
                f"`{name}` must be {what}; got {value!r}. "
                f"Its default is {getattr(type(engine), name)}."
            )


class Ascent:
    """Adam on a flow, its moments and running average taken from a chain's state.

    Parameters
    ----------
    flow : Flow
        Holds the weights that are moved.
    state : dict of numpy.ndarray
        With ``first``, ``second``, ``updates`` and ``average``.
    averaging : float
        Share of the past in the running average.
    """

    def __init__(self, flow: Flow, state: Arrays, averaging: float) -> None:
        self._flow, self._averaging = flow, averaging
        self._parameters: list[Tensor] = list(flow.parameters())
        self._first, self._second = (self._split(state[name]) for name in ("first", "second"))
        self._average = self._split(state["average"])
        self._updates = int(state["updates"])

    def _split(self, vector: Floats) -> list[Tensor]:
        parts, place = [], 0
        for value in self._parameters:
            part = torch.from_numpy(vector[place : place + value.numel()].copy())
            parts.append(part.reshape(value.shape).to(value.dtype))
            place += value.numel()
        return parts

    def step(self, loss: Tensor, rate: float) -> None:
        """Descend once (Kingma and Ba 2015, their defaults)."""
        slopes = torch.autograd.grad(loss, self._parameters)
        with torch.no_grad():
            size = float(torch.stack([slope.norm() for slope in slopes]).norm())
            if not np.isfinite(size):
                raise InferenceError("the flow's gradient is not finite. Lower `learning_rate`")
            shorter = min(1.0, _LARGEST_SLOPE / max(size, 1e-300))
            slopes = torch._foreach_mul(slopes, shorter)
            self._updates += 1
            torch._foreach_lerp_(self._first, slopes, 0.1)
            torch._foreach_mul_(self._second, 0.999)
            torch._foreach_addcmul_(self._second, slopes, slopes, 0.001)
            scale = torch._foreach_sqrt(self._second)
            torch._foreach_div_(scale, (1.0 - 0.999**self._updates) ** 0.5)
            torch._foreach_add_(scale, 1e-8)
            length = -rate / (1.0 - 0.9**self._updates)
            torch._foreach_addcdiv_(self._parameters, self._first, scale, length)
            keep = min(self._averaging, self._updates / (self._updates + 10.0))
            torch._foreach_lerp_(self._average, [p.data for p in self._parameters], 1.0 - keep)

    def state(self) -> Arrays:
        """Return what the next steps need, as flat arrays."""
        parts = {"first": self._first, "second": self._second, "average": self._average}
        flat = {
            name: np.asarray(torch.cat([part.reshape(-1).double() for part in tensors]).numpy())
            for name, tensors in parts.items()
        }
        return {**flat, "flow": flatten(self._flow), "updates": np.array(self._updates)}


def rate_at(settings: Any, progress: float) -> float:
    """Return the step size at a share of the whole fit."""
    start, end = settings.learning_rate, settings.final_learning_rate
    return float(start ** (1.0 - progress) * end**progress)


@dataclass(frozen=True)
class Rows:
    """Simulated rows to fit a flow to.

    Parameters
    ----------
    values : numpy.ndarray
        Parameters, shape (row, parameter).
    weights : numpy.ndarray
        Importance weights, shape (row,).
    log_target : numpy.ndarray
        Log density of the target, normalised, shape (row,); minus infinity where a simulation
        failed, NaN where it is not known yet.
    """

    values: Floats
    weights: Floats
    log_target: Floats

    def take(self, chosen: NDArray[Any]) -> "Rows":
        """Return some of the rows."""
        return Rows(self.values[chosen], self.weights[chosen], self.log_target[chosen])


def weighted_fit(
    flow: Flow,
    state: Arrays,
    rows: Rows,
    kept_back: Rows,
    settings: Any,
    progress: float,
    rng: np.random.Generator,
) -> tuple[Arrays, int]:
    r"""Move a flow towards weighted rows by gradient steps; return the new state and its steps.

    .. math::

        -\sum_i w_i \log q(z_i) + \frac{1}{n} \sum_{i \sim q} h(\log q(z_i) - \log p^*(z_i))

    The first term is maximum likelihood, on rows drawn by their weights, evenly spread. The
    second, once the target is known, is Huber's loss of the log ratio on rows as proposed: its
    gradient is that of the reverse divergence (Richter et al. 2020), it needs no gradient of
    the simulator, and it takes away what the first leaves between modes.

    A few times on the way the flow is scored on rows kept back; where it became clearly worse,
    it goes back to where it was best.
    """
    ascent = Ascent(flow, state, settings.averaging)
    best, best_scores, kept = state, _scores(flow, kept_back), 0
    if not rows.weights.sum() > 0:
        return state, 0
    rate = rate_at(settings, progress) * float(state["pace"])
    edges = np.cumsum(rows.weights) / rows.weights.sum()
    known = np.flatnonzero(~np.isnan(rows.log_target))
    for done in range(1, settings.steps + 1):
        ascent.step(_loss(flow, rows, edges, known, settings.batch, rng), rate)
        if done % max(settings.steps // _LOOKS, 1) and done < settings.steps:
            continue
        scores = _scores(flow, kept_back)
        if _clearly_worse(scores - best_scores, kept_back.weights):
            break
        best, kept = ascent.state(), done
        if kept_back.weights @ (scores - best_scores) > 0:
            best_scores = scores
    return best, kept


def _loss(
    flow: Flow,
    rows: Rows,
    edges: Floats,
    known: NDArray[np.int64],
    batch: int,
    rng: np.random.Generator,
) -> Tensor:
    """Return both terms on one batch each."""
    places = (np.arange(batch) + rng.random()) / batch
    chosen = np.minimum(np.searchsorted(edges, places), len(edges) - 1)
    proposed = rng.choice(known, batch) if known.size else known
    both = torch.from_numpy(rows.values[np.concatenate([chosen, proposed])])
    density = flow.log_prob(both)
    loss = -density[:batch].mean()
    if known.size:
        target = torch.from_numpy(np.maximum(rows.log_target[proposed], -_LOWEST))
        ratio = density[batch:] - target
        loss = loss + huber_loss(ratio, torch.zeros_like(ratio))
    return loss


def _scores(flow: Flow, rows: Rows) -> Floats:
    """Return the log density of rows kept back, zero where they have no weight."""
    some = rows.weights > 0
    scores = np.zeros(len(rows.weights))
    if some.any():
        with torch.no_grad():
            scores[some] = flow.log_prob(torch.from_numpy(rows.values[some])).numpy()
    return scores


def _clearly_worse(change: Floats, weights: Floats) -> bool:
    """Whether a weighted mean of changes is below what counts, and below its own noise."""
    total = weights.sum()
    if not total > 0:
        return False
    share = weights / total
    mean = float(share @ change)
    error = float(np.sqrt(share**2 @ (change - mean) ** 2))
    return not mean >= -max(_CLEARLY_WORSE, 2.0 * error)
