"""Orbits by FFT against the orbit written out, in float64 to 1e-12."""

import itertools
import math

import numpy as np
import pytest
import torch

from probneuro.components.shifts import (
    BernoulliCounts,
    ElectrodeGroup,
    GaussianValues,
    NegativeBinomialCounts,
    PoissonCounts,
    act,
    align,
    grid_symmetries,
    group_log_likelihood,
    group_log_likelihoods,
    group_log_posterior,
    layout_323,
    mirror_flips_323,
    no_permutation,
    orbit_inner_products,
    orbit_loss,
    orbit_mean_loss,
    symmetries_of_positions,
    whole_orbit,
)
from probneuro.core.errors import DataError, SettingError

GROUPS = {
    1: no_permutation(8),
    4: mirror_flips_323(),
    8: symmetries_of_positions(layout_323()),
}
LENGTHS = (13, 32, 300)
CASES = [(size, bins) for size in GROUPS for bins in LENGTHS]
EXACT = 1e-12


def written_out(x: torch.Tensor, group: ElectrodeGroup) -> torch.Tensor:
    """Return the orbit by loops over permutations and torch.roll."""
    return torch.stack(
        [
            x[..., list(order), :].roll(shift, -1)
            for order in group.permutations
            for shift in range(x.shape[-1])
        ],
        dim=-3,
    )


