"""One graph for many positions: the same function as the program, row by row."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from probneuro.inference import pyro_target
from probneuro.inference.graph_folding import fold
from probneuro.inference.pyro_target import PyroTarget, read_program

X = torch.tensor(np.random.default_rng(1).normal(size=(6, 3)))


def plates() -> None:
    scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    with pyro.plate("session", 3, dim=-2), pyro.plate("neuron", 2, dim=-1):
        rate = pyro.sample("rate", dist.Gamma(2.0, scale))
        pyro.deterministic("log_rate", rate.log())
        pyro.sample("count", dist.Poisson(rate), obs=torch.arange(6.0).reshape(3, 2))


def simplex() -> None:
    with pyro.plate("row", 2):
        share = pyro.sample("share", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
    pyro.deterministic("constant", torch.arange(3))
    pyro.factor("f", (share @ X[0]).sum())


def correlated() -> None:
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0).expand([3]).to_event(1))
    factor = pyro.sample("factor", dist.LKJCholesky(3, 2.0))
    with pyro.plate("row", len(X)):
        law = dist.MultivariateNormal(torch.zeros(3), scale_tril=scale[:, None] * factor)
        pyro.sample("x", law, obs=X)


def matrices() -> None:
    weight = pyro.sample("weight", dist.Normal(0.0, 1.0).expand([3, 4]).to_event(2))
    bias = pyro.sample("bias", dist.Uniform(-1.0, torch.tensor([1.0, 2.0, 3.0, 4.0])).to_event(1))
    y = torch.tanh(X @ weight + bias)
    kernel = y @ y.mT + torch.eye(len(X))
    half = torch.linalg.cholesky(kernel)
    pyro.factor("f", -torch.linalg.solve_triangular(half, X, upper=False).square().sum())
    pyro.factor("g", torch.linalg.slogdet(kernel)[1] + half.diagonal().log().sum())


def in_place() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    y = torch.zeros_like(x)
    for i in range(3):
        y[i] = x[: i + 1].sum()
    y.mul_(2.0)
    pyro.factor("f", -y.square().sum())


@pytest.mark.parametrize("program", [plates, simplex, correlated, matrices, in_place])
@pytest.mark.parametrize("size", [1, 4])
def test_batches_are_the_programs_density(program: Callable[[], None], size: int) -> None:
    target = read_program(program, (), {})
    for seed in range(3):
        positions = np.random.default_rng(seed).normal(size=(size, target.dimension))
        values, gradients = target.values_and_gradients(positions)
        assert target._batched[size] is not None
        for row, position in enumerate(positions):
            gradient, value = target._eager(torch.as_tensor(position))
            assert values[row] == pytest.approx(float(value), rel=1e-10)
            np.testing.assert_allclose(gradients[row], gradient, rtol=1e-9, atol=1e-9)
            single, slope = target.value_and_gradient(position)
            assert single == pytest.approx(values[row], rel=1e-10)
            np.testing.assert_allclose(gradients[row], slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("program", [plates, simplex, correlated])
def test_variables_along_many_draws(program: Callable[[], None]) -> None:
    target = read_program(program, (), {})
    positions = np.random.default_rng(0).normal(size=(300, target.dimension))
    found = target.variables_along(positions)
    for i in (0, 17, 299):
        for name, value in target.variables(positions[i]).items():
            assert found[name].dtype == value.dtype
            np.testing.assert_allclose(found[name][i], value, rtol=1e-12)


def branching() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.deterministic("sign", torch.tensor(1.0) if x > 0 else torch.tensor(-1.0))
    pyro.factor("f", x if x > 0 else -3 * x)


class Square(torch.autograd.Function):
    """A function of one's own, which torch cannot vectorise."""

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x**2

    @staticmethod
    def setup_context(context: Any, inputs: Any, output: Any) -> None:
        context.save_for_backward(*inputs)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return 2 * context.saved_tensors[0] * gradient


def own_function() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.factor("f", -pyro.deterministic("y", Square.apply(x)))


