"""The group lasso against an independent solver, its optimality conditions, and recovery."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from probneuro.components import penalised_glm
from probneuro.components.basis import CosineBasis
from probneuro.components.group_lasso import GroupLasso
from probneuro.components.links import Exponential, Softplus
from probneuro.components.penalised_glm import solve
from probneuro.core.detection import auc
from probneuro.core.errors import DataError, InferenceError, SettingError
from probneuro.data import BinnedSpikes

LINKS = [Softplus(1.0), Softplus(5.0), Exponential()]
SMALL = CosineBasis(num_bumps=3, duration=0.02)


def network(seed=0, bins=8000, neurons=3, stimulus=False, strength=0.4, rate=0.02):
    """Neuron 0 drives neuron 1 after 3 bins; there is a gap in the recording."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate, size=(bins, neurons))
    follows = np.roll(counts[:, 0], 3) * (rng.random(bins) < strength)
    counts[:, 1] += follows
    observed = np.ones(bins, dtype=bool)
    observed[2000:2200] = False
    counts[~observed] = 0
    drive = rng.normal(size=bins) if stimulus else None
    return BinnedSpikes(counts, observed=observed, stimulus=drive, bins_per_window=1000)


def loss(problem, neuron):
    """Return the smooth part as a function of torch, written again from the definition."""
    inputs = torch.from_numpy(problem.inputs)
    counts = torch.from_numpy(problem.counts[neuron].astype(float))
    seen = torch.from_numpy(problem.observed.copy())

    def value(x):
        expected = problem.link.rate(inputs @ x)[seen] * problem.bin_width
        return -(counts[seen] * expected.log() - expected).sum() / problem.seconds

    return value


def norms(problem, neuron, x):
    """Return each penalised group's norm times the root of its size."""
    groups = [g for g in range(problem.group.max() + 1) if g != neuron]
    chosen = [x[torch.from_numpy(problem.group == g)] for g in groups]
    return torch.stack([np.sqrt(len(c)) * torch.sqrt((c**2).sum() + 1e-16) for c in chosen])


def start(problem):
    found = np.zeros((problem.counts.shape[0], problem.inputs.shape[1]))
    found[:, 0] = [problem.link.activation(r) for r in problem.counts.sum(1) / problem.seconds]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_an_independent_solver_finds_the_same_optimum(link):
    problem, _, _ = GroupLasso(link=link, basis=SMALL).problem(network())
    penalty = 0.05
    found = solve(problem, start(problem), penalty, tolerance=1e-7)
    for neuron in range(3):
        smooth = loss(problem, neuron)

        def objective(x, neuron=neuron, smooth=smooth):
            point = torch.tensor(x, requires_grad=True)
            value = smooth(point) + penalty * norms(problem, neuron, point).sum()
            value.backward()
            return float(value.detach()), point.grad.numpy()

        ours = objective(found[neuron])[0]
        tight = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-9}
        other = minimize(
            objective, start(problem)[neuron], jac=True, method="L-BFGS-B", options=tight
        )
        assert ours <= other.fun + 1e-7 * abs(other.fun)
        assert other.fun == pytest.approx(ours, rel=1e-5)
        scale = np.abs(found[neuron]).max()
        np.testing.assert_allclose(other.x, found[neuron], atol=3e-2 * scale)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
@pytest.mark.parametrize("penalty", [0.3, 0.05, 0.005])
def test_the_conditions_of_the_optimum_hold(link, penalty):
    problem, _, _ = GroupLasso(link=link, basis=SMALL).problem(network(1, stimulus=True))
    tolerance = 1e-6
    found = solve(problem, start(problem), penalty, tolerance=tolerance)
    for neuron in range(3):
        point = torch.tensor(found[neuron], requires_grad=True)
        loss(problem, neuron)(point).backward()
        gradient = point.grad.numpy()
        allowed = 1.01 * tolerance * problem.counts[neuron].sum() / problem.seconds + 1e-9
        free = (problem.group < 0) | (problem.group == neuron)
        assert np.abs(gradient[free]).max() < allowed
        for g in {0, 1, 2} - {neuron}:
            own, slope = found[neuron, problem.group == g], gradient[problem.group == g]
            limit = penalty * np.sqrt(3)
            if own.any():
                assert np.linalg.norm(slope + limit * own / np.linalg.norm(own)) < allowed
            else:
                assert np.linalg.norm(slope) < limit + allowed


