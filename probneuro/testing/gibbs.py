"""Conformance of a model's Gibbs conditionals with its own Pyro program."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.poutine.subsample_messenger import _Subsample

from probneuro.core.columns import HasColumns
from probneuro.core.engine import Arrays
from probneuro.core.gibbs import (
    Conditionals,
    GibbsTarget,
    HasGibbs,
    SmoothConditional,
    SwitchedChain,
)
from probneuro.core.lattice import interpolate
from probneuro.core.model import Model
from probneuro.core.switched_scalars import HasSwitchedScalars
from probneuro.models.stdp_glm import STDPGLM
from probneuro.models.stdp_glm.conditionals import STDPGLMTarget

Floats = NDArray[np.float64]

_RELATIVE = 1e-10
# Window tables are good to 1e-3 nats a window.
_TABLE = 1e-3
_SHARE = 1e-5


def check_gibbs_target(
    model: Model,
    data: Any,
    *,
    seed: int = 0,
    sites: Callable[[Any, Arrays], dict[str, torch.Tensor]] | None = None,
) -> None:
    """Raise unless a model's conditionals agree with each other and with its program.

    At a random point: the log density equals the Pyro trace's; gradients equal finite
    differences; what switching or moving a trajectory changes in the log density is what its
    conditional says, one at a time and together; new parameters change it by their prior and the
    trajectories' laws;
    likelihoods stay below their bounds; and making conditionals leaves the point as it was.

    Parameters
    ----------
    model : Model
        A model with Gibbs conditionals.
    data : object
        What its program takes; small.
    seed : int
        Seed of the random point.
    sites : callable, optional
        Target and values to the program's sites, in float64; needed for models other than
        the STDP-GLM.

    Raises
    ------
    AssertionError
        Saying which of these does not hold, and by how much.

    Examples
    --------
    >>> from probneuro.data import BinnedSpikes
    >>> counts = np.random.default_rng(0).poisson(0.05, (400, 2))
    >>> check_gibbs_target(STDPGLM(), BinnedSpikes(counts, bins_per_window=100))
    """
    if not isinstance(model, HasGibbs):
        raise AssertionError(f"{type(model).__name__} is no HasGibbs; implement `gibbs`.")
    rng = np.random.default_rng(seed)
    target = model.gibbs(data)
    point = random_point(target, rng)
    to_sites = sites or (stdp_glm_sites if isinstance(model, STDPGLM) else None)
    if to_sites is None:
        raise AssertionError("Pass `sites`, which turns values into the program's sites.")
    program = trace_log_density(model, data, to_sites(target, point.values))
    _close("log density and the program's", point.log_density(), program, _RELATIVE)
    _check_smooth(target, point)
    _check_scalars(target, point, rng)
    if target.coupled:
        _check_columns(target, point, rng)
        return
    for group, members in enumerate(target.groups):
        _check_parameters(target, point, group, rng)
        for index in members:
            _check_chain(target, point, group, index, rng)
        _check_trajectories(target, point, group, rng)


def random_point(target: GibbsTarget, rng: np.random.Generator) -> Conditionals:
    """Return conditionals at a point whose trajectories and switches come from their prior.

    Parameters
    ----------
    target : GibbsTarget
        A model bound to data.
    rng : numpy.random.Generator
        Source of randomness.
    """
    point = target.at(target.start(rng))
    for block in range(len(target.smooth_sizes)):
        if isinstance(point, HasSwitchedScalars) and (own := point.switched_scalar(block)):
            point.set_scalar(block, bool(rng.random() < 0.5), float(own.prior.sample(rng, 1)[0]))
    if target.coupled:
        for block in range(len(target.smooth_sizes)):
            _random_column(point, block, rng)
        return target.at(point.values)
    for group, members in enumerate(target.groups):
        parameters = group_parameters(target, point, group)
        for index in members:
            chain = point.chain(index)
            windows = chain.observation.num_windows
            path = point.law(index, parameters).sample(windows, rng)
            on = bool(np.isposinf(chain.log_prior_odds) or rng.random() < 0.5)
            point.set_chain(index, chain, on, path)
    return target.at(point.values)


def group_parameters(target: GibbsTarget, point: Conditionals, group: int) -> dict[str, float]:
    """Return a group's parameters at a point."""
    return {name: float(point.values[name][group]) for name in target.parameter_priors()}