@pytest.mark.parametrize(
    ("program", "traced", "said"),
    [(branching, False, "runs untraced"), (own_function, True, "one chain at a time")],
)
def test_what_cannot_be_batched_is_looped_and_said_once(
    program: Callable[[], None], traced: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = read_program(program, (), {})
    positions = np.random.default_rng(0).normal(size=(4, target.dimension))
    with caplog.at_level(logging.INFO, logger="probneuro"):
        for _ in range(2):
            values, gradients = target.values_and_gradients(positions)
    assert target.traced is traced
    assert [said in r.message for r in caplog.records] == [True]
    for row, position in enumerate(positions):
        value, gradient = target.value_and_gradient(position)
        assert values[row] == value
        np.testing.assert_array_equal(gradients[row], gradient)
    for name, variable in target.variables_along(positions).items():
        np.testing.assert_array_equal(variable[2], target.variables(positions[2])[name])


def test_a_graph_that_is_another_function_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(module: Any) -> Any:
        graph = fold(module)
        return lambda point: tuple(1.001 * part for part in graph(point))

    monkeypatch.setattr(pyro_target, "fold", wrong)
    target = read_program(plates, (), {})
    with caplog.at_level(logging.INFO, logger="probneuro"):
        values, _ = target.values_and_gradients(np.zeros((2, target.dimension)))
    assert "its graph depends on values" in caplog.text
    assert values[0] == pytest.approx(float(target._eager(torch.zeros(7))[1]))


def fragile() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    kernel = torch.eye(2) * (3.0 - x[0])
    pyro.factor("f", torch.linalg.cholesky(kernel).sum() + (2.0 - x[1]).log())


def test_a_row_that_fails_fails_alone_and_changes_no_bit_of_others() -> None:
    target = read_program(fragile, (), {})
    positions = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    values, gradients = target.values_and_gradients(positions)
    broken = positions.copy()
    broken[1, 0] = 5.0  # no Cholesky factor
    broken[2, 1] = 7.0  # the logarithm of a negative number
    found, slopes = target.values_and_gradients(broken)
    assert list(found[[1, 2]]) == [-np.inf, -np.inf]
    np.testing.assert_array_equal(slopes[[1, 2]], 0.0)
    np.testing.assert_array_equal(found[[0, 3]], values[[0, 3]])
    np.testing.assert_array_equal(slopes[[0, 3]], gradients[[0, 3]])
    for row in (1, 2):
        assert target.value_and_gradient(broken[row])[0] == -np.inf


@pytest.mark.parametrize("program", [plates, correlated, matrices])
def test_a_row_does_not_depend_on_the_others(program: Callable[[], None]) -> None:
    target = read_program(program, (), {})
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 4, target.dimension))
    other[2] = one[2]
    for a, b in zip(
        target.values_and_gradients(one), target.values_and_gradients(other), strict=True
    ):
        np.testing.assert_array_equal(a[2], b[2])


def test_without_a_compiler_the_graph_runs_uncompiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(module: Any, example: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(pyro_target, "compiled", missing)
    target = PyroTarget(read_program(plates, (), {})._program, compiled=True)
    plain = read_program(plates, (), {})
    positions = np.zeros((2, target.dimension))
    with caplog.at_level(logging.INFO, logger="probneuro"):
        values, _ = target.values_and_gradients(positions)
    assert "runs uncompiled, and slower: no C++ compiler" in caplog.text
    np.testing.assert_array_equal(values, plain.values_and_gradients(positions)[0])


@pytest.mark.slow
def test_compiled_and_plain_graphs_agree() -> None:
    plain = read_program(correlated, (), {})
    quick = read_program(correlated, (), {}, compiled=True)
    positions = np.random.default_rng(0).normal(size=(4, plain.dimension))
    for a, b in zip(
        plain.values_and_gradients(positions), quick.values_and_gradients(positions), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    assert quick._batched[4] is not None
    assert not isinstance(quick._batched[4], torch.fx.GraphModule)


def test_folding_keeps_what_is_written_in_place() -> None:
    constant = torch.arange(3.0)

    def program(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fresh = torch.zeros_like(x)
        seen = fresh.view(3)
        fresh.add_(constant)
        shifted = x + torch.ones_like(x)
        shifted.mul_(2.0)
        return seen * x, shifted.view(3).pow(1.0)

    graph = fold(make_fx(program)(torch.ones(3)))
    for _ in range(2):  # a second call must not see what the first one wrote
        for x in (torch.ones(3), torch.tensor([1.0, -2.0, 5.0])):
            for ours, theirs in zip(graph(x), program(x), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_graph_does_not_depend_on_the_default_type() -> None:
    """Other threads change it while they run programs; a graph runs in none of their locks."""

    def program(x: torch.Tensor) -> torch.Tensor:
        made = torch.eye(2)
        made.add_(0.1)  # what is written to is not folded
        return x @ made.inverse() @ x

    point = torch.tensor([1.0, 3.0], dtype=torch.float64)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        graph = fold(make_fx(program)(point))
        double = graph(point)
        torch.set_default_dtype(torch.float32)
        assert torch.equal(graph(point), double)
    finally:
        torch.set_default_dtype(before)
