"""Conformance of a learning rule: what every sampler and the Pyro program rely on."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from probneuro.components.links import Link, Softplus
from probneuro.data import BinnedSpikes
from probneuro.learning_rules import BoundedRule, LearningRule, SpikePairs, UnboundedRule
from probneuro.learning_rules.rule import WEIGHT_MAX, WEIGHT_NOISE
from probneuro.models.stdp_glm import STDPGLM, Candidates, PerSynapse, Shared
from probneuro.testing.gibbs import check_gibbs_target

Floats = NDArray[np.float64]
_BINS, _WINDOWS = 60, 5
# Synapses of `_pairs` by the neuron that they end on.
_COLUMNS = [[0], [1, 2]]


def check_learning_rule(rule: LearningRule, *, link: Link | None = None, seed: int = 0) -> None:
    """Raise unless a learning rule keeps every promise that the package relies on.

    Its priors are proper and in their range; its drift is causal, acts window by window and,
    unless it says ``coupled``, synapse by synapse; it is the same for arrays and tensors, has
    gradients, and is affine if it says so; and the STDP-GLM with it passes
    :func:`check_gibbs_target`, shared and per synapse.

    Parameters
    ----------
    rule : LearningRule
        The rule.
    link : Link, optional
        Link of the model it is tried in; softplus of 1 Hz by default.
    seed : int
        Seed of the random spikes and parameters.

    Raises
    ------
    AssertionError
        Saying which promise is broken.

    Examples
    --------
    >>> from probneuro.learning_rules import Additive
    >>> check_learning_rule(Additive())
    """
    rng = np.random.default_rng(seed)
    link = link or Softplus()
    _check_priors(rule, link.weight_scale, rng)
    counts = rng.poisson(0.1, (_BINS * _WINDOWS, 3))
    pairs = _pairs(counts)
    parameters = {
        name: prior.sample(rng, len(pairs))[:, None]
        for name, prior in rule.priors(link.weight_scale).items()
    }
    weight = _weights(rule, parameters, link.weight_scale, rng)
    drift = _drift(rule, weight, pairs, parameters)
    _check_causal(rule, weight, counts, parameters, drift)
    _check_windows(rule, weight, pairs, parameters, drift)
    _check_tensors(rule, weight, pairs, parameters, drift)
    _check_absent(rule, weight, pairs, parameters)
    if rule.affine:
        _check_affine(rule, weight, pairs, parameters, drift, rng)
    data = BinnedSpikes(counts, bins_per_window=_BINS)
    network = Candidates((("0", "1"), ("0", "2"), ("1", "2")))
    for sharing in (Shared(), PerSynapse()):
        model = STDPGLM(rule=rule, link=link, sharing=sharing, network=network)
        check_gibbs_target(model, data, seed=seed)


def _fail(rule: LearningRule, message: str) -> None:
    raise AssertionError(f"Rule '{rule.name}': {message}")


def _pairs(counts: NDArray[Any]) -> SpikePairs:
    return SpikePairs(counts, np.array([0, 0, 1]), np.array([1, 2, 2]), 1e-3, _BINS)


def _weights(
    rule: LearningRule, parameters: dict[str, Floats], scale: float, rng: np.random.Generator
) -> Floats:
    shape = (3, _WINDOWS)
    if rule.weight_min is None:
        return scale * rng.standard_normal(shape)
    span = parameters[WEIGHT_MAX] - rule.weight_min
    weights: Floats = rule.weight_min + span * rng.random(shape)
    return weights


def _drift(
    rule: LearningRule, weight: Floats, pairs: SpikePairs, parameters: dict[str, Floats]
) -> Floats:
    drift = np.asarray(rule.drift(weight, pairs, parameters), dtype=np.float64)
    try:
        drift = np.broadcast_to(drift, weight.shape)
    except ValueError:
        _fail(rule, f"drift of shape {drift.shape} does not fit weights of {weight.shape}.")
    if not np.all(np.isfinite(drift)):
        _fail(rule, "drift is not finite at parameters drawn from its own priors.")
    return drift


def _check_priors(rule: LearningRule, scale: float, rng: np.random.Generator) -> None:
    if not rule.name.isidentifier():
        _fail(rule, "the name must be one word of letters, digits and underscores.")
    priors = rule.priors(scale)
    needed = {WEIGHT_NOISE} if isinstance(rule, UnboundedRule | BoundedRule) else set()
    if isinstance(rule, BoundedRule):
        needed.add(WEIGHT_MAX)
    if not needed <= set(priors):
        _fail(rule, f"priors lack {sorted(needed - set(priors))}; keep those of the base class.")
    for name, prior in priors.items():
        draws = prior.sample(rng, 200)
        if prior.positive and not np.all(draws > 0):
            _fail(rule, f"the prior of `{name}` says positive and draws {draws.min():.3g}.")
        expected = prior.distribution().log_prob(torch.from_numpy(draws)).numpy()
        if not np.allclose(prior.log_density(draws), expected, rtol=1e-9, atol=1e-9):
            _fail(rule, f"the prior of `{name}` has another density than its distribution.")


def _check_causal(
    rule: LearningRule, weight: Floats, counts: NDArray[Any], parameters: dict[str, Floats],
    drift: Floats,
) -> None:  # fmt: skip
    for k in range(1, _WINDOWS):
        later = counts.copy()
        later[k * _BINS :] = 1 - np.minimum(later[k * _BINS :], 1)
        changed = _drift(rule, weight, _pairs(later), parameters)
        if not np.allclose(changed[:, :k], drift[:, :k], rtol=1e-9, atol=1e-12):
            _fail(rule, f"the drift before window {k} depends on spikes after its start.")


def _check_windows(
    rule: LearningRule, weight: Floats, pairs: SpikePairs, parameters: dict[str, Floats],
    drift: Floats,
) -> None:  # fmt: skip
    for k in range(_WINDOWS):
        alone = np.repeat(weight[:, k : k + 1], _WINDOWS, axis=1)
        changed = _drift(rule, alone, pairs, parameters)
        if not np.allclose(changed[:, k], drift[:, k], rtol=1e-9, atol=1e-12):
            _fail(rule, f"the drift of window {k} depends on weights in other windows.")
    for k in range(_WINDOWS):
        one = slice(k, k + 1)
        alone = _drift(rule, weight[:, one], pairs.during(one), parameters)
        if not np.allclose(alone, drift[:, one], rtol=1e-9, atol=1e-12):
            _fail(rule, f"the drift of window {k} is another when that window alone is asked for.")
    columns = _COLUMNS if rule.coupled else [[s] for s in range(len(pairs))]
    for column in columns:
        own = {name: value[column] for name, value in parameters.items()}
        alone = _drift(rule, weight[column], pairs.select(np.array(column)), own)
        if not np.allclose(alone, drift[column], rtol=1e-9, atol=1e-12):
            _fail(rule, f"the drift of synapses {column} depends on other synapses.")


def _check_absent(
    rule: LearningRule, weight: Floats, pairs: SpikePairs, parameters: dict[str, Floats]
) -> None:
    without = pairs.joined(np.array([1.0, 1.0, 0.0])[:, None])
    own = {name: value[:2] for name, value in parameters.items()}
    expected = _drift(rule, weight[:2], pairs.select(np.array([0, 1])), own)
    got = _drift(rule, weight, without, parameters)[:2]
    if not np.allclose(got, expected, rtol=1e-9, atol=1e-12):
        _fail(rule, "the drift of present synapses depends on absent ones.")


def _check_tensors(
    rule: LearningRule, weight: Floats, pairs: SpikePairs, parameters: dict[str, Floats],
    drift: Floats,
) -> None:  # fmt: skip
    tensors = {name: torch.from_numpy(v).requires_grad_() for name, v in parameters.items()}
    by_tensor = rule.drift(torch.from_numpy(weight), pairs, tensors)
    shape = torch.broadcast_to(torch.as_tensor(by_tensor), weight.shape)
    if not np.allclose(shape.detach().numpy(), drift, rtol=1e-9, atol=1e-12):
        _fail(rule, "arrays and tensors give different drifts; use what both understand.")
    if not by_tensor.requires_grad:
        return
    used = [name for name in tensors if name not in (WEIGHT_NOISE, WEIGHT_MAX)]
    gradients = torch.autograd.grad(
        by_tensor.sum(), [tensors[name] for name in used], allow_unused=True
    )
    for name, gradient in zip(used, gradients, strict=True):
        step = 1e-5 * parameters[name]
        high = _drift(rule, weight, pairs, {**parameters, name: parameters[name] + step}).sum()
        low = _drift(rule, weight, pairs, {**parameters, name: parameters[name] - step}).sum()
        slope = 0.0 if gradient is None else float((gradient * torch.from_numpy(step)).sum())
        if not np.isclose(0.5 * (high - low), slope, rtol=1e-4, atol=1e-9):
            _fail(rule, f"the gradient in `{name}` differs from finite differences.")


def _check_affine(
    rule: LearningRule, weight: Floats, pairs: SpikePairs, parameters: dict[str, Floats],
    drift: Floats, rng: np.random.Generator,
) -> None:  # fmt: skip
    other = _weights(rule, parameters, 1.0, rng)
    share = rng.random(weight.shape)
    between = share * weight + (1.0 - share) * other
    expected = share * drift + (1.0 - share) * _drift(rule, other, pairs, parameters)
    if not np.allclose(_drift(rule, between, pairs, parameters), expected, rtol=1e-9, atol=1e-9):
        _fail(rule, "says `affine`, but its drift is no straight line in the weight.")
