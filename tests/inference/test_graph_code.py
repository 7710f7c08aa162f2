"""Steps that write into an operand's memory spoil nothing that is read again."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from probneuro.inference.graph_code import SMALL, as_function
from probneuro.inference.graph_folding import fold
from probneuro.inference.graph_rewriting import rewrite

LARGE = (64, SMALL // 16)


def chain(x: torch.Tensor) -> Any:
    return ((x * 2.0).neg().exp() + 1.0).log().sum(1)


def read_again(x: torch.Tensor) -> Any:
    y = x.exp()
    return y.neg(), y * y.neg(), (y + y).sum(0)


def seen_through_a_view(x: torch.Tensor) -> Any:
    y = x * 2.0
    part, flat, turned = y[:, :3], y.reshape(-1), y.t()
    z = y.neg()
    return z.sum(1), part.sum(), flat.sum(), turned.sum(1)


def the_input_itself(x: torch.Tensor) -> Any:
    return x.neg().exp(), x.abs().sqrt()


def other_shapes_and_types(x: torch.Tensor) -> Any:
    y = x[:, :1].exp().expand(x.shape)
    positive = (x * 1.0 > 0.0) * 1.0
    return y.neg() + x, (x.sum(1, keepdim=True) * 2.0) + x, positive.neg()


def log_sigmoid(x: torch.Tensor) -> Any:
    y = x @ torch.ones(x.shape[1], 50, dtype=x.dtype)
    return torch.nn.functional.logsigmoid(y).sum(1), y.abs().sum()


@pytest.mark.parametrize(
    "function",
    [chain, read_again, seen_through_a_view, the_input_itself, other_shapes_and_types, log_sigmoid],
    ids=lambda function: function.__name__,
)
def test_values_are_those_of_the_graph(function: Callable[[torch.Tensor], Any]) -> None:
    example = torch.linspace(-1.0, 1.0, LARGE[0] * LARGE[1], dtype=torch.float64).reshape(LARGE)
    ours = as_function(rewrite(fold(make_fx(function)(example))))
    point = example.flip(0).clone()
    kept = point.clone()
    for _ in range(2):  # a second call sees what a first one may have spoilt
        found, expected = ours(point), function(point)
        for a, b in (
            zip(found, expected, strict=True)
            if isinstance(found, tuple | list)
            else [(found, expected)]
        ):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)
        assert torch.equal(point, kept)


def test_memory_is_used_again() -> None:
    example = torch.zeros(LARGE, dtype=torch.float64)
    source = as_function(rewrite(fold(make_fx(chain)(example))))
    written = [
        str(value) for value in source.__kwdefaults__.values() if str(value).startswith("aten.")
    ]
    assert {"aten.neg_.default", "aten.exp_.default", "aten.log_.default"} <= set(written)
