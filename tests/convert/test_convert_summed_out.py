"""Discrete variables summed out, against sums written out by hand."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex
from scipy import stats
from scipy.special import logsumexp

from probneuro import az, compute_log_likelihood, compute_log_prior
from probneuro.core.errors import CapabilityError
from probneuro.core.results import build_result
from probneuro.testing.stats import LARGEST_Z

from .programs import data, draws, mixture, mixture_draws

normal = stats.norm.logpdf


def mixture_by_hand(result: Any, y: torch.Tensor) -> np.ndarray:
    weight, mean = (result["posterior"][n].values for n in ("weight", "mean"))
    parts = np.log(weight)[:, :, None] + normal(y.numpy()[:, None], mean[:, :, None], 1)
    return logsumexp(parts, axis=-1)


@pytest.mark.parametrize("chunk", ["auto", 1])
@pytest.mark.parametrize("program", [mixture, config_enumerate(mixture, "parallel")])
@pytest.mark.parametrize("length", [1, 7, 9])  # one observation, as many as draws, and more
def test_mixture(program: Callable[..., Any], length: int, chunk: Any) -> None:
    y, result = data(length), mixture_draws(count=7)
    tree = compute_log_likelihood(result, program, y, chunk=chunk)
    exact = mixture_by_hand(result, y)
    np.testing.assert_allclose(tree["log_likelihood/y"], exact, rtol=1e-12)
    assert tree["log_likelihood/y"].dims == ("chain", "draw", "trial")


def test_discrete_variables_with_draws_are_not_summed() -> None:
    y, result = data(5), mixture_draws()
    which = np.random.default_rng(0).integers(2, size=(2, 7, 5))
    mean = result["posterior/mean"].values
    given = build_result(
        {"weight": result["posterior/weight"].values, "mean": mean, "which": which}
    )
    tree = compute_log_likelihood(given, mixture, y)
    exact = normal(y.numpy(), np.take_along_axis(mean, which, -1), 1)
    np.testing.assert_allclose(tree["log_likelihood/y"], exact, rtol=1e-12)


def test_two_variables_side_by_side() -> None:
    table = torch.tensor([[0.2, 0.8], [0.7, 0.3]])

    def program(y: torch.Tensor) -> None:
        level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("trial", len(y)):
            first = pyro.sample("first", dist.Bernoulli(0.3)).long()
            second = pyro.sample("second", dist.Categorical(Vindex(table)[first, :]))
            pyro.sample("y", dist.Normal(level[second] + first, 1.0), obs=y)

    y, result = data(4), draws(level=(2,))
    level = result["posterior/level"].values[..., None, :]
    parts = [
        np.log((0.7, 0.3)[a] * table[a, b].item()) + normal(y.numpy(), level[..., b] + a, 1)
        for a, b in product(range(2), range(2))
    ]
    tree = compute_log_likelihood(result, program, y)
    np.testing.assert_allclose(tree["log_likelihood/y"], logsumexp(parts, 0), rtol=1e-6)


def shared_in_a_neuron(y: torch.Tensor) -> None:
    level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("neuron", y.shape[1]):
        kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.25, 0.75])))
        with pyro.plate("trial", y.shape[0]):
            pyro.sample("y", dist.Normal(level[kind], 1.0), obs=y)


def test_what_shares_a_variable_can_be_taken_together() -> None:
    y, result = data(3, 4), draws(level=(2,))
    with pytest.raises(CapabilityError, match=r"`y` along trial share .*`kind`.* reduce='trial'"):
        compute_log_likelihood(result, shared_in_a_neuron, y)
    with pytest.raises(CapabilityError, match="reduce='trial'"):
        compute_log_likelihood(result, shared_in_a_neuron, y, reduce={"trial": 2})
    tree = compute_log_likelihood(result, shared_in_a_neuron, y, reduce="trial")
    level = result["posterior/level"].values
    parts = [
        np.log((0.25, 0.75)[k]) + normal(y.numpy(), level[..., k, None, None], 1).sum(2)
        for k in range(2)
    ]
    exact = logsumexp(parts, 0)
    np.testing.assert_allclose(tree["log_likelihood/y"], exact, rtol=1e-6)
    assert tree["log_likelihood/y"].dims == ("chain", "draw", "neuron")
    whole = compute_log_likelihood(result, shared_in_a_neuron, y, reduce=["neuron", "trial"])
    np.testing.assert_allclose(whole["log_likelihood/y"], exact.sum(-1), rtol=1e-6)


def test_a_global_variable_over_local_ones_all_taken_together() -> None:
    def program(y: torch.Tensor) -> None:
        level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        state = pyro.sample("state", dist.Bernoulli(0.4))
        with pyro.plate("trial", len(y)):
            kind = pyro.sample("kind", dist.Bernoulli(0.2 + 0.5 * state)).long()
            pyro.sample("y", dist.Normal(level[kind], 1.0), obs=y)

    y, result = data(3), draws(level=(2,))
    with pytest.raises(CapabilityError, match=r"share the discrete .*`state`.*reduce='trial'"):
        compute_log_likelihood(result, program, y)
    level = result["posterior/level"].values[..., None, :]
    parts = []
    for state in range(2):
        chance = 0.2 + 0.5 * state
        each = logsumexp(
            [
                np.log((1 - chance, chance)[kind]) + normal(y.numpy(), level[..., kind], 1)
                for kind in range(2)
            ],
            0,
        )
        parts.append(np.log((0.6, 0.4)[state]) + each.sum(-1))
    tree = compute_log_likelihood(result, program, y, reduce="trial")
    np.testing.assert_allclose(tree["log_likelihood/y"], logsumexp(parts, 0), rtol=1e-6)


def drawn_effect(y: torch.Tensor) -> None:
    with pyro.plate("trial", len(y)):
        kind = pyro.sample("kind", dist.Bernoulli(0.3))
        effect = pyro.sample("effect", dist.Normal(2 * kind, 1.0))
        pyro.sample("y", dist.Normal(effect + kind, 1.0), obs=y)


def test_a_given_variable_that_depends_on_the_summed_one() -> None:
    y, result = data(4), draws(effect=(4,))
    effect = result["posterior/effect"].values
    prior = [np.log((0.7, 0.3)[k]) + normal(effect, 2 * k, 1) for k in range(2)]
    joint = [prior[k] + normal(y.numpy(), effect + k, 1) for k in range(2)]
    exact = logsumexp(joint, 0) - logsumexp(prior, 0)
    tree = compute_log_likelihood(result, drawn_effect, y)
    np.testing.assert_allclose(tree["log_likelihood/y"], exact, rtol=1e-6)
    with pytest.raises(CapabilityError, match="prior of `effect` depends on a discrete"):
        compute_log_prior(result, drawn_effect, y)


def test_masked_observations_of_a_mixture() -> None:
    y, result = data(6), mixture_draws()
    y[2] = torch.nan

    tree = compute_log_likelihood(result, whole_mask, y)
    exact = mixture_by_hand(result, y)
    np.testing.assert_allclose(tree["log_likelihood/y"], np.nan_to_num(exact), atol=1e-12)
    assert tree["log_likelihood/y"].attrs["num_masked"] == 1


def whole_mask(y: torch.Tensor) -> None:
    weight = pyro.sample("weight", dist.Dirichlet(torch.ones(2)))
    with pyro.plate("state", 2):
        mean = pyro.sample("mean", dist.Normal(0.0, 5.0))
    with pyro.plate("trial", len(y)), pyro.poutine.mask(mask=~y.isnan()):
        which = pyro.sample("which", dist.Categorical(weight))
        pyro.sample("y", dist.Normal(mean[which], 1.0), obs=y)


def test_unrelated_sites_are_left_alone() -> None:
    def program(y: torch.Tensor, z: torch.Tensor) -> None:
        mixture(y)
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0), obs=z)  # no plate

    y, z, result = data(5), data(3), mixture_draws()
    tree = compute_log_likelihood(result, program, y, z)
    np.testing.assert_allclose(tree["log_likelihood/y"], mixture_by_hand(result, y), rtol=1e-12)
    exact = np.broadcast_to(normal(z.numpy()), (2, 7, 3))
    np.testing.assert_allclose(tree["log_likelihood/z"], exact, rtol=1e-12)


def loop(y: torch.Tensor) -> None:
    level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    for i in range(3):
        kind = pyro.sample(f"kind_{i}", dist.Categorical(torch.tensor([0.25, 0.75])))
        pyro.sample(f"y_{i}", dist.Normal(level[kind], 1.0), obs=y[i])


def test_variables_in_a_loop() -> None:
    y, result = data(3), draws(level=(2,))
    level = result["posterior/level"].values
    tree = compute_log_likelihood(result, loop, y)
    for i in range(3):
        parts = [np.log((0.25, 0.75)[k]) + normal(y[i].item(), level[..., k], 1) for k in (0, 1)]
        ours = tree["log_likelihood"][f"y_{i}"]
        np.testing.assert_allclose(ours, logsumexp(parts, 0), rtol=1e-6)


def chain(y: torch.Tensor) -> None:
    level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    state = torch.tensor(0)
    for t in pyro.markov(range(4)):
        state = pyro.sample(f"state_{t}", dist.Bernoulli(0.2 + 0.5 * state)).long()
        pyro.sample(f"y_{t}", dist.Normal(level[state], 1.0), obs=y[t])


def two_sites(y: torch.Tensor) -> None:
    level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("trial", len(y)):
        kind = pyro.sample("kind", dist.Bernoulli(0.2)).long()
        pyro.sample("y", dist.Normal(level[kind], 1.0), obs=y)
        pyro.sample("z", dist.Normal(level[kind], 1.0), obs=y)


def without_plate(y: torch.Tensor) -> None:
    level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    kind = pyro.sample("kind", dist.Bernoulli(torch.full((len(y),), 0.2))).long()
    pyro.sample("y", dist.Normal(level[kind], 1.0), obs=y)


def branching(y: torch.Tensor) -> None:
    level = pyro.sample("level", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    kind = pyro.sample("kind", dist.Bernoulli(0.2))
    pyro.sample("y", dist.Normal(level[1 if kind else 0], 1.0), obs=y[0])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (chain, r"`y_0`, `y_1`, `y_2` \.\.\. depend together on the discrete `state_0`.*Discrete"),
        (two_sites, "`y`, `z` depend together on the discrete `kind`.*one observed site"),
        (without_plate, "dimension outside of any plate.*`pyro.plate`"),
        (branching, r"cannot take all values .*torch\.where"),
    ],
)
def test_refusals(program: Callable[..., Any], message: str) -> None:
    with pytest.raises(CapabilityError, match=message):
        compute_log_likelihood(draws(level=(2,)), program, data(4))


def test_a_planted_fault_is_seen() -> None:
    """Fixing the discrete variable at its mode, as a plain replay may, is far from the sum."""
    y, result = data(5), mixture_draws()
    mean = result["posterior/mean"].values
    mode = result["posterior/weight"].values.argmax(-1)[..., None]
    naive = normal(y.numpy(), np.take_along_axis(mean, mode, -1), 1)
    assert np.abs(naive - mixture_by_hand(result, y)).max() > 1


@pytest.mark.stat
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loo_is_the_leave_one_out_density(seed: int) -> None:
    """ArviZ' elpd from these draws, against p(y_i | the others) integrated on a grid."""
    rng = np.random.default_rng(seed)
    kind = rng.random(40) < 0.4
    y = rng.normal(np.where(kind, 2.0, -1.0))

    def program(y: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        with pyro.plate("trial", len(y)):
            which = pyro.sample("which", dist.Bernoulli(0.4))
            pyro.sample("y", dist.Normal(torch.where(which > 0, 2.0, mean), 1.0), obs=y)

    grid = np.linspace(-4, 2, 2001)
    each = np.logaddexp(np.log(0.4) + normal(y, 2, 1), np.log(0.6) + normal(y, grid[:, None], 1))
    posterior = normal(grid, 0, 2) + each.sum(1)
    exact = logsumexp(posterior) - logsumexp(posterior[:, None] - each, axis=0)
    chance = np.exp(posterior - logsumexp(posterior))
    mean = rng.choice(grid, p=chance, size=(4, 1000))
    result = compute_log_likelihood(build_result({"mean": mean}), program, torch.tensor(y))
    loo = az.loo(result, pointwise=True)
    ours = loo.elpd_i.values
    log_mean = result["log_likelihood/y"].values.reshape(-1, len(y))
    shares = np.exp(-log_mean - logsumexp(-log_mean, axis=0))
    error = np.sqrt(((shares * (np.exp(log_mean - ours) - 1)) ** 2).sum(0))
    assert np.abs((ours - exact) / error).max() < LARGEST_Z
    assert loo.elpd == pytest.approx(exact.sum(), abs=LARGEST_Z * error.sum())
    assert error.sum() < 0.2
