"""The joint distribution test passes steps that are right, and catches those that are not."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from probneuro.core.errors import CapabilityError, SettingError
from probneuro.inference.hmc import HMC
from probneuro.inference.nuts import NUTS
from probneuro.inference.svi import SVI
from probneuro.testing import check_scores, geweke
from probneuro.testing.stats import LARGEST_Z, worst

SHAPE = torch.zeros(4)
Values = dict[str, Any]


def normal(y: torch.Tensor) -> None:
    precision = pyro.sample("precision", dist.Gamma(3.0, 2.0))
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("trial", len(y)):
        pyro.sample("y", dist.Normal(mean, precision**-0.5), obs=y)


def gibbs(values: Values, data: Values, rng: np.random.Generator, fault: str = "") -> Values:
    """Conjugate draws of one variable after the other."""
    y, precision = data["y"], values["precision"]
    total = 1.0 + y.size * precision
    wide = 1.6 if fault == "wide" else 1.0
    mean = precision * y.sum() / total + wide * rng.normal() / np.sqrt(total)
    shape = 3.0 + (y.size - 2 * (fault == "count")) / 2.0
    return {
        "mean": mean,
        "precision": rng.gamma(shape) / (2.0 + 0.5 * ((y - mean) ** 2).sum()),
    }


def metropolis(
    values: Values, data: Values, rng: np.random.Generator, jacobian: bool = True
) -> Values:
    """Random walk in the logarithm of the precision."""

    def density(precision: float) -> float:
        squares = ((data["y"] - values["mean"]) ** 2).sum()
        inner = 2.0 * np.log(precision) - 2.0 * precision
        inner += 0.5 * data["y"].size * np.log(precision) - 0.5 * precision * squares
        return float(inner + np.log(precision) * jacobian)

    old = float(values["precision"])
    new = old * np.exp(0.8 * rng.normal())
    return {"precision": new if np.log(rng.random()) < density(new) - density(old) else old}


@pytest.mark.stat
@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3))])
@pytest.mark.parametrize("step", [gibbs, pytest.param(metropolis, marks=pytest.mark.slow)])
def test_steps_that_are_right_pass(step: Any, seed: int) -> None:
    scores = geweke(normal, SHAPE, step=step, seed=seed)
    assert {"mean", "spread of precision", "precision with y squared"} <= set(scores)
    check_scores(scores)


@pytest.mark.stat
@pytest.mark.slow
@pytest.mark.parametrize("engine", [HMC(), NUTS()])
def test_engines_pass(engine: Any) -> None:
    for seed in (1, 2):
        check_scores(geweke(normal, SHAPE, step=engine, replicates=60, sweeps=2, seed=seed))


@pytest.mark.stat
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda v, d, r: gibbs(v, d, r, "wide"), marks=pytest.mark.slow),
        pytest.param(lambda v, d, r: gibbs(v, d, r, "count"), marks=pytest.mark.slow),
        lambda v, d, r: metropolis(v, d, r, jacobian=False),
    ],
    ids=["wrong variance", "two data lost", "no Jacobian"],
)
def test_steps_that_are_wrong_are_caught(step: Any) -> None:
    scores = geweke(normal, SHAPE, step=step, replicates=600, seed=1)
    assert abs(worst(scores)[1]) > LARGEST_Z, worst(scores)
    with pytest.raises(AssertionError, match="z-scores are beyond"):
        check_scores(scores)


def test_own_statistics_seeds_and_kinds() -> None:
    def product(values: Values, data: Values) -> dict[str, float]:
        return {"product": float(np.tanh(values["mean"] * data["y"].sum()))}

    settings: dict[str, Any] = {"replicates": 100, "sweeps": 1, "statistics": product}
    first, again, other = (geweke(normal, SHAPE, step=gibbs, seed=s, **settings) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert "product" in first

    def mixture(y: torch.Tensor) -> None:
        which = pyro.sample("which", dist.Categorical(torch.tensor([0.3, 0.7])))
        pyro.sample("y", dist.Normal(torch.tensor([-1.0, 1.0])[which], 1.0), obs=y)

    def draw(values: Values, data: Values, rng: np.random.Generator) -> Values:
        odds = np.log(0.7 / 0.3) + 2.0 * data["y"]
        return {"which": rng.random() < 1.0 / (1.0 + np.exp(-odds))}

    check_scores(geweke(mixture, torch.tensor(0.0), step=draw, seed=1))


def with_factor(y: torch.Tensor) -> None:
    pyro.factor("penalty", -(pyro.sample("mean", dist.Normal(0.0, 1.0)) ** 2))


def improper(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.ImproperUniform(dist.constraints.real, (), ()))
    pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def silent(y: torch.Tensor) -> None:
    pyro.sample("mean", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize(
    ("program", "changes", "error", "message"),
    [
        (with_factor, {}, CapabilityError, "`penalty` is a factor, which has no data"),
        (improper, {}, CapabilityError, "some prior is improper"),
        (silent, {}, CapabilityError, "observes nothing"),
        (normal, {"step": SVI()}, CapabilityError, "`step` is a SVI, which cannot be started"),
        (normal, {"replicates": 5}, SettingError, "`replicates` must be at least 10; got 5"),
        (normal, {"sweeps": 0}, SettingError, "`sweeps` must be at least 1; got 0"),
        (normal, {"step": lambda v, d, r: {"men": 1.0}}, SettingError, "returned `men`, which"),
        (normal, {"step": lambda v, d, r: {"mean": np.zeros(2)}}, SettingError, r"shape \(2,\)"),
        (normal, {"step": lambda v, d, r: {}}, SettingError, "moved nothing in any replicate"),
    ],
)
def test_what_it_cannot_check_is_refused(
    program: Any, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        geweke(program, SHAPE, **{"step": gibbs, "replicates": 10, **changes})