def recordings(bins: int, *, seed: int = 0, binary: bool = False) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    if binary:
        return tuple(torch.as_tensor(rng.random((3, 8, bins)) < 0.3).double() for _ in range(2))
    return tuple(torch.as_tensor(rng.normal(size=(3, 8, bins))) for _ in range(2))


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest error as a share of the largest value."""
    return float((found - exact).abs().max() / exact.abs().max())


def test_the_papers_flips_are_four_of_the_eight_symmetries() -> None:
    assert set(GROUPS[4].permutations) < set(GROUPS[8].permutations)
    assert GROUPS[8].size == 8 and grid_symmetries(4, 4).size == 8
    flips = GROUPS[4].permutations
    assert all(tuple(p[e] for e in p) == tuple(range(8)) for p in flips), "Z2 x Z2, not cyclic"


@pytest.mark.parametrize(("size", "bins"), CASES)
def test_orbit_is_that_of_the_loop(size: int, bins: int) -> None:
    x, _ = recordings(bins)
    assert torch.equal(whole_orbit(x, GROUPS[size]), written_out(x, GROUPS[size]))


@pytest.mark.parametrize(("size", "bins"), CASES)
def test_inner_products_equal_brute_force(size: int, bins: int) -> None:
    x, y = recordings(bins)
    exact = (written_out(x, GROUPS[size]) * y[:, None]).sum((-2, -1))
    assert relative(orbit_inner_products(x, y, GROUPS[size]).flatten(-2), exact) < EXACT


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(("size", "bins"), CASES)
def test_loss_and_gradient_equal_brute_force(size: int, bins: int, binary: bool) -> None:
    """Binary recordings have many elements at the same distance: the first counts in both."""
    x, y = recordings(bins, binary=binary)
    results = []
    for fast in (True, False):
        here, there = x.clone().requires_grad_(), y.clone().requires_grad_()
        if fast:
            loss = orbit_loss(here, there, GROUPS[size])
        else:
            errors = (written_out(here, GROUPS[size]) - there[:, None]).square().mean((-2, -1))
            number = first_of_equals(errors.detach())
            loss = errors.gather(-1, number[:, None])[..., 0]
        loss.sum().backward()
        results.append((loss.detach(), here.grad, there.grad))
    for found, exact in zip(*results, strict=True):
        assert relative(found, exact) < EXACT


def first_of_equals(errors: torch.Tensor) -> torch.Tensor:
    """Return the first of the elements whose errors are equal but for the rounding of a mean."""
    return (errors <= errors.amin(-1, keepdim=True) + 1e-14).to(torch.uint8).argmax(-1)


@pytest.mark.parametrize("size", GROUPS)
def test_alignment_undoes_an_action(size: int) -> None:
    x, _ = recordings(64, seed=3)
    hidden = torch.tensor([5, 63, GROUPS[size].num_elements(64) - 1])
    aligned, number = align(x, act(x, GROUPS[size], hidden), GROUPS[size])
    assert torch.equal(number, hidden)
    assert torch.equal(aligned, act(x, GROUPS[size], hidden))


def test_a_wrong_direction_of_shift_is_seen() -> None:
    """The planted fault: correlating the other way round must not pass the check above."""
    x, y = recordings(13)
    exact = (written_out(x, GROUPS[1]) * y[:, None]).sum((-2, -1))
    assert relative(orbit_inner_products(y, x, GROUPS[1]).flatten(-2), exact) > 1e-3


LIKELIHOODS = {
    "gaussian": GaussianValues(0.7),
    "bernoulli": BernoulliCounts(),
    "poisson": PoissonCounts(),
    "negative_binomial": NegativeBinomialCounts(2.5),
}


def observed(name: str, bins: int) -> torch.Tensor:
    rng = np.random.default_rng(5)
    draws = {
        "gaussian": lambda: rng.normal(size=(2, 8, bins)),
        "bernoulli": lambda: rng.random((2, 8, bins)) < 0.4,
    }.get(name, lambda: rng.poisson(1.3, (2, 8, bins)))
    return torch.as_tensor(draws()).double()


@pytest.mark.parametrize("bins", LENGTHS)
@pytest.mark.parametrize("size", GROUPS)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_marginal_likelihood_equals_brute_force(name: str, size: int, bins: int) -> None:
    if size == 8 and bins == 300:
        pytest.skip("the written-out orbit is large; four permutations cover this length")
    likelihood, group, x = LIKELIHOODS[name], GROUPS[size], observed(name, bins)
    eta = 0.5 * recordings(bins)[0][:2]
    found, exact = [], []
    for fast, into in ((True, found), (False, exact)):
        output = eta.clone().requires_grad_()
        if fast:
            value = group_log_likelihood(likelihood, x, output, group)
        else:
            orbit = likelihood.distribution(written_out(output, group)).log_prob(x[:, None])
            each = orbit.sum((-2, -1))
            value = torch.logsumexp(each, -1) - math.log(each.shape[-1])
        value.sum().backward()
        into += [value.detach(), output.grad]
    assert all(relative(a, b) < EXACT for a, b in zip(found, exact, strict=True))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_posterior_of_the_element_sums_to_one_and_is_that_of_bayes(name: str) -> None:
    likelihood, x = LIKELIHOODS[name], observed(name, 13)
    output = recordings(13)[0][:2]
    found = group_log_posterior(likelihood, x, output, GROUPS[4])
    table = group_log_likelihoods(likelihood, x, output, GROUPS[4]).flatten(-2)
    assert torch.allclose(found.exp().sum(-1), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(found, table - torch.logsumexp(table, -1, keepdim=True))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_mean_is_that_of_the_distribution(name: str) -> None:
    output = recordings(13)[0]
    likelihood = LIKELIHOODS[name]
    assert torch.allclose(likelihood.mean(output), likelihood.distribution(output).mean)


def test_soft_minimum_lies_between_minimum_and_mean() -> None:
    x, y = recordings(32)
    errors = (written_out(x, GROUPS[4]) - y[:, None]).square().mean((-2, -1))
    assert torch.allclose(orbit_mean_loss(x, y, GROUPS[4], 1e4), errors.mean(-1), rtol=1e-3)
    soft = orbit_mean_loss(x, y, GROUPS[4], 1e-4)
    assert torch.allclose(soft, orbit_loss(x, y, GROUPS[4]), atol=1e-2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "`permutations` is empty"),
        (((0, 0),), r"row 0 is \(0, 0\)"),
        (((0, 1), (0, 1)), "a row that comes twice"),
        (((0, 1, 2), (1, 2, 0)), "must form a group"),
    ],
)
def test_rows_that_are_no_group_are_refused(rows: tuple, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ElectrodeGroup(rows)


def test_positions_are_checked() -> None:
    with pytest.raises(SettingError, match="two electrodes at one place"):
        symmetries_of_positions([[0, 0], [0, 0]])
    with pytest.raises(SettingError, match="must be finite, shape"):
        symmetries_of_positions([0, 1])
    with pytest.raises(SettingError, match="`num_electrodes` must be 1 or more; got 0"):
        no_permutation(0)


def test_shapes_and_values_are_checked() -> None:
    with pytest.raises(DataError, match=r"`x` must have shape \(\.\.\., 8, time\)"):
        act(torch.zeros(3, 4), GROUPS[1], torch.tensor(0))
    with pytest.raises(DataError, match="same number of bins; got 4 and 5"):
        orbit_inner_products(torch.zeros(8, 4), torch.zeros(8, 5), GROUPS[1])
    with pytest.raises(SettingError, match="`temperature` must be positive"):
        orbit_mean_loss(torch.zeros(8, 4), torch.zeros(8, 4), GROUPS[1], 0.0)
    with pytest.raises(SettingError, match="`scale` must be positive"):
        GaussianValues(0.0)
    with pytest.raises(DataError, match="must hold 0 and 1 for the Bernoulli"):
        BernoulliCounts().check(torch.tensor([2.0]))
    for likelihood in (PoissonCounts(), NegativeBinomialCounts()):
        with pytest.raises(DataError, match="must hold whole numbers of 0 or more"):
            likelihood.check(torch.tensor([-0.5]))
    with pytest.raises(DataError, match="`x` must be finite"):
        GaussianValues().check(torch.tensor([math.nan]))


def test_every_likelihood_accepts_what_it_gives() -> None:
    for name, bins in itertools.product(LIKELIHOODS, (13,)):
        LIKELIHOODS[name].check(observed(name, bins))