def trace_log_density(model: Model, data: Any, sites: dict[str, torch.Tensor]) -> float:
    """Return the log density of a program with its latent sites held.

    Parameters
    ----------
    model : Model
        The model.
    data : object
        What its program takes.
    sites : dict of str to Tensor
        A value for every latent site.

    Raises
    ------
    AssertionError
        If a latent site has no value.
    """
    with torch.no_grad():
        trace = pyro.poutine.trace(pyro.condition(model.model, sites)).get_trace(data)
    free = sorted(
        name
        for name in trace.stochastic_nodes
        if name not in sites and not isinstance(trace.nodes[name]["fn"], _Subsample)
    )
    if free:
        raise AssertionError(f"The sites {free} of the program were given no value.")
    return float(trace.log_prob_sum())


def stdp_glm_sites(target: STDPGLMTarget, values: Arrays) -> dict[str, torch.Tensor]:
    """Return the sites of the STDP-GLM's program at a point of its Gibbs target."""
    model = target.model
    sites = {
        name: torch.from_numpy(values[name].astype(np.float64))
        for name in ("bias", "self_weight", "edge", *target.priors)
    }
    if "self_edge" in values:
        sites["self_edge"] = torch.from_numpy(values["self_edge"].astype(np.float64))
    if bool(np.isposinf(target.log_odds).all()):
        del sites["edge"]
    for name in ("self_log_gamma", "log_gamma"):
        site = "self_impulse_gamma" if name == "self_log_gamma" else "impulse_gamma"
        sites[site] = torch.from_numpy(np.exp(values[name]))
    if model.rule.plastic:
        sites["weight"] = torch.from_numpy(values["weight"])
    else:
        sites["weight_level"] = torch.from_numpy(values["weight"][:, 0].copy())
    if values["stimulus_filter"].shape[1]:
        shape = (len(target.data.units), -1, model.basis.num_bumps)
        sites["stimulus_filter"] = torch.from_numpy(values["stimulus_filter"]).reshape(shape)
    return sites


def _close(what: str, got: float, expected: float, relative: float, absolute: float = 0.0) -> None:
    if not abs(got - expected) <= relative * abs(expected) + absolute:
        raise AssertionError(f"The {what} differ: {got!r} and {expected!r}.")


def _check_smooth(target: GibbsTarget, point: Conditionals) -> None:
    before = {name: value.copy() for name, value in point.values.items()}
    for block in range(len(target.smooth_sizes)):
        conditional = point.smooth(block)
        position = point.smooth_position(block)
        if position.size != target.smooth_sizes[block]:
            raise AssertionError(
                f"Block {block} has {position.size} numbers; smooth_sizes says "
                f"{target.smooth_sizes[block]}."
            )
        _, gradient = conditional.value_and_gradient(position)
        numeric = np.empty_like(position)
        for i in range(position.size):
            numeric[i] = _slope(conditional, position, i)
        error = np.abs(numeric - gradient) / (1.0 + np.abs(gradient).max())
        if not error.max() < 1e-5:
            i = int(np.argmax(error))
            raise AssertionError(
                f"Block {block}: entry {i} of the gradient is {gradient[i]:.8g}; finite "
                f"differences give {numeric[i]:.8g}."
            )
    for name, value in before.items():
        if not np.array_equal(value, point.values[name]):
            raise AssertionError(f"Evaluating a smooth conditional changed `{name}`.")


