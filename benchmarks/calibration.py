"""Simulation-based calibration of every engine on small models (Talts et al., 2018).

Parameters from the prior, data from the parameters, ranks of the parameters among posterior draws;
one line an engine with the largest z-score of uniformity over its parameters, and the limit that
as many independent scores exceed once in a thousand runs. Results are appended to a record:

    OMP_NUM_THREADS=1 python benchmarks/calibration.py [--engines nuts hmc] [--simulations 200]
"""

import argparse
import json
import subprocess
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoMultivariateNormal

from probneuro.core.engine import Engine
from probneuro.core.state_space import StateSpaceModel
from probneuro.inference.filtering import ParticleFilter
from probneuro.inference.hmc import HMC
from probneuro.inference.nuts import NUTS
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.inference.pmmh import PMMH
from probneuro.inference.site_gibbs import Gibbs
from probneuro.inference.slice_sampler import Slice
from probneuro.inference.svi import SVI
from probneuro.inference.tempered_smc import TemperedSMC
from probneuro.testing import rank_scores, sbc
from probneuro.testing.stats import LARGEST_Z, worst

RECORD = Path(__file__).parent / "records" / "calibration.jsonl"


def regression(y: torch.Tensor) -> None:
    """A line through ten points with an unknown scatter."""
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    scatter = pyro.sample("scatter", dist.LogNormal(0.0, 0.5))
    x = torch.linspace(-1.0, 1.0, len(y))
    with pyro.plate("point", len(y)):
        pyro.sample("y", dist.Normal(slope[0] + slope[1] * x, scatter), obs=y)


def gaussian(y: torch.Tensor) -> None:
    """The same with a known scatter: its posterior is Gaussian."""
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    x = torch.linspace(-1.0, 1.0, len(y))
    with pyro.plate("point", len(y)):
        pyro.sample("y", dist.Normal(slope[0] + slope[1] * x, 0.7), obs=y)


def mixture(y: torch.Tensor) -> None:
    """Ten points from either of two Gaussians, with every label a discrete site."""
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    shift = pyro.sample("shift", dist.Normal(1.0, 1.0))
    with pyro.plate("point", len(y)):
        label = pyro.sample("label", dist.Bernoulli(share))
        pyro.sample("y", dist.Normal(shift * label, 0.7), obs=y)


class Walk(StateSpaceModel):
    """An autoregression of unknown decay and noise behind Poisson counts."""

    name = "walk"

    def global_model(self) -> Mapping[str, Any]:
        priors = {"decay": dist.Beta(8.0, 2.0), "noise": dist.LogNormal(-1.0, 0.5)}
        return {name: pyro.sample(name, prior) for name, prior in priors.items()}

    def initialize(self, params: Any) -> Any:
        return dist.Normal(0.0, 1.0)

    def transition(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        return dist.Normal(params["decay"] * state, params["noise"])

    def observe(self, state: torch.Tensor, params: Any, t: Any, inputs: Any) -> Any:
        return dist.Poisson((0.5 + state).exp())


class KnownWalk(Walk):
    """The same with known parameters."""

    name = "known_walk"

    def global_model(self) -> Mapping[str, Any]:
        return {name: torch.tensor(value) for name, value in KNOWN.items()}


KNOWN = {"decay": 0.8, "noise": 0.5}
POINTS, COUNTS = torch.zeros(10), np.zeros(12)
CASES: dict[str, tuple[Any, Any, Engine, int, int]] = {  # model, data, engine, draws, thin
    "nuts": (regression, POINTS, NUTS(warmup=200), 99, 3),
    "hmc": (regression, POINTS, HMC(warmup=200), 99, 3),
    "slice": (regression, POINTS, Slice(warmup=200), 99, 3),
    "gibbs": (mixture, POINTS, Gibbs(warmup=60), 19, 5),
    "tempered_smc": (regression, POINTS, TemperedSMC(), 99, 1),
    "svi": (
        gaussian, POINTS, SVI(guide=AutoMultivariateNormal, steps=800, learning_rate=0.05), 99, 1
    ),
    "particle_filter": (
        KnownWalk(), COUNTS, ParticleFilter(num_particles=500, params={}), 99, 1
    ),
    "particle_gibbs": (Walk(), COUNTS, ParticleGibbs(warmup=60, num_particles=20), 19, 5),
    "pmmh": (Walk(), COUNTS, PMMH(warmup=300, num_particles=30), 19, 30),
}  # fmt: skip


def calibrate(name: str, simulations: int, seed: int) -> dict[str, Any]:
    """Return one engine's scores as a record."""
    model, data, engine, draws, thin = CASES[name]
    start = time.perf_counter()
    settings = {"num_simulations": simulations, "draws": draws, "thin": thin, "seed": seed}
    ranks = sbc(model, data, engine=engine, **settings)
    scores = rank_scores(ranks)
    parameter, score = worst(scores)
    return {
        "engine": name, "settings": str(dict(engine.settings())), "simulations": simulations,
        "draws": draws, "thin": thin, "seed": seed, "parameters": len(scores), "worst": parameter,
        "largest_z": round(float(score), 2), "limit": LARGEST_Z,
        "seconds": round(time.perf_counter() - start), "commit": _commit(),
    }  # fmt: skip


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # a run of 99 draws is short on purpose
    for name in given.engines:
        found = calibrate(name, given.simulations, given.seed)
        with RECORD.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(
            f"{name:<16} largest z {found['largest_z']:5.2f} of {found['parameters']:3} "
            f"({found['worst']}), limit {LARGEST_Z}, {found['seconds']} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
