"""Largest entropy under moment constraints by an augmented Lagrangian, as DSN and EPI do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import ttest_ind
from torch import Tensor

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.entropy import HasGradient
from probneuro.core.errors import CapabilityError, InferenceError
from probneuro.core.flow import Flow, fill, flatten
from probneuro.data.behaviour import Behaviour, as_behaviour
from probneuro.inference.entropy_result import Block, draw_block, entropy_result
from probneuro.inference.flow_training import Ascent, check_settings
from probneuro.inference.runner import run_as_asked

Floats = NDArray[np.float64]

_CLIP: Final = 1e10
"""Statistics are clipped here, as in both published codes."""


@dataclass(frozen=True, kw_only=True)
class AugmentedLagrangian(Engine):
    r"""The distribution of largest entropy by gradients through the simulator.

    .. math::

        \min_\theta \; -H(q_\theta) + \eta \cdot R + \tfrac c2 \|R\|^2, \qquad
        R = \mathrm E_{q_\theta} T - \mu

    The gradient of the penalty is unbiased: one half of the batch gives R, the other its
    slope, in one backward pass. After an epoch :math:`\eta \leftarrow \eta + c R`, and c grows
    where a test finds that :math:`\|R\|` did not shrink enough.

    Parameters
    ----------
    epochs, iterations : int
        Epochs, and gradient steps of each.
    batch : int
        Draws a step, even.
    learning_rate : float
        Adam's step size.
    penalty, growth : float
        First value of c, and the factor by which it grows.
    shrinkage : float
        Share of its former size that the norm of R has to fall below for c to stay.
    norms : int
        Batches whose norms the test compares.
    reset : bool
        Whether Adam forgets its moments at the end of an epoch, as the preprint says; EPI's
        published code keeps them.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: Bittner and Cunningham (2018) and Bittner et al. (2021). There the fit starts from
    a Gaussian fitted beforehand; here the flow begins as a bell on the box. Their stopping rule,
    a bootstrap that fails to reject, lets fits through that lost a mode: a result says
    ``converged`` only where entropy gap, weights and modes agree with it.

    Use `ImportanceDual` unless you want to see what this one does: it needs no gradients, and
    found both modes of the linear system on every seed tried.

    Examples
    --------
    >>> AugmentedLagrangian(epochs=2, iterations=100).growth
    4.0
    """

    epochs: int = 10
    iterations: int = 1000
    batch: int = 500
    learning_rate: float = 1e-3
    penalty: float = 1.0
    growth: float = 4.0
    shrinkage: float = 0.25
    norms: int = 100
    reset: bool = False

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=(
                *("epochs", "iterations", "batch", "learning_rate", "penalty", "growth"),
                *("shrinkage", "norms"),
            ),
        )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Fit every restart and return draws from the fitted flows."""
        behaviour = as_behaviour(*args)
        if not isinstance(model, HasGradient):
            raise CapabilityError(
                f"AugmentedLagrangian needs a model with a differentiable simulator; "
                f"{type(model).__name__} has none. Use ImportanceDual(), which needs none."
            )
        middle = torch.from_numpy(0.5 * (behaviour.lower + behaviour.upper))
        model.differentiate(behaviour, middle[None, :] / (len(middle) if behaviour.simplex else 1))
        chains = run_as_asked(
            LagrangianKernel(model, behaviour, self, options.draws),
            options,
            warmup=self.epochs,
            label=self.name,
            keep_warmup=True,
        )
        return entropy_result(chains, model, behaviour, options)


