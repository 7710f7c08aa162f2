from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from probneuro import infer
from probneuro.core.errors import CapabilityError, DataError
from probneuro.core.results import build_result
from probneuro.inference.bridge import bridge_evidence
from probneuro.inference.tempered_smc import TemperedSMC
from probneuro.testing.stats import LARGEST_Z, check_scores, mean_score

Floats = NDArray[np.float64]
DESIGN = torch.tensor([[1.0, 0.3], [1.0, -0.4], [1.0, 2.0]], dtype=torch.float64)
Y = torch.tensor([0.4, 0.2, 1.9], dtype=torch.float64)


def regression(design: torch.Tensor, y: torch.Tensor) -> None:
    beta = pyro.sample("beta", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    pyro.sample("y", dist.Normal(design @ beta, 1.0).to_event(1), obs=y)


EXACT = float(
    multivariate_normal.logpdf(Y, np.zeros(3), np.eye(3) + 9 * DESIGN.numpy() @ DESIGN.numpy().T)
)


def gamma_poisson(counts: torch.Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(0.5, 0.2))
    with pyro.plate("unit", len(counts)):
        pyro.sample("counts", dist.Poisson(rate), obs=counts)


def posterior(rng: np.random.Generator, draws: int = 500) -> xr.DataTree:
    design = DESIGN.numpy()
    covariance = np.linalg.inv(design.T @ design + np.eye(2) / 9)
    mean = covariance @ design.T @ Y.numpy()
    return build_result({"beta": rng.multivariate_normal(mean, covariance, size=(2, draws))})


@pytest.mark.stat
def test_exact_draws_give_the_exact_evidence() -> None:
    found = [
        bridge_evidence(posterior(np.random.default_rng(s)), regression, DESIGN, Y, seed=s)
        for s in range(5)
    ]
    # Posterior and proposal are both normal here, so that the error is next to nothing.
    assert max(abs(f.log_evidence - EXACT) for f in found) < 0.02


@pytest.mark.stat
def test_a_skewed_posterior_and_its_error() -> None:
    from scipy.special import gammaln

    counts = torch.tensor([0.0, 1.0])
    shape, rate = 0.5 + 1, 0.2 + 2
    exact = 0.5 * np.log(0.2) - gammaln(0.5) + gammaln(shape) - shape * np.log(rate)
    values, errors = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        result = build_result({"rate": rng.gamma(shape, 1 / rate, size=(2, 300))})
        found = bridge_evidence(result, gamma_poisson, counts, seed=seed)
        values.append(found.log_evidence)
        errors.append(found.error)
    check_scores({"mean": mean_score(values, exact)})
    scatter = np.std(values, ddof=1)
    assert 0.6 < scatter / np.mean(errors) < 1.6


@pytest.mark.stat
def test_it_agrees_with_tempered_smc_and_sees_wrong_draws() -> None:
    engine = TemperedSMC(particles=500)
    result = infer(
        regression, DESIGN, Y, engine=engine, draws=500, chains=4, seed=2, progress=False
    )
    stats = result["sample_stats"].to_dataset().isel(draw=0)
    smc = float(stats["log_marginal_likelihood"].mean())
    error = float(stats["log_marginal_likelihood_error"].mean()) / 2
    found = bridge_evidence(result, regression, DESIGN, Y)
    assert abs(found.log_evidence - smc) < LARGEST_Z * np.hypot(error, found.error)
    wrong = build_result({"beta": 2.0 + 0.5 * result["posterior"]["beta"].values})
    moved = bridge_evidence(wrong, regression, DESIGN, Y)
    assert abs(moved.log_evidence - EXACT) > LARGEST_Z * np.hypot(error, moved.error)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"beta": np.zeros((2, 10, 2))}, "`result` has 20 draws in `posterior`; at least 40"),
        ({"other": np.zeros((2, 50))}, "`result` has no draws of `beta`; it has other"),
    ],
)
def test_bad_results(variables: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        bridge_evidence(build_result(variables), regression, DESIGN, Y)


def test_an_improper_prior_is_refused() -> None:
    def flat() -> None:
        pyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))

    with pytest.raises(CapabilityError, match="prior of `x` is improper"):
        bridge_evidence(build_result({"x": np.zeros((2, 50))}), flat)
