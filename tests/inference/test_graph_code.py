"""Graphs as Python functions: the numbers of torch, from numpy where arrays are small."""

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from probneuro.inference import graph_code
from probneuro.inference.graph_code import as_function
from probneuro.inference.graph_folding import fold
from probneuro.inference.graph_rewriting import Plainer, rewrite, writes
from probneuro.inference.pyro_target import read_program

GENERATOR = torch.Generator().manual_seed(3)
POINTS = torch.rand((3, 4), generator=GENERATOR, dtype=torch.float64) + 0.1
OTHER = torch.rand((3, 4), generator=GENERATOR, dtype=torch.float64)

Function = Callable[[torch.Tensor], torch.Tensor]
ELEMENTWISE: list[Function] = [
    *(torch.abs, torch.exp, torch.expm1, torch.log, torch.log1p, torch.sqrt, torch.rsqrt),
    *(torch.sin, torch.cos, torch.tanh, torch.neg, torch.reciprocal, torch.sign, torch.sgn),
    *(torch.isnan, torch.isinf, lambda x: x + OTHER, lambda x: x - 2, lambda x: 2 - x),
    *(lambda x: x * OTHER, lambda x: x / OTHER, lambda x: 1 / x, lambda x: x**2, lambda x: x**3),
    *(lambda x: x**-0.5, lambda x: x.clamp(min=0.5), lambda x: x.clamp(max=0.5)),
    *(lambda x: torch.maximum(x, OTHER), lambda x: torch.minimum(x, OTHER)),
    *(lambda x: x < 0.5, lambda x: x <= OTHER, lambda x: x > 0.5, lambda x: x >= OTHER),
    *(lambda x: x == OTHER, lambda x: x != 0.5, lambda x: ~((x > 0.3) & (x < 0.7))),
    *(lambda x: torch.where(x > 0.5, x, OTHER), lambda x: x.masked_fill(x > 0.5, -torch.inf)),
    *(lambda x: (x > 0.3).logical_or(x < 0.1), lambda x: x.masked_fill(x > 0.5, 2.0)),
]
SHAPES: list[Function] = [
    *(lambda x: x.sum(1), lambda x: x.sum(1, keepdim=True), lambda x: x.sum((0, 1))),
    *(lambda x: x.sum(), lambda x: x[:, 1:3], lambda x: x[:, ::2], lambda x: x[:, -1]),
    *(lambda x: x.T, lambda x: x.reshape(4, 3), lambda x: x[:, None, :].expand(3, 2, 4)),
    *(lambda x: torch.cat([x, OTHER], 1), lambda x: torch.stack([x, OTHER], 1)),
    *(lambda x: x.cumsum(1), lambda x: x @ OTHER.T, lambda x: x.logsumexp(1), torch.sigmoid),
    *(lambda x: torch.lgamma(x), lambda x: x.split(2, 1)[1] * 2, lambda x: x.mean(1)),
]


def traced(function: Function, like: torch.Tensor = POINTS) -> GraphModule:
    return fold(make_fx(torch.func.functionalize(function))(like))


@pytest.mark.parametrize("function", ELEMENTWISE + SHAPES)
def test_every_operation_is_torchs(function: Function) -> None:
    graph = as_function(rewrite(traced(function)))
    wild = [torch.full_like(POINTS, torch.nan), 1e200 * POINTS]
    if function in (torch.sign, torch.sgn):  # which torch takes to be 0 of NaN, and numpy NaN
        wild.pop(0)
    for points in (POINTS, OTHER, -POINTS, *wild):
        with np.errstate(all="ignore"):
            ours = graph(points)
        torch.testing.assert_close(ours, function(points), rtol=1e-14, atol=0, equal_nan=True)


@pytest.mark.parametrize("function", SHAPES)
def test_gradients_are_torchs(function: Function) -> None:
    def gradient(x: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda y: function(y).square().sum())(x)

    graph = as_function(rewrite(traced(gradient)))
    torch.testing.assert_close(graph(OTHER), gradient(OTHER), rtol=1e-12, atol=1e-12)


