"""Engines on normals whose posterior is known: the figures of the first rows of their cards.

Largest z-score of mean and variance over seeds and variables, and for the factorised guide the
ratio of its standard deviation to the posterior's, which for a correlation r is sqrt(1 - r^2):

    OMP_NUM_THREADS=1 python benchmarks/exact_cases.py [--seeds 8] [--draws 1000] [--only SVI]
"""

import argparse
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoMultivariateNormal

from probneuro import infer
from probneuro.core.engine import Engine
from probneuro.inference.hmc import HMC
from probneuro.inference.nuts import NUTS
from probneuro.inference.svi import SVI
from probneuro.testing.stats import moment_z_scores

Y = torch.tensor([1.2, 0.4, 2.2, 1.9], dtype=torch.float64)
CORRELATION = 0.9
MEAN = np.array([1.0, -2.0])


def conjugate(y: torch.Tensor) -> None:
    """Posterior of variance 1 / (1 / 4 + 4), and of mean variance times the sum of the data."""
    x = pyro.sample("x", dist.Normal(torch.zeros(1), 2.0).to_event(1))
    with pyro.plate("unit", len(y)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=y)


def correlated(y: torch.Tensor) -> None:
    """Two standard normals with a correlation, shifted; there are no data."""
    covariance = torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]])
    pyro.sample("x", dist.MultivariateNormal(torch.as_tensor(MEAN).to(covariance), covariance))


VARIANCE = 1 / (1 / 4 + 4)
CASES: dict[str, tuple[Callable[..., None], Engine, np.ndarray, np.ndarray]] = {
    "NUTS, conjugate normal": (
        conjugate, NUTS(), np.array([VARIANCE * float(Y.sum())]), np.array([VARIANCE]),
    ),
    "HMC, correlated normal": (correlated, HMC(), MEAN, np.ones(2)),
    "SVI, conjugate normal, exact guide": (
        conjugate, SVI(guide=AutoMultivariateNormal, steps=1500, final_learning_rate=1e-5),
        np.array([VARIANCE * float(Y.sum())]), np.array([VARIANCE]),
    ),
    "SVI, correlated normal, factorised guide": (
        correlated, SVI(steps=4000, final_learning_rate=1e-5), MEAN, np.ones(2),
    ),
}  # fmt: skip


def main() -> None:
    """Run every case over all seeds and print a line of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", default="", help="Cases with this in their name.")
    arguments = parser.parse_args()
    for name, (program, engine, mean, variance) in CASES.items():
        if arguments.only not in name:
            continue
        scores, ratios = [], []
        for seed in range(arguments.seeds):
            result = infer(
                program, Y, engine=engine, draws=arguments.draws, chains=4, seed=seed,
                progress=False,
            )  # fmt: skip
            draws = result.posterior["x"].values
            scores.append(np.abs(moment_z_scores(draws, mean, variance)).max())
            ratios.append(draws.std((0, 1)) / np.sqrt(variance))
        spread = np.concatenate(ratios)
        print(
            f"{name}: largest z {max(scores):.2f}, sd over exact sd {spread.min():.4f} to "
            f"{spread.max():.4f}, {arguments.seeds} seeds",
            flush=True,
        )


if __name__ == "__main__":
    main()