def test_the_check_of_conditions_sees_a_point_beside_the_optimum():
    problem, _, _ = GroupLasso(basis=SMALL).problem(network())
    found = solve(problem, start(problem), 0.05, tolerance=1e-7)
    gradient = problem.gradient(found)
    worst = [problem.violation(n, found[n], gradient[n], 0.05) for n in range(3)]
    moved = found * 1.01
    gradient = problem.gradient(moved)
    beside = [problem.violation(n, moved[n], gradient[n], 0.05) for n in range(3)]
    assert max(worst) < 1e-5
    assert min(beside) > 100 * max(worst)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_curvature_is_the_slope_of_the_slope(link):
    problem, _, _ = GroupLasso(link=link, basis=SMALL).problem(network())
    psi = np.linspace(-5, 30, problem.counts.shape[1]) / (5 if link.code else 1)
    step = 1e-5
    slopes = [problem.likelihood(1, psi + d)[1] for d in (-step, step)]
    numeric = -(slopes[1] - slopes[0]) / (2 * step)
    np.testing.assert_allclose(problem.curvature(1, psi), numeric, rtol=1e-4, atol=1e-9)


def test_one_block_is_solved_exactly():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, c = rng.uniform(0.01, 3, size=4), rng.normal(size=4)
        limit = rng.uniform(0, 1.2) * np.linalg.norm(c)
        y = penalised_glm._shrunk(values, c, limit)
        if np.linalg.norm(c) <= limit:
            assert not y.any()
            continue
        gradient = values * y - c + limit * y / np.linalg.norm(y)
        assert np.abs(gradient).max() < 1e-9


def test_the_path_starts_where_the_first_synapse_enters():
    method = GroupLasso(basis=SMALL)
    fit = method.fit(network())
    assert fit.penalties[0] == fit.penalties.max()
    assert fit.penalty == fit.penalties[np.argmax(fit.held_out)]
    assert fit.held_out.max() > fit.held_out[0] + 5
    data = network()
    cut = round(0.8 * data.num_bins)
    train = method.problem(data)[0].part(0, cut)
    for factor, silent in ((1.001, True), (0.95, False)):
        found = solve(train, start(train), factor * fit.penalties[0], tolerance=1e-6)
        cross = [found[n, train.group == g] for n in range(3) for g in range(3) if g != n]
        assert (not np.any(cross)) == silent


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
@pytest.mark.parametrize("measure", ["norm", "area", "peak"])
def test_a_planted_synapse_is_found(link, measure):
    data = network(3, bins=20_000, neurons=4)
    score = GroupLasso(link=link, measure=measure).score(data)["score"]
    truth = np.zeros((4, 4), dtype=int)
    truth[0, 1] = 1
    off = ~np.eye(4, dtype=bool)
    assert auc(score[off], truth[off]) == 1.0
    assert np.isnan(np.diag(score)).all()


def test_the_area_counts_extra_spikes_and_scales_are_taken_back():
    data = network(4, bins=60_000, strength=0.25)
    fit = GroupLasso(basis=SMALL).fit(data)
    found = GroupLasso(basis=SMALL).score(data)
    assert found["area"][0, 1] == pytest.approx(0.25, abs=0.05)
    np.testing.assert_allclose(found["area"][0, 1], fit.coefficients[0, 1].sum(), rtol=1e-6)
    # Bias and own past alone give about the rate of a neuron without input.
    assert fit.bias[2] == pytest.approx(data.rates[2], rel=0.25)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_neuron_with_three_spikes_does_no_harm(link):
    counts = np.array(network().counts)
    counts[:, 2] = 0
    counts[[500, 3000, 5000], 2] = 1
    score = GroupLasso(link=link).score(BinnedSpikes(counts))["score"]
    off = ~np.eye(3, dtype=bool)
    assert np.isfinite(score[off]).all()


def test_same_data_same_numbers():
    first, second = (GroupLasso(basis=SMALL).score(network())["score"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_silent_neurons_are_named():
    counts = np.array(network().counts)
    counts[:, 2] = 0
    with pytest.raises(DataError, match=r"Unit 2 has no spikes and cannot be fitted"):
        GroupLasso().fit(BinnedSpikes(counts))
    counts[-5:, 2] = 1
    with pytest.raises(DataError, match=r"unit 2 has fewer than two spikes in the first 6.4 s"):
        GroupLasso().fit(BinnedSpikes(counts))


def test_bad_settings_are_refused():
    with pytest.raises(SettingError, match=r"Unknown measure 'are'. Did you mean 'area'"):
        GroupLasso(measure="are")
    with pytest.raises(SettingError, match=r"`num_penalties` must be 2 or more.*got 1, 0.001"):
        GroupLasso(num_penalties=1)
    with pytest.raises(
        SettingError, match=r"`held_out` shares between 0 and 1; got 30, 0.001 and 1"
    ):
        GroupLasso(held_out=1.0)


def test_a_solution_that_does_not_converge_is_told(monkeypatch):
    monkeypatch.setattr(penalised_glm, "_MOST_STEPS", 1)
    problem, _, _ = GroupLasso(basis=SMALL).problem(network())
    with pytest.raises(InferenceError, match=r"neuron 0 did not converge at penalty 0.01"):
        solve(problem, start(problem), 0.01)
