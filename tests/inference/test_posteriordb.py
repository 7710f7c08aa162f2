"""NUTS against the published reference draws of five posteriors (Magnusson et al., posteriordb)."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from numpy.typing import NDArray

from probneuro import az, infer
from probneuro.inference.nuts import NUTS

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parents[3] / "shared" / "data" / "posteriordb"
LARGEST_Z = 4.0
LARGEST_R_HAT = 1.01


def eight_schools(y: torch.Tensor, sigma: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(y)):
        theta = pyro.deterministic("theta", mu + tau * pyro.sample("raw", dist.Normal(0.0, 1.0)))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def arma(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    phi = pyro.sample("phi", dist.Normal(0.0, 2.0))
    theta = pyro.sample("theta", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    rest = y - mu - phi * torch.cat([mu[None], y[:-1]])
    # err_t + theta err_{t-1} = rest_t, all at once
    shift = torch.diag(torch.ones(len(y) - 1), -1)
    system = torch.eye(len(y)) + theta * shift
    error = torch.linalg.solve_triangular(system, rest[:, None], upper=False)[:, 0]
    pyro.factor("y", dist.Normal(0.0, sigma).log_prob(error).sum())


def gp_poisson(x: torch.Tensor, k: torch.Tensor) -> None:
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))
    raw = pyro.sample("raw", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
    distance = (x[:, None] - x) ** 2
    kernel = alpha**2 * torch.exp(-distance / (2 * rho**2)) + 1e-10 * torch.eye(len(x))
    f = pyro.deterministic("f", torch.linalg.cholesky(kernel) @ raw)
    pyro.factor("k", dist.Poisson(f.exp()).log_prob(k).sum())


def kidscore(kid_score: torch.Tensor, mom_hs: torch.Tensor, mom_iq: torch.Tensor) -> None:
    flat = dist.ImproperUniform(dist.constraints.real_vector, (), (4,))
    beta = pyro.sample("beta", flat)
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    design = torch.stack([torch.ones_like(mom_hs), mom_hs, mom_iq, mom_hs * mom_iq], -1)
    pyro.factor("y", dist.Normal(design @ beta, sigma).log_prob(kid_score).sum())


def regression(x: torch.Tensor, y: torch.Tensor) -> None:
    beta = pyro.sample("beta", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(10.0))
    pyro.factor("y", dist.Normal(x @ beta, sigma).log_prob(y).sum())


def z_scores(ours: NDArray[Any], reference: NDArray[Any]) -> tuple[float, float]:
    """Return the z of mean and sd, over the standard errors of both."""
    found = []
    for draws in (ours, reference):
        tree = az.convert_to_dataset({"x": draws})
        errors = [float(az.mcse(tree, method=method)["x"]) for method in ("mean", "sd")]
        found.append((np.array([draws.mean(), draws.std(ddof=1)]), np.array(errors)))
    (a, error_a), (b, error_b) = found
    mean, sd = (a - b) / np.hypot(error_a, error_b)
    return float(mean), float(sd)


def compare(
    program: Callable[..., None], data: list[torch.Tensor], name: str, seed: int
) -> list[str]:
    """Return one line for every parameter that does not agree with the reference."""
    engine = NUTS(warmup=1000, target_accept=0.9)
    result = infer(program, *data, engine=engine, draws=1000, chains=4, seed=seed, progress=False)
    wrong, largest, worst = [], 0.0, 0.0
    with np.load(FOLDER / f"{name}.npz") as file:
        reference = {key: file[key] for key in file.files}
    for key, draws in reference.items():
        site, _, index = key.partition("[")
        ours = result.posterior[site].values
        ours = ours[..., int(index[:-1]) - 1] if index else ours
        z = max(map(abs, z_scores(ours, draws)))
        r_hat = float(az.rhat(az.convert_to_dataset({"x": ours}))["x"])
        largest, worst = max(largest, z), max(worst, r_hat)
        if z > LARGEST_Z or r_hat > LARGEST_R_HAT:
            wrong.append(f"{key}: z {z:.2f}, R-hat {r_hat:.4f}")
    divergences = int(result.sample_stats["diverging"].sum())
    figures = "%s, seed %d: |z| up to %.2f, R-hat to %.4f, %d divergences"
    log.info(figures, name, seed, largest, worst, divergences)
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("seed", [8, 9])
@pytest.mark.parametrize(
    ("name", "program", "fields"),
    [
        ("eight_schools-eight_schools_noncentered", eight_schools, ("y", "sigma")),
        ("arma-arma11", arma, ("y",)),
        ("gp_pois_regr-gp_pois_regr", gp_poisson, ("x", "k")),
        ("kidiq-kidscore_interaction", kidscore, ("kid_score", "mom_hs", "mom_iq")),
        ("sblrc-blr", regression, ("X", "y")),
    ],
)
def test_reference_draws(
    name: str, program: Callable[..., None], fields: tuple[str, ...], seed: int
) -> None:
    if not FOLDER.exists():
        pytest.skip("no reference draws here")
    raw = json.loads((FOLDER / f"{name}.data.json").read_text())
    data = [torch.tensor(raw[field], dtype=torch.float64) for field in fields]
    assert compare(program, data, name, seed) == []
