from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from probneuro.core.errors import CapabilityError
from probneuro.inference.pyro_target import PyroTarget, read_program
from probneuro.inference.target import Target


def program(x: torch.Tensor, y: torch.Tensor) -> None:
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    share = pyro.sample("share", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
    with pyro.plate("unit", 4):
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
        pyro.deterministic("double", 2 * offset)
        pyro.sample("y", dist.Normal(x @ slope + offset + share[0], scale), obs=y)


def data(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(4, 2)), rng.normal(size=4)
    return torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)


def by_hand(values: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    mean = x @ values["slope"] + values["offset"] + values["share"][0]
    return float(
        stats.norm.logpdf(values["slope"], 0, 2).sum()
        + stats.halfcauchy.logpdf(values["scale"])
        + stats.dirichlet.logpdf(values["share"], [1, 2, 3])
        + stats.norm.logpdf(values["offset"]).sum()
        + stats.norm.logpdf(y, mean, values["scale"]).sum()
    )


def log_volume(target: PyroTarget, position: np.ndarray) -> float:
    """Log determinant by differences, over as many coordinates as are free."""

    def free_part(u: np.ndarray) -> np.ndarray:
        v = target.variables(u)
        return np.concatenate([v["slope"], [v["scale"]], v["share"][:2], v["offset"]])

    steps = 1e-6 * np.eye(len(position))
    columns = [(free_part(position + s) - free_part(position - s)) / 2e-6 for s in steps]
    return float(np.linalg.slogdet(np.array(columns))[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_density_and_gradient_are_the_programs(dtype: torch.dtype) -> None:
    x, y = data(dtype)
    target = read_program(program, (x, y), {})
    assert target.traced
    assert target.dimension == 2 + 1 + 2 + 4
    rng = np.random.default_rng(0)
    for _ in range(3):
        u = rng.normal(size=target.dimension)
        value, gradient = target.value_and_gradient(u)
        exact = by_hand(target.variables(u), x.double().numpy(), y.double().numpy())
        assert value == pytest.approx(exact + log_volume(target, u), rel=1e-6)
        steps = 1e-6 * np.eye(len(u))
        slopes = [
            (target.value_and_gradient(u + s)[0] - target.value_and_gradient(u - s)[0]) / 2e-6
            for s in steps
        ]
        np.testing.assert_allclose(gradient, slopes, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(target.position(target.variables(u)), u, atol=1e-9)


def test_eager_and_traced_agree() -> None:
    target = read_program(program, data(), {})
    u = torch.randn(target.dimension, dtype=torch.float64)
    for a, b in zip(target._graph(u), target._eager(u), strict=True):  # type: ignore[misc]
        torch.testing.assert_close(a, b)


def test_names_of_dims_and_deterministic_sites() -> None:
    target = Target.from_pyro(program, *data())
    assert target.dims["offset"] == ["unit"]
    assert target.dims["double"] == ["unit"]
    assert target.dims["slope"] == [None]
    variables = target.variables(np.zeros(target.dimension))
    np.testing.assert_array_equal(variables["double"], 2 * variables["offset"])


def test_event_dims_are_read() -> None:
    def named() -> None:
        with pyro.plate("neuron", 3):
            pyro.sample(
                "weight",
                dist.Normal(0.0, 1.0).expand([3, 2]).to_event(1),
                infer={"event_dims": ["basis"]},
            )

    assert Target.from_pyro(named).dims["weight"] == ["neuron", "basis"]


def test_flat_priors() -> None:
    def flat() -> None:
        pyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), (2,)))
        pyro.factor("f", -torch.tensor(2.0))

    value, gradient = Target.from_pyro(flat).value_and_gradient(np.zeros(2))
    assert value == -2.0
    np.testing.assert_array_equal(gradient, 0)


def test_value_dependent_programs_run_eagerly() -> None:
    def branching() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("f", x if x > 0 else -3 * x)

    target = read_program(branching, (), {})
    assert not target.traced
    for u in (-1.0, 2.0):
        value, gradient = target.value_and_gradient(np.array([u]))
        assert value == pytest.approx(stats.norm.logpdf(u) + (u if u > 0 else -3 * u))
        assert gradient[0] == pytest.approx(-u + (1 if u > 0 else -3))


def test_programs_with_own_float32_tensors() -> None:
    weights = torch.tensor([[1.0, 2.0]], dtype=torch.float32)

    def mixed() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.factor("f", (weights @ x).sum())

    value, gradient = Target.from_pyro(mixed).value_and_gradient(np.ones(2))
    assert value == pytest.approx(2 * stats.norm.logpdf(1.0) + 3, rel=1e-6)
    np.testing.assert_allclose(gradient, [0, 1], atol=1e-6)


def discrete() -> None:
    pyro.sample("edge", dist.Bernoulli(0.5))


def subsampled() -> None:
    with pyro.plate("trial", 10, subsample_size=3):
        pyro.sample("x", dist.Normal(0.0, 1.0))


def dynamic_support() -> None:
    a = pyro.sample("a", dist.Uniform(0.0, 1.0))
    pyro.sample("b", dist.Uniform(0.0, 1 - a))


def changing_sites() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.sample("b" if a > 0 else "c", dist.Normal(0.0, 1.0))


def changing_shape() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.sample("b", dist.Normal(torch.zeros(2 if a > 0 else 3), 1.0).to_event(1))


def learning() -> None:
    pyro.sample("a", dist.Normal(pyro.param("w", torch.tensor(0.0)), 1.0))


def nothing() -> None:
    pyro.sample("a", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (discrete, r"Site `edge` is discrete \(Bernoulli\).*Sum it out"),
        (subsampled, "Plate `trial` takes 3 of 10 at random"),
        (dynamic_support, r"support of `b` depends on other variables .* rescale it"),
        (changing_sites, "Site `b` is there in some runs"),
        (changing_shape, "Site `b` changes its shape"),
        (learning, "learns the parameter `w`"),
        (nothing, "no latent sites"),
    ],
)
def test_refusals(bad: Callable[[], Any], message: str) -> None:
    with pytest.raises(CapabilityError, match=message):
        Target.from_pyro(bad)


def test_globals_are_left_as_found() -> None:
    pyro.clear_param_store()
    pyro.param("mine", torch.tensor(1.0))
    torch.manual_seed(4)
    before = torch.random.get_rng_state().clone(), torch.get_default_dtype()
    target = read_program(program, data(), {})
    target.value_and_gradient(np.zeros(target.dimension))
    target.variables(np.zeros(target.dimension))
    with pytest.raises(CapabilityError):
        Target.from_pyro(learning)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert torch.get_default_dtype() == before[1]
    assert list(pyro.get_param_store().keys()) == ["mine"]
    pyro.clear_param_store()
