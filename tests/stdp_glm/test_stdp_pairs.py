"""Spike pairs, filtered spikes and priors against slow loops and other libraries."""

import numpy as np
import pytest
import torch

from probneuro.components.basis import CosineBasis
from probneuro.components.lagged import lagged_traces
from probneuro.core.priors import Gamma, LogNormal, Normal, Prior
from probneuro.learning_rules import SpikePairs
from probneuro.testing.stats import check_scores, mean_score, uniform_score

PRE, POST = np.array([0, 1, 2, 0]), np.array([1, 0, 0, 2])
WIDTH, SIZE = 2e-3, 30


def counts_of(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.15, (4 * SIZE, 3))
    counts[SIZE] = 2  # coincident, on the border of two windows
    return counts


def slow_pairs(counts: np.ndarray, first: int, second: int, tau: float) -> np.ndarray:
    sums = np.zeros(counts.shape[0] // SIZE)
    for late in range(counts.shape[0]):
        for early in range(late):
            weight = counts[early, first] * counts[late, second]
            sums[late // SIZE] += weight * np.exp(-(late - early) * WIDTH / tau)
    return sums


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tau", [3e-4, 0.01, 0.5])
def test_pair_sums_equal_a_double_loop(seed: int, tau: float) -> None:
    counts = counts_of(seed)
    pairs = SpikePairs(counts, PRE, POST, WIDTH, SIZE)
    taus = tau * np.array([[1.0], [1.3], [0.7], [2.0]])
    plus, minus = pairs.post_after_pre(taus), pairs.pre_after_post(taus)
    for s in range(PRE.size):
        expected = slow_pairs(counts, PRE[s], POST[s], float(taus[s, 0]))
        np.testing.assert_allclose(plus[s], expected, rtol=1e-12, atol=1e-300)
        expected = slow_pairs(counts, POST[s], PRE[s], float(taus[s, 0]))
        np.testing.assert_allclose(minus[s], expected, rtol=1e-12, atol=1e-300)


def test_coincident_spikes_count_in_neither_sum() -> None:
    counts = np.zeros((SIZE, 2), dtype=int)
    counts[5] = 1
    pairs = SpikePairs(counts, np.array([0]), np.array([1]), WIDTH, SIZE)
    tau = np.array([[0.02]])
    assert pairs.post_after_pre(tau)[0, 0] == pairs.pre_after_post(tau)[0, 0] == 0.0


def test_silent_neurons_have_no_pairs() -> None:
    pairs = SpikePairs(np.zeros((SIZE, 2), dtype=int), np.array([0]), np.array([1]), WIDTH, SIZE)
    assert pairs.post_after_pre(np.array([[0.02]])).tolist() == [[0.0]]


def test_pair_sums_have_their_gradient_in_tau() -> None:
    pairs = SpikePairs(counts_of(0), PRE, POST, WIDTH, SIZE)
    tau = torch.tensor([[0.01], [0.02], [0.05], [0.3]], dtype=torch.float64, requires_grad=True)
    for sums in (pairs.post_after_pre, pairs.pre_after_post):
        assert torch.autograd.gradcheck(sums, (tau,), eps=1e-7, atol=1e-4)
    shared = torch.tensor([[0.02]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pairs.post_after_pre, (shared,), eps=1e-7, atol=1e-4)


def test_selected_pairs_are_the_rows() -> None:
    pairs = SpikePairs(counts_of(1), PRE, POST, WIDTH, SIZE)
    tau = np.full((4, 1), 0.02)
    chosen = pairs.select(np.array([3, 1]))
    assert len(chosen) == 2
    np.testing.assert_array_equal(chosen.post_after_pre(tau[:2]), pairs.post_after_pre(tau)[[3, 1]])


@pytest.mark.parametrize("num_bins", [5, 150, 400])
def test_filtered_spikes_equal_convolution(num_bins: int) -> None:
    rng = np.random.default_rng(num_bins)
    counts = rng.poisson(0.3, (num_bins, 2))
    basis = CosineBasis().evaluate(1e-3)
    traces = lagged_traces(counts, basis)
    slow = np.zeros_like(traces)
    for t in range(num_bins):
        for d in range(1, min(t, basis.shape[1]) + 1):
            slow[:, :, t] += counts[t - d][:, None] * basis[:, d - 1]
    np.testing.assert_allclose(traces, slow, rtol=1e-12, atol=1e-10)
    for n in range(2):
        for b in range(basis.shape[0]):
            full = np.convolve(counts[:, n], np.concatenate([[0.0], basis[b]]))[:num_bins]
            np.testing.assert_allclose(traces[n, b], full, rtol=1e-12, atol=1e-10)


@pytest.mark.stat
@pytest.mark.parametrize(
    "prior", [Gamma(2.0, 100.0), Gamma(0.7, 0.1), LogNormal(0.03, 0.5), Normal(-0.2, 0.5)], ids=repr
)
def test_priors_are_pyros_and_draw_from_themselves(prior: Prior) -> None:
    draws = prior.sample(np.random.default_rng(3), 4000)
    law = prior.distribution()
    expected = law.log_prob(torch.from_numpy(draws)).numpy()
    np.testing.assert_allclose(prior.log_density(draws), expected, rtol=1e-10, atol=1e-10)
    scores = {"mean": mean_score(draws, float(law.mean))}
    scores["square"] = mean_score(draws**2, float(law.variance + law.mean**2))
    if not isinstance(prior, Gamma):
        scores["law"] = uniform_score(law.cdf(torch.from_numpy(draws)).numpy())
    check_scores(scores)
    real = np.log(draws[:50]) if prior.positive else draws[:50]
    jacobian = real if prior.positive else 0.0
    found = [prior.log_density_real(z) for z in real.tolist()]
    np.testing.assert_allclose(found, prior.log_density(draws[:50]) + jacobian, rtol=1e-10)
    if prior.positive:
        assert np.all(np.isneginf(prior.log_density(np.array([0.0, -1.0]))))


@pytest.mark.stat
def test_a_shifted_prior_is_caught() -> None:
    draws = Gamma(2.0, 90.0).sample(np.random.default_rng(3), 4000)
    with pytest.raises(AssertionError, match=r"1 of 1 z-scores are beyond 4\.9: mean: "):
        check_scores({"mean": mean_score(draws, 0.02)})
