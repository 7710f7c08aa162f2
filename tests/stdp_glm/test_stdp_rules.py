"""Random walk, triplet and free pairwise rules against slow loops over single spikes."""

from typing import Any

import numpy as np
import pytest
import torch

from probneuro import infer
from probneuro.core.errors import SettingError
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.learning_rules import (
    RULES,
    Additive,
    HasPairCurve,
    LagBumps,
    PairKernel,
    RandomWalk,
    SpikePairs,
    Triplet,
)
from probneuro.models.stdp_glm import STDPGLM
from probneuro.models.stdp_glm.calm_start import weight_reach
from probneuro.simulators.plastic_glm import simulate_plastic_glm
from stdp_glm.problems import recording

PRE, POST = np.array([0, 1, 2, 0]), np.array([1, 0, 0, 2])
WIDTH, SIZE = 2e-3, 30


def counts_of(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.15, (4 * SIZE, 3))
    counts[SIZE] = 2  # coincident, on the border of two windows
    return counts


def trace(train: np.ndarray, at: int, tau: float) -> float:
    """Return the trace just before a bin, by a loop over the bins before it."""
    return sum(float(train[t]) * np.exp(-(at - t) * WIDTH / tau) for t in range(at))


def slow_triplet(counts: np.ndarray, pre: int, post: int, own: dict[str, float]) -> np.ndarray:
    change = np.zeros(counts.shape[0] // SIZE)
    for t in range(counts.shape[0]):
        r1 = trace(counts[:, pre], t, own["tau_plus"])
        r2 = trace(counts[:, pre], t, own["tau_triplet_minus"])
        o1 = trace(counts[:, post], t, own["tau_minus"])
        o2 = trace(counts[:, post], t, own["tau_triplet_plus"])
        up = r1 * (own["amplitude_plus"] + own["amplitude_triplet_plus"] * o2)
        down = o1 * (own["amplitude_minus"] + own["amplitude_triplet_minus"] * r2)
        change[t // SIZE] += counts[t, post] * up - counts[t, pre] * down
    return change


def drawn(rule: Any, seed: int, synapses: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: p.sample(rng, synapses)[:, None] for name, p in rule.parameters(1.0).items()}


@pytest.mark.parametrize("seed", range(3))
def test_triplets_equal_the_traces_of_single_bins(seed: int) -> None:
    counts, parameters = counts_of(seed), drawn(Triplet(), seed, PRE.size)
    pairs = SpikePairs(counts, PRE, POST, WIDTH, SIZE)
    change = Triplet().drift(np.zeros((4, 4)), pairs, parameters)
    for s in range(PRE.size):
        own = {name: float(value[s, 0]) for name, value in parameters.items()}
        np.testing.assert_allclose(change[s], slow_triplet(counts, PRE[s], POST[s], own), rtol=1e-9)


def test_triplets_without_their_amplitudes_are_pairs() -> None:
    pairs = SpikePairs(counts_of(1), PRE, POST, WIDTH, SIZE)
    parameters = drawn(Triplet(), 1, PRE.size)
    for name in ("amplitude_triplet_plus", "amplitude_triplet_minus"):
        parameters[name] = parameters[name] * 0.0
    weight = np.ones((4, 4))
    expected = Additive().drift(weight, pairs, parameters)
    np.testing.assert_allclose(Triplet().drift(weight, pairs, parameters), expected, rtol=1e-12)


def test_triplet_sums_have_gradients_in_both_time_constants() -> None:
    pairs = SpikePairs(counts_of(0), PRE, POST, WIDTH, SIZE)
    taus = [
        torch.tensor(tau, dtype=torch.float64)[:, None].requires_grad_()
        for tau in ([0.01, 0.02, 0.05, 0.3], [0.1, 0.02, 0.3, 0.05])
    ]
    for sums in (pairs.post_after_both, pairs.pre_after_both):
        assert torch.autograd.gradcheck(sums, taus, eps=1e-7, atol=1e-3)
    shared = torch.tensor([[0.02]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda tau: pairs.post_after_both(tau, 2.0 * tau), (shared,), eps=1e-7, atol=1e-3
    )


@pytest.mark.parametrize("silent", [0, 1])
def test_triplets_of_silent_or_single_spikes_are_none(silent: int) -> None:
    counts = np.zeros((2 * SIZE, 2), dtype=int)
    counts[[3, 9, 40], 1 - silent] = 1
    pairs = SpikePairs(counts, np.array([0]), np.array([1]), WIDTH, SIZE)
    tau = np.array([[0.02]])
    assert not pairs.post_after_both(tau, tau).any()
    counts[5, silent] = 1
    pairs = SpikePairs(counts, np.array([0]), np.array([1]), WIDTH, SIZE)
    found = pairs.pre_after_both(tau, tau) if silent else pairs.post_after_both(tau, tau)
    later = np.exp(-4 * WIDTH / 0.02) * np.exp(-6 * WIDTH / 0.02)  # the spike in bin 9
    last = np.exp(-35 * WIDTH / 0.02)
    last *= np.exp(-37 * WIDTH / 0.02) + np.exp(-31 * WIDTH / 0.02)
    np.testing.assert_allclose(found, [[later, last]], rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_kernels_equal_a_loop_over_pairs(seed: int) -> None:
    rule = PairKernel(bumps=LagBumps(num_bumps=3, max_lag=0.031))
    counts, parameters = counts_of(seed), drawn(rule, seed, PRE.size)
    pairs = SpikePairs(counts, PRE, POST, WIDTH, SIZE)
    change = rule.drift(np.zeros((4, 4)), pairs, parameters)
    for s in range(PRE.size):
        own = {name: value[s, 0] for name, value in parameters.items()}
        slow = np.zeros(4)
        for i in np.flatnonzero(counts[:, PRE[s]]):
            for j in np.flatnonzero(counts[:, POST[s]]):
                if 0 < abs(j - i) * WIDTH <= 0.031:
                    by = rule.curve([(j - i) * WIDTH], own)[0]
                    slow[max(i, j) // SIZE] += counts[i, PRE[s]] * counts[j, POST[s]] * by
        np.testing.assert_allclose(change[s], slow, rtol=1e-9, atol=1e-12)


def test_selected_synapses_have_their_own_bump_sums() -> None:
    pairs, bumps = SpikePairs(counts_of(1), PRE, POST, WIDTH, SIZE), LagBumps()
    whole = pairs.post_after_pre_in(bumps)
    chosen = pairs.select(np.array([3, 1]))
    np.testing.assert_array_equal(chosen.post_after_pre_in(bumps), whole[:, [3, 1]])
    assert pairs.select(np.array([], dtype=int)).pre_after_post_in(bumps).shape == (5, 0, 4)


@pytest.mark.parametrize("rule", [rule() for rule in RULES.values()], ids=lambda rule: rule.name)
def test_curves_are_the_drift_of_one_pair(rule: Any) -> None:
    if not isinstance(rule, HasPairCurve):
        return
    rng = np.random.default_rng(3)
    own = {name: prior.sample(rng, 1) for name, prior in rule.priors(1.0).items()}
    own |= {"weight_max": np.ones(1)}
    for gap in (-40, -7, -1, 0, 1, 12, 60):
        counts = np.zeros((200, 2), dtype=int)
        counts[[70, 70 + gap], [0, 1]] = 1
        pairs = SpikePairs(counts, np.array([0]), np.array([1]), 1e-3, 200)
        assert counts.sum() == 2
        # Half way between the bounds, where a fraction of either distance is half as much.
        weight, share = np.full((1, 1), 0.5), 0.5 if rule.name == "multiplicative" else 1.0
        change = rule.drift(weight, pairs, {n: v[:, None] for n, v in own.items()})
        expected = share * rule.curve([gap * 1e-3], own)
        np.testing.assert_allclose(change, expected, rtol=1e-9, atol=1e-15)


def test_bumps_sum_to_one_and_end_where_they_should() -> None:
    bumps = LagBumps(num_bumps=6, max_lag=0.08)
    lags = np.linspace(0.0, bumps.peaks[-1], 500)
    np.testing.assert_allclose(bumps.evaluate(lags).sum(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(bumps.evaluate([0.08, 0.2]), 0.0, atol=1e-12)
    assert bumps.table(1e-3).shape == (6, 80)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LagBumps(num_bumps=0), "`num_bumps` of the bumps must be positive; got 0"),
        (lambda: LagBumps(max_lag=5e-4).table(1e-3), r"`max_lag` .* is shorter than a bin of 0.0"),
        (lambda: PairKernel(scale=0.0), r"`scale` of the kernel must be positive; got 0\.0"),
    ],
)
def test_senseless_kernels_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()


def test_a_double_exponential_is_near_the_span_of_the_default_bumps() -> None:
    basis = PairKernel().curve_basis()
    assert basis.functions.shape == (10, 400)
    own = {"amplitude_plus": 1.0, "amplitude_minus": 1.5, "tau_plus": 0.02, "tau_minus": 0.02}
    truth = Additive().curve(basis.lags, own)
    near = basis.functions.T @ np.linalg.lstsq(basis.functions.T, truth, rcond=None)[0]
    assert np.abs(near - truth).max() < 0.05


def test_results_carry_the_basis_of_a_free_curve() -> None:
    data = recording(0, neurons=2)
    engine = CollapsedGibbs(warmup=3)
    settings: dict[str, Any] = {"engine": engine, "chains": 1, "seed": 1, "progress": False}
    result = infer(STDPGLM(rule=PairKernel()), data, draws=3, **settings)
    functions = result["constant_data"]["kernel_function"]
    assert functions.dims == ("kernel", "pair_lag")
    assert set(functions["kernel"].values) < set(result["posterior"].data_vars)
    assert "kernel_function" not in infer(STDPGLM(), data, draws=3, **settings)["constant_data"]


def test_parameters_that_run_away_are_not_started_from() -> None:
    spikes, _ = simulate_plastic_glm(Additive(), duration=60.0, seed=1)
    target: Any = STDPGLM(rule=Triplet()).gibbs(spikes)
    for seed in range(5):
        values = target.start(np.random.default_rng(seed))
        own = {name: float(values[name][0]) for name in target.priors}
        assert weight_reach(target, 0, own) < 30.0
    still: Any = STDPGLM(rule=RandomWalk()).gibbs(spikes)
    assert weight_reach(still, 0, {"weight_noise": 0.1}) == 0.0
