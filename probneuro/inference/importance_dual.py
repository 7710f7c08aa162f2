"""Largest entropy under moment constraints by adaptive importance sampling and a convex dual."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.entropy import HasSimulator
from probneuro.core.errors import CapabilityError, InferenceError
from probneuro.core.flow import Flow, fill, flatten
from probneuro.core.pareto import smooth_weights
from probneuro.core.tilting import Tilt, tilt, tilted
from probneuro.data.behaviour import Behaviour, as_behaviour
from probneuro.inference.entropy_result import Block, draw_block, entropy_result, uniform_draws
from probneuro.inference.flow_training import Rows, check_settings, weighted_fit
from probneuro.inference.proposals import add, empty
from probneuro.inference.runner import run_as_asked
from probneuro.inference.screen import Screen, ScreenedFlow, fit_screen, screened

Floats = NDArray[np.float64]

_RELAXATIONS: Final = 10
_LEAST_ROWS: Final = 20
"""Of the last round, for their means to count."""
_FITTED: Final = ("flow", "average", "first", "second", "updates")
_MANY_FAIL: Final = 0.2
"""Share of failed simulations from which the flow is driven off them before the target is met."""
_KEPT_BACK: Final = 5
"""One row in so many is kept back from the fit."""


@dataclass(frozen=True, kw_only=True)
class ImportanceDual(Engine):
    r"""The distribution of largest entropy whose simulations meet a behaviour, without gradients.

    .. math::

        p^*(z) \propto e^{-\eta^* \cdot T(z)}, \qquad
        \eta^* = \arg\min_\eta \log \int e^{-\eta \cdot T(z)} \mathrm dz + \eta \cdot \mu

    A round draws from a mixture of the flow and the uniform density, simulates, finds the
    multipliers from the convex dual on the weighted draws of the last rounds, and moves the
    flow towards the weighted draws by maximum likelihood. The simulator is a black box. Where
    simulations fail, a classifier learns to tell which will, and screens the flow's draws.

    Parameters
    ----------
    rounds : int
        Rounds of simulating and fitting.
    simulations, first_simulations : int
        Simulations a round, and in the first one, which is uniform: more where few succeed.
    steps, batch : int
        Gradient steps of a round's fit, and rows a step.
    learning_rate, final_learning_rate : float
        Adam's step size at the start and at the end, reached exponentially.
    uniform_share : float
        Share of draws from the uniform density, so that no region goes unseen.
    buffer : int
        Rounds whose simulations are kept.
    least_effective_share : float
        The means asked for in a round go from those of the flow's draws only so far towards the
        target's that the effective sample size is this share of the simulations that did not
        fail.
    averaging : float
        Share of the past in the running average of the flow's weights, which is what draws.
    tolerated_failures : float
        Share of the result's draws whose simulation may fail, as far as the screen can tell
        from the simulations before. Less of it costs entropy at the edges.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source of the problem: Bittner and Cunningham (2018), Eq. 1; their algorithm is
    `AugmentedLagrangian`. Rows of all rounds are weighted as draws from the mixture of their
    proposals (Cornuet et al. 2012), and weights are Pareto-smoothed (Vehtari et al. 2024). A fit
    that makes the flow worse on rows kept back is undone, and the next takes shorter steps.

    For a stochastic simulator the weights are those of single simulations, or of the mean over
    the model's repeats: the statistic is what that mean is, and its noise is part of it.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.data.behaviour import Behaviour, as_behaviour
    >>> from probneuro.models.dsn import DSN
    >>> short = Behaviour({"x": (0.0, 10.0)}, means={"length": 1.0})
    >>> engine = ImportanceDual(rounds=5, simulations=500)
    >>> model = DSN(lambda z: {"length": z["x"]})
    >>> result = infer(model, short, engine=engine, draws=200, chains=1, seed=0, progress=False)
    >>> abs(result["max_entropy/dual_entropy"].item() - 1.0) < 0.1
    True
    """

    rounds: int = 60
    simulations: int = 2000
    first_simulations: int = 2000
    steps: int = 40
    batch: int = 500
    learning_rate: float = 4e-3
    final_learning_rate: float = 4e-4
    uniform_share: float = 0.1
    buffer: int = 6
    least_effective_share: float = 0.2
    averaging: float = 0.98
    tolerated_failures: float = 0.1

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=(
                *("rounds", "simulations", "first_simulations", "steps", "batch", "buffer"),
                *("learning_rate", "final_learning_rate"),
            ),
            shares=("uniform_share", "least_effective_share", "averaging", "tolerated_failures"),
        )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Fit every restart and return draws from the fitted flows."""
        if not isinstance(model, HasSimulator):
            raise CapabilityError(
                f"ImportanceDual needs a model with a simulator; {type(model).__name__} has none. "
                "Wrap your simulator: DSN(simulate)."
            )
        behaviour = as_behaviour(*args)
        kernel = DualKernel(model, behaviour, self, options.draws)
        chains = run_as_asked(
            kernel, options, warmup=self.rounds, label=self.name, keep_warmup=True
        )
        return entropy_result(chains, model, behaviour, options)