def _slope(conditional: SmoothConditional, position: Floats, index: int) -> float:
    """Return a central difference, of fourth order."""
    step = 1e-3 * (1e-2 + abs(position[index]))

    def at(distance: float) -> float:
        moved = position.copy()
        moved[index] += distance
        return conditional.value_and_gradient(moved)[0]

    near, far = at(step) - at(-step), at(2 * step) - at(-2 * step)
    return (8.0 * near - far) / (12.0 * step)


def _check_parameters(
    target: GibbsTarget, point: Conditionals, group: int, rng: np.random.Generator
) -> None:
    priors = target.parameter_priors()
    if not priors:
        return
    old = group_parameters(target, point, group)
    new = {name: value * float(rng.uniform(1.0, 1.2)) for name, value in old.items()}
    moved = target.at(point.values)
    moved.set_parameters(group, new)
    expected = sum(
        float(prior.log_density(new[name]) - prior.log_density(old[name]))
        for name, prior in priors.items()
    )
    for index in target.groups[group]:
        path = point.values["weight"][index]
        expected += point.law(index, new).log_density(path)
        expected -= point.law(index, old).log_density(path)
    change = moved.log_density() - point.log_density()
    _close(
        f"change with the parameters of group {group}, and laws and priors,", change, expected,
        1e-8, 1e-9 * abs(point.log_density()),
    )  # fmt: skip


def _check_chain(
    target: GibbsTarget, point: Conditionals, group: int, index: int, rng: np.random.Generator
) -> None:
    chain = point.chain(index)
    law = point.law(index, group_parameters(target, point, group))
    windows = chain.observation.num_windows
    paths = [law.sample(windows, rng) for _ in range(2)]
    totals, slack = [], 0.0
    for path in paths:
        totals.append(_chain_total(chain, path))
        # Where hundreds of spikes are expected, tables are exact in relative terms.
        slack += _TABLE * windows + _SHARE * abs(totals[-1])
        moved = target.at(point.values)
        moved.set_chain(index, moved.chain(index), True, path)
        on = moved.log_density()
        prior = law.log_density(path)
        totals[-1] += prior - on
        if math.isfinite(chain.log_prior_odds):
            moved.set_chain(index, moved.chain(index), False, path)
            expected = _chain_total(chain, path) + chain.log_prior_odds
            expected -= chain.null_log_likelihood
            _close(
                f"change with switch {index}, and its conditional,",
                on - moved.log_density(), expected, _SHARE, _TABLE * windows,
            )  # fmt: skip
    _close(
        f"change with trajectory {index}, and its conditional,", totals[0], totals[1], 1e-9,
        slack,
    )  # fmt: skip


def _check_scalars(target: GibbsTarget, point: Conditionals, rng: np.random.Generator) -> None:
    """Compare what switches and scalars change in the log density with what they say."""
    for block in range(len(target.smooth_sizes)):
        own = point.switched_scalar(block) if isinstance(point, HasSwitchedScalars) else None
        if own is None:
            continue
        gaps = []
        for on in (True, True, False):
            moved, value = target.at(point.values), float(own.prior.sample(rng, 1)[0])
            if isinstance(moved, HasSwitchedScalars):
                moved.set_scalar(block, on, value)
            expected = float(own.prior.log_density(value)) + own.log_prior_odds * on
            expected += own.likelihood(value if on else 0.0)
            gaps.append(expected - moved.log_density())
        for gap in gaps[1:]:
            _close(
                f"change with the scalar of block {block}, and its conditional,", gap, gaps[0],
                1e-9, 1e-9 * abs(point.log_density()),
            )  # fmt: skip


def _columns(point: Conditionals) -> HasColumns:
    if not isinstance(point, HasColumns):
        raise AssertionError(f"{type(point).__name__} of a coupled target is no HasColumns.")
    return point


def _random_column(
    point: Conditionals, block: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], Floats]:
    """Move a block's switches and trajectories to a draw of the prior; return those on."""
    columns = _columns(point)
    certain = np.isposinf(columns.switch_log_odds(block))
    on = certain | (rng.random(certain.size) < 0.5)
    paths = columns.column_law(block, on).sample(rng)
    columns.set_column(block, on, paths, rng)
    return on, paths


