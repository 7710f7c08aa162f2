"""Effective draws a CPU second of NUTS: ours, and Pyro's on the same programs in this process.

A logistic regression of 200 weights on 5000 observations, and eight schools. Medians over the
parameters, warm-up counted, one thread; our chains run as one batch, Pyro's one after the other:

    OMP_NUM_THREADS=1 python benchmarks/nuts_speed.py [--draws 300] [--warmup 300] [--compiled]
"""

import argparse
import time
from collections.abc import Callable

import arviz_base
import arviz_stats
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC
from pyro.infer import NUTS as PyroNUTS

import probneuro as pn
from probneuro.inference.nuts import NUTS

Program = Callable[[], None]


def logistic() -> tuple[Program, str]:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(5000, 200)) / np.sqrt(200))
    weights = torch.tensor(2 * rng.normal(size=200))
    y = torch.tensor(rng.random(5000)) < torch.sigmoid(x @ weights)

    def program() -> None:
        weight = pyro.sample("weight", dist.Normal(0.0, 2.0).expand([200]).to_event(1))
        with pyro.plate("observation", 5000):
            pyro.sample("y", dist.Bernoulli(logits=x @ weight), obs=y.double())

    return program, "weight"


def eight_schools() -> tuple[Program, str]:
    y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)
    sigma = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)

    def program() -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("school", 8):
            raw = pyro.sample("raw", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(mu + tau * raw, sigma), obs=y)

    return program, "raw"


def ours(program: Program, site: str, draws: int, warmup: int, chains: int, fast: bool) -> float:
    engine = NUTS(warmup=warmup, compiled=fast)
    start = time.process_time()
    result = pn.infer(program, engine=engine, draws=draws, chains=chains, seed=1, progress=False)
    seconds = time.process_time() - start
    return _rate(result["posterior"][site].values, seconds)


def pyros(program: Program, site: str, draws: int, warmup: int, chains: int) -> float:
    found = []
    start = time.process_time()
    for chain in range(chains):
        pyro.set_rng_seed(chain)
        run = MCMC(PyroNUTS(program), draws, warmup_steps=warmup, disable_progbar=True)
        run.run()
        found.append(run.get_samples()[site].numpy())
    return _rate(np.stack(found), time.process_time() - start)


def _rate(draws: np.ndarray, seconds: float) -> float:
    ess = arviz_stats.ess(arviz_base.convert_to_dataset({"x": draws}))["x"]
    return float(ess.median()) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("draws", 300), ("warmup", 300), ("chains", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--only", choices=["logistic", "eight_schools"])
    given = vars(parser.parse_args())
    fast, only = given.pop("compiled"), given.pop("only")
    torch.set_default_dtype(torch.float64)
    print(f"{'program':<16}{'ours':>10}{'Pyro':>10}{'ratio':>8}   (median ESS a CPU second)")
    for build in (logistic, eight_schools):
        if only in (None, build.__name__):
            program, site = build()
            mine, theirs = ours(program, site, **given, fast=fast), pyros(program, site, **given)
            print(f"{build.__name__:<16}{mine:>10.1f}{theirs:>10.1f}{mine / theirs:>8.1f}")


if __name__ == "__main__":
    main()
