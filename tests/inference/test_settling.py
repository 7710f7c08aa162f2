"""Whether a fit has settled, in words: curves of known shape, and real fits."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta

from probneuro import infer
from probneuro.core.diagnostics import say
from probneuro.core.results import build_result
from probneuro.core.settling import fit_findings, fit_summary, settling
from probneuro.inference.svi import SVI

RNG = np.random.default_rng(0)


def fitted(curves: Any, name: str = "elbo", posterior: Any = None) -> Any:
    return build_result(
        posterior or {},
        dims={f"fit_history/{name}": ["chain", "iteration"]},
        groups={"fit_history": {name: np.asarray(curves)}},
    )


def noisy(level: float, length: int = 2000, time: float = 100.0, scale: float = 1.0) -> Any:
    return level - 50 * np.exp(-np.arange(length) / time) + scale * RNG.normal(size=length)


def test_a_settled_curve_says_since_when() -> None:
    result = fitted([noisy(-100.0), noisy(-100.0)])
    assert say(result) == []
    (line,) = fit_summary(result)
    assert line.startswith("The ELBO settled after ")
    assert line.endswith(" of 2000 steps; the 2 restarts agree.")
    after = settling(noisy(-100.0)).settled_after
    assert after is not None and 200 <= after <= 800  # 50 exp(-t / 100) is 0.1 at t = 620


def test_a_rising_curve_says_how_fast() -> None:
    rising = -100 + 0.01 * np.arange(2000) + RNG.normal(size=2000)
    result = fitted([rising, noisy(-80.0)])
    (line,) = say(result)
    assert line.startswith("The ELBO still rises by 1") or "by 0.9" in line
    assert "per 100 steps in 1 of 2 restarts: raise `steps`" in line
    assert fit_summary(result) == []


def test_iterations_of_em_have_their_own_words() -> None:
    (line,) = fit_findings(fitted([0.5 * np.arange(100.0)], "log_density"))
    assert line == (
        "The log density still rises by 50 per 100 iterations in 1 of 1 restarts: raise "
        "`iterations`."
    )
    flat = fitted([np.minimum(np.arange(100.0), 20.0)], "log_density")
    assert fit_summary(flat) == ["The log density settled after 21 of 100 iterations."]


def test_restarts_that_end_apart_are_told() -> None:
    (line,) = say(fitted([noisy(-100.0), noisy(-112.0), noisy(-100.0)]))
    assert line.startswith("The restarts end apart: 1 of 3 stay up to 12")
    assert "below the best ELBO, -" in line


def test_noise_alone_is_no_rise() -> None:
    found = [settling(RNG.standard_t(3, size=400)).settled_after for _ in range(300)]
    # four standard errors on eight degrees of freedom: one in five hundred, one-sided
    assert sum(after is None for after in found) <= 4


def test_small_rises_are_seen_where_noise_allows() -> None:
    climb = np.linspace(0.0, 4.0, 400)  # 1 in the last quarter
    found = [settling(climb + 0.3 * RNG.normal(size=400)).settled_after for _ in range(50)]
    assert sum(after is None for after in found) >= 45


def test_short_and_broken_curves_say_nothing() -> None:
    assert say(fitted([np.arange(10.0)])) == []
    assert fit_summary(fitted([np.full(100, np.nan)])) == []


def test_different_answers_of_restarts_are_told() -> None:
    x = RNG.normal(size=(2, 200)) + np.array([[0.0], [3.0]])
    result = fitted([noisy(-5.0), noisy(-5.0)], posterior={"x": x})
    (line,) = say(result)
    assert line.startswith("`x`: R-hat") and "between restarts (limit 1.1)" in line


def program(y: torch.Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("unit", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


@pytest.mark.parametrize("guide", [None, pytest.param(AutoDelta, marks=pytest.mark.slow)])
def test_fits_by_svi(guide: Any, capsys: pytest.CaptureFixture[str]) -> None:
    y = torch.tensor([1.2, 0.4, 2.2, 1.9])
    short = SVI(guide=guide, steps=400, learning_rate=0.003, final_learning_rate=0.003)
    sizes: dict[str, Any] = {"draws": 20, "chains": 2, "seed": 1}
    assert (
        "The ELBO still rises by"
        in say(infer(program, 100 + y, engine=short, progress=False, **sizes))[0]
    )
    long = SVI(guide=guide, steps=600, learning_rate=0.05)
    result = infer(program, y, engine=long, progress=True, **sizes)
    assert say(result) == []
    assert "The ELBO settled after" in capsys.readouterr().err