def _check_columns(target: GibbsTarget, point: Conditionals, rng: np.random.Generator) -> None:
    for block in range(len(target.smooth_sizes)):
        gaps = []
        for _ in range(3):
            moved = target.at(point.values)
            on, paths = _random_column(moved, block, rng)
            columns = _columns(moved)
            odds = columns.switch_log_odds(block)
            total = float(odds[on & np.isfinite(odds)].sum()) + columns.absent_log_density(block)
            total += columns.column_observation(block, on).along(paths)
            total += columns.column_law(block, on).log_density(paths)
            gaps.append(total - moved.log_density())
        for gap in gaps[1:]:
            _close(
                f"change with the trajectories of block {block}, and their conditional,", gap,
                gaps[0], 1e-9, 1e-9 * abs(point.log_density()),
            )  # fmt: skip
    for group in range(len(target.groups)):
        _check_column_parameters(target, point, group, rng)


def _check_column_parameters(
    target: GibbsTarget, point: Conditionals, group: int, rng: np.random.Generator
) -> None:
    priors, old = target.parameter_priors(), group_parameters(target, point, group)
    new = {name: value * float(rng.uniform(1.0, 1.2)) for name, value in old.items()}
    moved = target.at(point.values)
    moved.set_parameters(group, new)
    expected = sum(
        float(prior.log_density(new[name]) - prior.log_density(old[name]))
        for name, prior in priors.items()
    )
    for block in sorted({target.block_of_chain[s] for s in target.groups[group]}):
        members = _columns(point).members(block)
        on = point.values["edge"][members] != 0
        paths = point.values["weight"][members[on]]
        for sign, parameters, at in ((1.0, new, moved), (-1.0, old, point)):
            law = _columns(point).column_law(block, on, group, parameters)
            expected += sign * (law.log_density(paths) + _columns(at).absent_log_density(block))
    _close(
        f"change with the parameters of group {group}, and laws and priors,",
        moved.log_density() - point.log_density(), expected, 1e-8,
        1e-9 * abs(point.log_density()),
    )  # fmt: skip


def _check_trajectories(
    target: GibbsTarget, point: Conditionals, group: int, rng: np.random.Generator
) -> None:
    """Compare the likelihood of many trajectories at once with the log density."""
    present = [s for s in target.groups[group] if point.values["edge"][s]]
    if not present:
        return
    laws = point.laws(present, group_parameters(target, point, group))
    old = point.values["weight"][present]
    new = old + 0.2 * (np.array([laws[s].sample(old.shape[1], rng) for s in present]) - old)
    likelihood, moved = point.trajectory_likelihood(present), target.at(point.values)
    expected = -point.log_density()
    for s, before, after in zip(present, old, new, strict=True):
        moved.set_chain(s, None, True, after)
        expected += laws[s].log_density(before) - laws[s].log_density(after)
    expected += moved.log_density()
    _close(
        f"change with all trajectories of group {group}, and their likelihood,",
        likelihood(new) - likelihood(old), expected, 1e-8, 1e-9 * abs(point.log_density()),
    )  # fmt: skip


def _chain_total(chain: SwitchedChain, path: Floats) -> float:
    """Return the likelihood along a path, each window's from a table made in pieces."""
    observation = chain.observation
    whole = np.array([observation.at(k, path[k : k + 1])[0] for k in range(path.size)])
    wide = 0.1 * (1e-3 + np.abs(path))
    table = observation.lattice(path - wide, path + wide)
    total = 0.0
    for k, state in enumerate(path):
        row = table.values[k, table.low[k] - table.origin : table.high[k] - table.origin]
        value = np.empty(1)
        interpolate(row, table.low[k], table.step, np.array([state]), value)
        _close("likelihoods from narrow and wide tables", value[0], whole[k], _SHARE, _TABLE)
        total += float(whole[k])
    return total