class DualKernel(Kernel):
    """One restart: its warm-up steps are rounds, its draws come from the averaged flow.

    Parameters
    ----------
    model : HasSimulator
        Simulator and flow.
    behaviour : Behaviour
        What is asked for.
    settings : ImportanceDual
        The engine's settings.
    draws : int
        Number of draws, which are made at once.
    """

    def __init__(
        self, model: HasSimulator, behaviour: Behaviour, settings: ImportanceDual, draws: int
    ) -> None:
        self._model, self._behaviour = model, behaviour
        self._settings, self._draws = settings, draws

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return a fresh flow, no multipliers, and an empty buffer."""
        flow = flatten(self._model.flow(self._behaviour, rng))
        settings, behaviour = self._settings, self._behaviour
        rows = max(settings.buffer * settings.simulations, settings.first_simulations)
        columns = -(-rows // settings.simulations) + 1
        buffer = empty(rows, columns, len(behaviour.parameters), len(behaviour.targets))
        screen = flatten(Screen(behaviour, np.random.default_rng(0)))
        return {
            "screen": np.full_like(screen, np.nan),
            "flow": flow,
            "average": flow.copy(),
            "first": np.zeros_like(flow),
            "second": np.zeros_like(flow),
            "updates": np.array(0),
            "pace": np.array(1.0),
            "round": np.array(0),
            "simulated": np.array(0),
            "multipliers": np.zeros(len(behaviour.targets)),
            "past_flow": np.zeros((columns, flow.size)),
            "past_screen": np.full((columns, screen.size), np.nan),
            "past_share": np.ones(columns),
            **buffer,
        }

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Make a round while fitting, and hand out draws of the averaged flow afterwards."""
        if warmup:
            return self._round(state, rng)
        if "block.values" not in state:
            flow = self._proposal(state, rng, self._settings.tolerated_failures)
            block = draw_block(self._model, self._behaviour, flow, rng, self._draws)
            state = {"average": state["average"], "next": np.array(-1), **block.arrays()}
        fresh = {**state, "next": state["next"] + 1}
        return fresh, Block.stats(fresh)

    def draw(self, state: Arrays) -> Arrays:
        """Return one draw with its features; nothing while fitting."""
        return Block.row(state)

    def _built(self, vector: Floats) -> Flow:
        flow = self._model.flow(self._behaviour, np.random.default_rng(0))
        fill(flow, vector)
        return flow

    def _proposal(self, state: Arrays, rng: np.random.Generator, tolerated: float = 1.0) -> Flow:
        """Return the averaged flow, behind the screen where there is one.

        While fitting, the screen stands at even odds: what is simulated at the edge of failing
        tells most about where it is.
        """
        screen = self._built_screen(state["screen"])
        return screened(self._built(state["average"]), screen, rng, tolerated)

    def _built_screen(self, vector: Floats) -> Screen | None:
        if not np.isfinite(vector).all():
            return None
        screen = Screen(self._behaviour, np.random.default_rng(0))
        fill(screen, vector)
        return screen

    def _past(self, state: Arrays, column: int) -> Flow:
        """Return the proposal of a round before, as it was."""
        flow = self._built(state["past_flow"][column])
        screen = self._built_screen(state["past_screen"][column])
        return ScreenedFlow(flow, screen, float(state["past_share"][column])) if screen else flow

    def _keep(self, state: Arrays, flow: Flow, new: Arrays) -> Arrays:
        """Return the state with a round's rows and its proposal."""
        column = int(state["round"]) % len(state["past_share"])
        alone = not isinstance(flow, ScreenedFlow)
        fresh = dict(state)
        for name, value in (
            ("past_flow", state["average"]),
            ("past_screen", np.nan if alone else state["screen"]),
            ("past_share", 1.0 if alone else flow.share),
        ):
            fresh[name] = state[name].copy()
            fresh[name][column] = value
        share, volume = self._settings.uniform_share, self._behaviour.log_volume
        at = lambda each: flow if each == column else self._past(fresh, each)  # noqa: E731
        return fresh | add(state, new, column, at, share, volume)

    def _screen(self, fresh: Arrays, rng: np.random.Generator) -> Floats:
        """Return the weights of a screen fitted to the rows kept, NaN where too few failed."""
        seen = np.isfinite(fresh["log_proposal"])
        failed = np.asarray(~np.isfinite(fresh["statistics"][seen]).all(axis=1))
        screen = fit_screen(self._behaviour, fresh["values"][seen], failed, rng)
        return flatten(screen) if screen else np.full_like(fresh["screen"], np.nan)

    def _round(self, state: Arrays, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        behaviour, flow = self._behaviour, self._proposal(state, rng)
        values, drawn, entropy = self._propose(state, flow, rng)
        features = self._model.simulate(behaviour, values, rng)
        statistics = behaviour.statistics(features)
        failed = int((~np.isfinite(statistics).all(axis=1)).sum())
        new = {"values": values, "statistics": statistics, "drawn": drawn}
        fresh = self._keep(state, flow, new)
        found, share = self._weigh(fresh)
        log_weights, k = smooth_weights(found.log_weights[np.isfinite(fresh["log_proposal"])])
        steps = self._fit(fresh, log_weights, found, rng)
        fresh["screen"] = self._screen(fresh, rng)
        fresh["multipliers"] = found.multipliers
        fresh["round"] = state["round"] + 1
        fresh["simulated"] = state["simulated"] + len(values)
        record = {
            "entropy": np.array(entropy),
            "dual_entropy": np.array(found.entropy if share == 1.0 else np.nan),
            "target_share": np.array(share),
            "effective_share": np.array(_effective(found)),
            "pareto_k": np.array(k),
            "failed_share": np.array(failed / len(values)),
            "steps": np.array(steps),
            "simulated": fresh["simulated"],
            "multipliers": found.multipliers,
        }
        return fresh, record

    def _propose(
        self, state: Arrays, flow: Flow, rng: np.random.Generator
    ) -> tuple[Floats, NDArray[np.bool_], float]:
        """Return draws from flow and uniform density, which are from the flow, and its entropy."""
        settings = self._settings
        total = settings.simulations if int(state["round"]) else settings.first_simulations
        count = round(settings.uniform_share * total)
        with torch.no_grad():
            drawn, density = flow.push(flow.base(rng, total - count))
        if not np.isfinite(density.numpy()).all():
            raise InferenceError("the flow's density is not finite. Lower `learning_rate`")
        wide = uniform_draws(self._behaviour, rng, count)
        values = np.concatenate([drawn.numpy(), wide])
        return values, np.arange(total) < len(drawn), float(-density.mean())

    def _weigh(self, fresh: Arrays) -> tuple[Tilt, float]:
        """Return the tilt to the target, or as far towards it as enough rows have weight.

        On the way the means asked for lie between those of the flow's draws and the target's:
        multipliers of a target that few rows can meet are huge, and a share of them as useless.
        """
        least, targets = self._settings.least_effective_share, self._behaviour.targets
        rows, before = fresh["statistics"], fresh["multipliers"]
        base = -fresh["log_proposal"] - np.log(np.isfinite(fresh["log_proposal"]).sum())
        goal = tilt(base, rows, targets, start=before)
        if goal.met and _effective(goal) >= least:
            return goal, 1.0
        centre = self._centre(fresh)
        low, high, found = 0.0, 1.0, goal
        for turn in range(_RELAXATIONS):
            middle = 0.5 * (low + high)
            tried = tilt(base, rows, centre + middle * (targets - centre), start=before)
            fits = tried.met and _effective(tried) >= least
            if fits or (low == 0.0 and turn == _RELAXATIONS - 1):
                low, found = middle, tried
            else:
                high = middle
        return tilted(base, rows, targets, found.multipliers), low

    def _centre(self, fresh: Arrays) -> Floats:
        """Return the means of the flow's own draws of the last round."""
        rows = fresh["statistics"]
        good = np.isfinite(rows).all(axis=1)
        last = good & fresh["drawn"] & (fresh["origin"] == fresh["origin"][0])
        return np.asarray(rows[last if last.sum() >= _LEAST_ROWS else good].mean(axis=0))

    def _fit(self, fresh: Arrays, log_weights: Floats, found: Tilt, rng: Any) -> int:
        """Move the flow towards the weighted rows; return the steps that were kept."""
        seen = np.isfinite(fresh["log_proposal"])
        rows = Rows(
            fresh["values"][seen], np.exp(log_weights), self._log_target(fresh, found)[seen]
        )
        back = np.arange(seen.sum()) % _KEPT_BACK == 0
        progress = int(fresh["round"]) / max(self._settings.rounds - 1, 1)
        flow = self._built(fresh["flow"])
        fitted, steps = weighted_fit(
            flow, fresh, rows.take(~back), rows.take(back), self._settings, progress, rng
        )
        if steps:
            fresh |= {name: fitted[name] for name in _FITTED}
        slower = steps < self._settings.steps
        fresh["pace"] = np.array(min(1.0, float(fresh["pace"]) * (0.5 if slower else 1.2)))
        return steps

    def _log_target(self, fresh: Arrays, found: Tilt) -> Floats:
        """Return the target's log density at rows drawn from the flow, NaN elsewhere."""
        statistics = fresh["statistics"]
        unknown = np.full(len(statistics), np.nan)
        away = statistics - self._behaviour.targets
        failed = np.asarray(~np.isfinite(away).all(axis=1))
        if not found.met and failed[fresh["drawn"]].mean() < _MANY_FAIL:
            return unknown
        target = -np.nan_to_num(away, posinf=0.0, neginf=0.0) @ found.multipliers - found.entropy
        target = np.where(failed, -np.inf, target)
        return np.where(fresh["drawn"], target, unknown)


def _effective(found: Tilt) -> float:
    """Return the effective sample size as a share of the rows that did not fail."""
    return float(np.exp(-logsumexp(2.0 * found.log_weights)) / np.isfinite(found.log_weights).sum())
