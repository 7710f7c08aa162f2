from typing import Any

import numpy as np
import pyro
import pytest
import torch
from numpy.typing import NDArray
from state_space_posteriors import CASES, CHAIN, COUNTS, EXACT, PAIR

from probneuro import infer
from probneuro.core.errors import SettingError
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.inference.pyro_program import pyro_as_found
from probneuro.inference.state_space import bind
from probneuro.inference.state_space_filter import run_conditional_filter, run_filter
from probneuro.inference.state_space_parameters import FilteredPosterior
from probneuro.inference.state_space_steps import BoundModel
from probneuro.testing.state_space import forward_backward
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

STAY = {"stay": 0.7}


@pytest.mark.stat
@pytest.mark.parametrize(
    "case", ["finite_chain", pytest.param("linear_gaussian", marks=pytest.mark.slow)]
)
def test_posterior_equals_quadrature(case: str) -> None:
    model, data = CASES[case]
    exact = EXACT[case]()
    result = infer(
        model, data, engine=ParticleGibbs(warmup=80, num_particles=5), draws=250, chains=2,
        seed=1, progress=False,
    )  # fmt: skip
    for name, mean in exact.mean.items():
        z = moment_z_scores(result.posterior[name].values, mean, exact.variance[name])
        assert np.abs(z).max() < LARGEST_Z, name


def sweeps(count: int, *, chains: int = 2) -> NDArray[Any]:
    """Paths of a finite chain by two particles, shape (chain, sweep, time)."""
    out = []
    for seed in range(chains):
        rng = np.random.default_rng(seed)
        bound = bind(CHAIN, STAY, COUNTS, rng)
        path = run_filter(bound, 10, rng).draw_path(rng)
        paths = []
        for _ in range(count):
            path = run_conditional_filter(bound, path, 2, rng).draw_path(rng)
            paths.append(path)
        out.append(paths)
    return np.array(out)


def score(paths: NDArray[Any]) -> float:
    exact = forward_backward(CHAIN, STAY, COUNTS).mean
    mean, square = exact @ np.arange(3), exact @ np.arange(3) ** 2
    return float(np.abs(moment_z_scores(paths, mean, square - mean**2)).max())


@pytest.mark.stat
def test_two_particles_give_the_exact_trajectory() -> None:
    assert score(sweeps(400)) < LARGEST_Z


@pytest.mark.stat
def test_the_check_catches_ancestors_drawn_by_weight_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        BoundModel, "step_density", lambda self, states, following, t: np.zeros((1, len(states)))
    )
    assert score(sweeps(600)) > LARGEST_Z


@pytest.mark.parametrize("case", list(CASES))
def test_the_density_given_a_path_is_the_programs(case: str) -> None:
    model, data = CASES[case]
    posterior = FilteredPosterior(model, data, 10)
    density = posterior.path_density()
    assert density.traced
    rng = np.random.default_rng(0)
    position, _, history = posterior.start(rng)
    conditional = density.given(path := history.draw_path(rng))
    value, gradient = conditional.value_and_gradient(position)
    values = posterior.parameters.variables(position)
    with pyro_as_found(torch.float64):
        given = {n: torch.as_tensor(v) for n, v in {**values, "state": path}.items()}
        total = log_density(model.model, given, data)
        volume = posterior.bind(position)[1] - log_density(model.global_model, given)
    assert value == pytest.approx(total + volume, rel=1e-9)
    slopes = [
        (
            conditional.value_and_gradient(position + step)[0]
            - conditional.value_and_gradient(position - step)[0]
        )
        / 2e-6
        for step in 1e-6 * np.eye(position.size)
    ]
    assert gradient == pytest.approx(slopes, rel=1e-4, abs=1e-5)


def log_density(program: Any, given: Any, *args: Any) -> float:
    """A program's log density with its sites at given values, in their own space."""
    trace = pyro.poutine.trace(pyro.condition(program, data=given)).get_trace(*args)
    return float(trace.log_prob_sum())


def test_too_few_particles_are_refused() -> None:
    rng = np.random.default_rng(0)
    bound = bind(CASES["linear_gaussian"][0], {"decay": 0.9, "noise": 0.5}, PAIR, rng)
    with pytest.raises(SettingError, match="`num_particles` must be at least 2; got 1"):
        run_conditional_filter(bound, PAIR.values.numpy(), 1, rng)
