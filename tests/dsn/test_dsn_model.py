"""The DSN's program against closed forms, and what is said of simulators that do not comply."""

from typing import Any

import numpy as np
import pyro
import pytest
import torch

from probneuro import infer
from probneuro.core.errors import CapabilityError, DataError
from probneuro.data.behaviour import Behaviour
from probneuro.inference.augmented_lagrangian import AugmentedLagrangian
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.inference.sobol_dual import SobolDual
from probneuro.models.dsn import DSN
from probneuro.simulators.linear_2d import eigenvalues, oscillation

SIZES: dict[str, Any] = {"draws": 50, "chains": 1, "seed": 0, "progress": False}
FLAT = Behaviour({"x": (0.0, 2.0)}, means={"f": 1.0})


def trace_of(program: Any, *args: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pyro.poutine.trace(program).get_trace(*args)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_tilted_program_has_the_density_of_largest_entropy(seed: int) -> None:
    behaviour, model = oscillation(), DSN(eigenvalues, differentiable=True)
    multipliers = np.random.default_rng(seed).normal(size=4)
    trace = trace_of(model.model, behaviour, multipliers, seed=seed)
    values = trace.nodes["z"]["value"].numpy()
    features = model.simulate(behaviour, values[None], np.random.default_rng(0))
    expected = -behaviour.log_volume - behaviour.statistics(features)[0] @ multipliers
    assert float(trace.log_prob_sum()) == pytest.approx(expected, rel=1e-6)


def test_a_program_on_the_simplex() -> None:
    shares = Behaviour(dict.fromkeys("ab", (0.0, 1.0)), means={"f": 0.3}, simplex=True)
    trace = trace_of(DSN(lambda z: {"f": z["a"]}).model, shares)
    assert float(trace.log_prob_sum()) == pytest.approx(-shares.log_volume, rel=1e-6)
    assert float(trace.nodes["z"]["value"].sum()) < 1.0


def test_the_guide_has_the_density_of_its_flow() -> None:
    behaviour, model = oscillation(), DSN(eigenvalues, differentiable=True)
    before = len(pyro.get_param_store())
    with pyro.get_param_store().scope():
        trace = trace_of(model.guide, behaviour)
        flow = model.coupling(behaviour, np.random.default_rng(0))
        value = trace.nodes["z"]["value"].detach()
        expected = float(flow.log_prob(value[None]).detach())
        assert float(trace.log_prob_sum().detach()) == pytest.approx(expected, rel=1e-6)
    assert len(pyro.get_param_store()) == before


def test_modes_are_told_by_the_swapped_parameters() -> None:
    model = DSN(eigenvalues, differentiable=True, swap=("a2", "a3"))
    values = np.array([[0.0, 1.0, -1.0, 0.0], [0.0, -1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(model.modes(oscillation(), values), [1.0, 0.0])


def test_repeats_are_averaged() -> None:
    noisy = DSN(lambda z, rng: {"f": rng.normal(z["x"], 1.0)}, noisy=True, repeats=400)
    found = noisy.simulate(FLAT, np.full((200, 1), 0.7), np.random.default_rng(0))
    assert abs(found.mean() - 0.7) < 4.9 / np.sqrt(200 * 400)
    assert found.std() == pytest.approx(0.05, rel=0.3)


@pytest.mark.parametrize(
    ("simulator", "message"),
    [
        (lambda z: z["x"], "must return features by name; got ndarray"),
        (lambda z: {"g": z["x"]}, "gives no feature 'f'.*it gives g"),
        (lambda z: {"f": z["x"].mean()}, r"feature 'f' has shape \(\) for 2000 draws"),
    ],
)
def test_a_simulator_that_does_not_comply_is_told_so(simulator: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer(DSN(simulator), FLAT, engine=ImportanceDual(rounds=1), **SIZES)


@pytest.mark.parametrize("engine", [ImportanceDual(), AugmentedLagrangian(), SobolDual()])
def test_engines_want_a_behaviour(engine: Any) -> None:
    model = DSN(eigenvalues, differentiable=True)
    with pytest.raises(DataError, match=r"needs one Behaviour.*got int"):
        infer(model, 3, engine=engine, **SIZES)


def program(behaviour: Behaviour) -> None:
    pyro.sample("x", pyro.distributions.Normal(0.0, 1.0))


@pytest.mark.parametrize("engine", [ImportanceDual(), SobolDual()])
def test_a_bare_program_has_no_simulator(engine: Any) -> None:
    with pytest.raises(CapabilityError, match=r"needs a model with a simulator; function has none"):
        infer(program, FLAT, engine=engine, **SIZES)


def test_gradients_are_refused_where_there_are_none() -> None:
    with pytest.raises(CapabilityError, match=r"not declared as differentiable.*ImportanceDual"):
        infer(DSN(lambda z: {"f": z["x"]}), FLAT, engine=AugmentedLagrangian(), **SIZES)
    with pytest.raises(CapabilityError, match="differentiable simulator; function has none"):
        infer(program, FLAT, engine=AugmentedLagrangian(), **SIZES)
    model = DSN(lambda z: {"f": z["x"]}, differentiable=True)
    with pytest.raises(CapabilityError, match="coupling flow needs at least 2 parameters"):
        infer(model, FLAT, engine=AugmentedLagrangian(), **SIZES)


def test_many_parameters_are_refused_by_the_sequence() -> None:
    wide = Behaviour({f"x{i}": (0.0, 1.0) for i in range(9)}, means={"f": 0.5})
    with pytest.raises(CapabilityError, match="up to 8 parameters; the behaviour has 9"):
        infer(DSN(lambda z: {"f": z["x0"]}), wide, engine=SobolDual(), **SIZES)