def test_small_arrays_are_numpys_and_large_ones_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    module = traced(lambda x: (x * 2).exp())
    sources: list[str] = []

    def spied(source: str, *rest: str) -> object:
        sources.append(source)
        return compile(source, *rest)

    monkeypatch.setattr(graph_code, "compile", spied, raising=False)
    as_function(module)
    as_function(traced(lambda x: (x * 2).exp(), torch.zeros(2, 5000, dtype=torch.float64)))
    assert "n_exp = exp(" in sources[0]
    assert "t_exp = op_exp(" in sources[1]


def test_large_arrays_are_let_go_of_and_not_too_early() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = x.exp()
        return torch.cat([y.log() + y, y.view(-1, 2).sum(1).view(-1, 1)], 1)

    like = torch.rand((5000, 2), generator=GENERATOR, dtype=torch.float64)
    graph = as_function(rewrite(traced(function, like)))
    torch.testing.assert_close(graph(like), function(like))


def test_numbers_of_single_precision_stay_torchs() -> None:
    like = torch.rand((3, 4), generator=GENERATOR)
    graph = as_function(traced(lambda x: (x * 0.1).sum(1), like))
    torch.testing.assert_close(graph(like), (like * 0.1).sum(1), rtol=0, atol=0)


def test_graphs_that_write_in_place_are_known() -> None:
    assert writes(make_fx(lambda x: x.clone().add_(1.0))(POINTS))
    assert not writes(traced(lambda x: x.clone().add_(1.0)))


def operations(module: GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


def test_steps_that_do_nothing_are_dropped_and_no_others() -> None:
    zeros, ones = torch.zeros(3, 4).double(), torch.ones(3, 4).double()
    idle = rewrite(traced(lambda x: ((x + zeros) * ones - zeros) / 1.0 + 0.0))
    assert operations(idle) == []
    busy = traced(lambda x: torch.stack([zeros - x, ones / x, x[:, :1] + zeros]))
    kept = operations(busy)
    assert operations(rewrite(busy)) == kept


def test_a_product_with_few_columns_is_turned() -> None:
    data = torch.rand((50, 4), generator=GENERATOR, dtype=torch.float64)
    module = rewrite(traced(lambda x: (data @ x.T).T.exp()))
    assert operations(module) == ["aten.mm.default", "aten.exp.default"]
    torch.testing.assert_close(module(POINTS), (data @ POINTS.T).T.exp())


def logistic() -> None:
    weight = pyro.sample("weight", dist.Normal(0.0, 3.0).expand([4]).to_event(1))
    with pyro.plate("trial", 3):
        pyro.sample("y", dist.Bernoulli(logits=100 * OTHER @ weight), obs=OTHER[:, 0].round())


@pytest.mark.parametrize("scale", [0.1, 10.0, 1000.0])
def test_the_bernoulli_in_few_passes_is_the_bernoulli(scale: float) -> None:
    target = read_program(logistic, (), {})
    positions = scale * np.random.default_rng(1).normal(size=(5, 4))
    values, gradients = target.values_and_gradients(positions)
    for row, position in enumerate(positions):
        gradient, value = target._eager(torch.as_tensor(position))
        np.testing.assert_allclose(values[row], float(value), rtol=1e-12)
        np.testing.assert_allclose(gradients[row], gradient, rtol=1e-10, atol=1e-10)


def test_only_the_plain_cross_entropy_is_rewritten() -> None:
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    y = OTHER.round()
    for changes in ({"reduction": "mean"}, {"reduction": "none", "pos_weight": OTHER}):
        expected = entropy(POINTS, y, **changes)
        with Plainer():
            torch.testing.assert_close(entropy(POINTS, y, **changes), expected, rtol=0, atol=0)