class LagrangianKernel(Kernel):
    """One restart: its warm-up steps are epochs, its draws come from the fitted flow.

    Parameters
    ----------
    model : HasGradient
        Simulator and flow.
    behaviour : Behaviour
        What is asked for.
    settings : AugmentedLagrangian
        The engine's settings.
    draws : int
        Number of draws, which are made at once.
    """

    def __init__(
        self, model: HasGradient, behaviour: Behaviour, settings: AugmentedLagrangian, draws: int
    ) -> None:
        self._model, self._behaviour = model, behaviour
        self._settings, self._draws = settings, draws
        self._targets = torch.from_numpy(behaviour.targets)

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a fresh flow, no multipliers, and the first penalty."""
        flow = flatten(self._model.coupling(self._behaviour, rng))
        return {
            "flow": flow,
            "average": flow.copy(),
            "first": np.zeros_like(flow),
            "second": np.zeros_like(flow),
            "updates": np.array(0),
            "penalty": np.array(self._settings.penalty),
            "multipliers": np.zeros(len(self._behaviour.targets)),
            "norms": np.full(self._settings.norms, np.nan),
        }

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Make an epoch while fitting, and hand out draws of the flow afterwards."""
        if warmup:
            return self._epoch(state, rng)
        if "block.values" not in state:
            flow = self._built(state["flow"])
            block = draw_block(self._model, self._behaviour, flow, rng, self._draws)
            state = {"flow": state["flow"], "next": np.array(-1), **block.arrays()}
        fresh = {**state, "next": state["next"] + 1}
        return fresh, Block.stats(fresh)

    def draw(self, state: Arrays) -> Arrays:
        """Return one draw with its features; nothing while fitting."""
        return Block.row(state)

    def _built(self, vector: Floats) -> Flow:
        flow = self._model.coupling(self._behaviour, np.random.default_rng(0))
        fill(flow, vector)
        return flow

    def _epoch(self, state: Arrays, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        settings = self._settings
        flow = self._built(state["flow"])
        ascent = Ascent(flow, state, averaging=0.0)
        penalty, multipliers = float(state["penalty"]), torch.from_numpy(state["multipliers"])
        for _ in range(settings.iterations):
            density, statistics = self._draw(flow, rng)
            loss = density.mean() + self._price(statistics, multipliers, penalty)
            ascent.step(loss, settings.learning_rate)
        fresh = {**state, **ascent.state()}
        with torch.no_grad():
            density, statistics = self._draw(flow, rng)
            miss = (statistics.mean(dim=0) - self._targets).numpy()
            norms = np.array([self._norm(flow, rng) for _ in range(settings.norms)])
        fresh["multipliers"] = state["multipliers"] + penalty * miss
        fresh["penalty"] = np.array(penalty * self._growth(state["norms"], norms, rng))
        fresh["norms"] = norms
        if settings.reset:
            fresh |= {name: np.zeros_like(fresh[name]) for name in ("first", "second", "updates")}
        record = {
            "entropy": np.array(-float(density.mean())),
            "norm": np.array(norms.mean()),
            "penalty": np.array(penalty),
            "multipliers": fresh["multipliers"],
        }
        return fresh, record

    def _draw(self, flow: Flow, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return the log density and the statistics of a batch, those that failed left out."""
        values, density = flow.push(flow.base(rng, self._settings.batch))
        features = self._model.differentiate(self._behaviour, values)
        statistics = self._behaviour.statistics(features).clamp(-_CLIP, _CLIP)
        good = torch.isfinite(statistics).all(dim=1)
        if not bool(good.any()):
            raise InferenceError(
                "no simulation gave finite statistics. Look at the simulator, or narrow the bounds"
            )
        return density[good], statistics[good]

    def _price(self, statistics: Tensor, multipliers: Tensor, penalty: float) -> Tensor:
        """Return what missing the targets costs, its gradient unbiased."""
        half = len(statistics) // 2
        one = statistics[:half].mean(dim=0) - self._targets
        two = statistics[half:].mean(dim=0) - self._targets
        linear = multipliers @ (statistics.mean(dim=0) - self._targets)
        return linear + 0.5 * penalty * (two.detach() @ one + one.detach() @ two)

    def _norm(self, flow: Flow, rng: np.random.Generator) -> float:
        _, statistics = self._draw(flow, rng)
        return float((statistics.mean(dim=0) - self._targets).norm())

    def _growth(self, before: Floats, now: Floats, rng: np.random.Generator) -> float:
        """Return the factor on the penalty: more than one where the norm did not shrink."""
        if not np.isfinite(before).all():
            return 1.0
        test = ttest_ind(now, self._settings.shrinkage * before, equal_var=False)
        grows = test.statistic > 0 and rng.random() < 1.0 - test.pvalue / 2.0
        return self._settings.growth if grows else 1.0
